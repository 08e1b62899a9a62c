"""Times to live and the journal: kept over restarts, and by messages that are paged out."""

import pytest
from pamqp.commands import Basic, Confirm

from durable_server import DurableServer
from fake_client import FakeServer
from leveret.broker import intake
from leveret.broker.notes import Notes, read_notes
from leveret.broker.policy_checks import checked_policy


def ttl(milliseconds: int) -> dict[str, int]:
    return {"x-message-ttl": milliseconds}


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("arguments", [ttl(10_000), {}])
def test_time_goes_on_while_the_broker_is_down(clean: bool, arguments: dict[str, int]):
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True, arguments=arguments)
    for number in range(3):
        client.publish(b"%d" % number, "q", delivery_mode=2, expiration="10000")
        server.advance(1)
    server = server.restarted(after_s=7.5, clean=clean)
    client = server.connect()
    assert client.ready_in("q") == 2
    server.advance(0.5)
    assert client.ready_in("q") == 1
    server.advance(1)
    assert client.ready_in("q") == 0
    client = server.restarted().connect()
    assert client.ready_in("q") == 0


def set_ttl(server: FakeServer, milliseconds: int | None, pattern: str = "^q") -> None:
    """By a policy, or None for the policy to be gone."""
    policies = server.broker.vhosts["/"].policies
    if milliseconds is None:
        policies.delete("ttl")
    else:
        policies.set(checked_policy("ttl", pattern, {"message-ttl": milliseconds}))
    server.end_turn()


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("own", [{}, ttl(20_000)])
def test_each_message_keeps_the_time_it_was_published_with_over_a_restart(
    clean: bool, own: dict[str, int]
):
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True, arguments=own)
    client.publish(b"short", "q", delivery_mode=2, expiration="3000")
    client.publish(b"own", "q", delivery_mode=2)
    set_ttl(server, 10_000)
    client.publish(b"long", "q", delivery_mode=2)
    set_ttl(server, 1_000)
    server = server.restarted(clean=clean)
    server.advance(3)
    client = server.connect()
    assert client.ready_in("q") == 2
    set_ttl(server, None)
    server = server.restarted(clean=clean)
    server.advance(7)
    client = server.connect()
    own_message = client.get()
    assert own_message.body == b"own"
    assert client.ready_in("q") == 0, "the long one is at the head now"
    client.send(Basic.Nack(own_message.call.delivery_tag, requeue=True))
    server.advance(9.999)
    assert client.ready_in("q") == 1
    server.advance(0.001)
    assert client.ready_in("q") == (0 if own else 1)


def test_a_policy_that_is_new_after_a_restart_does_not_count_for_what_was_there():
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True)
    client.declare("timed", durable=True, arguments=ttl(60_000))
    for queue in ("q", "timed"):
        client.bind(queue, "amq.fanout")
    client.publish(b"", exchange="amq.fanout", delivery_mode=2)
    server = server.restarted()
    set_ttl(server, 1_000, "")
    server = server.restarted()
    server.advance(59)
    client = server.connect()
    assert [client.ready_in(queue) for queue in ("q", "timed")] == [1, 1]
    server.advance(1)
    assert [client.ready_in(queue) for queue in ("q", "timed")] == [1, 0]


def test_paged_out_message_keeps_the_time_that_a_policy_gave_it():
    server = DurableServer()
    client = server.connect()
    client.declare()
    set_ttl(server, 1_000)
    for number in range(1500):
        client.publish(b"%d" % number, "q")
    server.page_out("q")
    set_ttl(server, None)
    client.publish(b"stays", "q")
    server.advance(1)
    assert client.ready_in("q") == 1


@pytest.mark.parametrize("clean", [True, False])
def test_message_for_more_queues_than_its_notes_have_room_for_expires_in_all(
    clean: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(intake, "QUEUE_TTLS_MAX", 3)
    server = DurableServer()
    client = server.connect()
    set_ttl(server, 1_000)
    for number in range(8):
        client.declare(f"q{number}", durable=True)
        client.bind(f"q{number}", "amq.fanout")
    client.send(Confirm.Select())
    client.expect(Confirm.SelectOk)
    client.publish(b"", exchange="amq.fanout", delivery_mode=2, headers={"BCC": ["x"]})
    client.expect(Basic.Ack)
    server = server.restarted(clean=clean)
    client = server.connect()
    assert [client.ready_in(f"q{number}") for number in range(8)] == [1] * 8
    server.advance(1)
    assert [client.ready_in(f"q{number}") for number in range(8)] == [0] * 8


def test_notes_are_read_as_they_were_written():
    notes = Notes(5, None, ("a", "b"), True, ((1, 2), (3, 1 << 62)), True)
    assert read_notes(notes.encoded()).encoded() == notes.encoded()
    assert read_notes(notes.encoded()).queue_ttls == notes.queue_ttls


def test_paged_out_messages_expire_too():
    server = DurableServer()
    client = server.connect()
    client.declare(arguments=ttl(1000))
    client.declare("plain")
    for queue in ("q", "plain"):
        for number in range(1500):
            client.publish(b"%d" % number, queue, expiration="1000" if number % 2 else "2000")
        server.page_out(queue)
        client.publish(b"last", queue, expiration="2000")
    server.advance(1.001)
    assert client.ready_in("q") == 0
    client.consume("plain", no_ack=True)
    assert len(client.bodies()) == 751

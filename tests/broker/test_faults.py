"""Bugs of leveret's own: whatever goes wrong for one, everybody else is served."""

from collections.abc import Callable
from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Queue, Tx

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp.errors import PreconditionFailed
from leveret.broker import deletion
from leveret.broker.channel import Channel
from leveret.broker.confirms import Confirms
from leveret.broker.consumers import Consumers
from leveret.broker.intake import Intake
from leveret.broker.memory import MemoryBudget
from leveret.broker.publisher import Publisher
from leveret.broker.queue import Queue as BrokerQueue
from leveret.broker.turn_bounds import TurnBounds

Break = Callable[..., None]


@pytest.fixture
def a_bug(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Makes the method of a class fail, when its argument is right if there is a condition."""

    def make(kind: type[Any], name: str, when: Callable[..., bool] = lambda *_: True) -> None:
        works = getattr(kind, name)

        def fails(self: Any, *arguments: Any, **named: Any) -> Any:
            if when(self, *arguments):
                raise RuntimeError("a bug")
            return works(self, *arguments, **named)

        monkeypatch.setattr(kind, name, fails)

    return make


def expect_541(client: FakeClient) -> None:
    close = client.received()[-1].call
    assert (close.reply_code, close.reply_text) == (541, "INTERNAL_ERROR - internal error")
    assert not client.connection.channels


@pytest.fixture(params=[FakeServer, DurableServer], ids=["transient", "on disk"])
def publishers(request: pytest.FixtureRequest) -> list[FakeClient]:
    """Two with confirms, and a queue for messages."""
    server: FakeServer = request.param()
    clients = [server.connect() for _ in range(2)]
    clients[0].declare("q", durable=True)
    for client in clients:
        client.request(Confirm.Select(), Confirm.SelectOk)
    return clients


def test_a_bug_in_confirming_is_the_trouble_of_one_publisher(
    publishers: list[FakeClient], a_bug: Break
) -> None:
    client, other = publishers
    broken = client.connection.channels[1].publisher.confirms
    a_bug(Confirms, "frames", lambda confirms, *_: confirms is broken)
    for each in publishers:
        each.connection.receive(message(b"m", "q", delivery_mode=2))
    other.server.end_turn()
    expect_541(client)
    other.expect(Basic.Ack)
    assert other.ready_in("q") == 2


def test_a_bug_while_a_channel_closes_keeps_back_none_of_its_messages(
    client: FakeClient, other: FakeClient, a_bug: Break
) -> None:
    client.declare("q")
    client.declare("mine", exclusive=True)
    for body in (b"1", b"2"):
        client.publish(body, "q")
        client.get("q")
    client.open_channel(2)
    a_bug(Publisher, "close")
    client.connection.lost("it must go")
    client.server.end_turn()
    assert [other.get("q").body for _ in range(2)] == [b"1", b"2"]
    assert client.connection not in client.server.broker.connections
    assert "mine" not in client.connection.vhost.queues


@pytest.mark.parametrize("at_once", [1, 250])
def test_a_bug_in_deleting_an_exclusive_queue_keeps_no_other_from_going(
    client: FakeClient, a_bug: Break, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(deletion, "DELETED_AT_ONCE", at_once)
    for name in "abc":
        client.declare(name, exclusive=True)
    a_bug(BrokerQueue, "end", lambda queue: queue.name == "a")
    client.disconnect()
    assert [*client.server.broker.vhosts["/"].queues] == ["a"]


def test_a_connection_with_a_bug_is_closed_though_its_end_has_one_too(
    client: FakeClient, other: FakeClient, a_bug: Break
) -> None:
    a_bug(Channel, "queue_name")
    a_bug(Channel, "close")
    client.send(Queue.Purge(queue="q"))
    expect_541(client)
    other.declare("q")


def test_a_bug_in_watching_memory_is_logged_and_the_broker_goes_on(
    client: FakeClient, a_bug: Break, caplog: pytest.LogCaptureFixture
) -> None:
    memory = client.server.broker.memory
    memory.budget_bytes = 1000
    client.declare("q")
    a_bug(MemoryBudget, "_page_out")
    memory.again = True
    client.publish(bytes(2000), "q")
    assert "a bug" in caplog.text
    assert not memory.is_due
    assert client.get("q").body == bytes(2000)


def test_a_bug_in_what_was_due_keeps_nothing_else_from_its_time(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    timers, done = server.broker.timers, list[str]()
    timers.at(1.0, lambda: [][0])
    timers.at(1.0, lambda: done.append("in time"))
    server.advance(1.0)
    assert done == ["in time"]
    assert "internal error" in caplog.text


def test_a_bug_in_what_waited_for_the_disk_keeps_nobody_else_waiting() -> None:
    server = DurableServer()
    client = server.connect()
    server.broker.when_durable(server.broker.position, lambda: [][0])
    client.declare("q", durable=True)


def test_a_bug_in_delivering_leaves_other_queues_alone(client: FakeClient, a_bug: Break) -> None:
    for queue in ("broken", "q"):
        client.declare(queue)
        client.consume(queue, queue, no_ack=True)
    broken = client.connection.vhost.queues["broken"].consumers
    a_bug(Consumers, "serve", lambda consumers, *_: consumers is broken)
    client.feed(message(b"1", "broken") + message(b"2", "q"))
    assert client.bodies() == [b"2"]


# --- what is done in turns --------------------------------------------------------------------


def test_a_bug_in_settling_in_turns_closes_the_connection(a_bug: Break) -> None:
    server = FakeServer(turn_bounds=TurnBounds(settled=2))
    client, other = server.connect(), server.connect()
    client.declare("q")
    bodies = [b"%d" % number for number in range(9)]
    for body in bodies:
        client.publish(body, "q")
    taken = [client.get("q") for _ in bodies]
    assert len(taken) == len(bodies)
    returned = 0

    def third_turn(*_: Any) -> bool:
        nonlocal returned
        returned += 1
        return returned == 5

    a_bug(BrokerQueue, "requeue", third_turn)
    client.send(Basic.Nack(0, multiple=True, requeue=True))
    expect_541(client)
    left = [other.get("q").body for _ in range(7)]  # two were in the hands of what failed
    assert left == [body for body in bodies if body in left]


@pytest.mark.parametrize("settled", [1, 200], ids=["in turns", "at once"])
def test_an_error_in_a_commit_closes_its_channel(
    settled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeServer(turn_bounds=TurnBounds(settled=settled, published=settled))
    client = server.connect()
    client.declare("q")
    client.request(Tx.Select(), Tx.SelectOk)
    client.feed(message(b"1", "q") + message(b"2", "q"))

    def refuse(*_: Any) -> bool:
        raise PreconditionFailed("not this one")

    monkeypatch.setattr(Intake, "put", refuse)
    client.feed(encoded(Tx.Commit()))
    client.expect_channel_closed(406, "PRECONDITION_FAILED - not this one", (90, 20))
    client.open_channel(2)
    assert server.broker.memory.transaction_bytes == 0

"""x-message-ttl and per-message expiration."""

import pytest
from pamqp.commands import Basic, Confirm, Queue, Tx

from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp.frames import HEADER, frame
from leveret.broker.policy_checks import checked_policy
from leveret.broker.queue import BATCH_MESSAGES

PUBLISH = (60, 40)
TEN_YEARS_MS = 315_360_000_000


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    return server.connect()


def ttl(milliseconds: int) -> dict[str, int]:
    return {"x-message-ttl": milliseconds}


def test_messages_leave_a_queue_after_its_ttl(server: FakeServer, client: FakeClient):
    client.declare(arguments=ttl(100))
    client.publish(b"1", "q")
    server.advance(0.05)
    client.publish(b"2", "q")
    server.advance(0.049)
    assert client.ready_in("q") == 2
    server.advance(0.001)
    assert client.ready_in("q") == 1
    server.advance(0.05)
    assert client.ready_in("q") == 0


def test_message_with_an_expiration_leaves_a_queue_without_a_ttl(
    server: FakeServer, client: FakeClient
):
    client.declare()
    client.publish(b"1", "q", expiration="100")
    client.publish(b"2", "q")
    server.advance(0.1)
    assert client.ready_in("q") == 1
    delivery = client.get()
    assert delivery.body == b"2"


def test_message_expires_in_time_though_it_came_to_the_head_only_because_of_a_limit(
    server: FakeServer, client: FakeClient
):
    client.declare("dead")
    client.declare(
        arguments={
            "x-max-length": 1,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dead",
        }
    )
    client.publish(b"1", "q")
    client.publish(b"2", "q", expiration="100")
    server.advance(0.1)
    assert [client.get("dead").body, client.get("dead").body] == [b"1", b"2"]


@pytest.mark.parametrize(("queue_ms", "message_ms"), [(100, 5000), (5000, 100)])
def test_shorter_one_of_both_counts(
    server: FakeServer, client: FakeClient, queue_ms: int, message_ms: int
):
    client.declare(arguments=ttl(queue_ms))
    client.publish(b"", "q", expiration=str(message_ms))
    server.advance(0.099)
    assert client.ready_in("q") == 1
    server.advance(0.001)
    assert client.ready_in("q") == 0


def test_each_queue_applies_its_own_ttl_to_the_same_message(server: FakeServer, client: FakeClient):
    client.declare("short", arguments=ttl(100))
    client.declare("long", arguments=ttl(1000))
    client.declare("for-ever")
    for queue in ("short", "long", "for-ever"):
        client.bind(queue, "amq.fanout")
    client.publish(b"", exchange="amq.fanout")
    server.advance(0.1)
    assert [client.ready_in(q) for q in ("short", "long", "for-ever")] == [0, 1, 1]
    server.advance(1)
    assert [client.ready_in(q) for q in ("short", "long", "for-ever")] == [0, 0, 1]


def test_short_lived_message_behind_a_long_lived_one_is_counted_until_it_is_at_the_head(
    server: FakeServer, client: FakeClient
):
    client.declare()
    client.publish(b"long", "q")
    client.publish(b"short", "q", expiration="50")
    server.advance(1)
    assert client.ready_in("q") == 2
    delivery = client.get(no_ack=True)
    assert delivery.body == b"long"
    assert delivery.call.message_count == 0
    client.get_nothing()


def test_overdue_message_is_not_delivered_to_a_consumer(server: FakeServer, client: FakeClient):
    client.declare()
    client.publish(b"long", "q")
    client.publish(b"short", "q", expiration="50")
    client.publish(b"last", "q")
    server.advance(1)
    client.consume(no_ack=True)
    assert client.bodies() == [b"long", b"last"]


def test_ttl_of_zero_lets_a_ready_consumer_have_the_message(client: FakeClient):
    client.declare(arguments=ttl(0))
    client.publish(b"missed", "q")
    assert client.ready_in("q") == 0
    client.consume()
    client.publish(b"in time", "q")
    assert client.bodies() == [b"in time"]
    client.send(Basic.Reject(1, requeue=True))
    assert not client.received()
    assert client.ready_in("q") == 0


def test_ttl_of_zero_lets_a_ready_consumer_have_more_than_one_batch(client: FakeClient):
    client.declare(arguments=ttl(0))
    client.consume(no_ack=True)
    count = BATCH_MESSAGES + 10
    client.feed(message(b"now", "q") * count)
    assert len(client.deliveries()) == count


def test_expired_message_is_confirmed(client: FakeClient):
    client.declare(arguments=ttl(0))
    client.send(Confirm.Select())
    client.expect(Confirm.SelectOk)
    client.publish(b"", "q")
    assert client.expect(Basic.Ack).delivery_tag == 1


def test_unacknowledged_message_does_not_expire_but_dies_when_it_comes_back(
    server: FakeServer, client: FakeClient
):
    client.declare(arguments=ttl(100))
    client.publish(b"1", "q")
    client.publish(b"2", "q")
    client.get()
    client.get()
    server.advance(1)
    client.send(Basic.Ack(1))
    client.send(Basic.Nack(2, requeue=True))
    assert client.ready_in("q") == 0


def test_returned_message_keeps_the_time_of_its_publishing(server: FakeServer, client: FakeClient):
    client.declare(arguments=ttl(100))
    client.publish(b"1", "q")
    client.get()
    server.advance(0.06)
    client.send(Basic.Nack(1, requeue=True))
    assert client.ready_in("q") == 1
    server.advance(0.04)
    assert client.ready_in("q") == 0


def test_message_returned_to_the_head_may_be_due_before_the_one_that_was_there(
    server: FakeServer, client: FakeClient
):
    client.declare()
    client.publish(b"short", "q", expiration="100")
    client.publish(b"long", "q", expiration="1000")
    client.get()
    client.send(Basic.Nack(1, requeue=True))
    server.advance(0.1)
    assert client.ready_in("q") == 1


def test_time_counts_from_the_commit_of_a_transaction(server: FakeServer, client: FakeClient):
    client.declare(arguments=ttl(100))
    client.send(Tx.Select())
    client.expect(Tx.SelectOk)
    client.publish(b"", "q")
    server.advance(0.09)
    client.send(Tx.Commit())
    client.expect(Tx.CommitOk)
    server.advance(0.09)
    assert client.ready_in("q") == 1
    server.advance(0.01)
    assert client.ready_in("q") == 0


def test_delivered_message_still_carries_its_expiration(client: FakeClient):
    client.declare()
    client.publish(b"", "q", expiration="60000")
    delivery = client.get()
    assert delivery.properties.expiration == "60000"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("abc", "no_integer"),
        (" 5", "no_integer"),
        ("-1", "{value_negative,-1}"),
        ("1.5", '{leftover_string,".5"}'),
        ("5x", '{leftover_string,"x"}'),
        ("315360000001", "{value_too_large,315360000001}"),
        ("9" * 40, f"{{value_too_large,{'9' * 40}}}"),
    ],
)
def test_expiration_that_is_no_whole_number_or_too_long_is_refused(
    client: FakeClient, text: str, why: str
):
    client.declare()
    client.publish(b"", "q", expiration=text)
    text = f"PRECONDITION_FAILED - invalid expiration '{text}': {why}"
    client.expect_channel_closed(406, text, PUBLISH)


def test_an_empty_expiration_is_refused(client: FakeClient):
    properties = b"\1\0" + b"\0"  # pamqp leaves empty ones out
    head = b"\0\x3c\0\0" + bytes(8) + properties
    client.feed(encoded(Basic.Publish(routing_key="q")) + frame(HEADER, 1, head))
    text = "PRECONDITION_FAILED - invalid expiration '': no_integer"
    client.expect_channel_closed(406, text, PUBLISH)


def test_messages_can_live_for_ten_years(server: FakeServer, client: FakeClient):
    client.declare(arguments=ttl(TEN_YEARS_MS))
    client.publish(b"", "q", expiration=str(TEN_YEARS_MS))
    server.advance(TEN_YEARS_MS / 1000 - 1)
    assert client.ready_in("q") == 1
    server.advance(1)
    assert client.ready_in("q") == 0


def test_the_ttl_of_a_policy_has_no_bound(server: FakeServer, client: FakeClient):
    client.declare()
    server.broker.vhosts["/"].policies.set(checked_policy("p", "", {"message-ttl": (1 << 63) - 1}))
    client.publish(b"", "q")
    server.advance(1e6)
    assert client.ready_in("q") == 1


def test_queues_without_messages_that_expire_set_no_timers(server: FakeServer, client: FakeClient):
    for number in range(1000):
        client.declare(f"q{number}", arguments=ttl(60_000))
    assert server.broker.timers.next_deadline() is None
    client.publish(b"", "q1")
    client.get("q1", no_ack=True)
    server.advance(61)
    assert server.broker.timers.next_deadline() is None


def test_deleting_a_queue_takes_its_timer_along(server: FakeServer, client: FakeClient):
    client.declare(arguments=ttl(100))
    client.publish(b"", "q")
    client.send(Queue.Delete(queue="q"))
    assert client.expect(Queue.DeleteOk).message_count == 1
    assert server.broker.timers.next_deadline() is None


def set_ttl(server: FakeServer, milliseconds: int | None, pattern: str = "^q") -> None:
    """By a policy, or None for the policy to be gone."""
    policies = server.broker.vhosts["/"].policies
    if milliseconds is None:
        policies.delete("ttl")
    else:
        policies.set(checked_policy("ttl", pattern, {"message-ttl": milliseconds}))
    server.end_turn()


def test_queue_is_plain_again_once_nothing_in_it_expires(server: FakeServer, client: FakeClient):
    client.declare()
    queue = server.broker.vhosts["/"].queues["q"]
    client.publish(b"for ever", "q")
    set_ttl(server, 60_000)
    client.publish(b"1", "q")
    client.publish(b"2", "q")
    set_ttl(server, None)
    client.publish(b"for ever", "q")
    client.get(no_ack=True)
    client.get(no_ack=True)
    assert queue.features is not None
    client.get()
    assert queue.features is None, "what is left can wait for ever"
    assert server.broker.timers.next_deadline() is None
    client.send(Basic.Nack(0, multiple=True, requeue=True))
    assert client.ready_in("q") == 2
    server.advance(60)
    assert client.ready_in("q") == 1, "it has come back"
    assert queue.features is None


def test_queue_is_plain_again_when_it_is_empty(server: FakeServer, client: FakeClient):
    client.declare(arguments={"x-max-priority": 2})
    client.declare("plain")
    queues = server.broker.vhosts["/"].queues
    for queue in ("q", "plain"):
        client.publish(b"", queue, expiration="1000")
    server.advance(1)
    assert queues["plain"].features is None
    features = queues["q"].features
    assert features is not None
    assert features.expiry is None


def test_many_messages_expire_in_several_turns(server: FakeServer, client: FakeClient):
    client.declare(arguments=ttl(1000))
    for _ in range(5):
        client.feed(message(b"", "q") * 1000)
    queue = server.broker.vhosts["/"].queues["q"]
    server.broker.timers.now += 1
    server.broker.timers.run()
    server.end_turn()
    assert queue.message_count == 4000
    server.advance(0)
    assert queue.message_count == 0

"""x-max-length, x-max-length-bytes and x-overflow."""

from typing import Any

import pytest
from pamqp.commands import Basic, Channel, Confirm, Queue, Tx

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message

DLQ: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"}


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    return server.connect()


def publish(client: FakeClient, count: int, first: int = 0, queue: str = "q") -> None:
    """Messages in one turn, numbered."""
    client.feed(b"".join(message(b"%d" % number, queue) for number in range(first, first + count)))


def bodies(client: FakeClient, queue: str = "q") -> list[bytes]:
    """All that waits in a queue."""
    found: list[bytes] = []
    while client.ready_in(queue):
        found.append(client.get(queue, no_ack=True).body)
    return found


def confirming(client: FakeClient) -> None:
    client.send(Confirm.Select())
    client.expect(Confirm.SelectOk)


def test_oldest_messages_give_way(client: FakeClient):
    client.declare(arguments={"x-max-length": 2})
    publish(client, 5)
    assert client.ready_in("q") == 2
    assert bodies(client) == [b"3", b"4"]


def test_a_look_in_the_turn_of_the_publishes_sees_the_limit_kept(client: FakeClient):
    client.declare(arguments={"x-max-length": 2})
    client.feed(
        b"".join(message(b"%d" % n, "q") for n in range(4))
        + encoded(Queue.Declare(queue="q", passive=True), Basic.Get(queue="q"))
    )
    assert client.expect(Queue.DeclareOk).message_count == 2
    assert client.expect_content(Basic.GetOk).body == b"2"


def test_consumer_of_the_same_turn_comes_too_late_for_what_was_too_much(client: FakeClient):
    client.declare(arguments={"x-max-length": 0})
    client.feed(message(b"", "q") + encoded(Basic.Consume(queue="q", consumer_tag="c")))
    client.expect(Basic.ConsumeOk)
    assert not client.received()


def test_dropped_messages_are_confirmed(client: FakeClient):
    client.declare(arguments={"x-max-length": 1})
    confirming(client)
    publish(client, 3)
    ack = client.expect(Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (3, True)


def test_bodies_are_limited_in_bytes(client: FakeClient):
    client.declare(arguments={"x-max-length-bytes": 10})
    for _ in range(4):
        client.publish(b"abcd", "q")
    assert client.ready_in("q") == 2
    client.publish(b"0123456789AB", "q")
    assert client.ready_in("q") == 0
    client.publish(b"0123456789", "q")
    assert client.ready_in("q") == 1


def test_bytes_of_what_was_delivered_got_purged_and_returned_are_counted(client: FakeClient):
    client.declare(arguments={"x-max-length-bytes": 10})
    client.publish(b"aaaaa", "q")
    client.publish(b"bbbbb", "q")
    client.get()
    client.publish(b"ccccc", "q")
    assert client.ready_in("q") == 2
    client.send(Basic.Nack(1, requeue=True))
    assert bodies(client) == [b"bbbbb", b"ccccc"]
    client.consume(no_ack=True)
    for _ in range(5):
        client.publish(b"ddddd", "q")
    assert len(client.bodies()) == 5
    client.send(Basic.Cancel("c"))
    client.expect(Basic.CancelOk)
    publish(client, 20)
    client.send(Queue.Purge(queue="q"))
    assert client.expect(Queue.PurgeOk).message_count == 5
    publish(client, 9)
    assert client.ready_in("q") == 9


def test_whichever_limit_is_reached_first_holds(client: FakeClient):
    client.declare(arguments={"x-max-length": 2, "x-max-length-bytes": 4})
    for body in (b"a", b"b", b"c"):
        client.publish(body, "q")
    assert client.ready_in("q") == 2
    client.publish(b"dddd", "q")
    assert bodies(client) == [b"dddd"]


def test_messages_that_consumers_take_at_once_do_not_count(client: FakeClient):
    client.declare(arguments={"x-max-length": 0})
    client.publish(b"nobody there", "q")
    assert client.ready_in("q") == 0
    client.consume(no_ack=True)
    publish(client, 5)
    assert client.bodies() == [b"0", b"1", b"2", b"3", b"4"]


def test_unacknowledged_messages_do_not_count_until_they_come_back(client: FakeClient):
    client.declare(arguments={"x-max-length": 2})
    publish(client, 2)
    client.get()
    client.get()
    publish(client, 2, first=2)
    assert client.ready_in("q") == 2
    client.send(Basic.Nack(0, multiple=True, requeue=True))
    assert bodies(client) == [b"2", b"3"]


def test_message_that_comes_back_to_a_full_queue_is_dropped_though_a_consumer_waits(
    client: FakeClient,
):
    client.declare(arguments={"x-max-length": 1})
    client.send(Basic.Qos(prefetch_count=1))
    client.expect(Basic.QosOk)
    client.consume()
    publish(client, 2)
    assert client.bodies() == [b"0"]
    client.send(Basic.Nack(1, requeue=True))
    assert client.bodies() == [b"1"]


def test_dropped_messages_are_dead_letters(client: FakeClient):
    client.declare("dlq")
    client.declare(arguments=DLQ | {"x-max-length": 2})
    publish(client, 4)
    letter = client.get("dlq", no_ack=True)
    assert letter.body == b"0"
    assert letter.headers["x-death"][0]["reason"] == "maxlen"
    assert bodies(client, "dlq") == [b"1"]


def test_full_queue_refuses_messages_with_nacks(client: FakeClient):
    client.declare("dlq")
    client.declare(arguments=DLQ | {"x-max-length": 2, "x-overflow": "reject-publish"})
    confirming(client)
    publish(client, 4)
    confirms = [each.call for each in client.received()]
    assert [(type(call), call.delivery_tag) for call in confirms] == [
        (Basic.Ack, 2),
        (Basic.Nack, 3),
        (Basic.Nack, 4),
    ]
    assert bodies(client) == [b"0", b"1"]
    assert bodies(client, "dlq") == []
    publish(client, 1)
    assert client.expect(Basic.Ack).delivery_tag == 5


def test_refused_messages_can_be_dead_letters(client: FakeClient):
    client.declare("dlq")
    client.declare(arguments=DLQ | {"x-max-length": 2, "x-overflow": "reject-publish-dlx"})
    confirming(client)
    publish(client, 4)
    assert [type(each.call) for each in client.received()] == [Basic.Ack, Basic.Nack, Basic.Nack]
    assert bodies(client) == [b"0", b"1"]
    letter = client.get("dlq", no_ack=True)
    assert letter.body == b"2"
    assert letter.headers["x-death"][0]["reason"] == "maxlen"


def test_queue_that_refuses_makes_room_for_what_a_consumer_takes(client: FakeClient):
    client.declare(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    confirming(client)
    client.consume(no_ack=True)
    publish(client, 3)
    received = [each.call for each in client.received()]
    assert not any(isinstance(call, Basic.Nack) for call in received)
    assert sum(isinstance(call, Basic.Deliver) for call in received) == 3


def test_message_is_nacked_if_one_of_its_queues_refuses_it(client: FakeClient):
    client.declare("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    client.declare("roomy")
    client.bind("full", "amq.fanout")
    client.bind("roomy", "amq.fanout")
    confirming(client)
    client.publish(b"", exchange="amq.fanout")
    assert client.expect(Basic.Nack).delivery_tag == 1
    assert client.ready_in("roomy") == 1


def test_messages_that_come_back_are_never_refused(client: FakeClient):
    client.declare(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    publish(client, 1)
    client.get()
    publish(client, 1, first=1)
    client.send(Basic.Nack(1, requeue=True))
    assert bodies(client) == [b"0", b"1"]


def test_refusal_in_a_transaction_is_a_partial_completion(client: FakeClient):
    client.declare(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    client.send(Tx.Select())
    client.expect(Tx.SelectOk)
    publish(client, 2)
    client.send(Tx.Commit())
    client.expect_channel_closed(406, "PRECONDITION_FAILED - partial tx completion", (90, 20))
    client.open_channel(1)
    assert bodies(client) == [b"0"]


@pytest.mark.parametrize("clean", [True, False])
def test_limits_hold_after_a_restart(clean: bool):
    server = DurableServer()
    client = server.connect()
    client.declare("count", durable=True, arguments={"x-max-length": 3})
    client.declare("bytes", durable=True, arguments={"x-max-length-bytes": 3})
    for queue in ("count", "bytes"):
        for number in range(5):
            client.publish(b"%d" % number, queue, delivery_mode=2)
    client = server.restarted(clean=clean).connect()
    for queue in ("count", "bytes"):
        assert client.ready_in(queue) == 3
        client.publish(b"5", queue, delivery_mode=2)
        assert bodies(client, queue) == [b"3", b"4", b"5"]


def test_paged_out_messages_count_and_give_way():
    server = DurableServer()
    client = server.connect()
    client.declare("count", arguments={"x-max-length": 1000})
    client.declare("bytes", arguments={"x-max-length-bytes": 1000})
    for queue in ("count", "bytes"):
        for _ in range(1000):
            client.publish(b"a", queue)
        server.page_out(queue)
        for _ in range(800):
            client.publish(b"b", queue)
        assert client.ready_in(queue) == 1000
        assert bodies(client, queue) == [b"a"] * 200 + [b"b"] * 800


def test_refused_message_is_not_kept_on_disk():
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    confirming(client)
    for number in range(2):
        client.publish(b"%d" % number, "q", delivery_mode=2)
    assert client.expect(Basic.Ack).delivery_tag == 1
    assert client.expect(Basic.Nack).delivery_tag == 2
    client = server.restarted(clean=False).connect()
    assert bodies(client) == [b"0"]


@pytest.mark.parametrize(
    ("come_back", "left"),
    [
        (Basic.Nack(3, multiple=True, requeue=True), [b"A", b"DDDDDDDD"]),
        (Basic.Recover(requeue=True), [b"A", b"DDDDDDDD"]),
        (Channel.Close(200, "", 0, 0), [b"DDDDDDDD"]),
    ],
    ids=["nack", "recover", "close"],
)
def test_what_comes_back_together_is_counted_in_the_order_that_rabbitmq_has(
    server: FakeServer, client: FakeClient, come_back: Any, left: list[bytes]
) -> None:
    """Seen of RabbitMQ 3.10.8: by tags, but in the queue's order when a channel ends."""
    client.declare("dlq")
    client.declare("q", arguments={"x-max-length-bytes": 10, **DLQ})
    client.publish(b"A", "q")
    client.publish(b"BBB", "q")
    client.get("q")
    client.get("q")
    client.send(Basic.Nack(1, requeue=True))
    assert client.get("q").call.delivery_tag == 3  # A once more, behind B
    client.publish(b"D" * 8, "q")
    client.send(come_back)
    other = server.connect()
    assert bodies(other) == left
    assert bodies(other, "dlq") == [each for each in (b"A", b"BBB") if each not in left]

import re
from collections.abc import Callable

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Queue

from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp import methods as m
from leveret.amqp.fields import Field
from leveret.broker.connection import ANSWERS_MAX_BYTES
from leveret.broker.consumer import OUTPUT_MARK_BYTES

CONSUME, GET = (60, 20), (60, 70)
Q = "queue 'q' in vhost '/'"
IN_USE = f"ACCESS_REFUSED - {Q} in exclusive use"


@pytest.fixture
def consumer(client: FakeClient) -> FakeClient:
    """A client with a queue q."""
    client.declare("q")
    return client


def tags(client: FakeClient) -> str:
    """The tags of the consumers that deliveries came to."""
    return "".join(delivery.call.consumer_tag for delivery in client.deliveries())


# --- get --------------------------------------------------------------------------------------


def test_get_takes_one_message_and_tells_how_many_are_left(consumer: FakeClient) -> None:
    consumer.feed(message(b"a", "q") + message(b"b", "q") + message(b"c", "q"))
    for tag, (body, left) in enumerate(((b"a", 2), (b"b", 1), (b"c", 0)), start=1):
        got = consumer.get("q", no_ack=tag == 2)
        assert (got.call.delivery_tag, got.body, got.call.message_count) == (tag, body, left)
    assert consumer.request(Basic.Get(queue="q"), Basic.GetEmpty)
    consumer.send(Basic.Ack(1), Basic.Ack(3))
    assert not consumer.received()


ONE = message(b"a", "q")


@pytest.mark.parametrize(
    ("look", "answer"),
    [
        (Basic.Get(queue="q"), Basic.GetEmpty()),
        (Queue.Declare(queue="q", passive=True), Queue.DeclareOk("q", 0, 1)),
        (Queue.Purge(queue="q"), Queue.PurgeOk(0)),
        (Queue.Delete(queue="q", if_empty=True), Queue.DeleteOk(0)),
    ],
)
def test_looking_into_a_queue_does_not_overtake_a_waiting_consumer(
    consumer: FakeClient, other: FakeClient, look: Frame, answer: Frame
) -> None:
    other.consume("q", no_ack=True)
    consumer.feed(ONE + ONE + encoded(look))
    assert dict(consumer.expect(type(answer))) == dict(answer)
    got = [each.body for each in other.received() if isinstance(each.call, Basic.Deliver)]
    assert got == [b"a", b"a"]


def test_a_new_consumer_does_not_overtake_one_that_waits(
    consumer: FakeClient, other: FakeClient
) -> None:
    other.consume("q", no_ack=True)
    consumer.feed(ONE + ONE + encoded(Basic.Consume(queue="q", nowait=True)))
    assert len(other.deliveries()) == 2


def test_what_no_consumer_can_take_is_there_for_a_get(
    consumer: FakeClient, other: FakeClient
) -> None:
    other.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    other.consume("q")
    consumer.feed(ONE + ONE + ONE + encoded(Basic.Get(queue="q")))
    assert consumer.expect_content(Basic.GetOk).call.message_count == 1
    assert len(other.deliveries()) == 1


def test_a_missing_queue_is_not_found(client: FakeClient) -> None:
    client.send(Basic.Get(queue="nope"))
    client.expect_channel_closed(404, "NOT_FOUND - no queue 'nope' in vhost '/'", GET)
    client.open_channel(1)
    client.send(Basic.Consume(queue="nope"))
    client.expect_channel_closed(404, "NOT_FOUND - no queue 'nope' in vhost '/'", CONSUME)


def test_get_is_served_beside_an_exclusive_consumer(
    consumer: FakeClient, other: FakeClient
) -> None:
    consumer.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    consumer.consume("q", exclusive=True)
    consumer.feed(message(b"a", "q") * 2)
    assert other.get("q").call.delivery_tag == 1


def test_get_takes_no_notice_of_prefetch(consumer: FakeClient) -> None:
    consumer.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    consumer.request(Basic.Qos(prefetch_count=1, global_=True), Basic.QosOk)
    consumer.feed(message(b"a", "q") * 3)
    assert [consumer.get("q").body for _ in range(3)] == [b"a"] * 3


# --- consume ----------------------------------------------------------------------------------


def test_consume_ok_comes_before_the_first_delivery(consumer: FakeClient) -> None:
    consumer.feed(message(b"a", "q") + message(b"b", "q"))
    consumer.consume("q", "me")
    first, second = consumer.deliveries()
    assert first.call.consumer_tag == "me"
    assert (first.call.delivery_tag, first.body, first.call.redelivered) == (1, b"a", False)
    assert (second.call.delivery_tag, second.body, second.call.redelivered) == (2, b"b", False)
    consumer.publish(b"c", "q")
    assert consumer.bodies() == [b"c"]


def test_without_wait_deliveries_come_at_once(consumer: FakeClient) -> None:
    consumer.publish(b"a", "q")
    consumer.send(Basic.Consume(queue="q", consumer_tag="c", nowait=True))
    assert consumer.bodies() == [b"a"]


def test_a_consumer_without_a_tag_gets_one(consumer: FakeClient) -> None:
    got = {consumer.consume("q", "") for _ in range(2)}
    assert len(got) == 2
    assert all(re.fullmatch(r"amq\.ctag-[\w-]{22}", tag) for tag in got)


def test_get_and_deliver_share_their_tags(consumer: FakeClient) -> None:
    consumer.publish(b"a", "q")
    assert consumer.get("q", no_ack=True).call.delivery_tag == 1
    consumer.consume("q", no_ack=True)
    consumer.publish(b"b", "q")
    consumer.publish(b"c", "q")
    assert [each.call.delivery_tag for each in consumer.deliveries()] == [2, 3]


def test_what_needs_no_ack_is_done_with(consumer: FakeClient) -> None:
    consumer.consume("q", no_ack=True)
    consumer.publish(b"a", "q")
    assert consumer.bodies() == [b"a"]
    consumer.send(Channel.Close(200, "", 0, 0))
    consumer.received()
    consumer.open_channel(1)
    consumer.get_nothing("q")


def test_no_local_is_ignored(consumer: FakeClient) -> None:
    consumer.send(m.BasicConsume(0, "q", "c", True, False, False, False, {}))
    consumer.expect(Basic.ConsumeOk)
    consumer.publish(b"a", "q")
    assert consumer.bodies() == [b"a"]


@pytest.mark.parametrize("queue", ["q", "amq.rabbitmq.reply-to"])
def test_a_tag_is_used_once_on_a_channel(consumer: FakeClient, queue: str) -> None:
    consumer.open_channel(2)
    consumer.consume("q", "c")
    consumer.consume("q", "c", channel=2)
    consumer.send(Basic.Consume(queue=queue, consumer_tag="c", no_ack=True))
    consumer.expect_connection_closed(
        530, "NOT_ALLOWED - attempt to reuse consumer tag 'c'", CONSUME
    )


def test_a_tag_can_be_used_again_after_cancel(consumer: FakeClient) -> None:
    consumer.consume("q", "c")
    consumer.request(Basic.Cancel("c"), Basic.CancelOk)
    consumer.consume("q", "c")


@pytest.mark.parametrize(("first", "second"), [(True, False), (True, True), (False, True)])
def test_exclusive_means_alone(consumer: FakeClient, first: bool, second: bool) -> None:
    consumer.consume("q", "c", exclusive=first)
    consumer.send(Basic.Consume(queue="q", consumer_tag="d", exclusive=second))
    consumer.expect_channel_closed(403, IN_USE, CONSUME)


def test_others_may_consume_when_the_exclusive_consumer_is_gone(
    consumer: FakeClient, other: FakeClient
) -> None:
    consumer.consume("q", "c", exclusive=True)
    other.send(Basic.Consume(queue="q", consumer_tag="d"))
    other.expect_channel_closed(403, IN_USE, CONSUME)
    other.open_channel(1)
    consumer.request(Basic.Cancel("c"), Basic.CancelOk)
    other.consume("q", "d")
    other.consume("q", "e")


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (Field("S", b"1"), "longstr"),
        (Field("d", 1.5), "double"),
        (Field("t", True), "bool"),
        (Field("V", None), "void"),
        (Field("T", 5), "timestamp"),
    ],
)
def test_a_priority_must_be_an_integer(consumer: FakeClient, field: Field, kind: str) -> None:
    consumer.send(m.BasicConsume(0, "q", "c", False, False, False, False, {"x-priority": field}))
    consumer.expect_channel_closed(
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-priority' for {Q}: \"expected integer, got {kind}\"",
        CONSUME,
    )
    assert not consumer.connection.vhost.queue("q").consumers.all


@pytest.mark.parametrize("name", ["x-stream-offset", "x-stream-filter"])
def test_arguments_of_streams_are_refused(consumer: FakeClient, name: str) -> None:
    consumer.send(Basic.Consume(queue="q", consumer_tag="c", arguments={name: "first"}))
    consumer.expect_channel_closed(
        406,
        f"PRECONDITION_FAILED - invalid arg '{name}' for {Q} of queue type rabbit_classic_queue",
        CONSUME,
    )


def test_other_arguments_are_fine(consumer: FakeClient) -> None:
    consumer.consume("q", arguments={"x-foo": "bar"})


# --- cancel -----------------------------------------------------------------------------------


def test_after_cancel_nothing_comes_and_what_came_can_still_be_acked(
    consumer: FakeClient,
) -> None:
    consumer.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    consumer.consume("q", "c")
    consumer.feed(message(b"a", "q") + message(b"b", "q"))
    assert consumer.bodies() == [b"a"]
    assert consumer.request(Basic.Cancel("c"), Basic.CancelOk).consumer_tag == "c"
    consumer.send(Basic.Ack(1))
    consumer.publish(b"c", "q")
    assert not consumer.received()
    assert consumer.ready_in("q") == 2


def test_an_unknown_tag_is_as_good_as_cancelled(client: FakeClient) -> None:
    assert client.request(Basic.Cancel("nobody"), Basic.CancelOk).consumer_tag == "nobody"
    client.send(Basic.Cancel("nobody", nowait=True))
    assert not client.received()


def test_cancelling_needs_no_answer(consumer: FakeClient) -> None:
    consumer.consume("q", "c")
    consumer.send(Basic.Cancel("c", nowait=True))
    consumer.publish(b"a", "q")
    assert not consumer.received()


# --- cancelled by the broker ------------------------------------------------------------------


def test_a_deleted_queue_cancels_its_consumers_behind_delete_ok(
    consumer: FakeClient, other: FakeClient
) -> None:
    consumer.consume("q", "c")
    consumer.consume("q", "d")
    other.consume("q", "e")
    consumer.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    for tag in "cd":
        cancel = consumer.expect(Basic.Cancel)
        assert (cancel.consumer_tag, cancel.nowait) == (tag, True)
    assert other.expect(Basic.Cancel).consumer_tag == "e"
    assert not consumer.received() + other.received()


def test_a_client_that_does_not_want_to_know_is_not_told(
    consumer: FakeClient, server: FakeServer
) -> None:
    plain = server.connect(capabilities=())
    plain.consume("q", "c")
    consumer.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    assert not plain.received()
    consumer.declare("q")
    plain.consume("q", "c")


def test_what_came_from_a_deleted_queue_can_still_be_acked(consumer: FakeClient) -> None:
    consumer.feed(message(b"a", "q") * 4)
    consumer.consume("q", "c")
    consumer.deliveries()
    consumer.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    consumer.expect(Basic.Cancel)
    consumer.send(Basic.Ack(1), Basic.Nack(2, requeue=True), Basic.Reject(3, requeue=False))
    consumer.send(Basic.Ack(0, multiple=True))
    assert not consumer.received()


def test_a_channel_that_closes_in_the_same_turn_is_not_told_any_more(
    consumer: FakeClient,
) -> None:
    consumer.consume("q", "c")
    consumer.send(Queue.Delete(queue="q"), Channel.Close(200, "", 0, 0))
    consumer.expect(Queue.DeleteOk)
    consumer.expect(Channel.CloseOk)
    assert not consumer.received()


# --- sharing a queue --------------------------------------------------------------------------


def test_consumers_take_turns(consumer: FakeClient) -> None:
    for tag in "abc":
        consumer.consume("q", tag)
    consumer.feed(message(b"", "q") * 7)
    assert tags(consumer) == "abcabca"
    consumer.feed(message(b"", "q") * 2)
    assert tags(consumer) == "bc"


def test_consumers_of_different_connections_take_turns(
    consumer: FakeClient, other: FakeClient
) -> None:
    consumer.consume("q")
    other.consume("q")
    consumer.feed(b"".join(message(b"%d" % number, "q") for number in range(6)))
    assert [consumer.bodies(), other.bodies()] == [[b"0", b"2", b"4"], [b"1", b"3", b"5"]]


def test_a_consumer_without_credit_misses_its_turn(consumer: FakeClient) -> None:
    consumer.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    consumer.consume("q", "a")
    consumer.request(Basic.Qos(prefetch_count=3), Basic.QosOk)
    consumer.consume("q", "b")
    consumer.feed(message(b"", "q") * 6)
    assert tags(consumer) == "abbb"
    consumer.send(Basic.Ack(1))
    assert tags(consumer) == "a"


def test_more_messages_than_go_in_one_batch_go_all_the_same(consumer: FakeClient) -> None:
    consumer.consume("q", "a")
    consumer.feed(message(b"", "q") * 3500)
    assert len(consumer.deliveries()) == 3500
    consumer.consume("q", "b")
    consumer.feed(message(b"", "q") * 3500)
    assert tags(consumer).count("a") == 1750


def test_a_delivery_is_numbered_for_its_own_channel(consumer: FakeClient) -> None:
    consumer.open_channel(300)
    consumer.consume("q", "c", channel=300)
    for size in (0, 10, 200_000):
        consumer.publish(b"x" * size, "q")
        assert consumer.bodies(300) == [b"x" * size]


# --- the same things in one piece -------------------------------------------------------------


@pytest.mark.parametrize("settle", [Basic.Ack(1), Basic.Reject(1, requeue=False)])
def test_a_whole_exchange_may_come_in_one_piece(client: FakeClient, settle: Frame) -> None:
    client.feed(
        encoded(Queue.Declare(queue="q"))
        + message(b"a", "q")
        + encoded(Basic.Get(queue="q"), settle, Queue.Delete(queue="q", if_empty=True))
    )
    client.expect(Queue.DeclareOk)
    assert client.expect_content(Basic.GetOk).body == b"a"
    client.expect(Queue.DeleteOk)


# --- clients that do not read -----------------------------------------------------------------

LARGE_BYTES = OUTPUT_MARK_BYTES + 1


@pytest.mark.parametrize(
    "settle",
    [
        lambda tag: Basic.Nack(tag, requeue=True),
        lambda tag: Basic.Reject(tag, requeue=True),
        lambda tag: Basic.Ack(tag),
    ],
    ids=["nack", "reject", "ack"],
)
@pytest.mark.parametrize("together", [False, True])
def test_a_consumer_whose_output_is_full_gets_nothing_more_by_settling_blindly(
    consumer: FakeClient, other: FakeClient, settle: Callable[[int], Frame], together: bool
) -> None:
    other.feed(b"".join(message(bytes(LARGE_BYTES), "q") for _ in range(5)))
    consumer.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    consumer.reading = False
    consumer.send(Basic.Consume(queue="q", consumer_tag="c"))
    # What it settles is its first delivery; the others it does not have yet.
    blind = [settle(1), *(Basic.Recover(requeue=True) for _ in range(10))]
    if together:
        consumer.send(*blind)
    else:
        for call in blind:
            consumer.send(call)
    assert consumer.connection.output_bytes < 2 * LARGE_BYTES
    assert other.ready_in("q") in (4, 5)
    consumer.read_again()
    received = [each for each in consumer.received() if isinstance(each.call, Basic.Deliver)]
    assert [each.call.delivery_tag for each in received] == [1, 2]


def test_returned_messages_wait_for_room_in_the_output(
    consumer: FakeClient, other: FakeClient
) -> None:
    other.feed(b"".join(message(bytes(LARGE_BYTES // 2), "q") for _ in range(20)))
    other.consume("q", "first")
    assert len(other.deliveries()) == 20
    consumer.reading = False
    consumer.send(Basic.Consume(queue="q", consumer_tag="c"))
    other.request(Basic.Cancel("first"), Basic.CancelOk)
    other.send(Basic.Nack(0, multiple=True, requeue=True))
    assert consumer.connection.output_bytes < 2 * LARGE_BYTES
    consumer.read_again()
    consumer.expect(Basic.ConsumeOk)
    assert len(consumer.deliveries()) == 20


def test_gets_and_nacks_of_a_client_that_does_not_read_wait_until_it_does(
    consumer: FakeClient, other: FakeClient
) -> None:
    count, body = 20, bytes(ANSWERS_MAX_BYTES // 4)
    other.publish(body, "q")
    consumer.reading = False
    get, nack = Basic.Get(queue="q"), Basic.Nack(0, multiple=True, requeue=True)
    consumer.send(*[get, nack] * count)
    assert consumer.connection.output_bytes < ANSWERS_MAX_BYTES + 2 * len(body)
    consumer.read_again()
    received = consumer.received()
    assert [each.call.delivery_tag for each in received] == list(range(1, count + 1))
    assert all(isinstance(each.call, Basic.GetOk) for each in received)
    assert other.ready_in("q") == 1

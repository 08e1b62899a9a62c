"""Consumers and get: order, acknowledgements, requeueing, cancellation, exclusivity."""

import pytest
from pika.exceptions import ChannelClosedByBroker

DEADLINE_S = 10


def bodies(deliveries):
    return [body for _, _, body in deliveries]


def test_get_tells_how_many_messages_are_left(channel, filled_queue):
    counts = [channel.basic_get(filled_queue)[0].message_count for _ in range(5)]
    assert counts == [4, 3, 2, 1, 0]
    assert channel.basic_get(filled_queue) == (None, None, None)


def test_get_and_consume_from_a_missing_queue_are_refused(connection, unique):
    missing = unique("missing")
    for operation in (
        lambda channel: channel.basic_get(missing),
        lambda channel: channel.basic_consume(missing, lambda *_: None),
    ):
        with pytest.raises(ChannelClosedByBroker) as closed:
            operation(connection.channel())
        assert closed.value.args == (404, f"NOT_FOUND - no queue '{missing}' in vhost '/'")


def test_delivery_tags_count_from_one_per_channel(connection, channel, filled_queue):
    assert [channel.basic_get(filled_queue)[0].delivery_tag for _ in range(2)] == [1, 2]
    other = connection.channel()
    assert other.basic_get(filled_queue, auto_ack=True)[0].delivery_tag == 1
    assert other.basic_get(filled_queue)[0].delivery_tag == 2


def test_consumer_gets_waiting_and_later_messages_in_order(channel, filled_queue, take):
    for number in range(5, 8):
        channel.basic_publish("", filled_queue, str(number))
    deliveries = take(channel, filled_queue, 8)
    assert bodies(deliveries) == [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"]
    assert [delivery.delivery_tag for delivery, _, _ in deliveries] == list(range(1, 9))
    assert not any(delivery.redelivered for delivery, _, _ in deliveries)


def test_server_makes_consumer_tags_and_takes_the_clients(channel, queue):
    assert channel.basic_consume(queue, lambda *_: None, consumer_tag="mine") == "mine"
    made = channel.basic_consume(queue, lambda *_: None)
    assert made
    assert made != "mine"


def test_acked_messages_do_not_come_back(connection, channel, filled_queue, empty):
    acking = connection.channel()
    for _ in range(3):
        acking.basic_ack(acking.basic_get(filled_queue)[0].delivery_tag)
    acking.close()
    assert empty(channel, filled_queue) == [b"3", b"4"]


def test_ack_multiple_covers_all_up_to_the_tag(connection, channel, filled_queue, empty):
    acking = connection.channel()
    for _ in range(4):
        acking.basic_get(filled_queue)
    acking.basic_ack(3, multiple=True)
    acking.close()
    assert empty(channel, filled_queue) == [b"3", b"4"]


def test_ack_multiple_of_tag_zero_covers_all(connection, channel, filled_queue, empty):
    acking = connection.channel()
    acking.basic_ack(0, multiple=True)
    for _ in range(4):
        acking.basic_get(filled_queue)
    acking.basic_ack(0, multiple=True)
    acking.close()
    assert empty(channel, filled_queue) == [b"4"]


@pytest.mark.parametrize(
    "settle",
    [
        lambda channel: channel.basic_ack(99),
        lambda channel: channel.basic_ack(1),
        lambda channel: channel.basic_ack(0),
        lambda channel: channel.basic_ack(99, multiple=True),
        lambda channel: channel.basic_ack(1, multiple=True),
        lambda channel: channel.basic_nack(99),
        lambda channel: channel.basic_reject(99),
    ],
    ids=["ack", "ack again", "ack 0", "ack multiple", "ack multiple again", "nack", "reject"],
)
def test_unknown_delivery_tag_is_refused(channel, filled_queue, settle):
    channel.basic_ack(channel.basic_get(filled_queue)[0].delivery_tag)
    settle(channel)
    with pytest.raises(ChannelClosedByBroker, match="unknown delivery tag") as closed:
        channel.queue_declare(filled_queue, passive=True)
    assert closed.value.reply_code == 406
    assert closed.value.reply_text.startswith("PRECONDITION_FAILED - unknown delivery tag ")


def test_delivery_tag_of_another_channel_is_unknown(connection, channel, filled_queue):
    got = connection.channel().basic_get(filled_queue)[0]
    channel.basic_ack(got.delivery_tag)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(filled_queue, passive=True)
    assert closed.value.args == (406, "PRECONDITION_FAILED - unknown delivery tag 1")


def test_ack_after_the_queue_was_deleted_is_accepted(channel, filled_queue):
    channel.basic_get(filled_queue)
    channel.queue_delete(filled_queue)
    channel.basic_ack(1)
    channel.queue_declare("", exclusive=True)


@pytest.mark.parametrize("method", ["basic_nack", "basic_reject"])
def test_requeued_message_goes_back_to_its_place(channel, filled_queue, method):
    tags = [channel.basic_get(filled_queue)[0].delivery_tag for _ in range(3)]
    getattr(channel, method)(tags[1], requeue=True)
    getattr(channel, method)(tags[0], requeue=True)
    received = [channel.basic_get(filled_queue) for _ in range(4)]
    assert bodies(received) == [b"0", b"1", b"3", b"4"]
    assert [got.redelivered for got, _, _ in received] == [True, True, False, False]


def test_nack_multiple_requeues_all_up_to_the_tag(channel, filled_queue, empty):
    for _ in range(4):
        channel.basic_get(filled_queue)
    channel.basic_nack(3, multiple=True)
    assert empty(channel, filled_queue) == [b"0", b"1", b"2", b"4"]


@pytest.mark.parametrize("method", ["basic_nack", "basic_reject"])
def test_message_refused_without_requeue_is_dropped(channel, filled_queue, empty, method):
    got = channel.basic_get(filled_queue)[0]
    getattr(channel, method)(got.delivery_tag, requeue=False)
    assert empty(channel, filled_queue) == [b"1", b"2", b"3", b"4"]


def test_lone_consumer_gets_a_requeued_message_straight_back(connection, channel, queue):
    redelivered = []

    def on_message(channel, delivery, properties, body):
        redelivered.append(delivery.redelivered)
        if delivery.redelivered:
            channel.basic_ack(delivery.delivery_tag)
            channel.stop_consuming()
        else:
            channel.basic_nack(delivery.delivery_tag)

    channel.basic_consume(queue, on_message)
    channel.basic_publish("", queue, "boomerang")
    connection.call_later(DEADLINE_S, channel.stop_consuming)
    channel.start_consuming()
    assert redelivered == [False, True]


def test_recover_requeues_everything_unacked(channel, filled_queue):
    for _ in range(3):
        channel.basic_get(filled_queue)
    channel.basic_ack(1)
    channel.basic_recover(requeue=True)
    received = [channel.basic_get(filled_queue) for _ in range(4)]
    assert bodies(received) == [b"1", b"2", b"3", b"4"]
    assert [got.redelivered for got, _, _ in received] == [True, True, False, False]


def test_auto_acked_messages_do_not_come_back(connection, channel, filled_queue):
    consuming = connection.channel()
    for delivery, _, body in consuming.consume(
        filled_queue, auto_ack=True, inactivity_timeout=DEADLINE_S
    ):
        assert delivery is not None
        if body == b"4":
            break
    consuming.close()
    assert channel.basic_get(filled_queue)[0] is None


def test_cancelled_consumer_gets_nothing_more_but_may_still_ack(
    connection, channel, filled_queue, empty
):
    received = []
    consuming = connection.channel()
    consuming.basic_qos(prefetch_count=2)
    tag = consuming.basic_consume(filled_queue, lambda *message: received.append(message[3]))
    # The consumer is full with its two; they are dispatched by this call at the latest.
    consuming.queue_declare(filled_queue, passive=True)
    connection.process_data_events()
    consuming.basic_cancel(tag)
    consuming.basic_ack(1)
    consuming.basic_nack(2)
    consuming.queue_declare(filled_queue, passive=True)
    assert received == [b"0", b"1"]
    assert empty(channel, filled_queue) == [b"1", b"2", b"3", b"4"]


def test_consumers_of_a_queue_take_turns(connection, channel, queue):
    received = {"first": [], "second": [], "third": []}
    for tag in received:
        channel.basic_consume(
            queue,
            lambda _, delivery, __, body: received[delivery.consumer_tag].append(body),
            consumer_tag=tag,
        )
    for number in range(6):
        channel.basic_publish("", queue, str(number))
    channel.queue_declare(queue, passive=True)
    while sum(len(each) for each in received.values()) < 6:
        connection.process_data_events(time_limit=DEADLINE_S)
    assert sorted(received.values()) == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]


def test_exclusive_consumer_keeps_others_out(connection, channel, queue, unique):
    refused = (403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use")
    tag = channel.basic_consume(queue, lambda *_: None, exclusive=True)
    for exclusive in (False, True):
        with pytest.raises(ChannelClosedByBroker) as closed:
            connection.channel().basic_consume(queue, lambda *_: None, exclusive=exclusive)
        assert closed.value.args == refused
    channel.basic_cancel(tag)
    connection.channel().basic_consume(queue, lambda *_: None)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_consume(queue, lambda *_: None, exclusive=True)
    assert closed.value.args == refused


def test_consumer_is_told_when_its_queue_is_deleted(connection, channel, queue):
    cancelled = []
    consuming = connection.channel()
    consuming.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tag = consuming.basic_consume(queue, lambda *_: None)
    channel.queue_delete(queue)
    while not cancelled:
        connection.process_data_events(time_limit=DEADLINE_S)
    assert cancelled == [tag]
    assert consuming.is_open
    assert consuming.consumer_tags == []

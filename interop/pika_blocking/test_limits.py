"""Length limits: what gives way in a full queue, and what its publishers are told."""

import time

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker, NackError

PATIENCE_S = 5


@pytest.fixture
def declare(channel):
    """declare(**arguments): a queue with such arguments, dashes written as underscores."""

    def declare_one(**arguments):
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return channel.queue_declare("", exclusive=True, arguments=named).method.queue

    return declare_one


def publish(channel, queue, *bodies):
    for body in bodies:
        channel.basic_publish("", queue, body)


def dead(channel, queue, count):
    """So many messages of a queue, which may be on their way, and the reasons of their deaths."""
    found = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < deadline:
        _, properties, body = channel.basic_get(queue, auto_ack=True)
        if body is None:
            time.sleep(0.02)
        else:
            found.append((body, properties.headers["x-death"][0]["reason"]))
    return found


def test_oldest_messages_give_way_and_become_dead_letters(channel, queue, declare, empty):
    source = declare(x_max_length=2, x_dead_letter_exchange="", x_dead_letter_routing_key=queue)
    publish(channel, source, "0", "1", "2", "3")
    assert empty(channel, source) == [b"2", b"3"]
    assert dead(channel, queue, 2) == [(b"0", "maxlen"), (b"1", "maxlen")]


def test_bodies_are_limited_in_bytes(channel, declare):
    source = declare(x_max_length_bytes=10)
    channel.confirm_delivery()
    publish(channel, source, *["abcd"] * 4)
    assert channel.queue_declare(source, passive=True).method.message_count == 2
    publish(channel, source, "0123456789AB")
    assert channel.queue_declare(source, passive=True).method.message_count == 0


def test_full_queue_refuses_with_a_nack(channel, declare, empty):
    source = declare(x_max_length=1, x_overflow="reject-publish")
    channel.confirm_delivery()
    publish(channel, source, "0")
    with pytest.raises(NackError):
        publish(channel, source, "1")
    assert empty(channel, source) == [b"0"]
    publish(channel, source, "2")
    assert empty(channel, source) == [b"2"]


def test_refused_messages_can_be_dead_letters(channel, queue, declare, empty):
    source = declare(
        x_max_length=1,
        x_overflow="reject-publish-dlx",
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=queue,
    )
    publish(channel, source, "0", "1")
    assert dead(channel, queue, 1) == [(b"1", "maxlen")]
    assert empty(channel, source) == [b"0"]


def test_unacknowledged_messages_count_when_they_come_back(channel, declare, empty):
    source = declare(x_max_length=2)
    publish(channel, source, "0", "1")
    channel.basic_get(source)
    channel.basic_get(source)
    publish(channel, source, "2", "3")
    channel.basic_nack(0, multiple=True, requeue=True)
    assert empty(channel, source) == [b"2", b"3"]


def test_queue_without_room_still_serves_a_waiting_consumer(connection, channel, declare):
    source = declare(x_max_length=0)
    publish(channel, source, "missed")
    received = []
    channel.basic_consume(source, lambda *delivery: received.append(delivery[3]), auto_ack=True)
    publish(channel, source, "in time")
    connection.process_data_events(1)
    assert received == [b"in time"]


def test_refusal_in_a_transaction_is_a_partial_completion(channel, declare):
    source = declare(x_max_length=0, x_overflow="reject-publish")
    channel.tx_select()
    publish(channel, source, "x")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.tx_commit()
    assert closed.value.args == (406, "PRECONDITION_FAILED - partial tx completion")


def test_message_expires_in_time_though_it_came_to_the_head_only_because_of_a_limit(
    channel, queue, declare
):
    source = declare(x_max_length=1, x_dead_letter_exchange="", x_dead_letter_routing_key=queue)
    publish(channel, source, "0")
    channel.basic_publish("", source, "1", BasicProperties(expiration="100"))
    assert dead(channel, queue, 2) == [(b"0", "maxlen"), (b"1", "expired")]


def test_queue_of_many_messages_is_empty_as_soon_as_it_is_purged(channel, queue):
    publish(channel, queue, *["x"] * 20_000)
    assert channel.queue_purge(queue).method.message_count == 20_000
    publish(channel, queue, "y")
    assert channel.basic_get(queue)[2] == b"y"


@pytest.mark.parametrize(("ends", "left"), [(False, [b"A"]), (True, [])])
def test_what_a_channel_leaves_comes_back_in_order_and_what_is_handed_back_does_not(
    connection, queue, channel, declare, ends, left
):
    """Which of them a limit in bytes lets stay shows it."""
    source = declare(
        x_max_length_bytes=10, x_dead_letter_exchange="", x_dead_letter_routing_key=queue
    )
    other = connection.channel()
    publish(other, source, "A", "BBB")
    first = other.basic_get(source)[0].delivery_tag
    assert other.basic_get(source)[2] == b"BBB"
    other.basic_nack(first, requeue=True)
    method, _, body = other.basic_get(source)
    assert body == b"A"
    publish(other, source, "D" * 8)
    if ends:
        other.close()
    else:
        other.basic_nack(method.delivery_tag, multiple=True, requeue=True)
    gone = [body for body in (b"A", b"BBB") if body not in left]
    assert dead(channel, queue, len(gone)) == [(body, "maxlen") for body in gone]
    assert [channel.basic_get(source)[2] for _ in (*left, "D")] == [*left, b"D" * 8]

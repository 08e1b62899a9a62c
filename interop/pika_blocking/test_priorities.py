"""Priorities: of messages in a queue, and of its consumers."""

import time

import pika
import pytest

PATIENCE_S = 5


@pytest.fixture
def declare(channel):
    """declare(**arguments): a queue with five priorities and further arguments, dashes written as
    underscores."""

    def declare_one(**arguments):
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        arguments = {"x-max-priority": 5} | named
        return channel.queue_declare("", exclusive=True, arguments=arguments).method.queue

    return declare_one


def publish(channel, queue, *priorities):
    """Messages whose bodies are their numbers."""
    for number, priority in enumerate(priorities):
        channel.basic_publish("", queue, str(number), pika.BasicProperties(priority=priority))


def test_higher_priorities_go_first_and_equal_ones_in_order(channel, declare, empty):
    queue = declare()
    publish(channel, queue, None, 1, 9, 5, 0, 3, 1)
    assert empty(channel, queue) == [b"2", b"3", b"5", b"1", b"6", b"0", b"4"]


def test_priority_above_the_maximum_is_delivered_as_it_was(channel, declare):
    queue = declare()
    publish(channel, queue, 200)
    assert channel.basic_get(queue, auto_ack=True)[1].priority == 200


def test_message_that_comes_back_keeps_its_place(channel, declare):
    queue = declare()
    publish(channel, queue, 1, 2)
    tag = channel.basic_get(queue)[0].delivery_tag
    channel.basic_publish("", queue, "late", pika.BasicProperties(priority=5))
    channel.basic_nack(tag, requeue=True)
    got = [channel.basic_get(queue, auto_ack=True) for _ in range(3)]
    assert [body for _, _, body in got] == [b"late", b"1", b"0"]
    assert [method.redelivered for method, _, _ in got] == [False, True, False]


def test_limit_drops_the_highest_priority_first(channel, declare, empty):
    queue = declare(x_max_length=2)
    channel.confirm_delivery()
    publish(channel, queue, 5, 1, 3)
    assert empty(channel, queue) == [b"2", b"1"]


def publish_confirmed(channel, queue, *priorities):
    """The same, and which of them were accepted."""
    accepted = []
    for number, priority in enumerate(priorities):
        try:
            properties = pika.BasicProperties(priority=priority)
            channel.basic_publish("", queue, str(number), properties)
            accepted.append(True)
        except pika.exceptions.NackError:
            accepted.append(False)
    return accepted


def test_full_queue_refuses_whatever_the_priority(channel, declare, empty):
    source = declare(x_max_length=2, x_overflow="reject-publish")
    channel.confirm_delivery()
    assert publish_confirmed(channel, source, 1, 3, 5) == [True, True, False]
    assert empty(channel, source) == [b"1", b"0"]


def test_what_a_full_queue_refuses_can_become_a_dead_letter(channel, queue, declare, empty):
    source = declare(
        x_max_length=1,
        x_overflow="reject-publish-dlx",
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=queue,
    )
    channel.confirm_delivery()
    assert publish_confirmed(channel, source, 1, 5) == [True, False]
    assert dead(channel, queue) == (b"1", "maxlen")
    assert empty(channel, source) == [b"0"]


def test_what_gives_way_can_become_a_dead_letter(channel, queue, declare, empty):
    source = declare(
        x_max_length=1,
        x_overflow="drop-head",
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=queue,
    )
    channel.confirm_delivery()
    assert publish_confirmed(channel, source, 1, 5) == [True, True]
    assert dead(channel, queue) == (b"1", "maxlen")
    assert empty(channel, source) == [b"0"]


def dead(channel, queue):
    """The body of a message that may be on its way, and why it has died."""
    deadline = time.monotonic() + PATIENCE_S
    while (got := channel.basic_get(queue, auto_ack=True))[0] is None:
        assert time.monotonic() < deadline, "no dead letter"
        time.sleep(0.02)
    return got[2], got[1].headers["x-death"][0]["reason"]


def test_messages_of_a_lower_priority_expire_behind_those_of_a_higher(channel, declare):
    source = declare()
    channel.confirm_delivery()
    for priority, expiration in ((1, "100"), (5, None)):
        properties = pika.BasicProperties(priority=priority, expiration=expiration)
        channel.basic_publish("", source, str(priority), properties)
    time.sleep(0.3)
    assert channel.basic_get(source, auto_ack=True)[2] == b"5"
    assert channel.basic_get(source, auto_ack=True)[0] is None


def test_consumer_of_a_higher_priority_is_served_first(connection, channel, queue):
    served = []
    channel.basic_qos(prefetch_count=2)
    for tag, arguments in (("low", {}), ("high", {"x-priority": 10})):
        channel.basic_consume(
            queue,
            lambda _, method, *rest: served.append(method.consumer_tag),
            consumer_tag=tag,
            arguments=arguments,
        )
    for _ in range(4):
        channel.basic_publish("", queue, "x")
    deadline = time.monotonic() + PATIENCE_S
    while len(served) < 4 and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    assert served == ["high", "high", "low", "low"]

"""Quorum queues on one node: refusals, delivery counts and the delivery limit."""

import time

import pika
import pytest

PATIENCE_S = 5


@pytest.fixture
def declare(channel, unique):
    """declare(**arguments): a quorum queue with further arguments, dashes written as
    underscores; deleted in the end."""

    def declare_one(**arguments):
        name = unique("quorum")
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"} | named)
        return name

    return declare_one


def publish(channel, queue, *bodies, **properties):
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(**properties))


def next_of(channel, queue):
    """The next delivery: method, headers, body."""
    for method, properties, body in channel.consume(queue, inactivity_timeout=5):
        assert method is not None
        return method, properties.headers or {}, body


@pytest.mark.parametrize(
    "options",
    [{"durable": False}, {"durable": True, "auto_delete": True}],
)
def test_it_must_be_durable_and_not_auto_delete(channel, options):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare("refused", arguments={"x-queue-type": "quorum"}, **options)
    assert closed.value.reply_code == 406
    assert "invalid property" in closed.value.reply_text


def test_max_priority_is_refused(channel):
    arguments = {"x-queue-type": "quorum", "x-max-priority": 5}
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare("refused", durable=True, arguments=arguments)
    assert closed.value.reply_text == (
        "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'refused' in vhost '/'"
        " of queue type rabbit_quorum_queue"
    )


def test_deliveries_tell_how_often_the_message_came_back(channel, declare):
    queue = declare(x_delivery_limit=5)
    publish(channel, queue, b"x", headers={"a": 1})
    method, headers, _ = next_of(channel, queue)
    assert headers == {"a": 1}
    channel.basic_nack(method.delivery_tag, requeue=True)
    method, headers, _ = next_of(channel, queue)
    assert method.redelivered
    assert headers == {"a": 1, "x-delivery-count": 1}
    channel.basic_reject(method.delivery_tag, requeue=True)
    method, headers, body = next_of(channel, queue)
    assert (headers["x-delivery-count"], body) == (2, b"x")
    channel.basic_ack(method.delivery_tag)
    channel.cancel()


def test_message_dies_of_the_return_after_its_limit(channel, declare):
    dead = declare()
    queue = declare(x_delivery_limit=1, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    publish(channel, queue, b"x")
    for _ in range(2):
        method, _, _ = next_of(channel, queue)
        channel.basic_nack(method.delivery_tag, requeue=True)
    channel.cancel()
    method, headers, body = next_of(channel, dead)
    assert body == b"x"
    assert headers["x-death"][0]["reason"] == "delivery_limit"
    assert headers["x-death"][0]["queue"] == queue
    channel.basic_ack(method.delivery_tag)
    channel.cancel()


def test_getting_a_message_tells_the_count(channel, declare):
    queue = declare()
    publish(channel, queue, b"x")
    _, properties, _ = channel.basic_get(queue, auto_ack=True)
    assert properties.headers["x-delivery-count"] == 0


def test_exclusive_consumers_are_like_others(channel, declare):
    queue = declare()
    channel.basic_consume(queue, print, exclusive=True)
    channel.basic_consume(queue, print, exclusive=True)


def test_it_is_deleted_without_conditions_only(channel, declare):
    queue = declare()
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        channel.queue_delete(queue, if_empty=True)
    assert closed.value.reply_code == 540


def test_arguments_about_clusters_and_memory_are_accepted(channel, declare):
    queue = declare(
        x_quorum_initial_group_size=3,
        x_queue_leader_locator="balanced",
        x_max_in_memory_length=10,
        x_max_in_memory_bytes=1000,
        x_dead_letter_strategy="at-most-once",
        x_overflow="drop-head",
        x_max_length=1,
    )
    publish(channel, queue, b"1", b"2")
    assert channel.basic_get(queue, auto_ack=True)[2] == b"2"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("x-dead-letter-strategy", "never", "invalid_dlx_strategy"),
        ("x-queue-leader-locator", "here", "invalid_queue_locator_arg"),
        ("x-max-in-memory-length", -1, "{value_negative,-1}"),
        ("x-quorum-initial-group-size", 0, "{value_zero,0}"),
    ],
)
def test_bad_values_are_refused(channel, name, value, why):
    arguments = {"x-queue-type": "quorum", name: value}
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare("refused", durable=True, arguments=arguments)
    assert closed.value.reply_text == (
        f"PRECONDITION_FAILED - invalid arg '{name}' for queue 'refused' in vhost '/': {why}"
    )


@pytest.mark.parametrize(
    ("arguments", "order"), [({"x_delivery_limit": 9}, "312456"), ({}, "456312")]
)
def test_what_comes_back_goes_first_or_to_the_end(channel, declare, arguments, order):
    queue = declare(**arguments)
    publish(channel, queue, *(b"%d" % number for number in range(1, 7)))
    first, second, third = (channel.basic_get(queue)[0].delivery_tag for _ in range(3))
    for tag in (third, first):
        channel.basic_nack(tag, requeue=True)
    channel.basic_reject(second, requeue=True)
    channel.queue_declare(queue, passive=True)
    came = [next_of(channel, queue) for _ in range(6)]
    assert "".join(body.decode() for _, _, body in came) == order
    assert [method.redelivered for method, _, _ in came] == [each in "123" for each in order]
    channel.cancel()


@pytest.mark.parametrize("arguments", [{"x_delivery_limit": 9}, {}])
def test_what_a_channel_leaves_behind_goes_first(connection, channel, declare, arguments):
    queue = declare(**arguments)
    publish(channel, queue, b"1", b"2", b"3")
    other = connection.channel()
    for _ in range(2):
        other.basic_get(queue)
    other.close()
    assert [next_of(channel, queue)[2] for _ in range(3)] == [b"1", b"2", b"3"]
    channel.cancel()


def test_what_comes_back_too_large_for_the_queue_goes_to_a_consumer_that_waits(channel, declare):
    queue = declare(x_max_length_bytes=5)
    bodies = []
    channel.basic_consume(queue, lambda *delivery: bodies.append((delivery[1], delivery[3])))
    publish(channel, queue, "too large")
    deadline = time.monotonic() + PATIENCE_S
    while len(bodies) < 2 and time.monotonic() < deadline:
        channel.connection.process_data_events(0.05)
        if len(bodies) == 1 and not bodies[0][0].redelivered:
            channel.basic_nack(bodies[0][0].delivery_tag)
    assert [(each.redelivered, body) for each, body in bodies[:2]] == [
        (False, b"too large"),
        (True, b"too large"),
    ]

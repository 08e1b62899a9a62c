"""Streams: read from anywhere, by many, and what they refuse."""

import time

import pika
import pytest


@pytest.fixture
def declare(channel, unique):
    """declare(**arguments): a stream with further arguments, dashes written as underscores;
    deleted in the end."""

    def declare_one(**arguments):
        name = unique("stream")
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "stream"} | named)
        return name

    return declare_one


def publish(channel, queue, *bodies, **properties):
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(**properties))


def read(channel, queue, offset, count):
    """So many deliveries from an offset on, and no more: bodies and offsets."""
    channel.basic_qos(prefetch_count=20)
    found = []
    arguments = {"x-stream-offset": offset}
    for method, properties, body in channel.consume(
        queue, arguments=arguments, inactivity_timeout=1
    ):
        if method is None:
            break
        found.append((body, properties.headers["x-stream-offset"]))
        channel.basic_ack(method.delivery_tag)
    channel.cancel()
    assert len(found) == count
    return found


@pytest.mark.parametrize(
    ("offset", "begin"),
    [("first", 0), ("last", 4), ("next", 5), (3, 3), (99, 5), (-5, 0), ("1h", 0)],
)
def test_reading_begins_where_it_is_asked_to(channel, declare, offset, begin):
    queue = declare()
    publish(channel, queue, *(b"%d" % number for number in range(5)))
    expected = [(b"%d" % number, number) for number in range(begin, 5)]
    assert read(channel, queue, offset, 5 - begin) == expected


def test_arguments_about_clusters_make_no_difference(channel, declare):
    queue = declare(x_initial_cluster_size=1, x_queue_leader_locator="client-local")
    publish(channel, queue, b"0")
    assert read(channel, queue, "first", 1) == [(b"0", 0)]


def test_what_is_acknowledged_can_be_read_again(channel, declare):
    queue = declare()
    publish(channel, queue, b"a", b"b", headers={"x": 1})
    assert read(channel, queue, "first", 2) == read(channel, queue, "first", 2)


def test_consumers_get_what_comes_while_they_wait(channel, declare):
    queue = declare()
    channel.basic_qos(prefetch_count=1)
    found = []

    def take(channel, method, properties, body):
        found.append((body, properties.headers, method.redelivered))
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, take)
    publish(channel, queue, b"a", b"b", b"c", headers={"x": 1})
    end = time.monotonic() + 5
    while len(found) < 3 and time.monotonic() < end:
        channel.connection.process_data_events(0.1)
    assert found == [
        (body, {"x-stream-offset": offset, "x": 1}, False)
        for offset, body in enumerate([b"a", b"b", b"c"])
    ]


@pytest.mark.parametrize("options", [{"durable": False}, {"durable": True, "auto_delete": True}])
def test_it_must_be_durable_and_not_auto_delete(channel, options):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare("refused", arguments={"x-queue-type": "stream"}, **options)
    assert "invalid property" in closed.value.reply_text


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("x-max-length", 1, " of queue type rabbit_stream_queue"),
        ("x-expires", 1, " of queue type rabbit_stream_queue"),
        ("x-max-age", "5x", ": invalid_max_age"),
        ("x-initial-cluster-size", 0, ": {value_zero,0}"),
        ("x-queue-leader-locator", "nearby", ": invalid_queue_locator_arg"),
    ],
)
def test_bad_arguments_are_refused(channel, name, value, why):
    arguments = {"x-queue-type": "stream", name: value}
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare("refused", durable=True, arguments=arguments)
    assert closed.value.reply_text == (
        f"PRECONDITION_FAILED - invalid arg '{name}' for queue 'refused' in vhost '/'{why}"
    )


def test_consumers_need_a_prefetch(channel, declare):
    queue = declare()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.basic_consume(queue, print)
    assert closed.value.reply_text == (
        "PRECONDITION_FAILED - consumer prefetch count is not set for"
        f" 'queue '{queue}' in vhost '/''"
    )


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda channel, queue: channel.basic_get(queue), "basic.get not"),
        (lambda channel, queue: channel.queue_purge(queue), "queue.purge not"),
        (
            lambda channel, queue: channel.basic_consume(queue, print, auto_ack=True),
            "automatic acknowledgement not",
        ),
    ],
)
def test_what_streams_cannot_do_closes_the_connection(channel, declare, call, what):
    queue = declare()
    channel.basic_qos(prefetch_count=1)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        call(channel, queue)
    assert closed.value.reply_code == 540
    assert closed.value.reply_text == (
        f"NOT_IMPLEMENTED - {what} supported by stream queues queue '{queue}' in vhost '/'"
    )

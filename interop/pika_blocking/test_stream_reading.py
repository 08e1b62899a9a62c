"""Streams: where reading can begin, what filters let through, what retention leaves."""

import time
from datetime import UTC, datetime, timedelta

import pika
import pytest
from restarting import LEVERET

PATIENCE_S = 5
RETENTION = {
    "x-max-length-bytes": {"x-max-length-bytes": 4000, "x-stream-max-segment-size-bytes": 1000},
    "x-max-age": {"x-max-age": "1s", "x-stream-max-segment-size-bytes": 1000},
}


@pytest.fixture
def declare(channel, unique):
    """declare(arguments): a stream with further arguments; deleted in the end."""
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=100)

    def declare_one(arguments=None):
        name = unique("stream")
        arguments = {"x-queue-type": "stream"} | (arguments or {})
        channel.queue_declare(name, durable=True, arguments=arguments)
        return name

    return declare_one


def publish(channel, stream, *bodies, **headers):
    for body in bodies:
        channel.basic_publish("", stream, body, pika.BasicProperties(headers=headers))


def read(channel, stream, wait_s=1.0, last=None, **arguments):
    """All bodies from where the arguments, with dashes written as underscores, say; up to the one
    that is the last, if it is known."""
    named = {f"x-stream-{name.replace('_', '-')}": value for name, value in arguments.items()}
    found = []
    for method, _, body in channel.consume(stream, arguments=named, inactivity_timeout=wait_s):
        if method is None:
            break
        found.append(body)
        channel.basic_ack(method.delivery_tag)
        if body == last:
            break
    channel.cancel()
    return found


# --- offsets ----------------------------------------------------------------------------------


def test_reading_begins_at_a_time(channel, declare):
    stream = declare()
    publish(channel, stream, b"early")
    time.sleep(1.1)
    between = datetime.now(UTC)
    time.sleep(1.1)
    publish(channel, stream, b"late")
    assert read(channel, stream, last=b"late", offset=between) == [b"late"]
    assert read(channel, stream, last=b"late", offset="1s") == [b"late"]
    for offset in (between - timedelta(hours=1), "10s"):
        assert read(channel, stream, last=b"late", offset=offset) == [b"early", b"late"]


def test_reading_begins_with_what_comes_next_if_nothing_is_said(channel, declare):
    stream, bodies = declare(), []
    publish(channel, stream, b"missed")
    channel.basic_consume(stream, lambda *delivery: bodies.append(delivery[3]))
    publish(channel, stream, b"came")
    deadline = time.monotonic() + PATIENCE_S
    while not bodies and time.monotonic() < deadline:
        channel.connection.process_data_events(0.05)
    assert bodies == [b"came"]


@pytest.mark.parametrize("offset", ["yesterday", "5x", "", True])
@pytest.mark.skipif(not LEVERET, reason="not run: RabbitMQ refuses it only from 4.0 on")
def test_offset_that_makes_no_sense_is_refused(channel, declare, offset):
    stream = declare()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        read(channel, stream, offset=offset)
    assert closed.value.reply_code == 406
    assert "x-stream-offset" in closed.value.reply_text


# --- filters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "bodies"),
    [
        ({"filter": "red"}, [b"r1", b"r2"]),
        ({"filter": ["red", "blue"]}, [b"r1", b"b", b"r2"]),
        ({"filter": "red", "match_unfiltered": True}, [b"r1", b"plain", b"r2"]),
        ({"filter": "red", "match_unfiltered": False}, [b"r1", b"r2"]),
        ({"filter": "green"}, []),
        ({}, [b"r1", b"b", b"plain", b"r2"]),
    ],
)
def test_filters_let_only_their_messages_through(since, channel, declare, arguments, bodies):
    since(3, 13)
    stream = declare({"x-stream-filter-size-bytes": 32})
    for body, colour in ((b"r1", "red"), (b"b", "blue"), (b"plain", None), (b"r2", "red")):
        publish(channel, stream, body, **({"x-stream-filter-value": colour} if colour else {}))
    assert read(channel, stream, 0.2, offset="first", **arguments) == bodies


# --- retention --------------------------------------------------------------------------------


@pytest.mark.parametrize("by", RETENTION)
def test_oldest_segments_go(channel, declare, by):
    stream = declare(RETENTION[by])
    body = b"." * 95
    publish(channel, stream, *(b"%05d" % number + body for number in range(60)))
    if by == "x-max-age":
        time.sleep(1.2)
        publish(channel, stream, *(b"%05d" % number + body for number in range(60, 90)))
    last = b"%05d" % (89 if by == "x-max-age" else 59) + body
    deadline = time.monotonic() + PATIENCE_S
    while (left := read(channel, stream, last=last, offset="first"))[0].startswith(b"00000"):
        assert time.monotonic() < deadline, "nothing goes"
    numbers = [int(each[:5]) for each in left]
    assert numbers == list(range(numbers[0], int(last[:5]) + 1))
    assert numbers[0] >= (20 if by == "x-max-length-bytes" else 40)

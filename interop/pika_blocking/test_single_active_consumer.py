"""Single active consumers: one is served, the next takes over."""

import time

import pytest
from pika.exceptions import ChannelClosedByBroker

PATIENCE_S = 5


@pytest.fixture
def single(channel):
    """A queue with a single active consumer."""
    arguments = {"x-single-active-consumer": True}
    return channel.queue_declare("", exclusive=True, arguments=arguments).method.queue


@pytest.fixture
def served(connection, channel, single):
    """served(n): publishes n messages and gives the tags of those who got them. Consumers are `a`
    and `b`.
    """
    tags = []
    for tag in ("a", "b"):
        channel.basic_consume(
            single, lambda _, method, *rest: tags.append(method.consumer_tag), consumer_tag=tag
        )

    def publish(count):
        tags.clear()
        for _ in range(count):
            channel.basic_publish("", single, "x")
        deadline = time.monotonic() + PATIENCE_S
        while len(tags) < count and time.monotonic() < deadline:
            connection.process_data_events(0.1)
        return tags[:]

    return publish


def test_first_consumer_gets_everything_until_it_is_cancelled(channel, served):
    assert served(3) == ["a", "a", "a"]
    channel.basic_cancel("a")
    assert served(3) == ["b", "b", "b"]


def test_unacknowledged_deliveries_stay_with_the_former_one(channel, single, served):
    served(2)
    channel.basic_cancel("a")
    channel.basic_ack(1)
    channel.basic_ack(2)
    assert channel.queue_declare(single, passive=True).method.message_count == 0


def test_exclusive_consumer_is_refused_beside_others(channel, single, served):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_consume(single, lambda *_: None, exclusive=True)
    assert closed.value.reply_code == 403


def test_next_one_takes_over_when_the_connection_of_the_active_one_is_lost(
    connect, channel, unique
):
    queue, got = unique("single"), []
    channel.queue_declare(queue, arguments={"x-single-active-consumer": True})
    first = connect()
    first.channel().basic_consume(queue, lambda *_: None)
    channel.basic_consume(queue, lambda *delivery: got.append(delivery))
    channel.basic_publish("", queue, "x")
    channel.queue_declare(queue, passive=True)
    channel.connection.process_data_events()
    assert got == []
    first.close()
    deadline = time.monotonic() + PATIENCE_S
    while not got and time.monotonic() < deadline:
        channel.connection.process_data_events(0.05)
    assert [(method.redelivered, body) for _, method, _, body in got] == [(True, b"x")]

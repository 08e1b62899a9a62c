"""Fixtures for pika's BlockingConnection, whose API shows every method and every error.

`pytest.raises(ChannelClosedByBroker)` gives an error with `args` (reply code, reply text).
"""

from collections.abc import Callable, Iterator
from itertools import islice

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

DEADLINE_S = 10
Delivery = tuple[pika.spec.Basic.Deliver, pika.BasicProperties, bytes]


@pytest.fixture
def connect(broker) -> Iterator[Callable[..., pika.BlockingConnection]]:
    """Opens connections, with pika's parameters as keywords, and closes those still open."""
    opened: list[pika.BlockingConnection] = []

    def open_one(**parameters: object) -> pika.BlockingConnection:
        given = {
            "host": broker.host,
            "port": broker.port,
            "virtual_host": broker.vhost,
            "credentials": pika.PlainCredentials(broker.user, broker.password),
        } | parameters
        opened.append(pika.BlockingConnection(pika.ConnectionParameters(**given)))
        return opened[-1]

    yield open_one
    for connection in opened:
        if connection.is_open:
            connection.close()


@pytest.fixture
def connection(connect) -> pika.BlockingConnection:
    return connect()


@pytest.fixture
def channel(connection: pika.BlockingConnection) -> BlockingChannel:
    return connection.channel()


@pytest.fixture
def queue(channel: BlockingChannel) -> str:
    """A server-named queue, exclusive to `connection`."""
    return channel.queue_declare("", exclusive=True).method.queue


@pytest.fixture
def filled_queue(channel: BlockingChannel, queue: str) -> str:
    """`queue` with five messages in it: b"0" to b"4"."""
    for number in range(5):
        channel.basic_publish("", queue, str(number))
    # A round trip, so that other channels find the messages there.
    channel.queue_declare(queue, passive=True)
    return queue


@pytest.fixture
def take() -> Callable[[BlockingChannel, str, int], list[Delivery]]:
    """take(channel, queue, n): the next n deliveries of a consumer, unacknowledged."""

    def take_some(channel: BlockingChannel, queue: str, count: int) -> list[Delivery]:
        deliveries = list(islice(channel.consume(queue, inactivity_timeout=DEADLINE_S), count))
        assert len(deliveries) == count, "the consumer was cancelled"
        assert deliveries[-1][0] is not None, f"fewer than {count} messages in {DEADLINE_S} s"
        return deliveries

    return take_some


@pytest.fixture
def empty() -> Callable[[BlockingChannel, str], list[bytes]]:
    """empty(channel, queue): takes all that waits off a queue, and gives the bodies."""

    def get_until_empty(channel: BlockingChannel, queue: str) -> list[bytes]:
        bodies = []
        while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
            bodies.append(got[2])
        return bodies

    return get_until_empty


@pytest.fixture
def since(connection: pika.BlockingConnection) -> Callable[..., None]:
    """since(3, 13): skip the rest of a test on an older RabbitMQ, or what says to be one."""

    def skip_before(*wanted: int) -> None:
        version = connection._impl.server_properties["version"]
        if tuple(map(int, version.split(".")[: len(wanted)])) < wanted:
            pytest.skip(f"not run: RabbitMQ {version} does not have it yet")

    return skip_before

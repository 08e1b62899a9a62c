"""x-delayed-retry-* with pika, over a restart of the broker; RabbitMQ has them from 4.3 on."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pika
import pytest
from leveret_process import LeveretProcess
from pika.adapters.blocking_connection import BlockingChannel
from restarting import needs_leveret, own_broker, restart

__all__ = ["own_broker", "restart"]  # fixtures

pytestmark = needs_leveret

PERSISTENT = pika.BasicProperties(delivery_mode=2)
DEADLINE_S = 10


@contextmanager
def channel_to(broker: LeveretProcess) -> Iterator[BlockingChannel]:
    """A confirming channel."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    connection.close()


@contextmanager
def channel_until_the_end(broker: LeveretProcess) -> Iterator[BlockingChannel]:
    """The same for a connection that ends with the broker."""
    with pytest.raises((pika.exceptions.AMQPError, OSError)), channel_to(broker) as channel:
        yield channel


def declare(channel: BlockingChannel, kind: str, delay_ms: int) -> None:
    arguments = {
        "x-queue-type": kind,
        "x-delayed-retry-type": "all",
        "x-delayed-retry-min": delay_ms,
        "x-delayed-retry-max": 10 * delay_ms,
    }
    channel.queue_declare("q", durable=True, arguments=arguments)


def reject(channel: BlockingChannel, body: bytes) -> float:
    """Get a message, as soon as it is there, and return it; the time when it came."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        method, _, got = channel.basic_get("q")
        if method is not None:
            assert got == body
            channel.basic_reject(method.delivery_tag, requeue=True)
            return time.monotonic()
        time.sleep(0.02)
    raise AssertionError("nothing came")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_message_waits_longer_each_time(own_broker: LeveretProcess, kind: str):
    with channel_to(own_broker) as channel:
        declare(channel, kind, 200)
        channel.basic_publish("", "q", b"x", PERSISTENT)
        came = [reject(channel, b"x") for _ in range(4)]
        waits = [later - earlier for earlier, later in pairwise(came)]
        for wait, expected in zip(waits, (0.2, 0.4, 0.6), strict=True):
            assert expected - 0.02 < wait < expected + 0.5


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_message_waits_for_what_remains_after_a_restart(
    own_broker: LeveretProcess, restart: Callable[[], None], kind: str
):
    with channel_until_the_end(own_broker) as channel:
        declare(channel, kind, 4000)
        channel.basic_publish("", "q", b"x", PERSISTENT)
        rejected = reject(channel, b"x")
        # Confirmed, and therefore on disk with all that came before it.
        channel.queue_declare("other", durable=True)
        channel.basic_publish("", "other", b"last", PERSISTENT)
        restart()
    with channel_to(own_broker) as channel:
        assert channel.queue_declare("q", passive=True).method.message_count == 0
        came = reject(channel, b"x")
        assert 3.9 < came - rejected < 6

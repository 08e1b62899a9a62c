"""Quorum queues as later versions of RabbitMQ have them, with pika and leveret serve --emulate."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pika
import pytest
from leveret_process import LeveretProcess
from pika.adapters.blocking_connection import BlockingChannel
from restarting import LEVERET, needs_leveret

pytestmark = needs_leveret


@pytest.fixture
def emulated() -> Iterator[Callable[[str], BlockingChannel]]:
    """emulated("4.3"): a confirming channel to a leveret of its own, with the quorum queue q."""
    with ExitStack() as stack:

        def start(version: str) -> BlockingChannel:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="leveret-emulated-"))
            process = LeveretProcess(LEVERET, Path(folder), "--emulate", version)
            process.start()
            stack.callback(process.kill)
            connection = pika.BlockingConnection(pika.URLParameters(process.url))
            stack.callback(connection.close)
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
            return channel

        yield start


def next_of(channel: BlockingChannel) -> tuple[int, dict[str, int]]:
    """Get the first message: its tag and headers."""
    method, properties, _ = channel.basic_get("q")
    assert method is not None
    return method.delivery_tag, properties.headers or {}


def test_returns_and_failures_are_told_apart_from_4_3_on(emulated):
    channel = emulated("4.3")
    channel.basic_publish("", "q", b"x")
    tag, headers = next_of(channel)
    assert headers == {}
    channel.basic_nack(tag, requeue=True)
    tag, headers = next_of(channel)
    assert headers == {"x-acquired-count": 1}
    channel.basic_reject(tag, requeue=True)
    _, headers = next_of(channel)
    assert headers == {"x-acquired-count": 2, "x-delivery-count": 1}


def test_every_return_counts_in_4_0(emulated):
    channel = emulated("4.0")
    channel.basic_publish("", "q", b"x")
    tag, headers = next_of(channel)
    assert headers == {}
    channel.basic_nack(tag, requeue=True)
    _, headers = next_of(channel)
    assert headers == {"x-delivery-count": 1}


@pytest.mark.parametrize(
    ("version", "order"), [("3.13", "012345678"), ("4.0", "340561782"), ("4.3", "783456012")]
)
def test_priorities_are_none_then_fair_then_strict(emulated, version, order):
    channel = emulated(version)
    for number, priority in enumerate((None, None, None, 5, 5, 5, 5, 9, 9)):
        properties = pika.BasicProperties(priority=priority)
        channel.basic_publish("", "q", b"%d" % number, properties)
    came = []
    for _, _, body in channel.consume("q", auto_ack=True, inactivity_timeout=1):
        if body is None:
            break
        came.append(body.decode())
    assert "".join(came) == order

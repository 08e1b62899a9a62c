"""Publishers that are blocked while the broker is short of memory or of disk; with pika."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pika
import pytest
from administered import RABBITMQCTL, control
from conftest import Broker
from leveret_process import LeveretProcess
from restarting import LEVERET, needs_leveret

PATIENCE_S = 15
BUDGET_BYTES = 1_000_000
SETTINGS = f"[storage]\nin_memory = true\nmemory_budget_bytes = {BUDGET_BYTES}\n"


@pytest.fixture
def own_broker() -> Iterator[LeveretProcess]:
    with tempfile.TemporaryDirectory(prefix="leveret-alarms-") as folder:
        process = LeveretProcess(LEVERET, Path(folder), "--in-memory", settings=SETTINGS)
        process.start()
        yield process
        process.kill()


@needs_leveret
def test_publisher_is_told_that_it_is_blocked_and_then_that_it_is_not(own_broker):
    publisher, consumer = (
        pika.BlockingConnection(pika.URLParameters(own_broker.url)) for _ in range(2)
    )
    told = []
    publisher.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
    publisher.add_on_connection_unblocked_callback(lambda *_: told.append("unblocked"))
    channel = consumer.channel()
    channel.queue_declare("q", durable=True)
    publishing = publisher.channel()
    while not told:
        publishing.basic_publish("", "q", bytes(100_000))
        publisher.process_data_events(0.05)
    assert "memory" in told.pop()
    assert channel.queue_purge("q").method.message_count >= BUDGET_BYTES // 100_000 - 1
    while not told:
        publisher.process_data_events(0.1)
    assert told == ["unblocked"]
    publishing.basic_publish("", "q", b"on we go", mandatory=True)
    publisher.close()
    consumer.close()


@contextmanager
def short_of_disk(broker: Broker) -> Iterator[str]:
    """The URL of a broker that wants more free space than there is."""
    with ExitStack() as stack:
        if LEVERET:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="leveret-alarms-"))
            settings = f"[storage]\ndisk_free_limit_bytes = {1 << 60}\n"
            process = LeveretProcess(LEVERET, Path(folder), settings=settings)
            process.start()
            stack.callback(process.kill)
            yield process.url
        elif RABBITMQCTL:
            stack.callback(control, "set_disk_free_limit", "50MB")
            control("set_disk_free_limit", "1000000GB")
            yield broker.url
        else:
            pytest.skip("not run: RABBITMQCTL, to set the limit with, is not given")


def test_publisher_is_told_that_the_disk_is_short_and_others_are_served(broker: Broker):
    with short_of_disk(broker) as url:
        publisher, other = (pika.BlockingConnection(pika.URLParameters(url)) for _ in range(2))
        told = []
        publisher.add_on_connection_blocked_callback(
            lambda _, frame: told.append(frame.method.reason)
        )
        publishing, channel = publisher.channel(), other.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        deadline = time.monotonic() + PATIENCE_S
        while not told:
            assert time.monotonic() < deadline, "nobody is blocked"
            publishing.basic_publish("", queue, b"")
            publisher.process_data_events(0.05)
        assert told == ["low on disk"]
        assert channel.queue_declare(queue, passive=True).method.consumer_count == 0
        other.close()

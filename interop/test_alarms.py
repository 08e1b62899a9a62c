"""Publishers that are blocked while the broker is short of memory or of disk; with pika."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from leveret_process import LeveretProcess
from restarting import LEVERET, needs_leveret

pytestmark = needs_leveret

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


def test_publisher_is_told_that_the_disk_is_short_and_others_are_served(tmp_path):
    settings = f"[storage]\ndisk_free_limit_bytes = {1 << 60}\n"
    process = LeveretProcess(LEVERET, tmp_path, settings=settings)
    process.start()
    try:
        publisher, other = (
            pika.BlockingConnection(pika.URLParameters(process.url)) for _ in range(2)
        )
        told = []
        publisher.add_on_connection_blocked_callback(
            lambda _, frame: told.append(frame.method.reason)
        )
        publishing, channel = publisher.channel(), other.channel()
        channel.queue_declare("q", durable=True)
        deadline = time.monotonic() + PATIENCE_S
        while not told:
            assert time.monotonic() < deadline, "nobody is blocked"
            publishing.basic_publish("", "q", b"")
            publisher.process_data_events(0.05)
        assert told == ["low on disk"]
        assert channel.queue_declare("q", passive=True).method.consumer_count == 0
        other.close()
    finally:
        process.kill()

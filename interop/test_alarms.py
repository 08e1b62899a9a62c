"""Publishers that are blocked while the broker is short of memory, and go on after; with pika."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from leveret_process import LeveretProcess
from restarting import LEVERET, needs_leveret

pytestmark = needs_leveret

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

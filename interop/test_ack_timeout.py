"""Acknowledgement timeouts, set in all the ways there are, kept short; with pika."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import pytest
from leveret_process import LeveretProcess
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from restarting import LEVERET, needs_leveret

pytestmark = needs_leveret

TIMEOUT_MS = 300
POLICY = {
    "vhost": "/",
    "name": "impatient",
    "pattern": "^by-policy",
    "definition": {"consumer-timeout": TIMEOUT_MS},
}


@contextmanager
def running(*options: str, settings: str = "") -> Iterator[LeveretProcess]:
    with tempfile.TemporaryDirectory(prefix="leveret-timeouts-") as folder:
        definitions = Path(folder) / "definitions.json"
        definitions.write_text(json.dumps({"policies": [POLICY]}))
        options = (*options, "--definitions", str(definitions))
        process = LeveretProcess(LEVERET, Path(folder), *options, settings=settings)
        process.start()
        yield process
        process.kill()


@contextmanager
def connected(broker: LeveretProcess) -> Iterator[pika.BlockingConnection]:
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    yield connection
    connection.close()


def check_times_out(channel: BlockingChannel) -> None:
    """While it consumes, the channel is closed, as by RabbitMQ."""
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.start_consuming()
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - delivery acknowledgement on channel {channel.channel_number} timed"
        f" out. Timeout value used: {TIMEOUT_MS} ms. This timeout value can be configured, see"
        " consumers doc guide to learn more",
    )


def check_is_back(channel: BlockingChannel, queue: str) -> None:
    got, _, body = channel.basic_get(queue, auto_ack=True)
    assert (got.redelivered, body) == (True, b"x")


@pytest.fixture(scope="module")
def patient() -> Iterator[LeveretProcess]:
    """A broker without a timeout for everything."""
    with running() as process:
        yield process


@pytest.mark.parametrize(
    ("queue", "of_queue", "of_consumer"),
    [
        ("by-argument", {"x-consumer-timeout": TIMEOUT_MS}, {}),
        ("by-policy", {}, {}),
        ("by-consumer", {}, {"x-consumer-timeout": TIMEOUT_MS}),
        ("by-both", {"x-consumer-timeout": 60_000}, {"x-consumer-timeout": TIMEOUT_MS}),
    ],
)
def test_delivery_that_stays_unacknowledged_closes_its_channel(
    patient: LeveretProcess, queue: str, of_queue: dict[str, int], of_consumer: dict[str, int]
):
    with connected(patient) as connection:
        channel, other = connection.channel(), connection.channel()
        channel.queue_declare(queue, arguments=of_queue)
        channel.basic_publish("", queue, b"x")
        channel.basic_consume(queue, lambda *_: None, arguments=of_consumer)
        check_times_out(channel)
        check_is_back(other, queue)


def test_setting_is_for_all_queues_and_for_gets():
    settings = f"[connection]\nconsumer_timeout_ms = {TIMEOUT_MS}\n"
    with running(settings=settings) as impatient, connected(impatient) as connection:
        channel, other = connection.channel(), connection.channel()
        for name in ("got", "consumed"):
            channel.queue_declare(name)
        channel.basic_publish("", "got", b"x")
        channel.basic_get("got")
        channel.basic_consume("consumed", lambda *_: None)
        check_times_out(channel)
        check_is_back(other, "got")


def test_consumer_that_acknowledges_in_time_lives_on(patient: LeveretProcess):
    with connected(patient) as connection:
        channel = connection.channel()
        channel.queue_declare("busy", arguments={"x-consumer-timeout": TIMEOUT_MS})
        channel.basic_qos(prefetch_count=1)
        for _ in range(8):
            channel.basic_publish("", "busy", b"x")
        for _ in range(8):
            method, _, _ = next(channel.consume("busy", inactivity_timeout=5))
            connection.sleep(TIMEOUT_MS / 3000)
            channel.basic_ack(method.delivery_tag)
        assert channel.queue_declare("busy", passive=True).method.message_count == 0


def test_from_4_3_on_a_quorum_queue_cancels_the_consumer_and_takes_its_messages_back():
    with running("--emulate", "4.3") as broker, connected(broker) as connection:
        channel = connection.channel()
        arguments = {"x-queue-type": "quorum", "x-consumer-timeout": TIMEOUT_MS}
        channel.queue_declare("safe", durable=True, arguments=arguments)
        channel.basic_publish("", "safe", b"x")
        cancelled: list[str] = []
        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        channel.basic_consume("safe", lambda *_: None, consumer_tag="slow")
        channel.start_consuming()  # ends when there is no consumer left
        assert cancelled == ["slow"]
        check_is_back(channel, "safe")

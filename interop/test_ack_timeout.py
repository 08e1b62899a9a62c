"""Acknowledgement timeouts, set in all the ways there are, kept short; with pika."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import pytest
from administered import RABBITMQCTL, control
from conftest import Broker
from leveret_process import LeveretProcess
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from restarting import LEVERET, needs_leveret

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
def impatient(broker: Broker) -> Iterator[Broker | LeveretProcess]:
    """A broker with a timeout for everything: RabbitMQ has it for channels that open meanwhile."""
    if LEVERET:
        with running(settings=f"[connection]\nconsumer_timeout_ms = {TIMEOUT_MS}\n") as process:
            yield process
    elif RABBITMQCTL:
        set_rabbitmq(consumer_timeout=TIMEOUT_MS, channel_tick_interval=TIMEOUT_MS)
        try:
            yield broker
        finally:
            set_rabbitmq(consumer_timeout=1_800_000, channel_tick_interval=60_000)
    else:
        pytest.skip("not run: RABBITMQCTL, to set the timeout with, is not given")


def set_rabbitmq(**variables: int) -> None:
    for name, value in variables.items():
        control("eval", f"application:set_env(rabbit, {name}, {value}).")


@contextmanager
def connected(broker: Broker | LeveretProcess) -> Iterator[pika.BlockingConnection]:
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


@needs_leveret  # RabbitMQ has arguments and policies for it from 3.12 on
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


def test_setting_is_for_all_queues_and_for_gets(broker: Broker):
    with impatient(broker) as own, connected(own) as connection:
        channel, other = connection.channel(), connection.channel()
        got, consumed = (channel.queue_declare("", exclusive=True).method.queue for _ in range(2))
        channel.basic_publish("", got, b"x")
        channel.basic_get(got)
        channel.basic_consume(consumed, lambda *_: None)
        check_times_out(channel)
        check_is_back(other, got)


@needs_leveret
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


@needs_leveret
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

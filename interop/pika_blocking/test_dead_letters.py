"""Dead letter exchanges: rejected and expired messages, and what their headers tell."""

import time
from datetime import datetime

import pika
import pytest

PATIENCE_S = 5


def arriving(channel, queue):
    """The next message of a queue, which may be on its way."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        got = channel.basic_get(queue, auto_ack=True)
        if got[0] is not None:
            return got
        assert time.monotonic() < deadline, "no dead letter"
        time.sleep(0.02)


def reject(channel, queue):
    channel.basic_reject(channel.basic_get(queue)[0].delivery_tag, requeue=False)


def told(properties):
    """The headers, less those that only RabbitMQ 3.13 and later have."""
    return {
        name: value
        for name, value in properties.headers.items()
        if not name.startswith("x-last-death-")
    }


@pytest.fixture
def declare(channel):
    """declare(**arguments): a queue with such arguments, dashes written as underscores."""

    def declare_one(**arguments):
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return channel.queue_declare("", exclusive=True, arguments=named).method.queue

    return declare_one


def test_rejected_message_arrives_with_its_history(channel, queue, declare):
    source = declare(x_dead_letter_exchange="", x_dead_letter_routing_key=queue)
    properties = pika.BasicProperties(headers={"h": 1}, message_id="i", expiration="60000")
    channel.basic_publish("", source, "x", properties)
    reject(channel, source)
    method, properties, body = arriving(channel, queue)
    assert (method.exchange, method.routing_key, method.redelivered) == ("", queue, False)
    assert (body, properties.message_id, properties.expiration) == (b"x", "i", None)
    headers = told(properties)
    (death,) = headers.pop("x-death")
    assert isinstance(death.pop("time"), datetime)
    assert death == {
        "count": 1,
        "reason": "rejected",
        "queue": source,
        "exchange": "",
        "routing-keys": [source],
        "original-expiration": "60000",
    }
    assert headers == {
        "h": 1,
        "x-first-death-exchange": "",
        "x-first-death-queue": source,
        "x-first-death-reason": "rejected",
    }


def test_expired_message_arrives_at_a_waiting_consumer(connection, channel, queue, declare):
    source = declare(x_dead_letter_exchange="", x_dead_letter_routing_key=queue, x_message_ttl=50)
    received = []
    channel.basic_consume(queue, lambda *delivery: received.append(delivery[2]), auto_ack=True)
    channel.basic_publish("", source, "x")
    deadline = time.monotonic() + PATIENCE_S
    while not received and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    assert received[0].headers["x-death"][0]["reason"] == "expired"


def test_original_routing_keys_lead_through_the_dead_letter_exchange(channel, queue, declare):
    channel.queue_bind(queue, "amq.topic", "*.error")
    source = declare(x_dead_letter_exchange="amq.topic")
    channel.queue_bind(source, "amq.direct", "job.error")
    channel.basic_publish("amq.direct", "job.error", "x")
    reject(channel, source)
    method, properties, _ = arriving(channel, queue)
    assert (method.exchange, method.routing_key) == ("amq.topic", "job.error")
    assert properties.headers["x-first-death-exchange"] == "amq.direct"


def test_retry_loop_counts_its_rounds(channel, queue, declare):
    waiting = declare(
        x_dead_letter_exchange="amq.direct", x_dead_letter_routing_key=queue, x_message_ttl=20
    )
    work = declare(x_dead_letter_exchange="", x_dead_letter_routing_key=waiting)
    channel.queue_bind(work, "amq.direct", queue)
    channel.basic_publish("", work, "x")
    reject(channel, work)
    for count in range(1, 4):
        deadline = time.monotonic() + PATIENCE_S
        while (got := channel.basic_get(work))[0] is None and time.monotonic() < deadline:
            time.sleep(0.02)
        deaths = got[1].headers["x-death"]
        assert [(each["queue"], each["reason"], each["count"]) for each in deaths] == [
            (waiting, "expired", count),
            (work, "rejected", count),
        ]
        channel.basic_reject(got[0].delivery_tag, requeue=False)


def test_message_that_circles_by_itself_is_dropped(channel, connection, unique):
    name = unique("circle")
    arguments = {"x-dead-letter-exchange": "", "x-message-ttl": 50}
    channel.queue_declare(name, exclusive=True, arguments=arguments)
    channel.basic_publish("", name, "x")
    connection.sleep(0.3)
    assert channel.queue_declare(name, passive=True).method.message_count == 0


def test_purged_messages_are_no_dead_letters(channel, connection, queue, declare):
    source = declare(x_dead_letter_exchange="", x_dead_letter_routing_key=queue)
    channel.basic_publish("", source, "x")
    channel.queue_purge(source)
    connection.sleep(0.1)
    assert channel.basic_get(queue) == (None, None, None)

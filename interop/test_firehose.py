"""The firehose: what is published and delivered in a traced vhost, as a consumer of
amq.rabbitmq.trace sees it; with pika.
"""

import time
from collections.abc import Iterator

import pika
import pytest
from administered import Connections, administered
from conftest import Broker
from pika.adapters.blocking_connection import BlockingChannel

PATIENCE_S = 5
Traced = tuple[str, dict, bytes]


@pytest.fixture(scope="module")
def own(broker: Broker) -> Iterator[Broker]:
    with administered(broker, lambda vhost: {"vhosts": [{"name": vhost, "tracing": True}]}) as own:
        yield own


@pytest.fixture
def channel(own: Broker) -> Iterator[BlockingChannel]:
    connections = Connections(own)
    yield connections.open().channel()
    connections.close()


@pytest.fixture
def queue(channel: BlockingChannel) -> str:
    return channel.queue_declare("", exclusive=True).method.queue


@pytest.fixture
def trace(channel: BlockingChannel) -> str:
    """A queue with all that is traced from now on."""
    trace = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(trace, "amq.rabbitmq.trace", "#")
    return trace


def traced(channel: BlockingChannel, trace: str, count: int) -> list[Traced]:
    """So many messages about messages, by their routing keys, without those about themselves."""
    found: list[Traced] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {len(found)} of {count} were traced"
        method, properties, body = channel.basic_get(trace, auto_ack=True)
        if method is not None and method.routing_key != f"deliver.{trace}":
            found.append((method.routing_key, properties.headers, body))
    assert channel.basic_get(trace)[0] is None
    return sorted(found, key=lambda each: each[0])


def test_what_is_published_is_traced_with_all_that_is_known_of_it(own, channel, queue, trace):
    channel.queue_bind(queue, "amq.topic", "a.*")
    properties = pika.BasicProperties(
        content_type="text/plain", headers={"x": 1, "CC": ["a.c"]}, priority=3, delivery_mode=2
    )
    channel.basic_publish("amq.topic", "a.b", b"body", properties)
    [(key, headers, body)] = traced(channel, trace, 1)
    assert (key, body) == ("publish.amq.topic", b"body")
    assert list(headers) == [
        "exchange_name",
        "routing_keys",
        "properties",
        "node",
        "vhost",
        "connection",
        "channel",
        "user",
        "routed_queues",
    ]
    assert headers["exchange_name"] == "amq.topic"
    assert headers["routing_keys"] == ["a.b", "a.c"]
    assert headers["properties"] == {
        "priority": 3,
        "delivery_mode": 2,
        "headers": {"x": 1, "CC": ["a.c"]},
        "content_type": "text/plain",
    }
    assert (headers["vhost"], headers["user"]) == (own.vhost, own.user)
    assert headers["channel"] == channel.channel_number
    assert headers["connection"].endswith(f":{own.port}")
    assert headers["routed_queues"] == [queue]


def test_what_is_delivered_is_traced_once_for_each_queue(channel, queue, trace):
    channel.basic_publish("", queue, b"body")
    channel.basic_nack(channel.basic_get(queue)[0].delivery_tag)
    channel.basic_get(queue)
    found = traced(channel, trace, 3)
    assert [key for key, _, _ in found] == [f"deliver.{queue}"] * 2 + ["publish."]
    assert [headers["redelivered"] for _, headers, _ in found[:2]] == [0, 1]
    assert all(headers["routing_keys"] == [queue] for _, headers, _ in found)
    assert all(body == b"body" for _, _, body in found)


def test_what_leads_nowhere_is_traced_too(channel, trace):
    channel.basic_publish("amq.direct", "nowhere", b"")
    [(key, headers, _)] = traced(channel, trace, 1)
    assert (key, headers["routed_queues"]) == ("publish.amq.direct", [])


def test_one_can_listen_to_one_exchange_or_queue_only(channel, queue, trace):
    channel.queue_unbind(trace, "amq.rabbitmq.trace", "#")
    channel.queue_bind(trace, "amq.rabbitmq.trace", f"deliver.{queue}")
    channel.basic_publish("", queue, b"body")
    channel.basic_get(queue, auto_ack=True)
    [(key, _, _)] = traced(channel, trace, 1)
    assert key == f"deliver.{queue}"


def test_other_vhosts_are_not_traced(broker: Broker):
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = connection.channel()
    trace = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(trace, "amq.rabbitmq.trace", "#")
    channel.basic_publish("", trace, b"body")
    assert channel.basic_get(trace, auto_ack=True)[2] == b"body"
    assert channel.basic_get(trace) == (None, None, None)
    connection.close()

"""Definitions that a broker loads: what they declare, and which policies count; with pika."""

from collections.abc import Iterator

import pika
import pytest
from administered import Connections, Definitions, administered
from conftest import Broker


def define(vhost: str) -> Definitions:
    return {
        "policies": [
            policy(vhost, "integer", {"max-length": 1}, 1),
            policy(vhost, "fraction", {"max-length": 2}, 1.5),
            policy(vhost, "lower", {"max-length": 3}, -1.5),
        ],
        "parameters": [
            {
                "vhost": vhost,
                "component": "operator_policy",
                "name": "operators",
                "value": {
                    "pattern": "^capped$",
                    "definition": {"max-length-bytes": 3},
                    "priority": 0.5,
                    "apply-to": "queues",
                },
            }
        ],
        "exchanges": [
            declared(vhost, "news", {}, type="topic", internal=False),
            declared(vhost, "all", {}, type="fanout", internal=False),
        ],
        "queues": [
            declared(vhost, "limited", {}),
            declared(vhost, "capped", {}),
            declared(vhost, "orders", {"x-max-length": 2, "x-message-ttl": 600_000}),
        ],
        "bindings": [
            bind(vhost, "news", "all", "exchange", "order.#"),
            bind(vhost, "all", "orders", "queue", ""),
            bind(vhost, "amq.headers", "orders", "queue", "", {"x-match": "all", "size": 3}),
        ],
    }


def declared(vhost: str, name: str, arguments: dict[str, int], **more: object) -> dict[str, object]:
    return {
        "vhost": vhost,
        "name": name,
        "durable": True,
        "auto_delete": False,
        "arguments": arguments,
        **more,
    }


def policy(vhost: str, name: str, definition: dict[str, int], priority: float) -> dict[str, object]:
    return {
        "vhost": vhost,
        "name": name,
        "pattern": "^(limited|capped)$",
        "definition": definition,
        "priority": priority,
        "apply-to": "queues",
    }


def bind(
    vhost: str,
    source: str,
    destination: str,
    kind: str,
    routing_key: str,
    arguments: dict[str, object] | None = None,
) -> dict[str, object]:
    return {
        "vhost": vhost,
        "source": source,
        "destination": destination,
        "destination_type": kind,
        "routing_key": routing_key,
        "arguments": arguments or {},
    }


@pytest.fixture(scope="module")
def own(broker: Broker) -> Iterator[Broker]:
    with administered(broker, define) as own:
        yield own


@pytest.fixture
def channel(own: Broker) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    connections = Connections(own)
    channel = connections.open().channel()
    channel.confirm_delivery()
    yield channel
    connections.close()


def ready(channel, queue: str) -> int:
    return channel.queue_declare(queue, passive=True).method.message_count


def test_policy_of_the_highest_priority_counts_be_it_a_fraction(channel):
    for _ in range(5):
        channel.basic_publish("", "limited", b"m")
    assert ready(channel, "limited") == 2


def test_operator_policy_limits_it_further(channel):
    channel.basic_publish("", "capped", b"mm")
    channel.basic_publish("", "capped", b"mm")
    assert ready(channel, "capped") == 1


def test_bindings_lead_through_exchanges_to_queues_with_their_arguments(channel):
    channel.queue_declare(
        "orders", durable=True, arguments={"x-max-length": 2, "x-message-ttl": 600_000}
    )
    channel.basic_publish("news", "order.new.1", b"1")
    channel.basic_publish("news", "other", b"2")
    channel.basic_publish("amq.headers", "", b"3", pika.BasicProperties(headers={"size": 3}))
    channel.basic_publish("news", "order.new.2", b"4")
    assert [channel.basic_get("orders", auto_ack=True)[2] for _ in range(2)] == [b"3", b"4"]

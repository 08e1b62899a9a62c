"""x-message-deduplication."""

from typing import Any

import pytest
from pamqp.commands import Exchange, Queue

from exchange_client import bind_queues, bodies_in, declare_exchange
from fake_client import FakeClient, FakeServer

KIND = "x-message-deduplication"


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    return server.connect()


def declare(client: FakeClient, size: Any = 10, **arguments: Any) -> None:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    declare_exchange(client, KIND, arguments={"x-cache-size": size, **named})
    bind_queues(client, a="any")


def publish(client: FakeClient, *values: Any, **headers: Any) -> None:
    for value in values:
        headers["x-deduplication-header"] = value
        client.publish(str(value).encode(), "key", exchange="x", headers=dict(headers))


def test_a_message_seen_before_leads_nowhere(client: FakeClient):
    declare(client)
    bind_queues(client, b="")
    publish(client, "a", "b", "a", "a", "b")
    assert bodies_in(client, "a") == bodies_in(client, "b") == [b"a", b"b"]
    publish(client, "a")
    assert bodies_in(client, "a") == []


def test_messages_without_the_header_are_not_compared(client: FakeClient):
    declare(client)
    for _ in range(2):
        client.publish(b"1", exchange="x")
    publish(client, [1], [1], {}, {})
    assert len(bodies_in(client, "a")) == 6


def test_values_of_different_types_differ(client: FakeClient):
    declare(client)
    publish(client, 1, True, 1.0, "1", 1, True, 1.0, "1", None, None)
    assert bodies_in(client, "a") == [b"1", b"True", b"1.0", b"1", b"None"]


def test_long_values_are_compared_whole(client: FakeClient):
    declare(client)
    publish(client, "v" * 1000, "v" * 1001, "v" * 1000)
    assert [len(body) for body in bodies_in(client, "a")] == [1000, 1001]


def test_the_oldest_value_gives_way(client: FakeClient):
    declare(client, "2")
    publish(client, "a", "b", "c", "b", "a")
    assert bodies_in(client, "a") == [b"a", b"b", b"c", b"a"]


def test_values_are_forgotten_after_the_exchanges_time(server: FakeServer, client: FakeClient):
    declare(client, x_cache_ttl=1000)
    publish(client, "a")
    server.advance(0.999)
    publish(client, "a")
    server.advance(0.001)
    publish(client, "a", "a")
    assert bodies_in(client, "a") == [b"a", b"a"]


def test_a_message_may_have_a_time_of_its_own(server: FakeServer, client: FakeClient):
    declare(client, x_cache_ttl=1000)
    publish(client, "a", **{"x-cache-ttl": 5000})
    server.advance(4.999)
    publish(client, "a")
    server.advance(0.001)
    publish(client, "a")
    assert bodies_in(client, "a") == [b"a", b"a"]


def test_duplicates_go_to_the_alternate_exchange(client: FakeClient):
    declare(client, alternate_exchange="amq.fanout")
    client.declare("b")
    client.bind("b", "amq.fanout")
    publish(client, "a", "a")
    assert bodies_in(client, "a") == bodies_in(client, "b") == [b"a"]


def test_older_values_are_forgotten_when_memory_is_short(server: FakeServer, client: FakeClient):
    server.broker.memory.budget_bytes = 100_000
    declare(client, 1_000_000)
    for number in range(2000):
        publish(client, number)
        client.get("a", no_ack=True)
    assert not server.broker.alarms
    publish(client, 0, 1999)
    assert bodies_in(client, "a") == [b"0"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        (
            {"x-cache-size": 0},
            "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0",
        ),
        (
            {"x-cache-size": 1, "x-cache-ttl": "soon"},
            "Invalid argument, 'x-cache-ttl' must be an integer greater than 0",
        ),
        (
            {"x-cache-size": 1, "x-cache-persistence": "paper"},
            "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'",
        ),
        (
            {"x-cache-size": 1, "x-cache-persistence": "disk"},
            "Invalid argument, 'x-cache-persistence' 'disk' is not supported by this version of"
            " leveret",
        ),
    ],
)
def test_bad_arguments_are_refused(client: FakeClient, arguments: dict[str, Any], text: str):
    client.send(Exchange.Declare(exchange="x", exchange_type=KIND, arguments=arguments))
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (40, 10))


def test_queues_cannot_deduplicate_yet(client: FakeClient):
    client.send(Queue.Declare(queue="q", arguments={KIND: True}))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - invalid arg 'x-message-deduplication' for queue 'q' in vhost '/':"
        " not supported by this version of leveret",
        (50, 10),
    )

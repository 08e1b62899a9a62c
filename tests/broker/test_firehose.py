"""Firehose tracing: what is told of messages that are published and delivered, and of which."""

import struct

import pytest
from pamqp.commands import Basic

from exchange_client import bodies_in
from fake_client import FakeClient, FakeServer, Received
from leveret.broker.publisher import Publisher

RAW_ORDER = ["exchange_name", "routing_keys", "properties", "node"]
WHOSE = ["vhost", "connection", "channel", "user"]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    client = server.connect()
    client.declare("trace")
    client.bind("trace", "amq.rabbitmq.trace", "#")
    client.declare("q")
    return client


def trace(server: FakeServer, *, on: bool = True) -> None:
    server.broker.vhosts["/"].tracing = on


def traced(client: FakeClient) -> list[Received]:
    return [client.get("trace", no_ack=True) for _ in range(client.ready_in("trace"))]


def keys(client: FakeClient) -> list[str]:
    return [each.call.routing_key for each in traced(client)]


def test_published_message_is_copied_with_all_that_is_known_of_it(
    server: FakeServer, client: FakeClient
):
    trace(server)
    properties = {
        "headers": {"a": 1}, "delivery_mode": 2, "content_type": "text/plain", "priority": 3,
        "content_encoding": "utf8", "correlation_id": "c", "reply_to": "r", "message_id": "m",
        "expiration": "60000", "message_type": "ty", "user_id": "guest", "app_id": "ap",
    }  # fmt: skip
    client.publish(b"body", "q", **properties)
    (copy,) = traced(client)
    assert (copy.call.exchange, copy.call.routing_key) == ("amq.rabbitmq.trace", "publish.")
    assert copy.body == b"body"
    assert copy.properties.delivery_mode is None
    told = dict(copy.headers)
    properties["type"] = properties.pop("message_type")
    assert told.pop("properties") == properties
    assert isinstance(told.pop("connection"), str)
    assert told == {
        "exchange_name": "",
        "routing_keys": ["q"],
        "node": "leveret@localhost",
        "vhost": "/",
        "channel": 1,
        "user": "guest",
        "routed_queues": ["q"],
    }
    assert [*copy.headers] == [*RAW_ORDER, *WHOSE, "routed_queues"]


def test_message_that_leads_nowhere_is_copied(server: FakeServer, client: FakeClient):
    trace(server)
    client.publish(b"1", "none", exchange="amq.direct")
    (copy,) = traced(client)
    assert (copy.call.routing_key, copy.headers["routed_queues"]) == ("publish.amq.direct", [])


@pytest.mark.parametrize("redelivered", [0, 1])
def test_delivered_message_is_copied(server: FakeServer, client: FakeClient, redelivered: int):
    client.publish(b"1", "q")
    if redelivered:
        client.send(Basic.Nack(client.get().call.delivery_tag))
    trace(server)
    client.consume("q")
    assert client.bodies() == [b"1"]
    (copy,) = traced(client)
    assert (copy.body, copy.call.routing_key) == (b"1", "deliver.q")
    assert [*copy.headers] == [*RAW_ORDER, "redelivered", *WHOSE]
    assert copy.headers["redelivered"] == redelivered


def test_message_got_is_copied_too(server: FakeServer, client: FakeClient):
    client.publish(b"1", "q")
    trace(server)
    client.get(no_ack=True)
    assert keys(client) == ["deliver.q"]


def test_cc_and_bcc_are_told_but_bcc_not_among_the_headers(server: FakeServer, client: FakeClient):
    trace(server)
    client.publish(b"1", "q", headers={"CC": ["c"], "BCC": ["b"]})
    client.get(no_ack=True)
    for copy in traced(client):
        assert copy.headers["routing_keys"] == ["q", "c", "b"]
        assert copy.headers["properties"] == {"headers": {"CC": ["c"]}}


def test_copies_are_not_copied(server: FakeServer, client: FakeClient):
    trace(server)
    client.publish(b"1", "q")
    assert keys(client) == ["publish."]
    assert keys(client) == []


def test_many_messages_are_traced_in_order(server: FakeServer, client: FakeClient):
    trace(server)
    client.consume("q")
    for number in range(10):
        client.publish(b"%d" % number, "q")
    assert len(client.bodies()) == 10
    copies = traced(client)
    for key in ("publish.", "deliver.q"):
        bodies = [copy.body for copy in copies if copy.call.routing_key == key]
        assert bodies == [b"%d" % number for number in range(10)]


def test_tracing_ends_when_it_is_turned_off(server: FakeServer, client: FakeClient):
    client.consume("q")
    trace(server)
    client.publish(b"1", "q")
    trace(server, on=False)
    client.publish(b"2", "q")
    assert client.bodies() == [b"1", b"2"]
    assert keys(client) == ["publish.", "deliver.q"]


def test_queues_declared_meanwhile_are_traced(server: FakeServer, client: FakeClient):
    trace(server)
    client.declare("later")
    client.publish(b"1", "later")
    client.get("later", no_ack=True)
    assert keys(client) == ["publish.", "deliver.later"]


def test_other_vhosts_are_not_traced(client: FakeClient, server: FakeServer):
    assert not server.broker.vhosts["/"].tracing
    client.publish(b"1", "q")
    client.get(no_ack=True)
    assert keys(client) == []


def test_nothing_is_handled_singly_without_tracing(
    server: FakeServer, client: FakeClient, monkeypatch: pytest.MonkeyPatch
):
    trace(server)
    client.publish(b"1", "q")
    trace(server, on=False)
    monkeypatch.delattr(Publisher, "_publish")
    client.publish(b"2", "q")
    assert bodies_in(client, "q") == [b"1", b"2"]


def test_integers_are_told_as_32_bits(server: FakeServer, client: FakeClient):
    trace(server)
    client.publish(b"1", "q", priority=3, delivery_mode=2)
    vhost = server.broker.vhosts["/"]
    raw = vhost.queues["trace"].ready[0].raw_properties
    for name, value in ((b"channel", 1), (b"priority", 3), (b"delivery_mode", 2)):
        assert bytes((len(name),)) + name + b"I" + struct.pack(">i", value) in raw

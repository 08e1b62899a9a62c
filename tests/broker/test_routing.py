from typing import Any

import pytest
from pamqp.commands import Basic, Exchange, Queue

from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp import methods as m
from leveret.amqp.fields import Field, Table

PUBLISH = (60, 40)


def declare(client: FakeClient, exchange: str = "x", kind: str = "direct", **options: Any) -> None:
    client.request(
        Exchange.Declare(exchange=exchange, exchange_type=kind, **options), Exchange.DeclareOk
    )


def bind(client: FakeClient, destination: str, source: str, routing_key: str = "") -> None:
    client.request(
        Exchange.Bind(destination=destination, source=source, routing_key=routing_key),
        Exchange.BindOk,
    )


def routed(client: FakeClient, exchange: str, routing_key: str = "k", **options: Any) -> bool:
    """Whether a message finds a queue."""
    client.publish(b"", routing_key, exchange=exchange, mandatory=True, **options)
    received = client.received()
    assert all(isinstance(each.call, Basic.Return) for each in received)
    return not received


# --- routing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchange", "pattern", "keys"),
    [
        ("amq.direct", "a.b", {"a.b"}),
        ("amq.direct", "", {""}),
        ("amq.direct", "#", set[str]()),
        ("amq.fanout", "k", {"", "a", "a.b", "A.b"}),
        ("amq.topic", "a.*", {"a.b"}),
        ("amq.topic", "#", {"", "a", "a.b", "A.b"}),
        ("amq.headers", "k", {"", "a", "a.b", "A.b"}),
    ],
)
def test_each_type_has_its_way_with_keys(
    client: FakeClient, exchange: str, pattern: str, keys: set[str]
) -> None:
    client.declare("q")
    client.bind("q", exchange, pattern)
    assert {key for key in ("", "a", "a.b", "A.b") if routed(client, exchange, key)} == keys


@pytest.mark.parametrize("exchange", ["amq.direct", "amq.fanout", "amq.topic", "amq.headers"])
def test_bindings_come_and_go_one_by_one(client: FakeClient, exchange: str) -> None:
    client.declare("q")
    client.declare("r")
    for queue in "qqr":
        client.bind(queue, exchange, "k")
    client.bind("q", exchange, "k", a=1)
    unbound: list[tuple[str, dict[str, Any], bool]] = [
        ("q", {}, True),
        ("r", {}, True),
        ("r", {}, True),
        ("q", {"a": 2}, True),
        ("q", {"a": 1}, False),
    ]
    for queue, arguments, still_routed in unbound:
        assert routed(client, exchange, headers={"a": 1})
        client.request(
            Queue.Unbind(queue=queue, exchange=exchange, routing_key="k", arguments=arguments),
            Queue.UnbindOk,
        )
        assert routed(client, exchange, headers={"a": 1}) == still_routed


@pytest.mark.parametrize("exchange", ["amq.direct", "amq.fanout", "amq.topic", "amq.headers"])
def test_a_queue_gets_one_copy_however_it_is_bound(client: FakeClient, exchange: str) -> None:
    client.declare("q")
    for arguments in ({}, {"a": 1}):
        client.bind("q", exchange, "k", **arguments)
        client.bind("q", exchange, "#", **arguments)
    client.publish(b"", "k", exchange=exchange, headers={"a": 1})
    assert client.ready_in("q") == 1


def test_headers_decide_in_a_headers_exchange(client: FakeClient) -> None:
    client.declare("q")
    client.bind("q", "amq.match", a=1, b="x", **{"x-match": "any"})
    for headers, expected in (
        ({"a": 1}, True),
        ({"a": 1000, "b": "x"}, True),
        ({"a": "1"}, False),
        ({}, False),
        (None, False),
    ):
        assert routed(client, "amq.match", "k", headers=headers) == expected


def test_headers_decide_behind_other_exchanges_too(client: FakeClient) -> None:
    client.declare("q")
    bind(client, "amq.headers", "amq.fanout")
    client.bind("q", "amq.headers", a=1)
    for _ in range(2):
        assert routed(client, "amq.fanout", headers={"a": 1})
        assert not routed(client, "amq.fanout", headers={"a": 2})


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            {"x-match": Field("S", b"some")},
            'value <<"some">>; expected all, any, all-with-x, or any-with-x',
        ),
        ({"x-match": Field("b", 5)}, "type byte (value 5); expected longstr"),
        ({"x-match": Field("t", True)}, "type bool (value true); expected longstr"),
        ({"x-match": Field("V", None)}, "type void (value undefined); expected longstr"),
        ({"x-match": Field("x", b"all")}, 'type binary (value <<"all">>); expected longstr'),
        ({"x-match": Field("D", (1, 5))}, "type decimal (value {1,5}); expected longstr"),
        ({"x-match": Field("d", 1.5)}, "type double (value 1.5); expected longstr"),
        ({"x-match": Field("F", {})}, "type table (value []); expected longstr"),
        (
            {"x-match": Field("A", [Field("S", b"a"), Field("I", 1)])},
            'type array (value [{longstr,<<"a">>},{signedint,1}]); expected longstr',
        ),
        (
            {"x-match": Field("F", {"a": Field("I", 1)})},
            'type table (value [{<<"a">>,signedint,1}]); expected longstr',
        ),
    ],
)
def test_a_bad_x_match_is_refused_by_headers_exchanges_only(
    client: FakeClient, arguments: Table, why: str
) -> None:
    client.declare("q")
    client.request(m.QueueBind(0, "q", "amq.direct", "k", False, arguments), Queue.BindOk)
    client.send(m.QueueBind(0, "q", "amq.headers", "k", False, arguments))
    client.expect_channel_closed(
        406, f"PRECONDITION_FAILED - Invalid x-match field {why}", (50, 20)
    )
    assert not client.connection.vhost.exchange("amq.headers").bindings


# --- alternate exchanges ----------------------------------------------------------------------


def test_what_finds_no_way_goes_to_the_alternate_exchange(client: FakeClient) -> None:
    client.declare("q")
    client.declare("rest")
    declare(client, "ae", "fanout")
    declare(client, "x", arguments={"alternate-exchange": "ae"})
    client.bind("q", "x", "k")
    client.bind("rest", "ae")
    assert routed(client, "x", "k")
    assert routed(client, "x", "other")
    assert client.ready_in("q") == 1
    got = client.get("rest")
    assert (got.call.exchange, got.call.routing_key) == ("x", "other")


def test_alternate_exchanges_may_follow_one_another_in_a_ring(client: FakeClient) -> None:
    client.declare("q")
    for name, alternate in (("x", "y"), ("y", "z"), ("z", "x")):
        declare(client, name, arguments={"alternate-exchange": alternate})
    assert not routed(client, "x")
    client.bind("q", "z", "k")
    assert routed(client, "x")


def test_an_alternate_exchange_may_be_missing(client: FakeClient) -> None:
    client.declare("q")
    declare(client, "x", arguments={"alternate-exchange": "ae"})
    assert not routed(client, "x")
    declare(client, "ae", "fanout")
    client.bind("q", "ae")
    assert routed(client, "x")


def test_a_way_that_leads_to_no_queue_is_still_a_way(client: FakeClient) -> None:
    client.declare("q")
    declare(client, "x", "fanout", arguments={"alternate-exchange": "amq.fanout"})
    client.bind("q", "amq.fanout")
    assert routed(client, "x")
    bind(client, "amq.direct", "x")
    assert not routed(client, "x")


def test_a_headers_exchange_may_be_the_alternate(client: FakeClient) -> None:
    client.declare("q")
    declare(client, "x", arguments={"alternate-exchange": "amq.headers"})
    client.bind("q", "amq.headers", a=1)
    assert routed(client, "x", headers={"a": 1})
    assert not routed(client, "x", headers={"a": 2})


# --- publishing to an exchange ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["x", "amq.rabbitmq.trace"])
def test_nobody_publishes_to_an_internal_exchange(client: FakeClient, name: str) -> None:
    declare(client, "x", internal=True)
    client.publish(b"", "k", exchange=name)
    client.expect_channel_closed(
        403,
        f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'",
        PUBLISH,
    )


def test_an_internal_exchange_is_reached_through_others(client: FakeClient) -> None:
    client.declare("q")
    declare(client, "x", "fanout", internal=True)
    client.bind("q", "x")
    bind(client, "x", "amq.fanout")
    assert routed(client, "amq.fanout")


def test_a_changed_topology_counts_from_the_next_message_on(server: FakeServer) -> None:
    client, other = server.connect(), server.connect()
    client.declare("q")
    declare(client, "x")
    publish = message(b"", "k", exchange="x", mandatory=True)
    client.feed(publish * 2 + encoded(Queue.Bind(queue="q", exchange="x", routing_key="k")))
    assert len(client.received()) == 3
    other.feed(publish)
    client.feed(publish)
    assert client.ready_in("q") == 2
    other.request(Queue.Unbind(queue="q", exchange="x", routing_key="k"), Queue.UnbindOk)
    client.feed(publish)
    assert isinstance(client.received()[0].call, Basic.Return)

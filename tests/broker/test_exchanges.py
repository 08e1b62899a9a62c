from itertools import pairwise
from typing import Any

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Exchange, Queue

from fake_client import FakeClient
from leveret.amqp import methods as m
from leveret.amqp.fields import Field, Table

DECLARE, DELETE, BIND, UNBIND, PUBLISH = (40, 10), (40, 20), (40, 30), (40, 40), (60, 40)
ON_DEFAULT = "ACCESS_REFUSED - operation not permitted on the default exchange"


def declare(client: FakeClient, exchange: str = "x", kind: str = "direct", **options: Any) -> None:
    client.request(
        Exchange.Declare(exchange=exchange, exchange_type=kind, **options), Exchange.DeclareOk
    )


def bind(client: FakeClient, destination: str, source: str, routing_key: str = "") -> None:
    client.request(
        Exchange.Bind(destination=destination, source=source, routing_key=routing_key),
        Exchange.BindOk,
    )


def typed(exchange: str, arguments: Table, kind: str = "direct") -> m.ExchangeDeclare:
    """exchange.declare with arguments of any type, and a name that pamqp would refuse."""
    return m.ExchangeDeclare(0, exchange, kind, False, False, False, False, False, arguments)


def exchanges(client: FakeClient) -> set[str]:
    return {name for name in client.server.broker.vhosts["/"].exchanges if name[:4] != "amq."}


def routed(client: FakeClient, exchange: str, routing_key: str = "k", **options: Any) -> bool:
    """Whether a message finds a queue."""
    client.publish(b"", routing_key, exchange=exchange, mandatory=True, **options)
    received = client.received()
    assert all(isinstance(each.call, Basic.Return) for each in received)
    return not received


# --- declare ----------------------------------------------------------------------------------


def test_every_vhost_has_the_standard_exchanges(client: FakeClient) -> None:
    for name, kind in (
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ):
        declare(client, name, kind, durable=True)
    declare(client, "amq.rabbitmq.trace", "topic", durable=True, internal=True)


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_an_exchange_is_declared_once_and_then_found(client: FakeClient, kind: str) -> None:
    for _ in range(2):
        declare(client, "x", kind, durable=True, auto_delete=True, internal=True)
    declare(client, "x", passive=True)
    declare(client, "x", "nonsense", passive=True)


def test_without_wait_nothing_comes_back(client: FakeClient) -> None:
    client.send(
        Exchange.Declare(exchange="x", nowait=True),
        Exchange.Bind(destination="x", source="amq.fanout", nowait=True),
        Exchange.Unbind(destination="x", source="amq.fanout", nowait=True),
        Exchange.Delete(exchange="amq.none", nowait=True),
    )
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - deletion of system exchange 'amq.none' in vhost '/' not allowed",
        DELETE,
    )
    client.open_channel(1)
    client.send(Exchange.Delete(exchange="x", nowait=True))
    assert not client.received()
    assert exchanges(client) == {""}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("x-jms-topic", "unknown"),
        ("Direct", "unknown"),
        ("foo", "invalid"),
        ("queue", "invalid"),
        ("exchange", "invalid"),
        ("", "invalid"),
    ],
)
@pytest.mark.parametrize("name", ["x", "amq.direct", "amq.new", ""])
def test_an_unknown_type_closes_the_connection(
    client: FakeClient, name: str, kind: str, fault: str
) -> None:
    client.send(typed(name, {}, kind))
    client.expect_connection_closed(
        503, f"COMMAND_INVALID - {fault} exchange type '{kind}'", DECLARE
    )


def test_a_missing_exchange_is_not_found_passively(client: FakeClient) -> None:
    client.send(Exchange.Declare(exchange="x", passive=True))
    client.expect_channel_closed(404, "NOT_FOUND - no exchange 'x' in vhost '/'", DECLARE)


@pytest.mark.parametrize(
    ("kind", "options", "difference"),
    [
        ("x-random", {}, "'type' for X: received ''x-random'' but current is 'direct'"),
        ("fanout", {"durable": True}, "'type' for X: received 'fanout' but current is 'direct'"),
        (
            "direct",
            {"durable": True, "auto_delete": True},
            "'durable' for X: received 'true' but current is 'false'",
        ),
        (
            "direct",
            {"auto_delete": True, "internal": True},
            "'auto_delete' for X: received 'true' but current is 'false'",
        ),
        (
            "direct",
            {"internal": True},
            "'internal' for X: received 'true' but current is 'false'",
        ),
        (
            "direct",
            {"arguments": {"alternate-exchange": "ae"}},
            "'alternate-exchange' for X:"
            " received the value 'ae' of type 'longstr' but current is none",
        ),
    ],
)
def test_declaring_it_differently_fails_with_the_first_difference(
    client: FakeClient, kind: str, options: dict[str, Any], difference: str
) -> None:
    declare(client, "x")
    client.send(Exchange.Declare(exchange="x", exchange_type=kind, **options))
    text = f"PRECONDITION_FAILED - inequivalent arg {difference}"
    client.expect_channel_closed(406, text.replace("X", "exchange 'x' in vhost '/'"), DECLARE)


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        ({}, "received none but current is the value 'ae' of type 'longstr'"),
        ({"alternate-exchange": Field("S", b"b")}, "received 'b' but current is 'ae'"),
        ({"alternate-exchange": Field("b", 5)}, "received '5' but current is 'ae'"),
    ],
)
def test_another_alternate_exchange_is_a_difference(
    client: FakeClient, arguments: Table, difference: str
) -> None:
    declare(client, "x", arguments={"alternate-exchange": "ae"})
    declare(client, "x", arguments={"alternate-exchange": "ae"})
    client.send(typed("x", arguments))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/':"
        f" {difference}",
        DECLARE,
    )


def test_other_arguments_make_no_difference(client: FakeClient) -> None:
    declare(client, "x", arguments={"x-foo": 1})
    declare(client, "x", arguments={"x-bar": "a"})


@pytest.mark.parametrize(
    ("field", "kind"), [(Field("b", 5), "byte"), (Field("x", b"ae"), "binary")]
)
def test_an_alternate_exchange_must_be_named_by_a_string(
    client: FakeClient, field: Field, kind: str
) -> None:
    client.send(typed("x", {"alternate-exchange": field}))
    client.expect_channel_closed(
        406,
        f"PRECONDITION_FAILED - invalid type '{kind}' for arg 'alternate-exchange'"
        " in exchange 'x' in vhost '/'",
        DECLARE,
    )


def test_new_names_must_not_look_like_standard_ones(client: FakeClient) -> None:
    client.send(Exchange.Declare(exchange="amq.new"))
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - exchange name 'amq.new' contains reserved prefix 'amq.*'",
        DECLARE,
    )


def test_line_breaks_are_no_part_of_names(client: FakeClient) -> None:
    client.request(typed("x\r\n", {}), Exchange.DeclareOk)
    client.request(typed("\ny", {}), Exchange.DeclareOk)
    client.request(m.ExchangeBind(0, "x\n", "y\r", "k\n", False, {}), Exchange.BindOk)
    assert exchanges(client) == {"", "x", "y"}
    assert [each.routing_key for each in client.connection.vhost.exchange("x").destination_of] == [
        "k\n"
    ]
    client.request(m.ExchangeUnbind(0, "x\n", "y\r", "k\n", False, {}), Exchange.UnbindOk)
    client.request(m.ExchangeDelete(0, "x\n", False, False), Exchange.DeleteOk)
    assert exchanges(client) == {"", "y"}


# --- the default exchange ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (Exchange.Declare(exchange=""), DECLARE),
        (Exchange.Declare(exchange="", passive=True), DECLARE),
        (Exchange.Delete(exchange=""), DELETE),
        (Exchange.Bind(destination="", source="amq.direct"), BIND),
        (Exchange.Bind(destination="amq.direct", source=""), BIND),
        (Exchange.Bind(destination="", source="nope"), BIND),
        (Exchange.Unbind(destination="", source="amq.direct"), UNBIND),
        (Exchange.Unbind(destination="amq.direct", source=""), UNBIND),
        (Queue.Bind(queue="q", exchange="", routing_key="k"), (50, 20)),
        (Queue.Bind(queue="nope", exchange="", routing_key="k"), (50, 20)),
        (Queue.Unbind(queue="q", exchange="", routing_key="k"), (50, 50)),
    ],
)
def test_nothing_can_be_done_to_the_default_exchange(
    client: FakeClient, call: Frame, at: tuple[int, int]
) -> None:
    client.declare("q")
    client.send(call)
    client.expect_channel_closed(403, ON_DEFAULT, at)


def test_the_default_exchange_leads_to_the_queue_of_that_name(client: FakeClient) -> None:
    client.declare("q")
    assert routed(client, "", "q")
    assert not routed(client, "", "Q")
    assert not routed(client, "", "")
    client.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    assert not routed(client, "", "q")
    client.declare("q")
    assert routed(client, "", "q")


def test_the_name_in_texts_is_no_name_of_the_default_exchange(client: FakeClient) -> None:
    client.publish(b"", "q", exchange="amq.default")
    client.expect_channel_closed(404, "NOT_FOUND - no exchange 'amq.default' in vhost '/'", PUBLISH)


# --- delete -----------------------------------------------------------------------------------


def test_a_missing_exchange_is_as_good_as_deleted(client: FakeClient) -> None:
    client.request(Exchange.Delete(exchange="nope"), Exchange.DeleteOk)


@pytest.mark.parametrize("name", ["amq.direct", "amq.none"])
def test_standard_exchanges_cannot_be_deleted(client: FakeClient, name: str) -> None:
    client.send(Exchange.Delete(exchange=name))
    client.expect_channel_closed(
        403,
        f"ACCESS_REFUSED - deletion of system exchange '{name}' in vhost '/' not allowed",
        DELETE,
    )


def test_an_exchange_in_use_is_one_that_is_a_source(client: FakeClient) -> None:
    client.declare("q")
    declare(client, "x")
    bind(client, "x", "amq.direct")
    client.bind("q", "x", "k")
    client.send(Exchange.Delete(exchange="x", if_unused=True))
    client.expect_channel_closed(
        406, "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use", DELETE
    )
    client.open_channel(1)
    client.request(Queue.Unbind(queue="q", exchange="x", routing_key="k"), Queue.UnbindOk)
    client.request(Exchange.Delete(exchange="x", if_unused=True), Exchange.DeleteOk)
    assert exchanges(client) == {""}


def test_bindings_go_with_their_exchange(client: FakeClient) -> None:
    client.declare("q")
    declare(client, "x")
    declare(client, "y")
    client.bind("q", "x", "k")
    bind(client, "x", "y", "k")
    bind(client, "x", "x", "k")
    bind(client, "y", "x", "k")
    assert routed(client, "y")
    client.request(Exchange.Delete(exchange="x"), Exchange.DeleteOk)
    vhost = client.connection.vhost
    assert not vhost.queue("q").destination_of
    assert not vhost.exchange("y").bindings
    assert not vhost.exchange("y").destination_of
    assert not routed(client, "y")
    client.publish(b"", "k", exchange="x")
    client.expect_channel_closed(404, "NOT_FOUND - no exchange 'x' in vhost '/'", PUBLISH)


# --- auto-delete ------------------------------------------------------------------------------


@pytest.fixture
def chain(client: FakeClient) -> FakeClient:
    """x leads to y leads to z leads to q, all of them auto-delete exchanges."""
    client.declare("q")
    for name in "xyz":
        declare(client, name, auto_delete=True)
    bind(client, "y", "x", "k")
    bind(client, "z", "y", "k")
    client.bind("q", "z", "k")
    assert routed(client, "x")
    return client


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (Queue.Unbind(queue="q", exchange="z", routing_key="k"), Queue.UnbindOk),
        (Queue.Delete(queue="q"), Queue.DeleteOk),
        (Exchange.Delete(exchange="z"), Exchange.DeleteOk),
    ],
)
def test_an_auto_delete_exchange_goes_with_its_last_binding_and_so_on(
    chain: FakeClient, call: Frame, answer: type[Frame]
) -> None:
    chain.request(call, answer)
    assert exchanges(chain) == {""}


def test_an_auto_delete_exchange_stays_while_it_has_another_binding(chain: FakeClient) -> None:
    chain.bind("q", "y", "other")
    chain.request(Exchange.Delete(exchange="z"), Exchange.DeleteOk)
    assert exchanges(chain) == {"", "x", "y"}
    assert not routed(chain, "x")
    chain.request(Queue.Unbind(queue="q", exchange="y", routing_key="other"), Queue.UnbindOk)
    assert exchanges(chain) == {""}


def test_an_auto_delete_exchange_stays_if_it_never_was_a_source(client: FakeClient) -> None:
    declare(client, "x", auto_delete=True)
    bind(client, "x", "amq.direct")
    client.request(
        Exchange.Unbind(destination="x", source="amq.direct", routing_key=""), Exchange.UnbindOk
    )
    assert exchanges(client) == {"", "x"}


def test_an_auto_delete_exchange_that_leads_to_itself_goes_too(client: FakeClient) -> None:
    for name in "xy":
        declare(client, name, auto_delete=True)
    bind(client, "x", "x")
    bind(client, "y", "x")
    bind(client, "x", "y")
    client.request(Exchange.Delete(exchange="x"), Exchange.DeleteOk)
    assert exchanges(client) == {""}


def test_a_long_chain_goes_as_well(client: FakeClient) -> None:
    client.declare("q")
    names = [f"x{number}" for number in range(2000)]
    for name in names:
        client.send(Exchange.Declare(exchange=name, auto_delete=True, nowait=True))
    for source, destination in pairwise(names):
        client.send(Exchange.Bind(source=source, destination=destination, nowait=True))
    client.bind("q", names[-1], "")
    assert routed(client, names[0], "")
    client.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    assert exchanges(client) == {""}


# --- binding ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "source", "missing"),
    [("nope", "nox", "nox"), ("nope", "amq.direct", "nope"), ("amq.direct", "nox", "nox")],
)
def test_bound_exchanges_must_be_there(
    client: FakeClient, destination: str, source: str, missing: str
) -> None:
    client.send(Exchange.Bind(destination=destination, source=source))
    client.expect_channel_closed(404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'", BIND)


@pytest.mark.parametrize(
    ("destination", "source"),
    [("nope", "nox"), ("nope", "amq.direct"), ("amq.direct", "nox"), ("amq.direct", "amq.fanout")],
)
def test_what_is_not_bound_is_as_good_as_unbound(
    client: FakeClient, destination: str, source: str
) -> None:
    client.request(Exchange.Unbind(destination=destination, source=source), Exchange.UnbindOk)


def test_messages_go_on_from_exchange_to_exchange_once(client: FakeClient) -> None:
    client.declare("q")
    declare(client, "x", "fanout")
    declare(client, "y", "fanout")
    bind(client, "y", "x")
    bind(client, "x", "y")
    bind(client, "x", "x")
    bind(client, "y", "amq.direct", "k")
    client.bind("q", "x")
    client.bind("q", "y")
    client.publish(b"a", "k", exchange="amq.direct")
    got = client.get("q")
    assert (got.call.exchange, got.call.routing_key) == ("amq.direct", "k")
    client.get_nothing("q")


def test_unbinding_exchanges_ends_that(client: FakeClient) -> None:
    client.declare("q")
    declare(client, "x", "fanout")
    client.bind("q", "x")
    bind(client, "x", "amq.direct", "k")
    assert routed(client, "amq.direct")
    client.request(
        Exchange.Unbind(destination="x", source="amq.direct", routing_key="k"), Exchange.UnbindOk
    )
    assert not routed(client, "amq.direct")

import re
from typing import Any

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Queue

from fake_client import FakeClient, message
from leveret.amqp import methods as m
from leveret.amqp.connection_methods import ChannelClose
from leveret.amqp.fields import Field, Table
from leveret.amqp.method_ids import Method

DECLARE, BIND, PURGE, DELETE, UNBIND = (50, 10), (50, 20), (50, 30), (50, 40), (50, 50)
Q = "queue 'q' in vhost '/'"
LOCKED = (
    f"RESOURCE_LOCKED - cannot obtain exclusive access to locked {Q}. It could be originally"
    " declared on another connection or the exclusive property value does not match that of the"
    " original declaration."
)


def typed(arguments: Table, queue: str = "q", *, passive: bool = False) -> m.QueueDeclare:
    """queue.declare with arguments of any type, and a name that pamqp would refuse."""
    return m.QueueDeclare(0, queue, passive, False, False, False, False, arguments)


def queues(client: FakeClient) -> set[str]:
    return set(client.server.broker.vhosts["/"].queues)


# --- declare ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"durable": True},
        {"auto_delete": True},
        {"exclusive": True},
        {"durable": True, "exclusive": True, "auto_delete": True},
    ],
)
def test_a_queue_is_declared_once_and_then_found(
    client: FakeClient, options: dict[str, Any]
) -> None:
    for _ in range(2):
        declared = client.declare("q", **options)
        assert (declared.queue, declared.message_count, declared.consumer_count) == ("q", 0, 0)
    assert queues(client) == {"q"}


def test_declaring_counts_ready_messages_and_consumers(client: FakeClient) -> None:
    client.declare("q")
    client.feed(message(b"a", "q") * 3)
    client.get("q")
    client.send(Basic.Qos(prefetch_count=1))
    client.received()
    client.consume("q")
    assert len(client.deliveries()) == 1
    declared = client.declare("q")
    assert (declared.message_count, declared.consumer_count) == (1, 1)


def test_whether_an_exclusive_queue_is_durable_makes_no_difference(client: FakeClient) -> None:
    client.declare("q", exclusive=True, durable=True)
    client.declare("q", exclusive=True)
    assert not client.connection.vhost.queue("q", client.connection).durable


def test_a_queue_without_a_name_gets_one(client: FakeClient) -> None:
    names = {client.declare("").queue for _ in range(3)}
    assert len(names) == 3
    assert all(re.fullmatch(r"amq\.gen-[\w-]{22}", str(name)) for name in names)
    assert queues(client) == names


def test_line_breaks_are_no_part_of_names_where_rabbitmq_leaves_them_out(
    client: FakeClient,
) -> None:
    assert client.request(typed({}, "q\r\n"), Queue.DeclareOk).queue == "q"
    client.request(m.QueueBind(0, "q\n", "amq.direct\r", "k\n", False, {}), Queue.BindOk)
    client.publish(b"", "k\n", exchange="amq.direct")
    assert client.ready_in("q") == 1
    client.request(m.QueueUnbind(0, "q\n", "amq.direct\r", "k\n", {}), Queue.UnbindOk)
    client.request(m.QueueDelete(0, "q\n", False, False, False), Queue.DeleteOk)
    assert not queues(client)


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (m.QueuePurge(0, "q\n", False), PURGE),
        (m.BasicConsume(0, "q\n", "c", False, False, False, False, {}), (60, 20)),
        (m.BasicGet(0, "q\n", False), (60, 70)),
    ],
)
def test_elsewhere_line_breaks_are_part_of_names(
    client: FakeClient, call: Method, at: tuple[int, int]
) -> None:
    client.declare("q")
    client.send(call)
    client.expect_channel_closed(404, "NOT_FOUND - no queue 'q\n' in vhost '/'", at)


def test_new_names_must_not_look_like_generated_ones(client: FakeClient) -> None:
    client.send(Queue.Declare(queue="amq.foo"))
    client.expect_channel_closed(
        403, "ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'", DECLARE
    )


@pytest.mark.parametrize("name", ["q", "amq.foo", ""])
def test_a_missing_queue_is_not_found_passively(client: FakeClient, name: str) -> None:
    client.declare("other")
    client.send(Queue.Declare(queue=name, passive=True))
    client.expect_channel_closed(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", DECLARE)


def test_passively_flags_and_arguments_make_no_difference(client: FakeClient) -> None:
    client.declare("q")
    client.declare("q", passive=True, durable=True, auto_delete=True, exclusive=True)
    client.request(typed({"x-expires": Field("S", b"soon")}, passive=True), Queue.DeclareOk)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"durable": True, "auto_delete": True}, "'durable' for Q: received 'true'"),
        ({"auto_delete": True}, "'auto_delete' for Q: received 'true'"),
    ],
)
def test_declaring_it_differently_fails_with_the_first_difference(
    client: FakeClient, options: dict[str, Any], difference: str
) -> None:
    client.declare("q")
    client.send(Queue.Declare(queue="q", **options))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - inequivalent arg"
        f" {difference.replace('Q', Q)} but current is 'false'",
        DECLARE,
    )


# --- exclusive queues -------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False)])
def test_exclusive_is_compared_before_durable(
    client: FakeClient, first: bool, second: bool
) -> None:
    client.declare("q", exclusive=first)
    client.send(Queue.Declare(queue="q", exclusive=second, durable=True))
    client.expect_channel_closed(405, LOCKED, DECLARE)


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (Queue.Declare(queue="q", exclusive=True), DECLARE),
        (Queue.Declare(queue="q"), DECLARE),
        (Queue.Declare(queue="q", passive=True), DECLARE),
        (Queue.Bind(queue="q", exchange="amq.direct", routing_key="k"), BIND),
        (Queue.Unbind(queue="q", exchange="amq.direct", routing_key="bound"), UNBIND),
        (Queue.Purge(queue="q"), PURGE),
        (Queue.Delete(queue="q"), DELETE),
        (Basic.Get(queue="q"), (60, 70)),
        (Basic.Consume(queue="q"), (60, 20)),
    ],
)
def test_others_may_not_use_an_exclusive_queue(
    client: FakeClient, other: FakeClient, call: Frame, at: tuple[int, int]
) -> None:
    client.declare("q", exclusive=True)
    client.bind("q", "amq.direct", "bound")
    other.send(call)
    other.expect_channel_closed(405, LOCKED, at)


def test_others_may_publish_to_an_exclusive_queue(client: FakeClient, other: FakeClient) -> None:
    client.declare("q", exclusive=True)
    other.publish(b"a", "q")
    other.request(
        Queue.Unbind(queue="q", exchange="amq.direct", routing_key="never bound"), Queue.UnbindOk
    )
    assert client.get("q").body == b"a"


def test_an_exclusive_queue_is_its_connections_whatever_the_channel(client: FakeClient) -> None:
    client.declare("q", exclusive=True)
    client.send(Basic.Consume(queue="q", consumer_tag="c"))
    client.expect(Basic.ConsumeOk)
    client.open_channel(2)
    client.declare("q", channel=2, exclusive=True)
    client.consume("q", "d", channel=2)


def test_an_exclusive_queue_outlives_channels_but_not_its_connection(
    client: FakeClient, other: FakeClient
) -> None:
    client.open_channel(2)
    client.declare("q", channel=2, exclusive=True)
    client.bind("q", "amq.direct", "k")
    client.send(ChannelClose(200, "", 0, 0), channel=2)
    client.received()
    assert client.ready_in("q") == 0
    client.disconnect()
    assert not queues(other)
    assert not other.connection.vhost.exchange("amq.direct").bindings


# --- bind and unbind --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "exchange", "missing"),
    [
        ("nope", "nox", "exchange 'nox'"),
        ("q", "nox", "exchange 'nox'"),
        ("nope", "amq.direct", "queue 'nope'"),
    ],
)
def test_what_is_bound_must_be_there(
    client: FakeClient, queue: str, exchange: str, missing: str
) -> None:
    client.declare("q")
    client.send(Queue.Bind(queue=queue, exchange=exchange, routing_key="k"))
    client.expect_channel_closed(404, f"NOT_FOUND - no {missing} in vhost '/'", BIND)


@pytest.mark.parametrize(
    ("queue", "exchange"),
    [("nope", "nox"), ("q", "nox"), ("nope", "amq.direct"), ("q", "amq.direct")],
)
def test_what_is_not_bound_is_as_good_as_unbound(
    client: FakeClient, queue: str, exchange: str
) -> None:
    client.declare("q")
    client.request(Queue.Unbind(queue=queue, exchange=exchange, routing_key="k"), Queue.UnbindOk)


def test_binding_twice_makes_one_binding(client: FakeClient) -> None:
    client.declare("q")
    client.bind("q", "amq.direct", "k", b=1, a=2)
    bind = m.QueueBind(0, "q", "amq.direct", "k", False, {"a": Field("b", 2), "b": Field("b", 1)})
    client.request(bind, Queue.BindOk)
    assert len(client.connection.vhost.exchange("amq.direct").bindings) == 1
    bind = m.QueueBind(0, "q", "amq.direct", "k", False, {"a": Field("s", 2), "b": Field("b", 1)})
    client.request(bind, Queue.BindOk)
    assert len(client.connection.vhost.exchange("amq.direct").bindings) == 2


def test_without_wait_nothing_comes_back(client: FakeClient) -> None:
    client.send(
        Queue.Declare(queue="q", nowait=True),
        Queue.Bind(queue="q", exchange="amq.direct", routing_key="k", nowait=True),
        Queue.Purge(queue="q", nowait=True),
        Queue.Delete(queue="q", nowait=True),
        Queue.Delete(queue="q", nowait=True),
    )
    assert not client.received()
    assert not queues(client)
    client.send(Queue.Purge(queue="q", nowait=True))
    client.expect_channel_closed(404, "NOT_FOUND - no queue 'q' in vhost '/'", PURGE)


# --- purge and delete -------------------------------------------------------------------------


def test_purging_drops_what_is_ready(client: FakeClient) -> None:
    client.declare("q")
    client.feed(message(b"a", "q") + message(b"b", "q") + message(b"c", "q"))
    client.get("q")
    client.get("q")
    client.send(Basic.Nack(2, requeue=True))
    assert client.request(Queue.Purge(queue="q"), Queue.PurgeOk).message_count == 2
    client.get_nothing("q")
    client.send(Basic.Nack(1, requeue=True))
    assert client.get("q").body == b"a"


def test_a_missing_queue_is_not_purged(client: FakeClient) -> None:
    client.send(Queue.Purge(queue="nope"))
    client.expect_channel_closed(404, "NOT_FOUND - no queue 'nope' in vhost '/'", PURGE)


def test_a_missing_queue_is_as_good_as_deleted(client: FakeClient) -> None:
    assert client.request(Queue.Delete(queue="nope"), Queue.DeleteOk).message_count == 0


def test_deleting_counts_ready_messages(client: FakeClient) -> None:
    client.declare("q")
    client.feed(message(b"a", "q") * 3)
    client.get("q")
    assert client.request(Queue.Delete(queue="q"), Queue.DeleteOk).message_count == 2
    assert not queues(client)


def test_a_queue_can_be_spared_if_it_is_used_or_not_empty(client: FakeClient) -> None:
    client.declare("q")
    client.publish(b"a", "q")
    client.send(Queue.Delete(queue="q", if_empty=True, if_unused=True))
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {Q} not empty", DELETE)
    client.open_channel(1)
    client.consume("q", no_ack=True)
    assert client.bodies() == [b"a"]
    client.send(Queue.Delete(queue="q", if_empty=True, if_unused=True))
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {Q} in use", DELETE)
    client.open_channel(1)
    client.request(Queue.Delete(queue="q", if_empty=True, if_unused=True), Queue.DeleteOk)


def test_a_new_queue_of_the_same_name_has_nothing_of_the_old_one(client: FakeClient) -> None:
    client.declare("q")
    client.bind("q", "amq.direct", "k")
    client.feed(message(b"a", "q") * 2)
    client.get("q")
    client.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    client.declare("q")
    client.publish(b"b", "k", exchange="amq.direct")
    client.get_nothing("q")
    client.send(Basic.Nack(1, requeue=True))
    client.get_nothing("q")


# --- auto-delete ------------------------------------------------------------------------------


def test_an_auto_delete_queue_stays_until_it_has_had_a_consumer(client: FakeClient) -> None:
    client.declare("q", auto_delete=True)
    client.publish(b"a", "q")
    client.get("q", no_ack=True)
    assert queues(client) == {"q"}


@pytest.mark.parametrize("end", ["cancel", "channel", "connection"])
def test_an_auto_delete_queue_goes_with_its_last_consumer(
    client: FakeClient, other: FakeClient, end: str
) -> None:
    client.declare("q", auto_delete=True)
    client.consume("q", "c")
    other.consume("q", "d")
    other.request(Basic.Cancel("d"), Basic.CancelOk)
    assert queues(client) == {"q"}
    match end:
        case "cancel":
            client.request(Basic.Cancel("c"), Basic.CancelOk)
        case "channel":
            client.send(ChannelClose(200, "", 0, 0))
        case _:
            client.disconnect()
    assert not queues(client)


def test_an_exclusive_auto_delete_queue_goes_once(client: FakeClient) -> None:
    client.declare("q", auto_delete=True, exclusive=True)
    client.consume("q")
    client.disconnect()
    assert not queues(client)


# --- x-expires --------------------------------------------------------------------------------


def test_an_unused_queue_expires(client: FakeClient) -> None:
    client.declare("q", arguments={"x-expires": 1000})
    client.publish(b"a", "q")
    client.server.advance(0.9)
    client.publish(b"b", "q")
    assert queues(client) == {"q"}
    client.server.advance(0.1)
    assert not queues(client)


@pytest.mark.parametrize(
    "use",
    [
        Queue.Declare(queue="q", arguments={"x-expires": 1000}),
        Queue.Declare(queue="q", passive=True),
        Basic.Get(queue="q"),
    ],
)
def test_using_a_queue_renews_it(client: FakeClient, use: Frame) -> None:
    client.declare("q", arguments={"x-expires": 1000})
    for _ in range(5):
        client.server.advance(0.9)
        client.send(use)
    assert queues(client) == {"q"}
    client.server.advance(1)
    assert not queues(client)


def test_a_queue_with_consumers_does_not_expire(client: FakeClient) -> None:
    client.declare("q", arguments={"x-expires": 1000})
    client.consume("q")
    client.server.advance(10)
    assert queues(client) == {"q"}
    client.request(Basic.Cancel("c"), Basic.CancelOk)
    client.server.advance(0.9)
    assert queues(client) == {"q"}
    client.server.advance(0.1)
    assert not queues(client)


def test_a_deleted_queue_does_not_expire_its_successor(client: FakeClient) -> None:
    client.declare("q", arguments={"x-expires": 1000})
    client.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    client.declare("q")
    client.server.advance(10)
    assert queues(client) == {"q"}
    assert client.server.broker.timers.next_deadline() is None

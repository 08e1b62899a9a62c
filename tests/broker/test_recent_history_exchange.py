"""x-recent-history."""

from typing import Any

import pytest
from pamqp.commands import Basic, Exchange, Queue, Tx

from durable_server import DurableServer
from exchange_client import bind_exchange, bind_queues, bodies_in, declare_exchange
from fake_client import FakeClient, FakeServer

LENGTH = "x-recent-history-length"
NO_STORE = "x-recent-history-no-store"


def publish(client: FakeClient, *numbers: int, **options: Any) -> None:
    for number in numbers:
        client.publish(b"%d" % number, f"key.{number}", exchange="x", **options)


def test_every_bound_queue_gets_every_message(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    bind_queues(client, a="", b="other")
    publish(client, 1, 2)
    assert bodies_in(client, "a") == bodies_in(client, "b") == [b"1", b"2"]


def test_new_binding_gets_the_last_messages_in_order(client: FakeClient):
    declare_exchange(client, "x-recent-history", arguments={LENGTH: 3})
    publish(client, *range(5))
    bind_queues(client, a="")
    assert bodies_in(client, "a") == [b"2", b"3", b"4"]


def test_unbound_queue_gets_no_more(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    bind_queues(client, a="", b="")
    client.request(Queue.Unbind(queue="a", exchange="x", routing_key=""), Queue.UnbindOk)
    publish(client, 1)
    assert (bodies_in(client, "a"), bodies_in(client, "b")) == ([], [b"1"])


def test_twenty_messages_are_remembered_if_nothing_else_is_said(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    publish(client, *range(25))
    bind_queues(client, a="")
    assert bodies_in(client, "a") == [b"%d" % number for number in range(5, 25)]


def test_remembered_messages_come_as_they_were_published(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    publish(client, 1, message_id="m", headers={"h": 1})
    bind_queues(client, a="")
    got = client.get("a")
    assert (got.call.exchange, got.call.routing_key, got.call.redelivered) == ("x", "key.1", False)
    assert (got.properties.message_id, got.headers) == ("m", {"h": 1})


def test_remembered_messages_stand_behind_what_the_queue_holds(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    publish(client, 1)
    client.declare("a")
    client.publish(b"first", "a")
    client.bind("a", "x")
    publish(client, 2)
    assert bodies_in(client, "a") == [b"first", b"1", b"2"]


def test_remembered_messages_reach_a_waiting_consumer(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    publish(client, 1, 2)
    client.declare("a")
    client.consume("a")
    client.request(Queue.Bind(queue="a", exchange="x"), Queue.BindOk)
    assert client.bodies() == [b"1", b"2"]


def test_another_binding_of_the_queue_gets_them_again_but_the_same_one_does_not(
    client: FakeClient,
):
    declare_exchange(client, "x-recent-history")
    publish(client, 1)
    bind_queues(client, a="")
    client.bind("a", "x", "other")
    client.bind("a", "x", "other")
    assert bodies_in(client, "a") == [b"1", b"1"]


@pytest.mark.parametrize(("value", "remembered"), [(True, False), (False, True), ("true", True)])
def test_no_store_keeps_a_message_from_being_remembered(
    client: FakeClient, value: Any, remembered: bool
):
    declare_exchange(client, "x-recent-history")
    bind_queues(client, a="")
    publish(client, 1, headers={NO_STORE: value})
    assert bodies_in(client, "a") == [b"1"]
    bind_queues(client, b="")
    assert bodies_in(client, "b") == ([b"1"] if remembered else [])


def test_message_with_several_keys_is_remembered_once(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    publish(client, 1, headers={"CC": ["a", "b"]})
    bind_queues(client, a="")
    assert bodies_in(client, "a") == [b"1"]


def test_bound_exchange_routes_what_is_remembered(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    declare_exchange(client, "direct", "y")
    client.declare("a")
    for key in ("key.1", "key.3", "copy"):
        client.bind("a", "y", key)
    publish(client, 1, 2, 3)
    publish(client, 4, headers={"BCC": ["copy"]})
    bind_exchange(client, "y", "x")
    assert bodies_in(client, "a") == [b"1", b"3", b"4"]


def test_exchange_behind_another_remembers(client: FakeClient):
    declare_exchange(client, "fanout")
    declare_exchange(client, "x-recent-history", "y")
    bind_exchange(client, "y", "x")
    publish(client, 1, 2)
    client.declare("a")
    client.bind("a", "y")
    assert bodies_in(client, "a") == [b"1", b"2"]


def test_rolled_back_message_is_remembered(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    client.request(Tx.Select(), Tx.SelectOk)
    publish(client, 1)
    client.request(Tx.Rollback(), Tx.RollbackOk)
    bind_queues(client, a="")
    assert bodies_in(client, "a") == [b"1"]


def test_expiration_counts_from_the_binding(server: FakeServer, client: FakeClient):
    declare_exchange(client, "x-recent-history")
    publish(client, 1, expiration="1000")
    server.advance(5)
    bind_queues(client, a="")
    assert client.ready_in("a") == 1
    server.advance(1)
    assert client.ready_in("a") == 0


@pytest.mark.parametrize(
    ("length", "shown"),
    [(0, "0"), (-1, "-1"), ("five", '<<"five">>'), (True, "true"), (None, "undefined")],
)
def test_length_that_is_no_positive_number_is_refused(client: FakeClient, length: Any, shown: str):
    client.send(
        Exchange.Declare(exchange="x", exchange_type="x-recent-history", arguments={LENGTH: length})
    )
    client.expect_channel_closed(
        406,
        f"PRECONDITION_FAILED - Invalid argument {shown}, '{LENGTH}' must be a positive integer",
        (40, 10),
    )


def test_persistent_message_handed_on_to_a_durable_queue_survives_a_restart():
    server = DurableServer()
    client = server.connect()
    declare_exchange(client, "x-recent-history", durable=True)
    publish(client, 1, delivery_mode=2)
    publish(client, 2)
    client.declare("a", durable=True)
    client.bind("a", "x")
    client = server.restarted().connect()
    assert bodies_in(client, "a") == [b"1"]


def test_each_queue_settles_its_own_copy():
    server = DurableServer()
    client = server.connect()
    declare_exchange(client, "x-recent-history", durable=True)
    for queue in "ab":
        client.declare(queue, durable=True)
        client.bind(queue, "x")
        publish(client, 1, delivery_mode=2)
    got = client.get("a")
    client.send(Basic.Ack(got.call.delivery_tag))
    client = server.restarted().connect()
    assert bodies_in(client, "a") == [b"1"]
    assert bodies_in(client, "b") == [b"1", b"1"]


def test_history_ends_with_the_broker_but_the_exchange_stays():
    server = DurableServer()
    client = server.connect()
    declare_exchange(client, "x-recent-history", durable=True, arguments={LENGTH: 1})
    publish(client, 1, delivery_mode=2)
    client = server.restarted().connect()
    bind_queues(client, a="")
    assert bodies_in(client, "a") == []
    publish(client, 2, 3)
    bind_queues(client, b="")
    assert bodies_in(client, "b") == [b"3"]


def test_oldest_messages_are_forgotten_past_32_mib(client: FakeClient):
    declare_exchange(client, "x-recent-history")
    for number in range(5):
        client.publish(b"%d" % number + bytes(10 << 20), exchange="x")
    bind_queues(client, a="")
    assert [body[:1] for body in bodies_in(client, "a")] == [b"2", b"3", b"4"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_older_messages_are_forgotten_when_memory_is_short(in_memory: bool):
    server = FakeServer() if in_memory else DurableServer()
    server.broker.memory.budget_bytes = 1 << 20
    client = server.connect()
    declare_exchange(client, "x-recent-history", arguments={LENGTH: 1000})
    for number in range(100):
        client.publish(b"%d" % number + bytes(100_000), exchange="x")
        server.end_turn()
    assert not server.broker.alarms
    exchange = server.broker.vhosts["/"].exchanges["x"]
    assert 0 < sum(each.memory_bytes for each in exchange.holds) <= 1_200_000
    bind_queues(client, a="")
    remembered = [int(body.rstrip(b"\0")) for body in bodies_in(client, "a")]
    assert remembered == list(range(100 - len(remembered), 100))

"""x-delayed-message: what is delayed, for how long, and where it goes then."""

from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Exchange, Queue, Tx

from delayed import KIND, declare, exchange_of, publish
from exchange_client import bind_exchange, bind_queues, bodies_in, declare_exchange
from fake_client import FakeClient, FakeServer
from leveret.broker.due_heap import DueHeap


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    return server.connect()


# --- delays -----------------------------------------------------------------------------------


def test_a_message_is_routed_when_its_delay_is_over(server: FakeServer, client: FakeClient):
    declare(client)
    bind_queues(client, a="k")
    publish(client, b"1", 1000)
    assert (client.ready_in("a"), exchange_of(server).messages_delayed) == (0, 1)
    server.advance(0.999)
    assert client.ready_in("a") == 0
    server.advance(0.001)
    got = client.get("a", no_ack=True)
    assert (got.body, got.call.exchange, got.call.routing_key) == (b"1", "x", "k")
    assert got.headers == {"x-delay": -1000}
    assert exchange_of(server).messages_delayed == 0


def test_other_headers_and_properties_stay(server: FakeServer, client: FakeClient):
    declare(client)
    bind_queues(client, a="k")
    publish(client, b"1", 10, headers={"h": [1, "two"]}, message_id="m", priority=3)
    server.advance(1)
    got = client.get("a", no_ack=True)
    assert (got.properties.message_id, got.properties.priority) == ("m", 3)
    assert got.headers == {"x-delay": -10, "h": [1, "two"]}


@pytest.mark.parametrize("delay", ["1000", 1000.9, 1000])
def test_a_delay_may_be_a_number_or_a_string_of_digits(
    server: FakeServer, client: FakeClient, delay: Any
):
    declare(client)
    bind_queues(client, a="k")
    publish(client, b"1", delay)
    server.advance(0.999)
    assert client.ready_in("a") == 0
    server.advance(0.001)
    assert client.get("a", no_ack=True).headers == {"x-delay": -1000}


@pytest.mark.parametrize("delay", [None, 0, -1, 1 << 32, "", "soon", True, [5], "9" * 5000])
def test_anything_else_is_no_delay(server: FakeServer, client: FakeClient, delay: Any):
    declare(client)
    bind_queues(client, a="k")
    publish(client, b"1", delay)
    assert bodies_in(client, "a") == [b"1"]


def test_the_longest_delay_is_49_days(server: FakeServer, client: FakeClient):
    declare(client)
    bind_queues(client, a="k")
    publish(client, b"1", (1 << 32) - 1)
    server.advance(4294967.294)
    assert client.ready_in("a") == 0
    server.advance(0.002)
    assert client.ready_in("a") == 1


def test_messages_come_in_the_order_of_their_due_times_and_equal_ones_as_published(
    server: FakeServer, client: FakeClient
):
    declare(client)
    bind_queues(client, a="k")
    for body, delay in ((b"3", 30), (b"1", 10), (b"2", 20), (b"2'", 20), (b"1'", 10)):
        publish(client, body, delay)
    server.advance(1)
    assert bodies_in(client, "a") == [b"1", b"1'", b"2", b"2'", b"3"]


def test_more_messages_than_a_turn_takes_are_all_delivered(server: FakeServer, client: FakeClient):
    declare(client)
    bind_queues(client, a="k")
    for number in range(2500):
        publish(client, b"%d" % number, 100)
    server.advance(1)
    for _ in range(3):
        server.end_turn()
    assert client.ready_in("a") == 2500


def test_idle_exchange_has_no_timer_and_a_full_one_has_one(server: FakeServer, client: FakeClient):
    timers = server.broker.timers
    before = timers.next_deadline()
    declare(client)
    assert timers.next_deadline() == before
    for _ in range(100):
        publish(client, b"", 5000)
    publish(client, b"", 2000)
    assert timers.next_deadline() == timers.now + 2
    server.advance(10)
    assert timers.next_deadline() == before


# --- routing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routing", "binding", "key"),
    [("direct", "k", "k"), ("fanout", "", "any"), ("topic", "a.*", "a.b"), ("x-random", "", "")],
)
def test_it_routes_as_the_type_it_names(
    server: FakeServer, client: FakeClient, routing: str, binding: str, key: str
):
    declare(client, routing)
    bind_queues(client, a=binding)
    publish(client, b"late", 10, key)
    publish(client, b"now", None, key)
    server.advance(1)
    assert bodies_in(client, "a") == [b"now", b"late"]


def test_bindings_count_as_they_are_when_a_message_is_due(server: FakeServer, client: FakeClient):
    declare(client)
    bind_queues(client, a="k")
    publish(client, b"1", 100)
    client.request(Queue.Unbind(queue="a", exchange="x", routing_key="k"), Queue.UnbindOk)
    bind_queues(client, b="k")
    server.advance(1)
    assert (bodies_in(client, "a"), bodies_in(client, "b")) == ([], [b"1"])


def test_cc_and_bcc_count_when_a_message_is_due(server: FakeServer, client: FakeClient):
    declare(client)
    bind_queues(client, a="k", b="copy", c="blind")
    publish(client, b"1", 100, headers={"CC": ["copy"], "BCC": ["blind"]})
    server.advance(1)
    assert [bodies_in(client, queue) for queue in "abc"] == [[b"1"]] * 3


def test_alternate_exchange_gets_what_leads_nowhere_when_it_is_due(
    server: FakeServer, client: FakeClient
):
    declare(client, arguments={"alternate-exchange": "amq.fanout"})
    client.declare("a")
    client.bind("a", "amq.fanout")
    publish(client, b"1", 100)
    assert client.ready_in("a") == 0
    server.advance(1)
    assert bodies_in(client, "a") == [b"1"]


def test_message_from_another_exchange_is_delayed_on_its_way(
    server: FakeServer, client: FakeClient
):
    declare_exchange(client, "fanout", "front")
    declare(client, "fanout")
    bind_exchange(client, "x", "front")
    bind_queues(client, a="")
    client.declare("b")
    client.bind("b", "front")
    publish(client, b"1", 100, exchange="front")
    assert bodies_in(client, "b") == [b"1"]
    assert client.ready_in("a") == 0
    server.advance(1)
    got = client.get("a", no_ack=True)
    assert (got.body, got.call.exchange) == (b"1", "front")


def test_a_second_delayed_exchange_does_not_delay_again(server: FakeServer, client: FakeClient):
    declare(client, "fanout", "y")
    declare(client, "fanout")
    bind_exchange(client, "y", "x")
    client.declare("a")
    client.bind("a", "y")
    publish(client, b"1", 100)
    server.advance(0.1)
    assert bodies_in(client, "a") == [b"1"]


def test_dead_letter_is_delayed(server: FakeServer, client: FakeClient):
    declare(client)
    bind_queues(client, a="k")
    dead = {"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "k", "x-message-ttl": 0}
    client.declare("q", arguments=dead)
    client.publish(b"1", "q", headers={"x-delay": 100})
    assert client.ready_in("a") == 0
    server.advance(0.1)
    assert bodies_in(client, "a") == [b"1"]


def test_expiration_counts_from_when_a_message_is_due(server: FakeServer, client: FakeClient):
    declare(client)
    bind_queues(client, a="k")
    publish(client, b"1", 1000, expiration="500")
    server.advance(1)
    assert client.ready_in("a") == 1
    server.advance(0.5)
    assert client.ready_in("a") == 0


# --- publishing -------------------------------------------------------------------------------


def test_mandatory_delayed_message_is_returned_and_delivered_all_the_same(
    server: FakeServer, client: FakeClient
):
    declare(client)
    bind_queues(client, a="k")
    publish(client, b"1", 100, mandatory=True)
    assert client.expect_content(Basic.Return).body == b"1"
    server.advance(1)
    assert bodies_in(client, "a") == [b"1"]


def test_delayed_message_is_confirmed(server: FakeServer, client: FakeClient):
    declare(client)
    client.request(Confirm.Select(), Confirm.SelectOk)
    publish(client, b"1", 100)
    assert client.expect(Basic.Ack).delivery_tag == 1


def test_delay_counts_from_the_commit_and_a_rolled_back_message_is_gone(
    server: FakeServer, client: FakeClient
):
    declare(client)
    bind_queues(client, a="k")
    client.request(Tx.Select(), Tx.SelectOk)
    publish(client, b"gone", 100)
    client.request(Tx.Rollback(), Tx.RollbackOk)
    publish(client, b"1", 100)
    server.advance(1)
    assert client.ready_in("a") == 0
    client.request(Tx.Commit(), Tx.CommitOk)
    server.advance(0.1)
    assert bodies_in(client, "a") == [b"1"]


# --- declaring and deleting -------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{}, {"x-delayed-type": 5}])
def test_it_must_name_a_type(client: FakeClient, arguments: dict[str, Any]):
    client.send(Exchange.Declare(exchange="x", exchange_type=KIND, arguments=arguments))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing"
        " exchange type",
        (40, 10),
    )


def test_it_cannot_delay_for_its_own_kind(client: FakeClient):
    arguments: dict[str, Any] = {"x-delayed-type": KIND}
    client.send(Exchange.Declare(exchange="x", exchange_type=KIND, arguments=arguments))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - Invalid argument, 'x-delayed-message' can't be used for"
        " 'x-delayed-type'",
        (40, 10),
    )


def test_an_unknown_type_is_refused_as_one_that_is_declared(client: FakeClient):
    arguments: dict[str, Any] = {"x-delayed-type": "x-none"}
    client.send(Exchange.Declare(exchange="x", exchange_type=KIND, arguments=arguments))
    client.expect_connection_closed(
        503, "COMMAND_INVALID - unknown exchange type 'x-none'", (40, 10)
    )


def test_declaring_it_again_keeps_what_is_delayed(server: FakeServer, client: FakeClient):
    declare(client)
    publish(client, b"1", 100)
    declare(client)
    assert exchange_of(server).messages_delayed == 1


def test_deleting_the_exchange_drops_what_is_delayed(server: FakeServer, client: FakeClient):
    before = server.broker.timers.next_deadline()
    declare(client, "fanout")
    publish(client, b"1", 100)
    client.request(Exchange.Delete(exchange="x"), Exchange.DeleteOk)
    assert server.broker.timers.next_deadline() == before
    declare(client, "fanout")
    bind_queues(client, a="")
    server.advance(1)
    assert bodies_in(client, "a") == []


def test_heap_of_due_times_gives_them_in_order():
    heap = DueHeap()
    entries = [(due * 7919 % 101, number) for number, due in enumerate(range(500))]
    for due_ms, number in entries:
        heap.push(due_ms, number)
    assert [heap.pop() for _ in range(len(heap))] == sorted(entries)

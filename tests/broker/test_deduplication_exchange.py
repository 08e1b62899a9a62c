"""x-message-deduplication."""

from typing import Any

import pytest
from pamqp.commands import Exchange, Tx

from durable_server import DurableServer
from exchange_client import bind_queues, bodies_in, declare_exchange
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.broker.policy import Policy
from leveret.broker.seen_values import ENTRY_BYTES

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
    ],
)
def test_bad_arguments_are_refused(client: FakeClient, arguments: dict[str, Any], text: str):
    client.send(Exchange.Declare(exchange="x", exchange_type=KIND, arguments=arguments))
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (40, 10))


def test_values_whose_time_is_over_take_no_memory(server: FakeServer, client: FakeClient):
    declare(client, 1_000_000, x_cache_ttl=1000)
    exchange = server.broker.vhosts["/"].exchanges["x"]
    (values,) = exchange.holds
    used: set[int] = set()
    for _ in range(10):
        publish(client, *range(100))
        used.add(values.memory_bytes)
        server.advance(1)
    assert len(used) == 1


def test_a_policy_counts_more_than_the_arguments(server: FakeServer, client: FakeClient):
    declare(client, 1, x_cache_ttl=1000)
    policies = server.broker.vhosts["/"].policies
    policies.set(Policy("p", "x", {"x-cache-size": 2, "x-cache-ttl": 5000}))
    publish(client, "a", "b", "a")
    server.advance(4.999)
    publish(client, "a", "b")
    assert bodies_in(client, "a") == [b"a", b"b"]
    policies.delete("p")
    publish(client, "c", "b")
    assert bodies_in(client, "a") == [b"c", b"b"]


def test_a_value_counts_as_seen_when_its_transaction_is_rolled_back(client: FakeClient):
    declare(client)
    client.request(Tx.Select(), Tx.SelectOk)
    publish(client, "a")
    client.request(Tx.Rollback(), Tx.RollbackOk)
    publish(client, "a", "b")
    client.request(Tx.Commit(), Tx.CommitOk)
    assert bodies_in(client, "a") == [b"b"]


def test_it_can_stand_behind_a_delay(server: FakeServer, client: FakeClient):
    arguments = {"x-cache-size": 10, "x-delayed-type": KIND, "x-cache-ttl": 1000}
    declare_exchange(client, "x-delayed-message", arguments=arguments)
    bind_queues(client, a="")
    publish(client, "a", "a", "b", **{"x-delay": 500})
    server.advance(0.5)
    assert bodies_in(client, "a") == [b"a", b"b"]


def test_it_cannot_stand_behind_a_delay_with_its_values_on_disk(client: FakeClient):
    arguments = {"x-cache-size": 1, "x-delayed-type": KIND, "x-cache-persistence": "disk"}
    client.send(
        Exchange.Declare(
            exchange="x", exchange_type="x-delayed-message", durable=True, arguments=arguments
        )
    )
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' 'x-message-deduplication' cannot"
        " keep anything on disk",
        (40, 10),
    )


# --- on disk ----------------------------------------------------------------------------------


def declare_durable(client: FakeClient, size: int = 10, **arguments: Any) -> None:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    arguments = {"x-cache-size": size, "x-cache-persistence": "disk", **named}
    declare_exchange(client, KIND, durable=True, arguments=arguments)
    client.declare("a", durable=True)
    client.bind("a", "x")


@pytest.mark.parametrize("clean", [True, False])
def test_values_on_disk_are_known_after_a_restart(clean: bool):
    server = DurableServer()
    client = server.connect()
    declare_durable(client)
    publish(client, "a", "b", "long" * 100)
    for new in ("c", "d"):
        server = server.restarted(clean=clean)
        client = server.connect()
        publish(client, "a", new, "long" * 100)
        assert bodies_in(client, "a") == [new.encode()]


def test_values_in_memory_are_forgotten_by_a_restart():
    server = DurableServer()
    client = server.connect()
    declare_durable(client, x_cache_persistence="memory")
    publish(client, "a")
    assert server.journal.statistics().messages == 0
    client = server.restarted().connect()
    publish(client, "a")
    assert bodies_in(client, "a") == [b"a"]


def test_an_exchange_that_is_not_durable_keeps_nothing_on_disk():
    server = DurableServer()
    client = server.connect()
    declare(client, x_cache_persistence="disk")
    publish(client, "a", "a")
    assert bodies_in(client, "a") == [b"a"]
    assert server.journal.statistics().messages == 0


def test_without_a_disk_values_stay_in_memory(client: FakeClient):
    declare_durable(client)
    publish(client, "a", "a")
    assert bodies_in(client, "a") == [b"a"]


def test_times_go_on_over_a_restart():
    server = DurableServer()
    client = server.connect()
    declare_durable(client, x_cache_ttl=10_000)
    publish(client, "a")
    server.advance(4)
    server = server.restarted(after_s=5.999)
    client = server.connect()
    publish(client, "a")
    assert client.ready_in("a") == 0
    server.advance(0.001)
    publish(client, "a")
    assert bodies_in(client, "a") == [b"a"]


def test_the_oldest_value_gives_way_also_after_a_restart():
    server = DurableServer()
    client = server.connect()
    declare_durable(client, 3)
    publish(client, "a", "b", "c", "d")
    server = server.restarted()
    client = server.connect()
    publish(client, "e", "c", "d")
    assert bodies_in(client, "a") == [b"e"]
    client = server.restarted().connect()
    publish(client, "e", "d", "b", "c")
    assert bodies_in(client, "a") == [b"b", b"c"]


def test_values_that_gave_way_and_came_again_in_one_turn_are_in_order_after_a_restart():
    server = DurableServer()
    client = server.connect()
    declare_durable(client, 2)
    headers = [{"x-deduplication-header": value} for value in "abca"]
    client.feed(b"".join(message(b"m", exchange="x", headers=each) for each in headers))
    assert len(bodies_in(client, "a")) == 4
    client = server.restarted().connect()
    publish(client, "d", "a", "c")
    assert bodies_in(client, "a") == [b"d", b"c"]


def test_the_disk_holds_no_more_values_than_memory():
    server = DurableServer()
    client = server.connect()
    declare_durable(client, 5, x_cache_ttl=1000)
    for number in range(100):
        publish(client, number, number % 7)
        server.advance(0.1 * (number % 3))
    (values,) = server.broker.vhosts["/"].exchanges["x"].holds
    server.end_turn()
    assert server.journal.statistics().messages == values.memory_bytes // ENTRY_BYTES <= 5
    values.page_out()
    server.end_turn()
    assert server.journal.statistics().messages == values.memory_bytes // ENTRY_BYTES < 5


def test_a_deleted_exchange_leaves_nothing_on_disk():
    server = DurableServer()
    client = server.connect()
    declare_durable(client)
    publish(client, *range(20), "a", "b")
    assert server.journal.statistics().messages == 10
    give_way = message(b"", exchange="x", headers={"x-deduplication-header": "c"})
    client.feed(give_way + encoded(Exchange.Delete(exchange="x")))
    client.expect(Exchange.DeleteOk)
    declare_durable(client)
    publish(client, "a")
    assert server.journal.statistics().messages == 1
    client.request(Exchange.Delete(exchange="x"), Exchange.DeleteOk)
    assert server.journal.statistics().messages == 0
    server = server.restarted(clean=False)
    client = server.connect()
    declare_durable(client)
    publish(client, "a")
    assert bodies_in(client, "a") == [b"a"]


def test_numbers_of_exchanges_are_not_given_to_queues_after_a_restart():
    server = DurableServer()
    client = server.connect()
    client.declare("first", durable=True)
    declare_durable(client)
    publish(client, "a")
    server = server.restarted()
    client = server.connect()
    client.declare("new", durable=True)
    exchange, queues = server.broker.vhosts["/"].exchanges["x"], server.broker.vhosts["/"].queues
    assert exchange.number not in [queue.number for queue in queues.values()]
    client.publish(b"m", "new", delivery_mode=2)
    server = server.restarted(clean=False)
    client = server.connect()
    publish(client, "a")
    assert bodies_in(client, "new") == [b"m"]
    assert client.ready_in("a") == 0


def test_a_value_is_on_disk_only_behind_its_message():
    """A crash in between may let a duplicate pass, but never turns down what got lost."""
    server = DurableServer()
    client = server.connect()
    declare_durable(client)
    headers = {"x-deduplication-header": "value", "other": "message"}
    client.publish(b"", exchange="x", delivery_mode=2, headers=headers)
    log = server.disk.files()["journal-0000000001.log"]
    assert log.rindex(b"svalue") > log.rindex(b"message")

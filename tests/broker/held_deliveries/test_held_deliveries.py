"""Deliveries that are not acknowledged while memory is short: their contents go to disk."""

from typing import Any

import pytest
from pamqp.commands import Basic, Tx

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded
from held import (
    ARGUMENTS,
    BUDGET_BYTES,
    COUNT,
    SHELLS_BYTES,
    SIZE,
    consumer_of_all,
    fill,
    held_bytes,
    lives,
    numbered,
    numbers,
    redelivered,
    settle_down,
)
from leveret.broker import held_deliveries as held_deliveries_module
from leveret.broker import line as line_module
from leveret.broker.turn_bounds import TurnBounds

# --- bounded ----------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery_mode", [1, 2], ids=["transient", "persistent"])
def test_what_is_not_acknowledged_takes_little_memory_and_raises_no_alarm(
    server: DurableServer, any_client: FakeClient, delivery_mode: int
) -> None:
    fill(any_client, delivery_mode=delivery_mode)
    consumer_of_all(any_client)
    assert SHELLS_BYTES <= held_bytes(server) <= BUDGET_BYTES
    assert not server.broker.alarms


def test_draining_a_backlog_is_enough_to_have_memory_looked_at(
    server: DurableServer, client: FakeClient
) -> None:
    fill(client)
    consumer = server.connect()
    consumer.consume("q")
    assert held_bytes(server) <= BUDGET_BYTES + (BUDGET_BYTES >> 4) + line_module.LOADED_BYTES


def test_contents_go_a_few_at_a_time_the_oldest_first(
    server: DurableServer, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_deliveries_module, "SHED_AT_ONCE", 10)
    server.broker.memory.budget_bytes = 0
    fill(client)
    consumer = consumer_of_all(client)
    server.broker.memory.budget_bytes = BUDGET_BYTES
    server.broker.memory.look()
    deliveries = consumer.connection.channels[1].unsettled.deliveries
    assert [tag for tag, (each, _, _) in deliveries.items() if not each.is_whole] == [*range(1, 11)]
    assert server.broker.memory.again


def test_without_a_disk_the_alarm_is_raised_for_what_is_not_acknowledged() -> None:
    server = FakeServer()
    server.broker.memory.budget_bytes = BUDGET_BYTES
    client = server.connect()
    client.declare("q")
    consumer = server.connect()
    consumer.consume("q")
    for number in range(COUNT):
        client.feed(numbered(number))
    server.broker.memory.look()
    assert server.broker.alarms.reason == "low on memory"
    consumer.send(Basic.Ack(delivery_tag=0, multiple=True))
    server.broker.memory.look()
    assert not server.broker.alarms


# --- counted ----------------------------------------------------------------------------------


def counted_bytes(client: FakeClient) -> int:
    return client.connection.channels[1].unsettled.held.memory_bytes


def test_messages_got_with_basic_get_count_with_their_sizes(
    server: DurableServer, client: FakeClient
) -> None:
    server.broker.memory.budget_bytes = 0
    fill(client)
    for _ in range(100):
        client.get()
    assert counted_bytes(client) == held_bytes(server) > 100 * SIZE


def test_what_a_transaction_has_settled_counts_until_it_ends(
    server: DurableServer, client: FakeClient
) -> None:
    server.broker.memory.budget_bytes = 0
    fill(client)
    for _ in range(100):
        client.get()
    client.send(Tx.Select(), Basic.Ack(50, multiple=True), Basic.Nack(60, multiple=True))
    transaction = client.connection.channels[1].publisher.transaction
    assert transaction is not None
    everything = held_bytes(server)
    assert transaction.settled.memory_bytes == pytest.approx(everything * 0.6, rel=0.01)
    counted = counted_bytes(client) + transaction.settled.memory_bytes
    assert counted == pytest.approx(everything, rel=0.01)
    client.send(Tx.Rollback())
    assert transaction.settled.memory_bytes == 0
    assert counted_bytes(client) == everything
    client.send(Basic.Ack(0, multiple=True), Tx.Commit())
    assert transaction.settled.memory_bytes == counted_bytes(client) == 0


@pytest.mark.parametrize("settled", [Basic.Ack, Basic.Nack])
def test_what_a_commit_has_yet_to_settle_counts_and_is_paged_out(
    settled: type[Basic.Ack | Basic.Nack],
) -> None:
    server = DurableServer(turn_bounds=TurnBounds(acknowledged=10, settled=10))
    client = server.connect()
    client.declare("q", durable=True)
    fill(client)
    consumer = consumer_of_all(client)
    consumer.request(Basic.Cancel("c"), Basic.CancelOk)
    consumer.send(Tx.Select(), settled(0, multiple=True))
    everything = held_bytes(server)
    consumer.connection.receive(encoded(Tx.Commit()))
    (waiting,) = server.broker.commits.holding()
    for turn in range(1, 5):
        server.broker.finish_turn()
        assert len(waiting) == COUNT - 10 * turn
        assert waiting.memory_bytes == pytest.approx(everything * len(waiting) / COUNT, rel=0.01)
    server.broker.memory.budget_bytes = 2 * SHELLS_BYTES
    server.broker.memory.look()
    assert waiting.memory_bytes <= SHELLS_BYTES
    server.end_turn()
    assert waiting.memory_bytes == 0
    assert redelivered(client) == ([] if settled is Basic.Ack else list(range(COUNT)))


@pytest.mark.parametrize("end", [Tx.Commit, Tx.Rollback])
def test_what_a_transaction_has_settled_is_paged_out_and_done_with_or_outstanding_again(
    server: DurableServer, client: FakeClient, end: type[Tx.Commit | Tx.Rollback]
) -> None:
    server.broker.memory.budget_bytes = 0
    fill(client)
    consumer = consumer_of_all(client)
    consumer.request(Basic.Cancel("c"), Basic.CancelOk)
    consumer.send(Tx.Select(), Basic.Ack(COUNT // 2, multiple=True), Basic.Nack(0, multiple=True))
    server.broker.memory.budget_bytes = BUDGET_BYTES
    server.broker.memory.look()
    settle_down(server)
    assert SHELLS_BYTES <= held_bytes(server) <= BUDGET_BYTES
    assert not server.broker.alarms
    consumer.send(end())
    consumer.disconnect()
    first = COUNT // 2 if end is Tx.Commit else 0
    assert redelivered(client) == list(range(first, COUNT))


def test_what_a_rollback_makes_outstanding_again_is_paged_out_behind_later_deliveries(
    server: DurableServer, client: FakeClient
) -> None:
    server.broker.memory.budget_bytes = 0
    fill(client)
    consumer = consumer_of_all(client)
    consumer.send(Tx.Select(), Basic.Ack(COUNT // 4, multiple=True))
    server.broker.memory.budget_bytes = BUDGET_BYTES
    server.broker.memory.look()
    settle_down(server)
    settled = held_bytes(server) - SHELLS_BYTES
    assert settled == pytest.approx(COUNT // 4 * SIZE, rel=0.1)  # the largest are enough
    consumer.send(Tx.Rollback())
    server.broker.memory.budget_bytes = 2 * SHELLS_BYTES
    server.broker.memory.look()
    settle_down(server)
    assert held_bytes(server) <= 2 * SHELLS_BYTES


def test_deliveries_to_a_cancelled_consumer_still_count(
    server: DurableServer, client: FakeClient
) -> None:
    server.broker.memory.budget_bytes = 0
    fill(client)
    consumer = consumer_of_all(client)
    consumer.request(Basic.Cancel("c"), Basic.CancelOk)
    assert counted_bytes(consumer) == held_bytes(server) > COUNT * SIZE


def test_each_delivery_counts_with_its_own_size_whatever_is_settled(
    server: DurableServer, client: FakeClient
) -> None:
    server.broker.memory.budget_bytes = 0
    for size in (0, 10, 1000, 100_000) * 20:
        client.publish(bytes(size), "q")
    client.consume("q")
    assert counted_bytes(client) == held_bytes(server)
    for tag in range(1, 81, 2):
        client.send(Basic.Ack(delivery_tag=tag))
        assert held_bytes(server) / 2 <= counted_bytes(client) <= held_bytes(server) * 2
    client.send(Basic.Ack(delivery_tag=0, multiple=True))
    assert counted_bytes(client) == held_bytes(server) == 0


# --- being done with it -----------------------------------------------------------------------


@pytest.mark.parametrize("delivery_mode", [1, 2], ids=["transient", "persistent"])
@pytest.mark.parametrize("durable", [False, True], ids=["queue of this run", "durable queue"])
def test_nothing_remains_of_what_is_acknowledged(
    server: DurableServer, durable: bool, delivery_mode: int
) -> None:
    client = server.connect()
    client.declare("q", durable=durable)
    fill(client, delivery_mode=delivery_mode)
    consumer = consumer_of_all(client)
    consumer.send(*(Basic.Ack(delivery_tag=tag) for tag in range(1, 11)))
    consumer.send(Basic.Ack(delivery_tag=COUNT // 2, multiple=True))
    consumer.disconnect()
    assert redelivered(client) == list(range(COUNT // 2, COUNT))
    server.end_turn()
    assert lives(server) == 0


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "crash"])
def test_after_a_restart_all_is_there_that_was_not_acknowledged(
    client: FakeClient, server: DurableServer, clean: bool
) -> None:
    fill(client)
    consumer = consumer_of_all(client)
    consumer.send(Basic.Ack(delivery_tag=10, multiple=True))
    if clean:
        consumer.disconnect()
        client.disconnect()
    client = server.restarted(clean=clean).connect()
    client.consume("q", no_ack=True)
    assert numbers(client.deliveries()) == list(range(10, COUNT))


@pytest.mark.parametrize("arguments", ARGUMENTS[:3], ids=["plain", "quorum", "priorities"])
@pytest.mark.parametrize("delivery_mode", [1, 2], ids=["transient", "persistent"])
def test_what_is_rejected_becomes_a_dead_letter_with_all_its_content(
    server: DurableServer, arguments: dict[str, Any], delivery_mode: int
) -> None:
    client = server.connect()
    client.declare("dead", durable=True)
    dead_letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client.declare("q", durable=True, arguments=arguments | dead_letters)
    fill(client, delivery_mode=delivery_mode)
    consumer = consumer_of_all(client)
    consumer.send(*(Basic.Reject(delivery_tag=tag, requeue=False) for tag in range(1, 11)))
    consumer.send(Basic.Nack(delivery_tag=0, multiple=True, requeue=False))
    client.consume("dead", no_ack=True)
    letters = client.deliveries()
    for each in letters:
        assert each.headers is not None
        assert each.headers["x-death"][0]["reason"] == "rejected"
        assert "x-delivery-count" not in each.headers
        assert each.call.routing_key == "dead"
        each.call.routing_key = "q"
    assert numbers(letters) == list(range(COUNT))
    assert lives(server) == 0


def test_a_message_that_came_back_too_often_dies_whole(server: DurableServer) -> None:
    client = server.connect()
    client.declare("dead", durable=True)
    client.declare(
        "q",
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": 0,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dead",
        },
    )
    fill(client)
    consumer_of_all(client).disconnect()
    client.consume("dead", no_ack=True)
    assert len(client.deliveries()) == COUNT


def test_a_message_in_two_queues_is_kept_for_the_one_where_it_is_not_acknowledged(
    server: DurableServer, client: FakeClient
) -> None:
    client.declare("other")
    client.bind("q", "amq.fanout")
    client.bind("other", "amq.fanout")
    bodies = [b"%d ".ljust(SIZE, b".") % number for number in range(COUNT)]
    for body in bodies:
        client.publish(body, exchange="amq.fanout", delivery_mode=2)
    consumer = server.connect()
    consumer.send(Basic.Consume(queue="q", consumer_tag="c"))
    consumer.send(Basic.Consume(queue="other", consumer_tag="d"))
    settle_down(server)
    assert held_bytes(server) <= BUDGET_BYTES
    got = [each.call for each in consumer.received() if isinstance(each.call, Basic.Deliver)]
    other = [call.delivery_tag or 0 for call in got if call.consumer_tag == "d"]
    assert len(other) == COUNT
    consumer.send(*(Basic.Ack(delivery_tag=tag) for tag in other))
    consumer.disconnect()
    assert client.ready_in("other") == 0
    client.consume("q", no_ack=True)
    assert client.bodies() == bodies


def test_a_rolled_back_transaction_has_its_deliveries_outstanding_as_before(
    server: DurableServer, client: FakeClient
) -> None:
    fill(client)
    consumer = server.connect()
    consumer.request(Tx.Select(), Tx.SelectOk)
    consumer.consume("q")
    settle_down(server)
    consumer.received()
    consumer.send(Basic.Ack(delivery_tag=COUNT // 2, multiple=True))
    consumer.request(Tx.Rollback(), Tx.RollbackOk)
    server.broker.memory.look()
    assert held_bytes(server) <= BUDGET_BYTES
    consumer.send(Basic.Ack(delivery_tag=10, multiple=True))
    consumer.request(Tx.Commit(), Tx.CommitOk)
    consumer.disconnect()
    assert redelivered(client) == list(range(10, COUNT))

"""x-delayed-message and the journal: what is delayed survives restarts, and lack of memory."""

import pytest
from pamqp.commands import Exchange

from delayed import declare, exchange_of, publish
from durable_server import DurableServer
from exchange_client import bodies_in


@pytest.mark.parametrize("clean", [True, False])
def test_persistent_messages_survive_a_restart_with_their_due_times(clean: bool):
    server = DurableServer(epoch_ms=1_000_000.0)
    client = server.connect()
    declare(client, durable=True)
    client.declare("a", durable=True)
    client.bind("a", "x", "k")
    publish(client, b"later", 10_000, delivery_mode=2)
    publish(client, b"soon", 3000, delivery_mode=2)
    server.advance(1)
    server = server.restarted(after_s=1, clean=clean)
    client = server.connect()
    assert exchange_of(server).messages_delayed == 2
    server.advance(0.9)
    assert client.ready_in("a") == 0
    server.advance(0.2)
    assert bodies_in(client, "a") == [b"soon"]
    server = server.restarted(after_s=100)
    assert bodies_in(server.connect(), "a") == [b"later"]
    server = server.restarted()
    assert exchange_of(server).messages_delayed == 0
    assert server.connect().ready_in("a") == 0


@pytest.mark.parametrize("clean", [True, False])
def test_transient_messages_survive_a_restart_while_they_are_delayed(clean: bool):
    server = DurableServer(epoch_ms=1_000_000.0)
    client = server.connect()
    declare(client, durable=True)
    client.declare("a", durable=True)
    client.bind("a", "x", "k")
    publish(client, b"transient", 3000)
    publish(client, b"too", 3000, delivery_mode=1)
    publish(client, b"persistent", 3000, delivery_mode=2)
    server = server.restarted(after_s=1, clean=clean)
    server.advance(2)
    client = server.connect()
    assert client.ready_in("a") == 3
    server = server.restarted(clean=clean)
    client = server.connect()
    assert bodies_in(client, "a") == [b"persistent"]


def test_transient_message_of_a_transient_exchange_is_not_written():
    server = DurableServer()
    client = server.connect()
    declare(client)
    publish(client, b"1", 100, delivery_mode=1)
    assert server.journal.statistics().messages == 0


def test_delivered_message_stands_in_the_journal_for_its_queue_alone():
    server = DurableServer()
    client = server.connect()
    declare(client, durable=True)
    client.declare("a", durable=True)
    client.bind("a", "x", "k")
    publish(client, b"1", 100, delivery_mode=2)
    server.advance(1)
    assert server.journal.statistics().messages == 1
    assert bodies_in(client, "a") == [b"1"]
    server.end_turn()
    assert server.journal.statistics().messages == 0


def test_deleted_exchange_leaves_nothing_in_the_journal():
    server = DurableServer()
    client = server.connect()
    declare(client, durable=True)
    publish(client, b"1", 100, delivery_mode=2)
    client.request(Exchange.Delete(exchange="x"), Exchange.DeleteOk)
    server.end_turn()
    assert server.journal.statistics().messages == 0


def test_queues_declared_after_a_restart_do_not_take_the_exchanges_messages():
    server = DurableServer()
    declare(server.connect(), durable=True)
    publish(server.connect(), b"1", 100_000, delivery_mode=2)
    server = server.restarted()
    server.connect().declare("a", durable=True)
    server = server.restarted()
    assert server.connect().ready_in("a") == 0
    assert exchange_of(server).messages_delayed == 1


@pytest.mark.parametrize("durable", [True, False])
def test_paged_out_messages_are_delivered_in_order_as_they_were(durable: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, durable=durable)
    client.declare("a", durable=True)
    client.bind("a", "x", "k")
    count = 3000
    for number in range(count):
        publish(client, b"%d" % number, 5000 - number, delivery_mode=1 + number % 2)
    line = exchange_of(server).delayed
    assert line is not None
    before = line.memory_bytes
    line.page_out()
    assert line.memory_bytes < before / 2
    assert exchange_of(server).messages_delayed == count
    server.advance(10)
    for _ in range(5):
        server.end_turn()
    assert bodies_in(client, "a") == [b"%d" % number for number in reversed(range(count))]


def test_delayed_messages_count_in_the_memory_budget():
    server = DurableServer()
    server.broker.memory.budget_bytes = 1 << 20
    client = server.connect()
    declare(client, durable=True)
    for _ in range(3000):
        publish(client, bytes(1000), 60_000, delivery_mode=2)
    line = exchange_of(server).delayed
    assert line is not None
    assert line.message_count == 3000
    assert line.memory_bytes <= 1_300_000
    assert not server.broker.alarms


def test_what_was_on_disk_comes_before_what_was_published_later_and_is_due_at_the_same_time():
    server = DurableServer(epoch_ms=1_000_000.0)
    client = server.connect()
    declare(client, durable=True)
    client.declare("a", durable=True)
    client.bind("a", "x", "k")
    publish(client, b"1", 2000, delivery_mode=2)
    publish(client, b"2", 3000, delivery_mode=2)
    server = server.restarted(after_s=1)
    client = server.connect()
    publish(client, b"3", 1000, delivery_mode=2)
    publish(client, b"4", 2000, delivery_mode=2)
    server.advance(2)
    assert bodies_in(client, "a") == [b"1", b"3", b"2", b"4"]

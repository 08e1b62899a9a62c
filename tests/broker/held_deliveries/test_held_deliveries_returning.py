"""Deliveries whose contents are on disk only, and that come back to their queue."""

from collections.abc import Callable

import pytest
from pamqp.commands import Basic, Channel, Queue

from durable_server import DurableServer
from fake_client import FakeClient
from held import (
    BUDGET_BYTES,
    COUNT,
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


def close_channel(consumer: FakeClient) -> None:
    consumer.request(Channel.Close(0, "", 0, 0), Channel.CloseOk)


def recover(consumer: FakeClient) -> None:
    consumer.request(Basic.Cancel("c"), Basic.CancelOk)
    consumer.request(Basic.Recover(requeue=True), Basic.RecoverOk)


def nack(consumer: FakeClient) -> None:
    consumer.request(Basic.Cancel("c"), Basic.CancelOk)
    consumer.send(Basic.Nack(delivery_tag=0, multiple=True, requeue=True))


@pytest.mark.parametrize("delivery_mode", [1, 2], ids=["transient", "persistent"])
@pytest.mark.parametrize("give_back", [FakeClient.disconnect, close_channel, recover, nack])
def test_what_comes_back_is_delivered_again_whole_in_order_and_flagged(
    any_client: FakeClient, delivery_mode: int, give_back: Callable[[FakeClient], None]
) -> None:
    fill(any_client, delivery_mode=delivery_mode)
    give_back(consumer_of_all(any_client))
    settle_down(any_client.server)
    assert any_client.ready_in("q") == COUNT
    assert redelivered(any_client) == list(range(COUNT))
    assert not any_client.server.broker.alarms


def test_what_comes_back_does_so_before_what_has_come_meanwhile(
    server: DurableServer, client: FakeClient
) -> None:
    fill(client)
    consumer = consumer_of_all(client)
    consumer.request(Basic.Cancel("c"), Basic.CancelOk)
    for number in range(COUNT, COUNT + 500):
        client.feed(numbered(number))
    settle_down(server)
    consumer.disconnect()
    settle_down(server)
    client.consume("q", no_ack=True)
    got = client.deliveries()
    assert numbers(got) == list(range(COUNT + 500))
    assert [each.call.redelivered for each in got] == [True] * COUNT + [False] * 500


def test_a_quorum_queue_that_sends_what_is_returned_to_its_end_counts_it(
    server: DurableServer, client: FakeClient
) -> None:
    client.declare("counting", durable=True, arguments={"x-queue-type": "quorum"})
    bodies = [b"%d".ljust(SIZE, b".") % number for number in range(COUNT)]
    for body in bodies:
        client.publish(body, "counting")
    consumer = server.connect()
    consumer.consume("counting")
    settle_down(server)
    assert len(consumer.deliveries()) == COUNT
    consumer.request(Basic.Cancel("c"), Basic.CancelOk)
    client.publish(b"later", "counting")
    consumer.send(Basic.Nack(delivery_tag=0, multiple=True, requeue=True))
    consumer.received()
    client.consume("counting", no_ack=True)
    got = client.deliveries()
    assert [each.body for each in got] == [b"later", *bodies]
    assert [(each.headers or {}).get("x-delivery-count") for each in got] == [None] + [1] * COUNT


def test_deliveries_of_a_stream_need_nothing_to_be_kept(
    server: DurableServer, client: FakeClient
) -> None:
    client.declare("log", durable=True, arguments={"x-queue-type": "stream"})
    for number in range(COUNT):
        client.publish(b"%d ".ljust(SIZE, b".") % number, "log")
    consumer = server.connect()
    consumer.send(Basic.Qos(prefetch_count=COUNT))
    consumer.expect(Basic.QosOk)
    consumer.consume("log", arguments={"x-stream-offset": "first"})
    settle_down(server)
    assert len(consumer.deliveries()) == COUNT
    assert held_bytes(server) <= BUDGET_BYTES
    consumer.send(Basic.Nack(delivery_tag=0, multiple=True, requeue=True))
    assert client.ready_in("log") == COUNT


def test_what_expires_after_it_has_come_back_is_gone(
    server: DurableServer, client: FakeClient
) -> None:
    fill(client, expiration="60000")
    consumer = consumer_of_all(client)
    server.advance(50)
    consumer.disconnect()
    assert client.ready_in("q") == COUNT
    server.advance(11)
    assert client.ready_in("q") == 0


def test_what_waits_for_a_delayed_retry_is_whole_when_it_is_ready(server: DurableServer) -> None:
    client = server.connect()
    arguments = {"x-delayed-retry-type": "all", "x-delayed-retry-min": 1000}
    client.declare("q", durable=True, arguments=arguments)
    fill(client)
    consumer_of_all(client).disconnect()
    assert client.ready_in("q") == 0
    server.advance(2)
    assert sorted(redelivered(client)) == list(range(COUNT))


@pytest.mark.parametrize("delivery_mode", [1, 2], ids=["transient", "persistent"])
@pytest.mark.parametrize("end", [FakeClient.disconnect, nack])
@pytest.mark.parametrize("is_deleted", ["before", "after"])
def test_nothing_comes_back_to_a_queue_that_is_deleted(
    server: DurableServer,
    client: FakeClient,
    delivery_mode: int,
    end: Callable[[FakeClient], None],
    is_deleted: str,
) -> None:
    if is_deleted == "before":
        server.broker.memory.budget_bytes = 0
    fill(client, delivery_mode=delivery_mode)
    consumer = server.connect()
    consumer.consume("q")
    settle_down(server)
    consumer.received()
    client.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    server.broker.memory.budget_bytes = BUDGET_BYTES
    server.broker.memory.look()
    settle_down(server)
    assert held_bytes(server) <= BUDGET_BYTES
    consumer.received()
    end(consumer)
    server.broker.memory.look()
    assert lives(server) == 0
    assert not server.broker.alarms

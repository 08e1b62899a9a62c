"""x-max-priority."""

from typing import Any

import pytest
from pamqp.commands import Basic, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    return server.connect()


def declare(client: FakeClient, more: dict[str, Any] | None = None, **options: Any) -> None:
    client.declare(arguments={"x-max-priority": 5} | (more or {}), **options)


def publish(client: FakeClient, *priorities: int | None, queue: str = "q", **options: Any) -> None:
    """Messages whose bodies are their priorities."""
    for priority in priorities:
        client.publish(b"%s" % str(priority).encode(), queue, priority=priority, **options)


def bodies(client: FakeClient, queue: str = "q") -> list[bytes]:
    """All that waits in a queue."""
    found: list[bytes] = []
    while client.ready_in(queue):
        found.append(client.get(queue, no_ack=True).body)
    return found


def test_higher_priorities_go_first_and_equal_ones_in_order(client: FakeClient):
    declare(client)
    for number, priority in enumerate((None, 1, 9, 5, 0, 3, 1)):
        client.publish(b"%d" % number, "q", priority=priority)
    assert client.ready_in("q") == 7
    assert bodies(client) == [b"2", b"3", b"5", b"1", b"6", b"0", b"4"]


def test_priority_above_the_maximum_is_delivered_as_it_was(client: FakeClient):
    declare(client)
    publish(client, 200)
    assert client.get().properties.priority == 200


def test_consumers_get_the_highest_first(client: FakeClient):
    declare(client)
    publish(client, 1, 3, 2, 3)
    client.send(Basic.Qos(prefetch_count=1))
    client.expect(Basic.QosOk)
    client.consume()
    assert client.bodies() == [b"3"]
    publish(client, 5)
    client.send(Basic.Ack(1))
    assert client.bodies() == [b"5"]
    client.send(Basic.Ack(2))
    assert client.bodies() == [b"3"]


def test_several_consumers_take_turns(client: FakeClient):
    declare(client)
    client.consume(tag="a", no_ack=True)
    client.consume(tag="b", no_ack=True)
    publish(client, 1, 2, 3, 4)
    assert [each.call.consumer_tag for each in client.deliveries()] == ["a", "b", "a", "b"]


def test_message_that_comes_back_keeps_its_place(client: FakeClient):
    declare(client)
    publish(client, 1, 2, 2)
    client.get()
    publish(client, 5)
    client.send(Basic.Nack(1, requeue=True))
    assert client.get(no_ack=True).body == b"5"
    back = client.get(no_ack=True)
    assert (back.body, back.call.redelivered) == (b"2", True)
    assert not client.get(no_ack=True).call.redelivered
    assert bodies(client) == [b"1"]


def test_limit_drops_the_highest_priority_first(client: FakeClient):
    declare(client, {"x-max-length": 2})
    publish(client, 5, 1, 3)
    assert bodies(client) == [b"3", b"1"]


def test_bytes_are_limited_over_all_priorities(client: FakeClient):
    declare(client, {"x-max-length-bytes": 2, "x-overflow": "reject-publish"})
    publish(client, 5, 1, 3)
    assert bodies(client) == [b"5", b"1"]


def test_messages_expire_at_the_head_of_the_whole_queue(server: FakeServer, client: FakeClient):
    declare(client)
    publish(client, 1, expiration="50")
    publish(client, 2)
    publish(client, 3, expiration="50")
    server.advance(0.1)
    assert client.ready_in("q") == 2
    assert bodies(client) == [b"2"]


def test_message_that_comes_first_by_its_priority_expires_in_time(
    server: FakeServer, client: FakeClient
):
    client.declare("dead")
    declare(client, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    publish(client, 1)
    publish(client, 2, expiration="50")
    server.advance(0.1)
    assert client.ready_in("dead") == 1


def test_ttl_of_a_queue_holds_for_every_priority(server: FakeServer, client: FakeClient):
    declare(client, {"x-message-ttl": 100})
    publish(client, 0, 5, 3)
    server.advance(0.1)
    assert client.ready_in("q") == 0
    assert server.broker.timers.next_deadline() is None


def test_purging_counts_all_priorities(client: FakeClient):
    declare(client)
    publish(client, 1, 2, 3)
    client.send(Queue.Purge(queue="q"))
    assert client.expect(Queue.PurgeOk).message_count == 3
    assert client.ready_in("q") == 0
    client.send(Queue.Delete(queue="q"))
    client.expect(Queue.DeleteOk)


def test_priority_means_nothing_to_other_queues(client: FakeClient):
    client.declare()
    publish(client, 1, 5, 3)
    assert bodies(client) == [b"1", b"5", b"3"]


def test_maximum_of_zero_leaves_one_priority(client: FakeClient):
    client.declare(arguments={"x-max-priority": 0})
    publish(client, 1, 5, 3)
    assert bodies(client) == [b"1", b"5", b"3"]


@pytest.mark.parametrize("clean", [True, False])
def test_priorities_hold_after_a_restart(clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, {"x-max-length-bytes": 6}, durable=True)
    publish(client, 1, 5, 3, 5, 0, delivery_mode=2)
    client.get()
    client.send(Basic.Nack(1, requeue=True))
    client = server.restarted(clean=clean).connect()
    publish(client, 4, delivery_mode=2)
    first, second = client.get(no_ack=True), client.get(no_ack=True)
    assert (first.body, first.call.redelivered) == (b"5", True)
    assert (second.body, second.call.redelivered) == (b"5", not clean)
    assert bodies(client) == [b"4", b"3", b"1", b"0"]


def test_paged_out_messages_keep_their_priorities():
    server = DurableServer()
    client = server.connect()
    declare(client)
    for number in range(2400):
        client.publish(b"%d" % number, "q", priority=number % 3)
    server.page_out("q")
    client.publish(b"last", "q", priority=1)
    client.consume(no_ack=True)
    order = [b"%d" % number for rest in (2, 1, 0) for number in range(rest, 2400, 3)]
    order.insert(1600, b"last")
    assert client.bodies() == order


def test_dead_letters_keep_their_priority(client: FakeClient):
    declare(client, queue="dlq")
    declare(client, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"})
    publish(client, 1, 5)
    client.get()
    client.get()
    client.send(Basic.Reject(2, requeue=False))
    client.send(Basic.Reject(1, requeue=False))
    assert bodies(client, "dlq") == [b"5", b"1"]

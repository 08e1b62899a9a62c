"""x-single-active-consumer."""

from typing import Any

import pytest
from pamqp.commands import Basic, Channel, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, message

SINGLE: dict[str, Any] = {"x-single-active-consumer": True}


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    client = server.connect()
    client.declare(arguments=SINGLE)
    return client


def served(client: FakeClient, count: int = 2) -> str:
    """Who gets so many messages, each a letter."""
    client.feed(b"".join(message(b"", "q") for _ in range(count)))
    return "".join(delivery.call.consumer_tag for delivery in client.deliveries())


def cancel(client: FakeClient, tag: str) -> None:
    client.send(Basic.Cancel(tag))
    assert client.expect(Basic.CancelOk).consumer_tag == tag


def test_first_consumer_gets_everything(client: FakeClient):
    for tag in "abc":
        client.consume(tag=tag)
    assert served(client, 4) == "aaaa"
    assert client.declare(passive=True).consumer_count == 3


def test_next_one_takes_over_when_it_is_cancelled(client: FakeClient):
    for tag in "abc":
        client.consume(tag=tag, no_ack=True)
    cancel(client, "a")
    assert served(client) == "bb"
    cancel(client, "c")
    assert served(client) == "bb"
    cancel(client, "b")
    assert served(client) == ""
    client.consume(tag="d", no_ack=True)
    assert [each.call.consumer_tag for each in client.deliveries()] == ["d", "d"]


def test_waiting_messages_go_to_the_next_one_at_once(client: FakeClient):
    client.send(Basic.Qos(prefetch_count=1))
    client.expect(Basic.QosOk)
    client.consume(tag="a")
    client.consume(tag="b")
    assert served(client, 3) == "a"
    cancel(client, "a")
    assert [each.call.consumer_tag for each in client.deliveries()] == ["b"]


def test_one_without_credit_stays_active(client: FakeClient):
    client.send(Basic.Qos(prefetch_count=1))
    client.expect(Basic.QosOk)
    client.consume(tag="a")
    client.consume(tag="b")
    assert served(client, 2) == "a"
    client.send(Basic.Ack(1))
    assert [each.call.consumer_tag for each in client.deliveries()] == ["a"]


def test_what_the_former_one_holds_can_still_be_acknowledged(client: FakeClient):
    client.consume(tag="a")
    client.consume(tag="b")
    assert served(client, 2) == "aa"
    cancel(client, "a")
    client.send(Basic.Ack(1))
    client.send(Basic.Nack(2, requeue=True))
    (delivery,) = client.deliveries()
    assert (delivery.call.consumer_tag, delivery.call.redelivered) == ("b", True)


def test_next_one_takes_over_when_a_connection_is_lost(server: FakeServer, client: FakeClient):
    client.consume(tag="a")
    other = server.connect()
    other.consume(tag="b")
    assert served(client) == "aa"
    client.disconnect()
    assert [each.call.redelivered for each in other.deliveries()] == [True, True]


def test_next_one_takes_over_when_a_channel_is_closed(client: FakeClient):
    client.open_channel(2)
    client.consume(tag="a", channel=2)
    client.consume(tag="b")
    client.send(Channel.Close(0, "", 0, 0), channel=2)
    client.expect(Channel.CloseOk, 2)
    assert served(client) == "bb"


def test_highest_priority_takes_over(client: FakeClient):
    for tag, priority in (("a", 0), ("b", 1), ("c", 2), ("d", 2)):
        client.consume(tag=tag, no_ack=True, arguments={"x-priority": priority})
    assert served(client) == "aa"
    cancel(client, "a")
    assert served(client) == "cc"


def test_get_is_served_too(client: FakeClient):
    client.send(Basic.Qos(prefetch_count=1))
    client.expect(Basic.QosOk)
    client.consume(tag="a")
    served(client)
    assert client.get().body == b""


@pytest.mark.parametrize("others", [0, 1])
def test_exclusive_consumer_is_refused_even_if_it_is_the_first(client: FakeClient, others: int):
    for _ in range(others):
        client.consume(tag="a")
    client.send(Basic.Consume(queue="q", consumer_tag="b", exclusive=True))
    client.expect_channel_closed(
        403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use", (60, 20)
    )


def test_all_are_told_when_the_queue_is_deleted(client: FakeClient):
    client.consume(tag="a")
    client.consume(tag="b")
    client.send(Queue.Delete(queue="q"))
    client.expect(Queue.DeleteOk)
    assert {client.expect(Basic.Cancel).consumer_tag for _ in range(2)} == {"a", "b"}


def test_messages_with_priorities_go_to_the_active_one(client: FakeClient):
    client.declare("p", arguments=SINGLE | {"x-max-priority": 3})
    client.consume("p", "a")
    client.consume("p", "b")
    client.feed(b"".join(message(b"%d" % n, "p", priority=n) for n in range(3)))
    got = [(each.call.consumer_tag, each.body) for each in client.deliveries()]
    assert got == [("a", b"2"), ("a", b"1"), ("a", b"0")]


def test_queue_has_a_single_active_consumer_after_a_restart():
    server = DurableServer()
    server.connect().declare(durable=True, arguments=SINGLE)
    client = server.restarted().connect()
    client.consume(tag="a")
    client.consume(tag="b")
    assert served(client) == "aa"

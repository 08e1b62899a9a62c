"""x-priority of consumers."""

import pytest
from pamqp.commands import Basic

from fake_client import FakeClient, FakeServer, message


@pytest.fixture
def client() -> FakeClient:
    client = FakeServer().connect()
    client.declare()
    return client


def consume(client: FakeClient, tag: str, priority: int | None = None, prefetch: int = 0) -> None:
    client.send(Basic.Qos(prefetch_count=prefetch))
    client.expect(Basic.QosOk)
    client.consume(tag=tag, arguments={} if priority is None else {"x-priority": priority})


def served(client: FakeClient, count: int) -> str:
    """Who gets so many messages, each a letter."""
    client.feed(b"".join(message(b"", "q") for _ in range(count)))
    return "".join(delivery.call.consumer_tag for delivery in client.deliveries())


def test_higher_priority_is_served_first_while_it_has_credit(client: FakeClient):
    consume(client, "l", prefetch=2)
    consume(client, "h", 10, prefetch=2)
    assert served(client, 5) == "hhll"
    client.send(Basic.Ack(1))
    assert [each.call.consumer_tag for each in client.deliveries()] == ["h"]


def test_no_priority_is_zero_and_negative_ones_are_less(client: FakeClient):
    consume(client, "n", -1, prefetch=1)
    consume(client, "o", prefetch=1)
    consume(client, "z", 0, prefetch=1)
    consume(client, "p", 1, prefetch=1)
    assert served(client, 4) == "pozn"


def test_equal_priorities_take_turns(client: FakeClient):
    consume(client, "l")
    consume(client, "a", 5)
    consume(client, "b", 5)
    assert served(client, 4) == "abab"
    assert served(client, 3) == "aba"


def test_one_that_comes_later_is_served_next(client: FakeClient):
    consume(client, "a")
    assert served(client, 1) == "a"
    consume(client, "b", 1)
    assert served(client, 2) == "bb"
    client.send(Basic.Cancel("b"))
    client.expect(Basic.CancelOk)
    assert served(client, 1) == "a"


def test_priorities_of_consumers_and_messages_go_together(client: FakeClient):
    client.declare("p", arguments={"x-max-priority": 5})
    client.send(Basic.Qos(prefetch_count=1))
    client.expect(Basic.QosOk)
    client.consume("p", "l")
    client.consume("p", "h", arguments={"x-priority": 1})
    client.feed(b"".join(message(b"%d" % n, "p", priority=n) for n in range(3)))
    got = [(each.call.consumer_tag, each.body) for each in client.deliveries()]
    assert got == [("h", b"2"), ("l", b"1")]

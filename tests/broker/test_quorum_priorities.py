"""Priorities of messages in quorum queues, from RabbitMQ 4.0 on."""

from typing import Any

import pytest
from pamqp.commands import Basic, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer
from leveret.broker.configuration import Configuration
from leveret.broker.rules import EmulatedVersion

FAIR, STRICT = "4.0", "4.3"


def server_of(version: EmulatedVersion) -> DurableServer:
    return DurableServer(configuration=Configuration(emulate=version))


def client_of(version: EmulatedVersion, more: dict[str, Any] | None = None) -> FakeClient:
    client = FakeServer(Configuration(emulate=version)).connect()
    declare(client, more)
    return client


def declare(client: FakeClient, more: dict[str, Any] | None = None) -> None:
    client.declare(durable=True, arguments={"x-queue-type": "quorum", **(more or {})})


def publish(client: FakeClient, *priorities: int | None, first: int = 0, **properties: Any) -> None:
    """Publish messages with these priorities, whose bodies are numbers."""
    for number, priority in enumerate(priorities, first):
        given = properties if priority is None else properties | {"priority": priority}
        client.publish(b"%d" % number, "q", **given)


def taken(client: FakeClient) -> list[int]:
    """The numbers of all messages, in the order in which basic.get gets them."""
    count = client.ready_in("q")
    numbers = [int(client.get(no_ack=True).body) for _ in range(count)]
    client.get_nothing()
    return numbers


def consumed(client: FakeClient) -> list[int]:
    client.consume("q")
    return [int(body) for body in client.bodies()]


def test_before_4_0_there_are_none():
    client = client_of("3.13")
    publish(client, 0, 9, None, 5)
    assert taken(client) == [0, 1, 2, 3]


def test_in_4_0_two_of_high_priority_go_for_one_of_normal_priority():
    client = client_of(FAIR)
    publish(client, *[None] * 3, *[9] * 6)
    assert taken(client) == [3, 4, 0, 5, 6, 1, 7, 8, 2]


def test_in_4_0_consumers_get_them_in_that_order_too():
    client = client_of(FAIR)
    publish(client, *[None] * 3, *[9] * 6)
    assert consumed(client) == [3, 4, 0, 5, 6, 1, 7, 8, 2]


def test_in_4_0_ordinary_messages_take_turns_also_while_there_are_no_others():
    client = client_of(FAIR)
    publish(client, *[None] * 4)
    client.send(Basic.Qos(prefetch_count=2))
    client.expect(Basic.QosOk)
    client.consume("q")
    assert client.bodies() == [b"0", b"1"]
    publish(client, *[9] * 4, first=4)
    assert taken(client) == [2, 4, 5, 3, 6, 7]


def test_in_4_0_an_older_message_of_high_priority_is_not_made_to_wait():
    client = client_of(FAIR)
    publish(client, *[9] * 4, *[None] * 2)
    assert taken(client) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("priority", "is_high"), [(0, False), (4, False), (5, True), (255, True)])
def test_in_4_0_priorities_from_5_on_are_high(priority: int, is_high: bool):
    client = client_of(FAIR)
    publish(client, None, priority)
    assert taken(client) == ([1, 0] if is_high else [0, 1])


def test_in_4_0_one_priority_alone_goes_in_order():
    client = client_of(FAIR)
    publish(client, 9, 5, 200, 7)
    assert taken(client) == [0, 1, 2, 3]


def test_from_4_3_on_the_highest_always_goes_first():
    client = client_of(STRICT)
    publish(client, 1, 9, 31, 9, 0, 30)
    assert taken(client) == [2, 5, 1, 3, 0, 4]


def test_from_4_3_on_consumers_get_them_in_that_order_too():
    client = client_of(STRICT)
    publish(client, 1, 9, 31, 9, 0, 30)
    assert consumed(client) == [2, 5, 1, 3, 0, 4]


def test_from_4_3_on_a_message_without_a_priority_has_4():
    client = client_of(STRICT)
    publish(client, 3, None, 4, 5, None)
    assert taken(client) == [3, 1, 2, 4, 0]


def test_from_4_3_on_more_than_31_counts_as_31():
    client = client_of(STRICT)
    publish(client, 30, 31, 255, 31)
    assert taken(client) == [1, 2, 3, 0]


def test_property_stays_as_it_was():
    client = client_of(STRICT)
    publish(client, 200)
    assert client.get().properties.priority == 200


@pytest.mark.parametrize("version", [FAIR, STRICT])
def test_what_comes_back_goes_first_whatever_its_priority(version: EmulatedVersion):
    client = client_of(version)
    publish(client, 0, 9)
    high, low = client.get(), client.get()
    publish(client, 9, 9, first=2)
    for got in (low, high):
        client.send(Basic.Reject(delivery_tag=got.call.delivery_tag, requeue=True))
    assert taken(client) == [0, 1, 2, 3]


@pytest.mark.parametrize("version", [FAIR, STRICT])
def test_without_a_limit_it_goes_behind_the_ordinary_messages(version: EmulatedVersion):
    client = client_of(version, {"x-delivery-limit": -1})
    publish(client, 9)
    got = client.get()
    publish(client, None, None, 9, first=1)
    client.send(Basic.Nack(delivery_tag=got.call.delivery_tag, requeue=True))
    assert taken(client) == [3, 1, 2, 0]


def test_head_that_gives_way_is_of_the_highest_priority():
    client = client_of(STRICT, {"x-max-length": 2})
    publish(client, 1, 9, 5)
    assert taken(client) == [2, 0]


def test_messages_of_all_priorities_are_counted_in_bytes():
    client = client_of(STRICT, {"x-max-length-bytes": 2})
    publish(client, 1, 9, 5, None)
    assert taken(client) == [3, 0]


def test_all_priorities_are_purged_and_counted():
    client = client_of(STRICT)
    publish(client, 1, 9, None)
    assert client.request(Queue.Purge(queue="q"), Queue.PurgeOk).message_count == 3
    client.get_nothing()
    publish(client, None, None)
    assert consumed(client) == [0, 1]


def test_queue_is_quick_again_when_only_ordinary_messages_are_left():
    client = client_of(STRICT)
    publish(client, 9, None)
    features = client.server.broker.vhosts["/"].queues["q"].features
    assert features is not None
    assert features.mixed
    assert taken(client) == [0, 1]
    assert not features.mixed


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    ("version", "order"), [(FAIR, [1, 3, 0, 5, 6, 2, 4]), (STRICT, [5, 1, 3, 6, 0, 4, 2])]
)
def test_priorities_survive_a_restart(version: EmulatedVersion, order: list[int], clean: bool):
    server = server_of(version)
    client = server.connect()
    declare(client)
    publish(client, None, 5, 0, 5, None, 9)
    client = server.restarted(clean=clean).connect()
    publish(client, 5, first=6)
    assert taken(client) == order


@pytest.mark.parametrize("clean", [True, False])
def test_counts_survive_a_restart(clean: bool):
    server = server_of(STRICT)
    client = server.connect()
    declare(client)
    publish(client, None, 9)
    for _ in range(2):
        tag = client.get().call.delivery_tag
        client.send(Basic.Reject(delivery_tag=tag, requeue=True))
    client = server.restarted(clean=clean).connect()
    first = client.get()
    assert (first.body, first.headers) == (b"1", {"x-acquired-count": 2, "x-delivery-count": 2})
    assert not client.get().headers


def test_priorities_survive_being_paged_out():
    server = server_of(STRICT)
    client = server.connect()
    declare(client)
    publish(client, *[1, None, 9] * 1000)
    server.page_out("q")
    assert server.broker.vhosts["/"].queues["q"].memory_bytes < 1600 * 300
    publish(client, 9, first=3000)
    numbers = range(3000)
    assert taken(client) == [*numbers[2::3], 3000, *numbers[1::3], *numbers[::3]]


def test_nothing_is_left_of_what_is_settled():
    server = server_of(STRICT)
    client = server.connect()
    declare(client)
    publish(client, 9, None, 1)
    assert taken(client) == [0, 1, 2]
    client = server.restarted().connect()
    client.get_nothing()


def test_overdue_messages_of_any_priority_expire():
    client = client_of(STRICT)
    publish(client, 1, 9, None, expiration="1000")
    client.server.advance(1.1)
    assert client.ready_in("q") == 0


@pytest.mark.parametrize(("version", "left"), [(FAIR, 3), (STRICT, 1)])
def test_overdue_messages_expire_behind_a_higher_priority_from_4_3_on(
    version: EmulatedVersion, left: int
):
    client = client_of(version)
    publish(client, 9)
    publish(client, 1, None, first=1, expiration="1000")
    client.server.advance(1.1)
    assert client.ready_in("q") == left
    assert client.get().body == b"0"
    client.get_nothing()

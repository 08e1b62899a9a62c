"""Policies and operator policies as clients see them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest
from administered import Definitions, administered
from conftest import Broker
from pika.adapters.blocking_connection import BlockingChannel

POLICIES: dict[str, dict[str, Any]] = {
    "short": {"pattern": "^short", "definition": {"max-length": 2}},
    "refusing": {
        "pattern": "^refusing",
        "definition": {"max-length": 1, "overflow": "reject-publish"},
    },
    "dying": {
        "pattern": "^dying",
        "definition": {"dead-letter-exchange": "", "dead-letter-routing-key": "dead"},
    },
    "fleeting": {"pattern": "^fleeting", "definition": {"message-ttl": 300}},
    "straying": {
        "pattern": "^straying",
        "definition": {"alternate-exchange": "amq.fanout"},
        "apply-to": "exchanges",
    },
    "weak": {"pattern": "^contested", "definition": {"max-length": 3}, "priority": 1},
    "strong": {"pattern": "^contested", "definition": {"max-length": 2}, "priority": 2},
    "foreign": {
        "pattern": "^contested",
        "definition": {"max-length": 1, "delivery-limit": 9},
        "priority": 3,
    },
    "capped": {"pattern": "^capped", "definition": {"max-length": 3}},
    "leased": {"pattern": "^leased", "definition": {"expires": 300}},
    "mirrored": {"pattern": "^mirrored", "definition": {"ha-mode": "all"}},
    "small": {"pattern": "^small", "definition": {"max-length-bytes": 10}},
    "dying-refused": {
        "pattern": "^full",
        "definition": {
            "max-length": 1,
            "overflow": "reject-publish-dlx",
            "dead-letter-exchange": "",
            "dead-letter-routing-key": "dead",
        },
    },
}
OPERATOR_POLICIES: dict[str, dict[str, Any]] = {
    "cap": {"pattern": "^capped", "definition": {"max-length": 2, "message-ttl": 60000}},
}
DEFAULTS: dict[str, Any] = {"priority": 0, "apply-to": "all"}


def define(vhost: str) -> Definitions:
    return {
        "policies": [
            {"vhost": vhost, "name": name, **DEFAULTS, **policy}
            for name, policy in POLICIES.items()
        ],
        "parameters": [
            {
                "vhost": vhost,
                "component": "operator_policy",
                "name": name,
                "value": {**DEFAULTS, **policy},
            }
            for name, policy in OPERATOR_POLICIES.items()
        ],
    }


@pytest.fixture(scope="module")
def url(broker: Broker) -> Iterator[str]:
    """A broker in whose vhost the policies are in force."""
    with administered(broker, define) as own:
        yield own.url


@pytest.fixture
def channel(url: str) -> Iterator[BlockingChannel]:
    """A confirming channel."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    connection.close()


@pytest.fixture
def declare(channel: BlockingChannel) -> Iterator[Callable[..., str]]:
    """Declares queues, which are deleted afterwards."""
    names: list[str] = []

    def make(queue: str, **arguments: Any) -> str:
        names.append(queue)
        channel.queue_declare(queue, arguments=arguments)
        return queue

    yield make
    for name in names:
        channel.queue_delete(name)


def publish(channel: BlockingChannel, queue: str, count: int) -> list[bool]:
    """Publish numbered messages and tell which were accepted."""
    accepted = []
    for number in range(count):
        try:
            channel.basic_publish("", queue, str(number))
            accepted.append(True)
        except pika.exceptions.NackError:
            accepted.append(False)
    return accepted


def bodies(channel: BlockingChannel, queue: str) -> list[bytes]:
    found = []
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(got[2])
    return found


def some_bodies(channel: BlockingChannel, queue: str) -> list[bytes]:
    """The same, once there are any."""
    deadline = time.monotonic() + 5
    while not (found := bodies(channel, queue)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_mirroring_makes_no_difference(channel: BlockingChannel, declare: Callable[..., str]):
    queue = declare("mirrored")
    publish(channel, queue, 2)
    assert bodies(channel, queue) == [b"0", b"1"]


def test_max_length_of_a_policy(channel: BlockingChannel, declare: Callable[..., str]):
    queue = declare("short")
    publish(channel, queue, 5)
    assert bodies(channel, queue) == [b"3", b"4"]


def test_lower_of_argument_and_policy_counts(channel: BlockingChannel, declare: Callable[..., str]):
    lower, higher = (declare(f"short-{n}", **{"x-max-length": n}) for n in (1, 9))
    for queue in (lower, higher):
        publish(channel, queue, 5)
    assert bodies(channel, lower) == [b"4"]
    assert bodies(channel, higher) == [b"3", b"4"]


def test_overflow_of_a_policy(channel: BlockingChannel, declare: Callable[..., str]):
    queue = declare("refusing")
    assert publish(channel, queue, 3) == [True, False, False]
    assert bodies(channel, queue) == [b"0"]


def test_overflow_of_the_argument_wins(channel: BlockingChannel, declare: Callable[..., str]):
    queue = declare("refusing", **{"x-overflow": "drop-head"})
    assert publish(channel, queue, 3) == [True, True, True]
    assert bodies(channel, queue) == [b"2"]


def test_refused_messages_become_dead_letters_by_a_policy(
    channel: BlockingChannel, declare: Callable[..., str]
):
    declare("dead")
    queue = declare("full")
    assert publish(channel, queue, 2) == [True, False]
    assert some_bodies(channel, "dead") == [b"1"]


def test_bytes_are_limited_by_a_policy(channel: BlockingChannel, declare: Callable[..., str]):
    queue = declare("small")
    publish(channel, queue, 12)
    assert b"".join(bodies(channel, queue)) == b"4567891011"


def test_dead_letters_of_a_policy(channel: BlockingChannel, declare: Callable[..., str]):
    declare("dead")
    queue = declare("dying")
    publish(channel, queue, 1)
    got, _, _ = channel.basic_get(queue)
    channel.basic_reject(got.delivery_tag, requeue=False)
    assert some_bodies(channel, "dead") == [b"0"]


def test_time_to_live_of_a_policy(channel: BlockingChannel, declare: Callable[..., str]):
    queue = declare("fleeting")
    publish(channel, queue, 2)
    assert channel.queue_declare(queue, passive=True).method.message_count == 2
    time.sleep(0.6)
    assert bodies(channel, queue) == []


@pytest.mark.parametrize(
    ("of_queue", "of_message"), [({}, "100"), ({"x-message-ttl": 100}, None), ({}, None)]
)
def test_shortest_time_to_live_counts(
    channel: BlockingChannel,
    declare: Callable[..., str],
    of_queue: dict[str, int],
    of_message: str | None,
):
    """The policy's 300 ms, the argument's or the message's."""
    queue = declare("fleeting", **of_queue)
    channel.basic_publish("", queue, b"", pika.BasicProperties(expiration=of_message))
    time.sleep(0.2)
    left = channel.queue_declare(queue, passive=True).method.message_count
    assert left == int(not of_queue and of_message is None)


def test_lease_of_a_policy(channel: BlockingChannel, declare: Callable[..., str]):
    queue = declare("leased")
    deadline = time.monotonic() + 5
    while exists(channel, queue):
        assert time.monotonic() < deadline, "the queue does not expire"
        time.sleep(0.4)


def exists(channel: BlockingChannel, queue: str) -> bool:
    """Whether the queue is there; asking does not renew its lease."""
    asking = channel.connection.channel()
    try:
        asking.queue_bind(queue, "amq.fanout")
        asking.close()
    except pika.exceptions.ChannelClosedByBroker:
        return False
    return True


def test_alternate_exchange_of_a_policy(channel: BlockingChannel, declare: Callable[..., str]):
    queue = declare("found")
    channel.queue_bind(queue, "amq.fanout")
    channel.exchange_declare("straying", "direct")
    channel.basic_publish("straying", "nowhere", b"stray")
    assert bodies(channel, queue) == [b"stray"]
    channel.exchange_delete("straying")


def test_only_the_policy_of_highest_priority_counts_that_the_type_of_queue_can_have(
    channel: BlockingChannel, declare: Callable[..., str]
):
    queue = declare("contested")
    publish(channel, queue, 5)
    assert bodies(channel, queue) == [b"3", b"4"]


def test_operator_policy_limits_what_a_policy_allows(
    channel: BlockingChannel, declare: Callable[..., str]
):
    queue = declare("capped")
    publish(channel, queue, 5)
    assert bodies(channel, queue) == [b"3", b"4"]

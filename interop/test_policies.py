"""Policies and operator policies as clients see them.

A leveret of their own is started with a file of definitions; another broker gets the same policies
by the command in RABBITMQCTL, for example `rabbitmqctl -n rabbit@localhost`.
"""

import json
import os
import shlex
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pika
import pytest
from conftest import Broker
from leveret_process import LeveretProcess
from pika.adapters.blocking_connection import BlockingChannel
from restarting import LEVERET

RABBITMQCTL = shlex.split(os.environ.get("RABBITMQCTL", ""))
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
}
OPERATOR_POLICIES: dict[str, dict[str, Any]] = {
    "cap": {"pattern": "^capped", "definition": {"max-length": 2, "message-ttl": 60000}},
}
DEFAULTS: dict[str, Any] = {"priority": 0, "apply-to": "all"}


@pytest.fixture(scope="module")
def url(broker: Broker) -> Iterator[str]:
    """A broker in whose vhost the policies are in force."""
    with ExitStack() as stack:
        if LEVERET:
            yield _own_leveret(stack)
        elif RABBITMQCTL:
            yield _own_vhost(stack, broker)
        else:
            pytest.skip("not run: RABBITMQCTL, to set policies with, is not given")


def _own_leveret(stack: ExitStack) -> str:
    options = subprocess.run([LEVERET, "serve", "--help"], capture_output=True, text=True).stdout
    if "--definitions" not in options:
        pytest.skip("not run: this leveret does not load definitions")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leveret-policies-")))
    definitions = {
        "policies": [
            {"vhost": "/", "name": name, **DEFAULTS, **policy} for name, policy in POLICIES.items()
        ],
        "parameters": [
            {
                "vhost": "/",
                "component": "operator_policy",
                "name": name,
                "value": {**DEFAULTS, **policy},
            }
            for name, policy in OPERATOR_POLICIES.items()
        ],
    }
    file = folder / "definitions.json"
    file.write_text(json.dumps(definitions))
    process = LeveretProcess(LEVERET, folder, "--definitions", str(file))
    process.start()
    stack.callback(process.kill)
    return process.url


def _own_vhost(stack: ExitStack, broker: Broker) -> str:
    vhost = f"policies-{uuid.uuid4().hex[:8]}"
    _control("add_vhost", vhost)
    stack.callback(_control, "delete_vhost", vhost)
    _control("set_permissions", "-p", vhost, broker.user, ".*", ".*", ".*")
    for command, policies in (
        ("set_policy", POLICIES),
        ("set_operator_policy", OPERATOR_POLICIES),
    ):
        for name, policy in policies.items():
            options = [f"--priority={policy.get('priority', 0)}"]
            options.append(f"--apply-to={policy.get('apply-to', 'all')}")
            definition = json.dumps(policy["definition"])
            _control(command, "-p", vhost, name, policy["pattern"], definition, *options)
    return f"amqp://{broker.user}:{broker.password}@{broker.host}:{broker.port}/{vhost}"


def _control(*arguments: str) -> None:
    subprocess.run([*RABBITMQCTL, *arguments], check=True, capture_output=True, timeout=60)


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


def test_dead_letters_of_a_policy(channel: BlockingChannel, declare: Callable[..., str]):
    declare("dead")
    queue = declare("dying")
    publish(channel, queue, 1)
    got, _, _ = channel.basic_get(queue)
    channel.basic_reject(got.delivery_tag, requeue=False)
    deadline = time.monotonic() + 5
    while not (found := bodies(channel, "dead")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == [b"0"]


def test_time_to_live_of_a_policy(channel: BlockingChannel, declare: Callable[..., str]):
    queue = declare("fleeting")
    publish(channel, queue, 2)
    assert channel.queue_declare(queue, passive=True).method.message_count == 2
    time.sleep(0.6)
    assert bodies(channel, queue) == []


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

"""Whatever an operator does, refused or cut off by a crash: all of it is done or nothing."""

import json
from collections.abc import Callable
from random import Random

import msgspec
import pytest

from durable_server import DurableServer
from leveret.broker.administration import (
    Administration,
    Invalid,
    NoSuchThing,
    Patterns,
    TopicPatterns,
    read_definitions,
)
from leveret.broker.broker import Broker
from leveret.broker.passwords import SHA256, hashed
from memory_disk import MemoryDisk

HASHES = [hashed(b"pw", bytes([number]) * 16, SHA256) for number in range(3)]
QUEUE_ARGUMENTS = [
    {},
    {"x-queue-type": "quorum"},
    {"x-queue-type": "stream"},
    {"x-max-priority": 3},
]
EXCHANGES = ["fanout", "topic", "x-delayed-message", "x-message-deduplication"]
EXCHANGE_ARGUMENTS = {"x-delayed-type": "fanout", "x-cache-size": 5, "x-cache-persistence": "disk"}
POLICIES = [
    {"max-length": 2},
    {"expires": 10_000},
    {"message-ttl": 5},
    {"alternate-exchange": "x1"},
]
PADDING = {"x-padding": "x" * 8000}
"""So that a document takes several blocks of the journal."""


def state(broker: Broker) -> list[str]:
    """All that is defined and durable."""
    document = json.loads(msgspec.json.encode(Administration(broker).export_definitions()))
    return sorted(
        json.dumps([kind, each])
        for kind, entries in document.items()
        if isinstance(entries, list)
        for each in entries
    )


def something(random: Random, operator: Administration) -> Callable[[], object]:
    """Something that an operator may want; some of it makes no sense."""
    any_of = random.choice
    vhost, user = any_of(["/", "a", "b"]), any_of(["guest", "u", "w"])
    queue, exchange = any_of(["q1", "q2", "q3"]), any_of(["x1", "x2", "x3"])
    pattern, number = any_of(["", ".*", "^q"]), random.randrange(5)
    document = {
        "vhosts": [{"name": "a"}],
        "users": [{"name": "u", "password_hash": HASHES[0].encoded}],
        "policies": [{"vhost": "a", "name": "p", "pattern": "", "definition": any_of(POLICIES)}],
        "queues": [{"vhost": "a", "name": f"q{each}", "arguments": PADDING} for each in range(12)],
        "exchanges": [{"vhost": "a", "name": "x1", "type": any_of(["fanout", "headers"])}],
        "bindings": [
            {"vhost": "a", "source": "x1", "destination": "q1", "destination_type": "queue"}
        ],
    }
    return any_of(
        [
            lambda: operator.set_vhost(vhost, default_queue_type=any_of([None, "quorum"])),
            lambda: operator.delete_vhost(vhost),
            lambda: operator.set_vhost_limits(vhost, {"max-queues": number}),
            lambda: operator.set_tracing(vhost, number > 2),
            lambda: operator.set_user(user, any_of(HASHES), tags=["management"][: number % 2]),
            lambda: operator.delete_user(user),
            lambda: operator.set_permissions(user, vhost, Patterns(pattern, pattern, "")),
            lambda: operator.clear_permissions(user, vhost),
            lambda: operator.set_topic_permissions(
                user, vhost, {"amq.topic": TopicPatterns(pattern, pattern)} if number else {}
            ),
            lambda: operator.set_user_limits(user, {"max-channels": number}),
            lambda: operator.set_policy(vhost, "p", pattern, any_of(POLICIES), operator=number > 2),
            lambda: operator.delete_policy(vhost, "p", operator=number > 2),
            lambda: operator.set_global_parameter("g", number),
            lambda: operator.delete_global_parameter("g"),
            lambda: operator.declare_queue(vhost, queue, arguments=any_of(QUEUE_ARGUMENTS)),
            lambda: operator.delete_queue(vhost, queue),
            lambda: operator.declare_exchange(
                vhost,
                exchange,
                any_of(EXCHANGES),
                auto_delete=number > 2,
                arguments=EXCHANGE_ARGUMENTS,
            ),
            lambda: operator.delete_exchange(vhost, exchange),
            lambda: operator.bind(vhost, exchange, queue, "k"),
            lambda: operator.bind(vhost, exchange, any_of(["x1", "x2"]), "k", to_exchange=True),
            lambda: operator.unbind(vhost, exchange, queue, "k"),
            lambda: operator.import_definitions(read_definitions(json.dumps(document))),
        ]
    )


def do(server: DurableServer, random: Random) -> list[list[str]]:
    """Do something, and have it on disk; what there was before and after."""
    states = [state(server.broker)]
    try:
        something(random, Administration(server.broker))()
    except (Invalid, NoSuchThing):
        assert state(server.broker) == states[0]
    server.end_turn()
    return [*states, state(server.broker)]


def cut_off(before: dict[str, bytes], after: dict[str, bytes], random: Random) -> MemoryDisk:
    """The disk with a part only of what one file has grown by."""
    files = dict(after)
    for name, data in after.items():
        if len(data) > len(before.get(name, b"")):
            files[name] = data[: random.randrange(len(before.get(name, b"")), len(data) + 1)]
    return MemoryDisk(files)


@pytest.mark.parametrize("seed", range(30))
def test_all_is_done_or_nothing(seed: int) -> None:
    random = Random(seed)
    server = DurableServer()
    for _ in range(random.randrange(5, 40)):
        before = server.disk.files()
        states = do(server, random)
        if random.random() < 0.4:
            server = DurableServer(cut_off(before, server.disk.files(), random))
            assert state(server.broker) in states
    last = state(server.broker)
    server = server.restarted(clean=random.random() < 0.5)
    assert state(server.broker) == last


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_left_where_all_vhosts_are_deleted(seed: int) -> None:
    random = Random(seed)
    server = DurableServer()
    for _ in range(40):
        do(server, random)
    for name in list(server.broker.vhosts):
        Administration(server.broker).delete_vhost(name)
    server.end_turn()
    assert server.broker.timers.next_deadline() is None
    assert sum(each.messages - each.dead for each in server.journal.segments.values()) == 0
    assert server.restarted(clean=False).broker.vhosts == {}

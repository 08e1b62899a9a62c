"""Priorities after a restart, which the journal knows without messages being read."""

from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from pamqp.commands import Basic, Tx

from durable_server import DurableServer
from fake_client import FakeClient
from leveret.broker.configuration import Configuration
from leveret.broker.message import Message
from leveret.broker.priorities import PriorityQueue
from leveret.broker.quorum_priorities import PrioritizedQuorumQueue
from leveret.broker.rules import EmulatedVersion
from leveret.broker.store import JournalStore

CLASSIC = {"x-max-priority": 9}
QUORUM = {"x-queue-type": "quorum"}

KINDS: list[tuple[EmulatedVersion, dict[str, Any]]] = [
    ("3.13", CLASSIC),
    ("4.0", QUORUM),
    ("4.3", QUORUM),
]
each_kind = pytest.mark.parametrize(("version", "arguments"), KINDS)


def server_of(version: EmulatedVersion) -> DurableServer:
    return DurableServer(configuration=Configuration(emulate=version))


def publish(client: FakeClient, priorities: Sequence[int | None], first: int = 0) -> None:
    for number, priority in enumerate(priorities, first):
        given_ = {} if priority is None else {"priority": priority}
        client.publish(b"%d" % number, "q", delivery_mode=2, **given_)


def taken(client: FakeClient) -> list[int]:
    return [int(client.get(no_ack=True).body) for _ in range(client.ready_in("q"))]


def ranks(server: DurableServer) -> list[int]:
    """Those of all stored messages."""
    ids = [n for chunk in server.journal.index.by_owner().values() for n in chunk]
    return [message.rank for message in server.journal.read_many(ids)]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages have been read back each time."""
    counts: list[int] = []
    load = JournalStore.load

    def counted(self: JournalStore, ids: Sequence[int]) -> list[Message]:
        counts.append(len(ids))
        return load(self, ids)

    monkeypatch.setattr(JournalStore, "load", counted)
    return counts


@pytest.mark.parametrize("clean", [True, False])
@each_kind
def test_a_restart_reads_the_first_message_of_each_priority_only(
    version: EmulatedVersion, arguments: dict[str, Any], clean: bool, loads: list[int]
):
    server = server_of(version)
    client = server.connect()
    client.declare(durable=True, arguments=arguments)
    publish(client, [None, 0, 9, 5] * 100)
    loads.clear()
    server = server.restarted(clean=clean)
    assert 0 < sum(loads) <= 4
    client = server.connect()
    publish(client, [9], first=400)
    order = taken(client)
    assert sorted(order) == list(range(401))
    assert order[0] == 2
    if version != "4.0":
        assert order[99] == 398
        assert order[100] == 400


@each_kind
def test_what_is_not_known_to_the_journal_is_read(
    version: EmulatedVersion,
    arguments: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    loads: list[int],
):
    server = server_of(version)
    with monkeypatch.context() as patch:
        for kind in (PriorityQueue, PrioritizedQuorumQueue):
            patch.setattr(kind, "ranks_messages", False)
        client = server.connect()
        client.declare(durable=True, arguments=arguments)
        publish(client, [0, 9, 0, 9])
    assert ranks(server) == [0] * 4
    server = server.restarted()
    publish(server.connect(), [9, None, 0], first=4)
    loads.clear()
    server = server.restarted()
    assert sum(loads) <= 4 + 3
    assert ranks(server) == [0] * 4 + [10, 0, 1]
    order = taken(server.connect())
    assert (
        order
        == {
            "3.13": [1, 3, 4, 0, 2, 5, 6],
            "4.0": [1, 3, 0, 4, 2, 5, 6],
            "4.3": [1, 3, 4, 5, 0, 2, 6],
        }[version]
    )


def test_what_a_quorum_queue_takes_while_it_has_no_priorities_gets_them_later():
    server = DurableServer()
    before: EmulatedVersion
    client = server.connect()
    client.declare(durable=True, arguments=QUORUM)
    publish(client, [None, 9])
    for number, before in enumerate(("4.3", "3.13", "4.3"), 1):
        server = server.restarted(configuration=Configuration(emulate=before))
        publish(server.connect(), [None, 9], first=2 * number)
    server = server.restarted(clean=False)
    assert taken(server.connect()) == [1, 3, 5, 7, 0, 2, 4, 6]


def test_only_messages_of_queues_with_priorities_have_ranks():
    server = server_of("4.3")
    client = server.connect()
    client.declare(durable=True)
    publish(client, [None, 0, 9])
    client.declare("stream", durable=True, arguments={"x-queue-type": "stream"})
    client.publish(b"x", "stream", priority=9)
    assert ranks(server) == [0] * 4
    client.declare("prioritized", durable=True, arguments=CLASSIC)
    for queue in ("q", "prioritized"):
        client.bind(queue, "amq.fanout")
    client.publish(b"x", "", exchange="amq.fanout", delivery_mode=2, priority=255)
    client.publish(b"x", "", exchange="amq.fanout", delivery_mode=2)
    assert sorted(set(ranks(server))) == [0, 256]


def test_messages_of_a_transaction_and_dead_letters_have_ranks():
    server = server_of("3.13")
    client = server.connect()
    client.declare(durable=True, arguments=CLASSIC)
    to_q = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
    client.declare("dying", durable=True, arguments=to_q)
    client.publish(b"0", "dying", delivery_mode=2, priority=3)
    got = client.get("dying")
    client.send(Basic.Reject(delivery_tag=got.call.delivery_tag, requeue=False))
    client.request(Tx.Select(), Tx.SelectOk)
    publish(client, [2, 4], first=1)
    client.request(Tx.Commit(), Tx.CommitOk)
    assert ranks(server) == [4, 3, 5]
    assert taken(server.restarted().connect()) == [2, 0, 1]


def test_what_waits_for_a_retry_is_not_ready_after_a_restart():
    server = server_of("4.3")
    client = server.connect()
    retry = {"x-delayed-retry-type": "all", "x-delayed-retry-min": 5000}
    client.declare(durable=True, arguments=QUORUM | retry)
    publish(client, [9, None, 9, 1])
    client.send(Basic.Reject(delivery_tag=client.get().call.delivery_tag, requeue=True))
    server = server.restarted(clean=False)
    client = server.connect()
    assert client.ready_in("q") == 3
    server.advance(5.1)
    assert taken(client) == [0, 2, 1, 3]


@each_kind
def test_bytes_are_counted_again(version: EmulatedVersion, arguments: dict[str, Any]):
    server = server_of(version)
    client = server.connect()
    client.declare(durable=True, arguments=arguments | {"x-max-length-bytes": 4})
    publish(client, [9, None, 1, 9])
    client = server.restarted().connect()
    publish(client, [None], first=4)
    assert client.ready_in("q") == 4
    assert 0 not in taken(client)


@pytest.mark.parametrize("kind", KINDS)
@given(
    priorities=st.lists(st.none() | st.sampled_from([0, 1, 4, 5, 9, 31, 32, 255]), max_size=30),
    restarts=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=3),
)
@settings(max_examples=30, deadline=None)
def test_the_order_is_the_same_as_without_restarts(
    kind: tuple[EmulatedVersion, dict[str, Any]],
    priorities: list[int | None],
    restarts: list[tuple[bool, int]],
):
    version, arguments = kind
    orders: list[list[int]] = []
    for restarted in (False, True):
        server = server_of(version)
        server.connect().declare(durable=True, arguments=arguments)
        done = 0
        for clean, most in (*restarts, (True, len(priorities))):
            publish(server.connect(), priorities[done : done + most], first=done)
            done = min(done + most, len(priorities))
            if restarted:
                server = server.restarted(clean=clean)
        orders.append(taken(server.connect()))
    assert orders[0] == orders[1]

"""The memory budget: what is paged out when, how much comes back at once, and what stays as is."""

from collections.abc import Iterator, Mapping, Sequence

import pytest
from pamqp.commands import Basic, Confirm

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, message
from leveret.broker import line as line_module
from leveret.broker.line import LOADED_BYTES
from leveret.broker.message import Message
from leveret.broker.queue import Queue
from leveret.broker.store import JournalStore
from leveret.storage.journal import Journal
from leveret.storage.settings import Settings
from simulation.scale import small_scale
from simulation.world import World

LARGE_BYTES = 100_000
AT_ONCE = LOADED_BYTES // LARGE_BYTES
"""How many large messages a queue with a backlog has in memory."""

HELD, PAGED_AT_ONCE = 3, 4
"""The same for small ones in a `world`, and how many of them are paged out at once."""


def queue_of(server: FakeServer, name: str = "q") -> Queue:
    return server.broker.vhosts["/"].queues[name]


def in_memory(queue: Queue) -> int:
    return len(queue.ready) + len(queue.returned)


def numbered(count: int, *, first: int = 0, size: int = 0, queue: str = "q") -> bytes:
    """Persistent messages whose bodies begin with their numbers."""
    return b"".join(
        message((b"%d " % number).ljust(size), queue, delivery_mode=2)
        for number in range(first, first + count)
    )


def drained(client: FakeClient, queue: str = "q") -> list[tuple[int, bool]]:
    """The numbers of all messages in a queue, and whether they are flagged redelivered."""
    got = [client.get(queue, no_ack=True) for _ in range(client.ready_in(queue))]
    return [(int(each.body.split()[0]), each.call.redelivered) for each in got]


# --- large messages ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{}, {"x-max-priority": 2}], ids=["plain", "priorities"])
@pytest.mark.parametrize("restart", ["no restart", "clean", "crash"])
def test_a_backlog_of_large_messages_is_read_a_few_at_a_time(
    restart: str, arguments: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, load = list[int](), JournalStore.load

    def watched(store: JournalStore, ids: Sequence[int]) -> list[Message]:
        sizes.append(len(ids))
        return load(store, ids)

    monkeypatch.setattr(JournalStore, "load", watched)
    count = 5 * AT_ONCE
    server = DurableServer()
    client = server.connect()
    client.declare("q", durable=True, arguments=arguments)
    client.feed(numbered(count, size=LARGE_BYTES))
    server.page_out("q")
    if restart != "no restart":
        server = server.restarted(clean=restart == "clean")
        client = server.connect()
    for number in range(count):
        got = client.get()
        assert (int(got.body.split()[0]), got.call.redelivered) == (number, restart == "crash")
        assert queue_of(server).memory_bytes <= LOADED_BYTES
    assert max(sizes) <= AT_ONCE


@pytest.mark.parametrize("arguments", [{}, {"x-max-priority": 2}], ids=["plain", "priorities"])
def test_few_large_messages_stay_in_memory_when_a_queue_is_paged_out(
    arguments: dict[str, int],
) -> None:
    server = DurableServer()
    client = server.connect()
    client.declare("q", arguments=arguments)
    client.feed(numbered(5 * AT_ONCE, size=LARGE_BYTES))
    before = queue_of(server).memory_bytes
    server.page_out("q")
    assert queue_of(server).memory_bytes <= LOADED_BYTES < before
    assert drained(client) == [(n, False) for n in range(5 * AT_ONCE)]


def test_a_message_larger_than_what_is_read_at_once_is_read_by_itself() -> None:
    server = DurableServer()
    client = server.connect()
    client.declare("q")
    for number in range(3):
        client.publish(b"%d " % number + bytes(LOADED_BYTES), "q")
    server.page_out("q")
    assert in_memory(queue_of(server)) == 1
    client.consume("q", no_ack=True)
    assert [body[:1] for body in client.bodies()] == [b"0", b"1", b"2"]


# --- the budget -------------------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[World]:
    """A broker with little memory to spend, on which a queue holds few messages while it has a
    backlog.
    """
    with small_scale(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_module, "LOADED_MESSAGES", HELD)
        patch.setattr(line_module, "PAGED_MESSAGES", PAGED_AT_ONCE)
        world = World(Settings(), memory_budget_bytes=1)
        world.broker.memory.budget_bytes = 0
        yield world


@pytest.fixture
def publisher(world: World) -> FakeClient:
    """A client on whose channel 1 there is a queue q."""
    client = world.connect()
    client.declare("q")
    return client


def give_turns(world: World) -> int:
    """Give turns as long as the broker wants them; return how many it wanted."""
    for turns in range(100):
        if not world.broker.wants_turn:
            return turns
        world.end_turn()
    raise AssertionError("the broker does not come to rest")


def test_paging_out_is_spread_over_turns(world: World, publisher: FakeClient) -> None:
    count = 50
    publisher.feed(numbered(count))
    queue = queue_of(world)
    world.broker.memory.budget_bytes = queue.memory_bytes // 2
    world.broker.memory.look()
    assert in_memory(queue) == count - PAGED_AT_ONCE
    turns = give_turns(world)
    assert count * 0.3 / PAGED_AT_ONCE - 1 <= turns < count / PAGED_AT_ONCE
    assert queue.memory_bytes <= world.broker.memory.budget_bytes
    assert drained(publisher) == [(n, False) for n in range(count)]


def test_a_budget_that_cannot_be_kept_is_not_looked_at_turn_after_turn(
    world: World, publisher: FakeClient
) -> None:
    publisher.feed(numbered(20))
    world.broker.memory.budget_bytes = 1
    world.broker.memory.look()
    assert 0 < give_turns(world) < 20
    assert in_memory(queue_of(world)) == HELD


def test_queues_that_have_nothing_to_give_do_not_keep_others_from_being_paged_out(
    world: World, publisher: FakeClient
) -> None:
    for number in range(6):
        publisher.declare(f"large-{number}")
        publisher.feed(numbered(HELD, size=1000, queue=f"large-{number}"))
    publisher.feed(numbered(20))
    world.broker.memory.budget_bytes = 1000
    world.broker.memory.look()
    give_turns(world)
    assert in_memory(queue_of(world)) == HELD


def test_returned_messages_count_and_are_paged_out_with_order_and_flags_kept(
    world: World, publisher: FakeClient
) -> None:
    publisher.feed(numbered(20))
    queue = queue_of(world)
    consumer = world.connect()
    consumer.consume("q")
    assert len(consumer.deliveries()) == 20
    assert queue.memory_bytes == 0
    publisher.feed(numbered(10, first=20))
    assert len(consumer.deliveries()) == 10
    consumer.disconnect()
    publisher.feed(numbered(10, first=30))
    assert queue.memory_bytes > 0
    world.broker.memory.budget_bytes = 1
    world.broker.memory.look()
    give_turns(world)
    assert in_memory(queue) == HELD
    publisher.feed(numbered(5, first=40))
    assert drained(publisher) == [(n, n < 30) for n in range(45)]


def test_what_comes_back_to_a_queue_with_a_backlog_stands_before_it(
    world: World, publisher: FakeClient
) -> None:
    world.broker.memory.budget_bytes = 1
    consumer = world.connect()
    consumer.send(Basic.Qos(prefetch_count=12))
    consumer.expect(Basic.QosOk)
    publisher.feed(numbered(20))
    world.watch()
    give_turns(world)
    consumer.consume("q")
    assert len(consumer.deliveries()) == 12
    consumer.disconnect()
    world.watch()
    give_turns(world)
    assert in_memory(queue_of(world)) == HELD
    assert drained(publisher) == [(n, n < 12) for n in range(20)]


def test_an_alarm_for_what_a_consumer_holds_is_over_once_that_is_paged_out(
    world: World, publisher: FakeClient
) -> None:
    count = 40
    publisher.feed(numbered(count))
    world.broker.memory.budget_bytes = queue_of(world).memory_bytes // 2
    consumer = world.connect()
    consumer.consume("q")
    assert len(consumer.deliveries()) == count
    world.watch()
    assert world.broker.alarms.reason == "low on memory"
    consumer.disconnect()
    world.watch()
    give_turns(world)
    assert not world.broker.alarms
    assert drained(publisher) == [(n, True) for n in range(count)]


# --- what a stop notes ------------------------------------------------------------------------


@pytest.mark.parametrize("paged_out", [False, True])
def test_a_clean_stop_notes_how_far_a_long_queue_was_delivered_with_one_mark(
    paged_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 600
    server = DurableServer()
    client = server.connect()
    client.declare("q", durable=True)
    client.feed(numbered(count))
    client.declare("another", durable=True)
    client.feed(numbered(5, queue="another"))
    server = server.restarted(clean=False)
    client = server.connect()
    client.send(Confirm.Select())
    client.expect(Confirm.SelectOk)
    client.feed(numbered(10, first=count))
    client.expect(Basic.Ack)
    client.get("q", no_ack=True)
    if paged_out:
        server.page_out("q")
    noted = list[int]()
    note = Journal.note_deliveries

    def watched(journal: Journal, owner: int, counts: Mapping[int, int]) -> None:
        noted.append(len(counts))
        note(journal, owner, counts)

    monkeypatch.setattr(Journal, "note_deliveries", watched)
    server = server.restarted(clean=True)
    assert noted == [1, 1]
    client = server.connect()
    assert drained(client) == [(n, n < count) for n in range(1, count + 10)]
    assert drained(client, "another") == [(n, True) for n in range(5)]

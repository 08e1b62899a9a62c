"""What clients are told about the disk is true, and what they wait for comes: one test for each way
in which it was not so.
"""

import errno
from collections.abc import Iterator
from typing import Any

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Confirm, Exchange, Queue, Tx

from fake_client import FakeClient, encoded, message
from leveret.broker.alarms import Alarm
from leveret.storage.errors import JournalError
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk
from simulation.scale import small_scale
from simulation.world import World

PERSISTENT, TRANSIENT = 2, 1
LOG = "journal-0000000001.log"


@pytest.fixture
def world() -> Iterator[World]:
    """A broker on a disk that is written to only when the test says so."""
    with small_scale():
        yield World(Settings(), 0)


def sync(world: World) -> None:
    """Bring everything to the disk."""
    world.commit()
    while world.flight is not None:
        world.write()
        world.notice()


def crash(world: World) -> None:
    """Lose power and with it all that was not synced, and start again."""
    world.disk = MemoryDisk(world.disk.crash(lambda choices: int(choices == 3)).files())
    world.start()


def declare_durable(world: World, client: FakeClient, queue: str = "q") -> None:
    client.send(Queue.Declare(queue=queue, durable=True))
    sync(world)
    client.expect(Queue.DeclareOk)


def test_a_persistent_message_between_transient_ones_is_confirmed_only_when_on_disk(
    world: World,
) -> None:
    client = world.connect()
    declare_durable(world, client)
    client.send(Confirm.Select())
    client.expect(Confirm.SelectOk)
    modes = (TRANSIENT, PERSISTENT, TRANSIENT)
    client.feed(b"".join(message(b"m", "q", delivery_mode=mode) for mode in modes))
    confirmed = [each.call.delivery_tag for each in client.received()]
    assert confirmed in ([], [1])
    sync(world)
    assert client.expect(Basic.Ack).delivery_tag == 3


def test_queue_unbind_is_answered_at_once(world: World) -> None:
    client = world.connect()
    declare_durable(world, client)
    client.send(Queue.Bind(queue="q", exchange="amq.direct", routing_key="k"))
    sync(world)
    client.expect(Queue.BindOk)
    client.send(Queue.Unbind(queue="q", exchange="amq.direct", routing_key="k"))
    client.expect(Queue.UnbindOk)


def test_an_answer_that_waits_for_the_disk_outlives_an_alarm(world: World) -> None:
    client = world.connect()
    world.broker.alarms.set(Alarm.DISK, True)
    client.feed(message(b"m", "nowhere"))
    client.send(Queue.Declare(queue="q", durable=True))
    world.broker.alarms.set(Alarm.DISK, False)
    world.end_turn()
    sync(world)
    client.expect(Queue.DeclareOk)


def test_a_commit_of_nothing_is_answered_after_a_restart(world: World) -> None:
    crash(world)
    client = world.connect()
    client.send(Tx.Select())
    client.expect(Tx.SelectOk)
    client.send(Tx.Commit())
    sync(world)
    client.expect(Tx.CommitOk)


def test_a_message_published_after_a_crash_is_not_flagged_redelivered(world: World) -> None:
    client = world.connect()
    declare_durable(world, client)
    for body in (b"1", b"2", b"3"):
        client.publish(body, "q", delivery_mode=PERSISTENT)
    sync(world)
    crash(world)
    client = world.connect()
    client.publish(b"4", "q", delivery_mode=PERSISTENT)
    got = [client.get() for _ in range(4)]
    flags = [(each.body, each.call.redelivered) for each in got if each]
    assert flags == [(b"1", True), (b"2", True), (b"3", True), (b"4", False)]


def test_messages_of_a_deleted_queue_do_not_appear_in_another_one(world: World) -> None:
    client = world.connect()
    declare_durable(world, client)
    client.publish(b"unsettled", "q", delivery_mode=PERSISTENT)
    assert client.get()
    client.send(Queue.Delete(queue="q"))
    sync(world)
    client.expect(Queue.DeleteOk)
    crash(world)
    declare_durable(world, world.connect(), "another")
    crash(world)
    assert world.contents() == {"another": []}
    assert world.journal.statistics().messages == 0


@pytest.mark.parametrize("delete", [Queue.Delete(queue="q"), Exchange.Delete(exchange="e")])
def test_a_deletion_that_a_crash_cuts_short_does_not_keep_the_broker_from_starting(
    world: World, delete: Queue.Delete | Exchange.Delete
) -> None:
    client = world.connect()
    declare_durable(world, client)
    client.feed(
        encoded(
            Exchange.Declare(exchange="e", durable=True, nowait=True),
            *(
                Queue.Bind(queue="q", exchange="e", routing_key=f"key-{n}", nowait=True)
                for n in range(20)
            ),
        )
    )
    sync(world)
    before = len(world.disk.files()[LOG])
    client.send(delete)
    world.commit()
    world.write()
    whole = world.disk.files()[LOG]
    for size in range(before, len(whole), 7):
        world.disk = MemoryDisk({LOG: whole[:size]})
        world.start()


# --- who waits for the disk, and who does not -------------------------------------------------


@pytest.fixture
def behind(world: World) -> World:
    """The same, while a declaration of another client has not come to the disk: there are a
    durable queue q and a durable exchange e, and a message of q has not come there either.
    """
    client = world.connect()
    declare_durable(world, client)
    client.send(Exchange.Declare(exchange="e", durable=True))
    sync(world)
    client.expect(Exchange.DeclareOk)
    client.publish(b"m", "q", delivery_mode=PERSISTENT)
    world.connect().send(Queue.Declare(queue="waiting", durable=True))
    assert world.broker.awaits_disk
    return world


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (Queue.Declare(queue="q", passive=True), Queue.DeclareOk),
        (Queue.Declare(queue="new"), Queue.DeclareOk),
        (Queue.Declare(exclusive=True), Queue.DeclareOk),
        (Queue.Declare(exclusive=True, durable=True), Queue.DeclareOk),
        (Exchange.Declare(exchange="e", passive=True), Exchange.DeclareOk),
        (Exchange.Declare(exchange="new"), Exchange.DeclareOk),
        (Queue.Purge(queue="q"), Queue.PurgeOk),
        (Queue.Delete(queue="nowhere"), Queue.DeleteOk),
        (Queue.Unbind(queue="q", exchange="amq.direct", routing_key="k"), Queue.UnbindOk),
        (Exchange.Delete(exchange="nowhere"), Exchange.DeleteOk),
        (Basic.Consume(queue="q"), Basic.ConsumeOk),
    ],
    ids=str,
)
def test_what_concerns_nothing_durable_does_not_wait_for_the_disk(
    behind: World, call: Frame, answer: type[Frame]
) -> None:
    client = behind.connect()
    client.send(call)
    client.expect(answer)


def test_a_transient_queue_of_a_durable_exchange_does_not_wait_for_the_disk(behind: World) -> None:
    client = behind.connect()
    client.declare("new", exclusive=True)
    client.bind("new", "e", "k")
    client.request(
        Queue.Unbind(queue="new", exchange="e", routing_key="k"),
        Queue.UnbindOk,
    )
    client.request(Queue.Delete(queue="new"), Queue.DeleteOk)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (Queue.Declare(queue="new", durable=True), Queue.DeclareOk),
        (Exchange.Declare(exchange="new", durable=True), Exchange.DeclareOk),
        (Queue.Bind(queue="q", exchange="e", routing_key="k"), Queue.BindOk),
        (Exchange.Bind(destination="e", source="amq.direct", routing_key="k"), Exchange.BindOk),
    ],
    ids=str,
)
def test_what_concerns_something_durable_is_answered_once_it_is_on_disk(
    behind: World, call: Frame, answer: type[Frame]
) -> None:
    client = behind.connect()
    client.send(call)
    assert client.received() == []
    sync(behind)
    client.expect(answer)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (Queue.Delete(queue="q"), Queue.DeleteOk),
        (Exchange.Delete(exchange="e"), Exchange.DeleteOk),
    ],
    ids=str,
)
def test_deleting_does_not_wait_for_the_disk(
    behind: World, call: Frame, answer: type[Frame]
) -> None:
    client = behind.connect()
    client.send(call)
    client.expect(answer)


def test_a_durable_queue_that_another_client_is_declaring_is_declared_once_it_is_on_disk(
    behind: World,
) -> None:
    client = behind.connect()
    client.send(Queue.Declare(queue="waiting", durable=True))
    assert client.received() == []
    sync(behind)
    client.expect(Queue.DeclareOk)


def test_what_is_on_disk_is_declared_again_without_waiting_for_messages(world: World) -> None:
    client = world.connect()
    declare_durable(world, client)
    client.publish(b"m", "q", delivery_mode=PERSISTENT)
    assert world.broker.position > world.broker.durable
    assert client.declare("q", durable=True).message_count == 1


def test_consumers_of_a_durable_queue_are_cancelled_behind_delete_ok(world: World) -> None:
    client, other = world.connect(), world.connect()
    declare_durable(world, client)
    client.consume("q", "c")
    other.consume("q", "d")
    client.send(Queue.Delete(queue="q"))
    client.expect(Queue.DeleteOk)
    assert client.expect(Basic.Cancel).consumer_tag == "c"
    assert other.expect(Basic.Cancel).consumer_tag == "d"


# --- dead letters of a transaction ------------------------------------------------------------


@pytest.fixture
def rejecting(world: World) -> FakeClient:
    """A client that has rejected a message in a transaction and not committed yet: from q it is to
    go to dead.
    """
    client = world.connect()
    declare_durable(world, client, "dead")
    to_dead: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client.send(Queue.Declare(queue="q", durable=True, arguments=to_dead))
    sync(world)
    client.expect(Queue.DeclareOk)
    client.publish(b"0 m", "q", delivery_mode=PERSISTENT)
    sync(world)
    client.request(Tx.Select(), Tx.SelectOk)
    client.send(Basic.Reject(client.get().call.delivery_tag, requeue=False))
    return client


def test_commit_ok_comes_once_dead_letters_are_on_disk(world: World, rejecting: FakeClient) -> None:
    rejecting.send(Tx.Commit())
    assert rejecting.received() == []
    sync(world)
    rejecting.expect(Tx.CommitOk)
    crash(world)
    assert world.contents() == {"q": [], "dead": [0]}


def test_a_crash_takes_dead_letters_and_all_else_of_a_commit_or_nothing(
    world: World, rejecting: FakeClient
) -> None:
    rejecting.publish(b"1 n", "dead", delivery_mode=PERSISTENT)
    before = len(world.disk.files()[LOG])
    rejecting.send(Tx.Commit())
    world.write()
    whole = world.disk.files()[LOG]
    found: list[dict[str, list[int]]] = []
    for size in (*range(before, len(whole), 7), len(whole)):
        world.disk = MemoryDisk({LOG: whole[:size]})
        world.start()
        contents = world.contents()
        if contents not in found:
            found.append(contents)
    assert found == [{"dead": [], "q": [0]}, {"dead": [1, 0], "q": []}]


# --- messages that the disk does not give back ------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [Basic.Get(queue="q"), Basic.Get(queue="q", no_ack=True), Basic.Consume(queue="q")],
    ids=["get", "get without ack", "consume"],
)
def test_a_message_that_cannot_be_read_back_stops_the_broker_and_stays_in_its_queue(
    world: World, call: Frame
) -> None:
    count = 10
    client = world.connect()
    declare_durable(world, client)
    for number in range(count):
        client.publish(b"%d" % number, "q", delivery_mode=PERSISTENT)
    sync(world)
    crash(world)
    client = world.connect()
    # Only the first one has been read. It would go out, and then the next one is looked at.
    world.fail_after(0, lambda: OSError(errno.EIO, "bad sector"), "read")
    if isinstance(call, Basic.Get):
        with pytest.raises(JournalError):
            client.send(call)
    else:
        client.send(call)
        assert world.failed
    assert client.received() == []
    assert world.queues["q"].message_count == count - 1
    crash(world)
    assert world.contents() == {"q": list(range(count))}

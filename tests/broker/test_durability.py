"""What clients are told about the disk is true, and what they wait for comes: one test for each way
in which it was not so.
"""

from collections.abc import Iterator

import pytest
from pamqp.commands import Basic, Confirm, Exchange, Queue, Tx

from fake_client import FakeClient, encoded, message
from leveret.broker.alarms import Alarm
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk
from simulation.world import World, small_scale

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


def test_queue_unbind_is_answered_only_when_on_disk(world: World) -> None:
    client = world.connect()
    declare_durable(world, client)
    client.send(Queue.Bind(queue="q", exchange="amq.direct", routing_key="k"))
    sync(world)
    client.expect(Queue.BindOk)
    client.send(Queue.Unbind(queue="q", exchange="amq.direct", routing_key="k"))
    assert client.received() == []
    sync(world)
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

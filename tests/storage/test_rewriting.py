"""Disk use follows what lives; old messages pin nothing; it happens bit by bit."""

import pytest

from leveret.storage.batch import Batch
from leveret.storage.errors import DiskFull
from leveret.storage.journal import Journal
from leveret.storage.opening import open_journal
from leveret.storage.records import segment_name
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk

SMALL = Settings(segment_bytes=64 * 1024, slack_segments=2, rewrite_bytes=8 * 1024)


def sync(journal: Journal) -> int:
    """Write one batch, and return its size."""
    batch = journal.take_batch()
    if batch is None:
        return 0
    batch.write_and_sync()
    journal.synced(batch)
    return batch.size


def settle_down(journal: Journal) -> None:
    for _ in range(100_000):
        if not journal.has_work:
            return
        sync(journal)
    raise AssertionError("there is always more work")


def pump(journal: Journal, owner: int, count: int, size: int = 1000) -> None:
    """Messages that are settled as soon as they are on disk."""
    for _ in range(count // 20):
        ids = [journal.append_message((owner,), bytes(size)) for _ in range(20)]
        sync(journal)
        journal.settle_many(owner, ids)
    sync(journal)


def test_after_much_went_through_the_directory_is_small() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    pump(journal, 1, 20_000)
    settle_down(journal)
    assert journal.durable > 20_000_000
    assert disk.used_bytes < 3 * SMALL.segment_bytes
    assert journal.statistics().rewritten_bytes == 0


def test_a_few_old_messages_do_not_pin_what_came_after_them() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    old: dict[int, bytes] = {}
    journal.define(b"old", b"definition")
    for n in range(50):
        old[journal.append_message((2, 3), b"%d" % n)] = b"%d" % n
        pump(journal, 1, 100)
        assert disk.used_bytes < 8 * SMALL.segment_bytes
    settle_down(journal)
    assert disk.used_bytes < 4 * SMALL.segment_bytes
    assert [m.blob for m in journal.read_many(list(old))] == list(old.values())
    again, recovered = open_journal(MemoryDisk(disk.files()), SMALL)
    assert list(recovered.messages[2]) == list(recovered.messages[3]) == list(old)
    assert [m.blob for m in again.read_many(recovered.messages[2])] == list(old.values())
    assert recovered.definitions == {b"old": b"definition"}


@pytest.mark.slow
def test_a_large_old_backlog_is_rewritten_at_most_once_per_its_own_size() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    backlog = [journal.append_message((2,), bytes(1000)) for _ in range(1000)]
    sync(journal)
    pump(journal, 1, 20_000)
    settle_down(journal)
    assert disk.used_bytes < 2 * 1_100_000 + 6 * SMALL.segment_bytes
    # 20 MB went by a backlog of 1 MB: each megabyte allows one rewriting.
    assert 2_000_000 < journal.statistics().rewritten_bytes < 23_000_000
    assert len(journal.read_many(backlog)) == 1000


@pytest.mark.parametrize("batch_messages", [50, 1000, 3000])
def test_the_log_stays_short_however_much_passes_by_an_old_backlog(batch_messages: int) -> None:
    journal, _ = open_journal(MemoryDisk(), SMALL)
    backlog = [journal.append_message((2,), bytes(1000)) for _ in range(3000)]
    sync(journal)
    longest_bytes = 0
    for _ in range(40_000 // batch_messages):
        ids: list[int] = []
        for _ in range(batch_messages // 10):
            ids += [journal.append_message((1,), bytes(1000)) for _ in range(10)]
            if journal.is_too_long:
                before = journal.position
                journal.reclaim()
                assert journal.position - before < 300_000
        sync(journal)
        journal.settle_many(1, ids)
        longest_bytes = max(longest_bytes, journal.size)
    assert longest_bytes < 3.75 * 1000 * (3000 + batch_messages)
    settle_down(journal)
    assert journal.size < 2 * 3_100_000 + 4 * SMALL.segment_bytes
    assert len(journal.read_many(backlog)) == 3000


def test_a_batch_rewrites_only_a_bounded_bit() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    kept: list[int] = []
    for _ in range(500):
        kept.append(journal.append_message((2,), bytes(1000)))
        journal.append_message((1,), bytes(10_000))
    sync(journal)
    journal.drop_owner(1)
    sizes: list[int] = []
    while journal.has_work:
        sizes.append(sync(journal))
    assert len(sizes) > 30
    assert max(sizes) < 2 * SMALL.rewrite_bytes
    assert disk.used_bytes < 2 * 520_000 + 4 * SMALL.segment_bytes
    assert len(journal.read_many(kept)) == 500


def test_definitions_move_in_bits_too() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    for n in range(300):
        journal.define(b"key %d" % n, bytes([n % 256]) * 300)
    sync(journal)
    sizes: list[int] = []
    for _ in range(60):
        pump(journal, 1, 100)
        while journal.has_work:
            sizes.append(sync(journal))
    assert journal.statistics().rewritten_bytes > 90_000
    assert max(sizes, default=0) < 3 * SMALL.rewrite_bytes
    assert disk.used_bytes < 2 * 100_000 + 6 * SMALL.segment_bytes
    expected = {b"key %d" % n: bytes([n % 256]) * 300 for n in range(300)}
    assert journal.definitions() == expected
    _, recovered = open_journal(MemoryDisk(disk.files()), SMALL)
    assert recovered.definitions == expected


def test_what_is_settled_while_its_segment_is_rewritten_stays_settled() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    kept = [journal.append_message((1, 2), bytes(1000)) for _ in range(300)]
    journal.append_message((3,), bytes(400_000))
    journal.append_message((3,), bytes(400_000))
    sync(journal)
    journal.drop_owner(3)
    for message_id in kept[::2]:
        journal.settle(1, message_id)
        sync(journal)
    journal.settle_many(2, kept[:100])
    journal.note_deliveries(2, {kept[200]: 5})
    journal.note(2, kept[201], b"noted")
    journal.note(2, kept[99], b"settled")
    settle_down(journal)
    pump(journal, 4, 1000)
    settle_down(journal)
    _, recovered = open_journal(MemoryDisk(disk.files()), SMALL)
    assert list(recovered.messages[1]) == kept[1::2]
    assert list(recovered.messages[2]) == kept[100:]
    assert recovered.deliveries == {2: {kept[200]: 5}}
    assert recovered.notes == {2: {kept[201]: b"noted"}}


def test_damage_stops_rewriting_and_loses_nothing_else() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    old = journal.append_message((2,), b"precious")
    pump(journal, 1, 40)
    name = segment_name("journal", 1)
    disk.open(name, write=True).pwrite([b"?"], disk.files()[name].index(b"precious"))
    pump(journal, 1, 1000)
    settle_down(journal)
    assert name in journal.statistics().rewriting_stopped
    assert name in disk.names()
    assert disk.used_bytes > 10 * SMALL.segment_bytes
    assert journal.index.lives(old)


def write_until_full(journal: Journal) -> Batch:
    """The batch that found no room."""
    while True:
        batch = journal.take_batch()
        assert batch is not None
        try:
            batch.write_and_sync()
        except DiskFull:
            return batch
        journal.synced(batch)


def test_rewriting_goes_on_after_the_disk_was_full() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    kept = [journal.append_message((2,), bytes(1000)) for _ in range(600)]
    journal.append_message((1,), bytes(800_000))
    sync(journal)
    journal.drop_owner(1)
    disk.capacity_bytes = disk.used_bytes + 5000
    batch = write_until_full(journal)
    disk.capacity_bytes = 1 << 30
    batch.write_and_sync()
    journal.synced(batch)
    settle_down(journal)
    assert disk.used_bytes < 1_000_000
    _, recovered = open_journal(MemoryDisk(disk.files()), SMALL)
    assert list(recovered.messages[2]) == kept


def test_an_idle_journal_has_no_work() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    assert not journal.has_work
    assert journal.take_batch() is None
    journal.append_message((1,), b"x")
    assert journal.has_work
    sync(journal)
    assert not journal.has_work
    journal.settle(1, 1)
    assert journal.has_work

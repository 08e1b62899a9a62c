"""The index a clean stop leaves behind: quick if it is right, ignored if anything is not."""

import pytest

from leveret.storage.journal import Journal
from leveret.storage.opening import Recovered, open_journal
from leveret.storage.settings import Settings
from leveret.storage.snapshot import SNAPSHOT_NAME, TEMPORARY_NAME
from memory_disk import MemoryDisk

SMALL = Settings(segment_bytes=64 * 1024)


def filled() -> MemoryDisk:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    ids = [journal.append_message((1,) if n % 5 else (1, 2, 3), bytes(n)) for n in range(900)]
    journal.settle_many(1, ids[::3])
    journal.define(b"key \xff", b"value")
    journal.note_deliveries(2, {ids[5]: 7})
    journal.note(2, ids[10], b"any \xff bytes")
    sync(journal)
    journal.settle(3, ids[5])
    journal.close()
    return disk


def sync(journal: Journal) -> None:
    batch = journal.take_batch()
    assert batch is not None
    batch.write_and_sync()
    journal.synced(batch)


def same(recovered: Recovered) -> tuple[object, ...]:
    said = recovered.deliveries, recovered.notes
    return recovered.messages, recovered.definitions, said, recovered.clean


def reference(disk: MemoryDisk) -> tuple[object, ...]:
    files = {name: data for name, data in disk.files().items() if name != SNAPSHOT_NAME}
    _, recovered = open_journal(MemoryDisk(files), SMALL)
    assert not recovered.from_snapshot
    return same(recovered)


def test_a_snapshot_gives_what_reading_the_log_gives() -> None:
    disk = filled()
    expected = reference(disk)
    journal, recovered = open_journal(disk, SMALL)
    assert recovered.from_snapshot
    assert recovered.records_read == 1
    assert same(recovered) == expected
    assert [len(m.blob) for m in journal.read_many(recovered.messages[2])] == list(range(0, 900, 5))
    assert SNAPSHOT_NAME not in disk.names()


def test_the_journal_goes_on_from_a_snapshot_as_from_the_log() -> None:
    disk = filled()
    journal, recovered = open_journal(disk, SMALL)
    expected = {owner: list(ids) for owner, ids in recovered.messages.items()}
    more = [journal.append_message((3, 4), bytes(100)) for _ in range(20_000)]
    journal.settle_many(1, recovered.messages[1])
    sync(journal)
    expected[3] += more
    expected[4] = more
    del expected[1]
    for settings in (SMALL, Settings(segment_bytes=64 * 1024, snapshots=False)):
        journal.close()
        journal, recovered = open_journal(disk, settings)
        assert {owner: list(ids) for owner, ids in recovered.messages.items()} == expected
        assert recovered.from_snapshot


@pytest.mark.parametrize("sparse", [False, True])
def test_long_queues_come_back_from_a_snapshot(sparse: bool) -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    ids = [journal.append_message((n % 2,), b"") for n in range(50_000)]
    if sparse:
        journal.settle_many(0, ids[::2])
        journal.settle_many(1, [n for n in ids[1::2] if n % 40])
    journal.close()
    expected = reference(disk)
    _, recovered = open_journal(disk)
    assert recovered.from_snapshot
    assert same(recovered) == expected


@pytest.mark.slow
def test_a_snapshot_with_any_changed_byte_is_not_believed() -> None:
    disk = filled()
    expected = reference(disk)
    files = disk.files()
    data = files[SNAPSHOT_NAME]
    for at in [*range(40), *range(40, len(data), 101), len(data) - 1]:
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        _, recovered = open_journal(MemoryDisk(files | {SNAPSHOT_NAME: changed}), SMALL)
        assert not recovered.from_snapshot
        assert same(recovered) == expected
    for size in (0, 5, len(data) - 1):
        _, recovered = open_journal(MemoryDisk(files | {SNAPSHOT_NAME: data[:size]}), SMALL)
        assert not recovered.from_snapshot


def test_a_snapshot_of_an_earlier_stop_is_not_believed() -> None:
    disk = filled()
    old = disk.files()[SNAPSHOT_NAME]
    journal, _ = open_journal(disk, SMALL)
    journal.append_message((1,), b"later")
    journal.close()
    files = disk.files()
    _, recovered = open_journal(MemoryDisk(files | {SNAPSHOT_NAME: old}), SMALL)
    assert not recovered.from_snapshot
    assert same(recovered) == reference(disk)


def test_a_snapshot_is_not_believed_after_a_crash() -> None:
    disk = filled()
    snapshot = disk.files()[SNAPSHOT_NAME]
    open_journal(disk, SMALL)
    files = disk.files() | {SNAPSHOT_NAME: snapshot}
    _, recovered = open_journal(MemoryDisk(files), SMALL)
    assert not recovered.clean
    assert not recovered.from_snapshot


def test_a_segment_of_another_length_makes_the_log_be_read() -> None:
    disk = filled()
    files = disk.files()
    names = sorted(name for name in files if name.startswith("journal-"))
    longer = files | {names[-1]: files[names[-1]] + b"?"}
    _, recovered = open_journal(MemoryDisk(longer), SMALL)
    assert not recovered.from_snapshot
    assert recovered.torn is not None
    assert recovered.clean


def test_a_snapshot_half_written_is_removed() -> None:
    disk = filled()
    files = disk.files()
    disk = MemoryDisk(files | {TEMPORARY_NAME: b"half"})
    open_journal(disk, SMALL)
    assert TEMPORARY_NAME not in disk.names()


def test_without_snapshots_a_clean_stop_is_still_clean() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, Settings(snapshots=False))
    journal.append_message((1,), b"x")
    journal.close()
    assert SNAPSHOT_NAME not in disk.names()
    _, recovered = open_journal(disk)
    assert recovered.clean
    assert not recovered.from_snapshot

"""Segments that are written over ones that are needed no longer."""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from leveret.storage.errors import Damaged, DiskFull
from leveret.storage.inspection import verify
from leveret.storage.journal import Journal
from leveret.storage.opening import Recovered, open_journal
from leveret.storage.records import (
    SEGMENT_HEADER_SIZE,
    SPARE_NAME,
    SegmentHeader,
    segment_name,
    segment_number,
)
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk

SMALL = Settings(segment_bytes=2048, snapshots=False)


def sync(journal: Journal) -> None:
    batch = journal.take_batch()
    if batch is not None:
        batch.write_and_sync()
        journal.synced(batch)


def pump(journal: Journal, count: int) -> None:
    """Messages that are settled as soon as they are on disk."""
    for n in range(count):
        message_id = journal.append_message((9,), bytes([n % 256]) * 200)
        sync(journal)
        journal.settle(9, message_id)
    sync(journal)


def last_file(disk: MemoryDisk) -> str:
    return max(name for name in disk.names() if segment_number("journal", name))


def in_a_recycled_segment() -> tuple[MemoryDisk, Journal]:
    """A journal that has just begun to write over an old segment."""
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    pump(journal, 40)
    before = last_file(disk)
    for _ in range(100):
        pump(journal, 1)
        if last_file(disk) != before and journal.segments[max(journal.segments)].room:
            break
    return disk, journal


def blobs(journal: Journal, recovered: Recovered, owner: int) -> list[bytes]:
    return [m.blob for m in journal.read_many(recovered.messages.get(owner, []))]


def test_a_steady_stream_needs_no_new_files() -> None:
    disk, journal = in_a_recycled_segment()
    created: list[str] = []
    disk.fault = lambda operation, name: created.append(name) if operation == "create" else None
    pump(journal, 500)
    assert not created
    assert disk.used_bytes < 6 * SMALL.segment_bytes


def test_a_recycled_segment_is_read_as_any_other_after_a_crash() -> None:
    disk, journal = in_a_recycled_segment()
    kept = [journal.append_message((1,), b"%d" % n) for n in range(3)]
    sync(journal)
    kept.append(journal.append_message((1,), b"3"))
    sync(journal)
    again, recovered = open_journal(MemoryDisk(disk.files()), SMALL)
    assert list(recovered.messages[1]) == kept
    assert blobs(again, recovered, 1) == [b"0", b"1", b"2", b"3"]
    assert recovered.torn is None
    assert not recovered.clean
    journal.close(clean=False)


def test_the_room_behind_the_end_is_given_back_by_a_stop_and_by_a_start() -> None:
    disk, journal = in_a_recycled_segment()
    crashed = MemoryDisk(disk.files())
    journal.close()
    assert SPARE_NAME not in disk.names()
    assert len(disk.files()[last_file(disk)]) % 4096
    again, _ = open_journal(crashed, SMALL)
    assert crashed.used_bytes == again.size


def torn(before: bytes, after: bytes) -> Iterator[bytes]:
    """A file when a write that made it from `before` to `after` was cut short, in many ways."""
    changed = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    for at in changed:
        yield after[:at] + before[at:]
        yield before[:at] + after[at:]


def test_wherever_a_write_over_an_old_segment_is_cut_short_nothing_else_is_lost() -> None:
    disk, journal = in_a_recycled_segment()
    journal.append_message((1,), b"old")
    sync(journal)
    before = disk.files()
    journal.append_message((1,), b"new")
    sync(journal)
    after = disk.files()
    name = last_file(disk)
    seen: set[tuple[bytes, ...]] = set()
    for contents in torn(before[name], after[name]):
        again, recovered = open_journal(MemoryDisk(before | {name: contents}), SMALL)
        found = blobs(again, recovered, 1)
        assert found in ([b"old"], [b"old", b"new"])
        again.append_message((1,), b"newer")
        sync(again)
        again, recovered = open_journal(MemoryDisk(again_files(again)), SMALL)
        assert blobs(again, recovered, 1) == [*found, b"newer"]
        seen.add(tuple(found))
    assert len(seen) == 2


def again_files(journal: Journal) -> dict[str, bytes]:
    disk = journal.disk
    assert isinstance(disk, MemoryDisk)
    return disk.files()


def test_any_changed_byte_before_the_end_is_found() -> None:
    disk, journal = in_a_recycled_segment()
    journal.append_message((1,), b"one")
    sync(journal)
    journal.append_message((1,), b"two")
    sync(journal)
    name = last_file(disk)
    files = disk.files()
    start = files[name].index(b"one") - 40
    for at in range(start, files[name].index(b"one") + 3):
        data = bytearray(files[name])
        data[at] ^= 0x10
        with pytest.raises(Damaged):
            open_journal(MemoryDisk(files | {name: bytes(data)}), SMALL)


def test_an_end_with_something_written_later_behind_it_is_damage() -> None:
    disk, journal = in_a_recycled_segment()
    name = last_file(disk)
    before = disk.files()
    for n in range(2):
        journal.append_message((1,), b"%d" % n)
        sync(journal)
    after = disk.files()
    # The disk did not write, though it said so, the first of two batches.
    lost = next(
        at for at, (a, b) in enumerate(zip(before[name], after[name], strict=True)) if a != b
    )
    contents = (
        after[name][: lost - 30] + before[name][lost - 30 : lost + 20] + after[name][lost + 20 :]
    )
    with pytest.raises(Damaged):
        open_journal(MemoryDisk(after | {name: contents}), SMALL)


def test_a_file_that_got_its_new_name_and_nothing_else_is_removed() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    pump(journal, 40)
    journal.append_message((1,), b"kept")
    sync(journal)
    files = disk.files()
    number = segment_number("journal", last_file(disk))
    assert number is not None
    unused = segment_name("journal", number + 1)
    files[unused] = files.pop(SPARE_NAME)
    crashed = MemoryDisk(files)
    again, recovered = open_journal(crashed, SMALL)
    assert blobs(again, recovered, 1) == [b"kept"]
    assert recovered.torn is None
    assert unused not in crashed.names()


def test_a_segment_is_not_written_over_before_its_new_name_is_on_disk() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    steps: list[tuple[str, str]] = []
    disk.fault = lambda operation, name: steps.append((operation, name))
    pump(journal, 100)
    renames = [at for at, step in enumerate(steps) if step == ("rename", SPARE_NAME)]
    assert renames
    assert all(steps[at + 1] == ("sync", "") for at in renames)


@pytest.mark.parametrize("old", [SPARE_NAME, "journal-"])
def test_a_rename_that_finds_no_room_is_done_again(old: str) -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    full = 0

    def fault(operation: str, name: str) -> None:
        nonlocal full
        if operation == "rename" and name.startswith(old) and full < 3:
            full += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    disk.fault = fault
    for n in range(100):
        message_id = journal.append_message((1,), b"%d" % n * 100)
        batch = journal.take_batch()
        assert batch is not None
        while not batch.written:
            with suppress(DiskFull):
                batch.write_and_sync()
        journal.synced(batch)
        if n < 99:
            journal.settle(1, message_id)
    assert full == 3
    again, recovered = open_journal(MemoryDisk(disk.files()), SMALL)
    assert blobs(again, recovered, 1)[-1] == b"99" * 100


def test_a_segment_that_is_being_read_is_not_written_over() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    message_id = journal.append_message((1,), b"read me")
    sync(journal)
    read = journal.prepare_read([message_id])
    journal.settle(1, message_id)
    pump(journal, 100)
    assert [message.blob for message in read.run()] == [b"read me"]


def test_a_segment_much_longer_than_others_is_not_kept() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    journal.settle(1, journal.append_message((1,), bytes(100_000)))
    pump(journal, 100)
    assert disk.used_bytes < 6 * SMALL.segment_bytes


def test_a_recycled_journal_is_whole_in_the_eyes_of_verify() -> None:
    disk, journal = in_a_recycled_segment()
    journal.close(clean=False)
    assert not [finding for finding in verify(disk) if finding.problem]
    header = SegmentHeader.decode(disk.files()[last_file(disk)][:SEGMENT_HEADER_SIZE])
    assert header is not None
    assert header.number == segment_number("journal", last_file(disk))

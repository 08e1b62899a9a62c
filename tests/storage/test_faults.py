"""A disk that is full, breaks, or lies: nothing counts as stored that is not."""

import errno
import os
from collections.abc import Callable

import pytest

from leveret.storage.errors import (
    DirectoryLocked,
    DirectoryNotWritable,
    DiskFull,
    JournalError,
    JournalFailed,
)
from leveret.storage.journal import Journal
from leveret.storage.opening import open_journal
from leveret.storage.settings import Settings
from memory_disk import Choose, MemoryDisk

SMALL = Settings(segment_bytes=1024)


def lose_everything(n: int) -> int:
    """A choice for crashes: no unsynced file contents, no unsynced names."""
    return 1 if n == 3 else 0


def keep_everything(n: int) -> int:
    return 0 if n == 3 else 1


def sync(journal: Journal) -> None:
    batch = journal.take_batch()
    assert batch is not None
    batch.write_and_sync()
    journal.synced(batch)


def stored(disk: MemoryDisk) -> list[bytes]:
    journal, recovered = open_journal(disk)
    return [m.blob for ids in recovered.messages.values() for m in journal.read_many(ids)]


def fail(operation: str, number: int, start: str = "journal-") -> Callable[[str, str], None]:
    """A fault: this operation does not work on files whose names begin so."""

    def fault(attempted: str, name: str) -> None:
        if attempted == operation and name.startswith(start):
            raise OSError(number, os.strerror(number))

    return fault


def test_nothing_is_durable_before_its_batch_is_synced() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    before = journal.durable
    journal.append_message((1,), b"one")
    position = journal.position
    batch = journal.take_batch()
    assert batch is not None
    assert journal.durable == before < position
    batch.write_and_sync()
    assert journal.durable == before
    assert journal.synced(batch) == journal.durable >= position
    assert stored(disk.crash(lose_everything)) == [b"one"]


def test_each_batch_is_one_write_and_one_sync() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    sync_operations: list[tuple[str, str]] = []
    disk.fault = lambda operation, name: sync_operations.append((operation, name[:7]))
    for n in range(500):
        journal.append_message((n % 7,), bytes(1000))
    sync(journal)
    assert sync_operations == [("write", "journal"), ("sync", "journal")]


def test_a_new_segment_is_begun_when_the_one_before_is_on_disk_and_its_name_is_synced() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    journal.append_message((1,), bytes(2000))
    sync(journal)
    operations: list[tuple[str, str]] = []
    disk.fault = lambda operation, name: operations.append((operation, name[-5:-4]))
    journal.append_message((1,), bytes(40_000))
    journal.append_message((1,), bytes(40_000))
    sync(journal)
    new_file = ["create", "write", "sync"]
    assert operations == [
        *((operation, "2") for operation in new_file),
        ("sync", ""),
        *((operation, "3") for operation in new_file),
        ("sync", ""),
    ]


@pytest.mark.parametrize("room", [0, 1, 60, 1000])
def test_a_full_disk_fails_the_batch_as_a_whole_and_it_can_be_written_later(room: int) -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    journal.append_message((1,), b"before")
    sync(journal)
    durable = journal.durable
    before = disk.files()
    disk.capacity_bytes = disk.used_bytes + room
    journal.append_message((1,), b"x" * 2000)
    batch = journal.take_batch()
    assert batch is not None
    for _ in range(3):
        with pytest.raises(DiskFull) as caught:
            batch.write_and_sync()
        assert caught.value.nothing_durable
        assert disk.files() == before
        assert journal.durable == durable
        assert journal.failure is None
    assert stored(disk.crash(keep_everything)) == [b"before"]
    message_id = journal.append_message((1,), b"meanwhile")
    assert journal.read(message_id).blob == b"meanwhile"
    disk.capacity_bytes = 1 << 30
    batch.write_and_sync()
    journal.synced(batch)
    sync(journal)
    assert stored(disk.crash(lose_everything)) == [b"before", b"x" * 2000, b"meanwhile"]


def test_a_full_disk_says_so_if_a_part_of_the_batch_is_on_disk() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    journal.append_message((1,), b"x" * 2000)
    journal.append_message((1,), b"y" * 80_000)
    disk.capacity_bytes = disk.used_bytes + 3000
    batch = journal.take_batch()
    assert batch is not None
    with pytest.raises(DiskFull) as caught:
        batch.write_and_sync()
    assert not caught.value.nothing_durable
    assert [name[-5] for name in sorted(disk.names())] == ["1"]
    disk.capacity_bytes = 1 << 30
    batch.write_and_sync()
    journal.synced(batch)
    assert stored(disk.crash(lose_everything)) == [b"x" * 2000, b"y" * 80_000]


@pytest.mark.parametrize(
    ("operation", "number"),
    [("sync", errno.EIO), ("sync", errno.ENOSPC), ("write", errno.EIO), ("create", errno.EROFS)],
)
@pytest.mark.parametrize("crash", [lose_everything, keep_everything])
def test_after_a_failed_write_or_sync_nothing_becomes_durable(
    operation: str, number: int, crash: Choose
) -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    journal.append_message((1,), b"x" * 2000)
    sync(journal)
    durable = journal.durable
    lost = journal.append_message((1,), b"lost")
    batch = journal.take_batch()
    assert batch is not None
    disk.fault = fail(operation, number)
    with pytest.raises(JournalFailed) as caught:
        batch.write_and_sync()
    disk.fault = None
    # It is never tried again, even if it would seem to work.
    with pytest.raises(JournalFailed):
        batch.write_and_sync()
    with pytest.raises(JournalFailed):
        journal.synced(batch)
    with pytest.raises(JournalFailed):
        journal.take_batch()
    assert journal.failure is caught.value
    assert os.strerror(number) in str(caught.value)
    assert journal.durable == durable
    # What is in memory can still be read, and appending does not break whoever does it.
    assert journal.read(lost).blob == b"lost"
    journal.append_message((1,), b"for nothing")
    operations = disk.operations
    journal.close()
    assert disk.operations == operations
    assert stored(disk.crash(crash))[0] == b"x" * 2000


def test_a_failed_sync_of_the_directory_fails_the_batch() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    journal.append_message((1,), b"x" * 2000)
    sync(journal)
    journal.append_message((1,), b"in a new file")
    batch = journal.take_batch()
    assert batch is not None
    disk.fault = lambda operation, name: fail("sync", errno.EIO, "")(operation, name or "x")
    with pytest.raises(JournalFailed):
        batch.write_and_sync()


def test_bytes_that_a_failed_sync_left_in_the_cache_reach_the_disk_when_opened_again() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    journal.append_message((1,), b"unsure")
    batch = journal.take_batch()
    assert batch is not None
    disk.fault = fail("sync", errno.EIO)
    with pytest.raises(JournalFailed):
        batch.write_and_sync()
    disk.fault = None
    journal.close(clean=False)
    # The process starts again, sees the message, and hands it out.
    again, recovered = open_journal(disk)
    assert len(recovered.messages[1]) == 1
    again.append_message((1,), b"after")
    sync(again)
    assert stored(disk.crash(lose_everything)) == [b"unsure", b"after"]


def test_a_file_that_cannot_be_removed_is_a_failure_after_the_fact() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    message_id = journal.append_message((1,), b"x" * 2000)
    sync(journal)
    journal.settle(1, message_id)
    journal.append_message((1,), b"kept")
    batch = journal.take_batch()
    assert batch is not None
    assert batch.unlinks
    disk.fault = fail("unlink", errno.EIO)
    with pytest.raises(JournalFailed, match="cannot remove journal-0000000001"):
        batch.write_and_sync()
    disk.fault = None
    assert stored(disk.crash(lose_everything)) == [b"kept"]


def test_a_file_that_is_gone_before_it_is_removed_is_no_failure() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    message_id = journal.append_message((1,), b"x" * 2000)
    sync(journal)
    journal.settle(1, message_id)
    journal.append_message((1,), b"kept")
    disk.unlink("journal-0000000001.log")
    sync(journal)
    assert stored(disk.crash(lose_everything)) == [b"kept"]


def test_order_of_use_is_enforced() -> None:
    journal, _ = open_journal(MemoryDisk())
    journal.append_message((1,), b"x")
    journal.begin_group()
    with pytest.raises(RuntimeError, match="group"):
        journal.take_batch()
    with pytest.raises(RuntimeError, match="nest"):
        journal.begin_group()
    journal.end_group()
    with pytest.raises(RuntimeError, match="no group"):
        journal.end_group()
    batch = journal.take_batch()
    assert batch is not None
    with pytest.raises(RuntimeError, match="not the one"):
        journal.synced(batch)
    with pytest.raises(RuntimeError, match="not been synced"):
        journal.take_batch()
    batch.write_and_sync()
    with pytest.raises(RuntimeError, match="once"):
        batch.write_and_sync()
    journal.synced(batch)
    with pytest.raises(RuntimeError, match="not the one"):
        journal.synced(batch)
    with pytest.raises(ValueError, match="1 to 65535 owners"):
        journal.append_message((), b"x")
    with pytest.raises(ValueError, match="twice"):
        journal.append_message((1, 1), b"x")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, DirectoryNotWritable),
        (errno.EROFS, JournalError),
        (errno.ENOSPC, DiskFull),
        (errno.EIO, JournalFailed),
    ],
)
@pytest.mark.parametrize("operation", ["create", "write", "sync", "read"])
def test_a_directory_that_cannot_be_used_is_refused_and_unlocked(
    operation: str, number: int, expected: type[JournalError]
) -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    journal.append_message((1,), b"kept")
    sync(journal)
    files = {name: data[:-1] for name, data in disk.files().items()}
    disk = MemoryDisk(files)
    disk.fault = fail(operation, number, "")
    with pytest.raises(JournalError) as caught:
        open_journal(disk)
    assert isinstance(caught.value, expected | JournalFailed)
    assert not isinstance(caught.value, DirectoryLocked)
    disk.fault = None
    open_journal(disk)


def test_space_is_what_the_file_system_says() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    disk.capacity_bytes = disk.used_bytes + 1000
    assert journal.space().free_bytes == 1000
    assert journal.space().total_bytes == disk.capacity_bytes

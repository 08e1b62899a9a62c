"""Reading back: from memory, while it is written, from files; and never anything unchecked."""

import os
import threading
from pathlib import Path

import pytest

from leveret.storage.disk import RealDisk
from leveret.storage.errors import Damaged, NoSuchMessage
from leveret.storage.journal import Journal
from leveret.storage.opening import open_journal
from leveret.storage.pages import FIRST_PAGED_ID
from leveret.storage.records import StoredMessage, segment_name
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk

BIG = 3 << 20


def sync(journal: Journal) -> None:
    batch = journal.take_batch()
    assert batch is not None
    batch.write_and_sync()
    journal.synced(batch)


def test_a_message_reads_the_same_pending_being_written_and_written() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    blobs = [b"", b"x", bytes(100_000), b"y" * BIG, b"z"]
    ids = [journal.append_message((1, 2), blob, b"more", b"attributes") for blob in blobs]
    expected = [
        StoredMessage(message_id, (1, 2), b"attributes", blob + b"more")
        for message_id, blob in zip(ids, blobs, strict=True)
    ]

    def check() -> None:
        assert journal.read_many(ids) == expected
        assert journal.read_many(ids[::-1]) == expected[::-1]
        assert [journal.read(message_id) for message_id in ids] == expected

    check()
    batch = journal.take_batch()
    assert batch is not None
    check()
    batch.write_and_sync()
    check()
    journal.synced(batch)
    check()
    journal.append_message((1,), b"pending again")
    check()


def test_a_long_tail_is_read_in_few_system_calls() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    ids = [journal.append_message((1,), bytes(1000)) for _ in range(5000)]
    sync(journal)
    before = disk.operations
    for at in range(0, 5000, 500):
        assert len(journal.read_many(ids[at : at + 500])) == 500
    assert disk.operations - before <= 15


def test_messages_far_apart_are_not_read_with_all_between_them() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    ids = [journal.append_message((1,), bytes(1000)) for _ in range(5000)]
    sync(journal)
    read_bytes = 0
    real = type(disk.open("journal-0000000001.log")).pread

    def counting(file: object, size: int, offset: int) -> bytes:
        nonlocal read_bytes
        data = real(file, size, offset)  # pyright: ignore[reportArgumentType] - any disk
        read_bytes += len(data)
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memory_disk.MemoryFile.pread", counting)
        journal.read_many(ids[::500])
    assert read_bytes < 1_000_000


def test_a_prepared_read_runs_in_a_thread_after_its_segment_was_removed(tmp_path: Path) -> None:
    settings = Settings(segment_bytes=1024)
    journal, _ = open_journal(RealDisk(tmp_path), settings)
    ids = [journal.append_message((1,), bytes([n]) * 40_000) for n in range(5)]
    sync(journal)
    read = journal.prepare_read(ids)
    journal.settle_many(1, ids)
    journal.append_message((1,), b"goes on")
    sync(journal)
    assert segment_name("journal", 1) not in os.listdir(tmp_path)
    found: list[StoredMessage] = []
    thread = threading.Thread(target=lambda: found.extend(read.run()))
    thread.start()
    thread.join()
    assert [message.blob[0] for message in found] == [0, 1, 2, 3, 4]
    journal.close()


def test_more_segments_than_files_may_be_open_can_be_read() -> None:
    journal, _ = open_journal(MemoryDisk(), Settings(segment_bytes=1024))
    ids = [journal.append_message((1,), bytes([n]) * 40_000) for n in range(200)]
    sync(journal)
    assert len(journal.segments) > 150
    assert [m.blob[0] for m in journal.read_many(ids)] == list(range(200))
    assert journal.read(ids[0]).blob[0] == 0


def test_every_read_checks_what_it_read() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    first = journal.append_message((1,), b"first")
    sync(journal)
    second = journal.append_message((1,), b"second")
    sync(journal)
    name = segment_name("journal", 1)
    data = disk.files()[name]
    at = data.index(b"first")
    disk.open(name, write=True).pwrite([b"worst"], at)
    for read in (journal.read, lambda n: journal.read_many([n, second])):
        with pytest.raises(Damaged) as caught:
            read(first)
        assert caught.value.file == name
        assert caught.value.offset < at
    assert journal.read(second).blob == b"second"
    disk.open(name, write=True).truncate(data.index(b"second") + 3)
    journal.read(second)
    again = journal.prepare_read([second])
    with pytest.raises(Damaged, match="middle of a block"):
        again.run()
    disk.open(name, write=True).truncate(10)
    with pytest.raises(Damaged, match="middle of a block"):
        journal.read(first)


@pytest.mark.parametrize("message_id", [0, 2, 99, 1 << 40, FIRST_PAGED_ID, FIRST_PAGED_ID + 7])
def test_a_message_that_is_not_there_is_an_error(message_id: int) -> None:
    journal, _ = open_journal(MemoryDisk())
    journal.append_message((1,), b"x")
    with pytest.raises(NoSuchMessage, match=f"no message {message_id} "):
        journal.read(message_id)
    with pytest.raises(NoSuchMessage):
        journal.read_many([1, message_id])


def test_no_messages_are_read_without_touching_the_disk() -> None:
    journal, _ = open_journal(MemoryDisk())
    assert journal.read_many([]) == []

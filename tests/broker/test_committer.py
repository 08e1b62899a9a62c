"""When the journal is written by the thread, and when in place."""

import threading
from collections.abc import AsyncIterator

import pytest
import trio

from leveret.broker import committer as committer_module
from leveret.broker.committer import IN_PLACE_MAX_BYTES, Committer
from leveret.storage.errors import JournalError
from leveret.storage.journal import Journal
from leveret.storage.opening import open_journal
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk, MemoryFile

pytestmark = pytest.mark.trio

OWNER = 1
ENOUGH_FOR_A_MEAN = 80


class Written:
    """A committer, and what it has reported."""

    def __init__(self, journal: Journal):
        self.journal = journal
        self.synced: list[int] = []
        self.failures: list[JournalError] = []
        self.reported = trio.Event()
        self.committer = Committer(journal, self._synced, lambda full: None, self._failed)

    def _synced(self, position: int) -> None:
        self.synced.append(position)
        self.reported.set()

    def _failed(self, failure: JournalError) -> None:
        self.failures.append(failure)
        self.reported.set()

    def append(self, size: int = 10) -> int:
        """Store a message; the position behind it."""
        self.journal.append_message((OWNER,), bytes(size))
        return self.journal.position

    async def through_the_thread(self) -> None:
        """Store and commit a message, and wait for it."""
        self.reported = trio.Event()
        self.append()
        self.committer.commit()
        await self.reported.wait()

    async def get_to_know_the_disk(self) -> None:
        """Commit often enough for the committer to know how quick it is."""
        for _ in range(ENOUGH_FOR_A_MEAN):
            await self.through_the_thread()


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
async def written(disk: MemoryDisk) -> AsyncIterator[Written]:
    journal, _ = open_journal(disk)
    written = Written(journal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(written.committer.run)
        yield written
        nursery.cancel_scope.cancel()
    written.committer.stop()


async def test_a_disk_that_is_not_known_yet_is_left_to_the_thread(written: Written) -> None:
    written.append()
    written.committer.commit(in_place=True)
    assert written.synced == []


async def test_a_small_batch_for_a_quick_disk_is_on_it_when_commit_returns(
    written: Written,
) -> None:
    await written.get_to_know_the_disk()
    position = written.append()
    written.committer.commit(in_place=True)
    assert written.synced[-1] == position == written.journal.durable


async def test_the_thread_writes_while_there_is_other_work(written: Written) -> None:
    await written.get_to_know_the_disk()
    position = written.append()
    written.committer.commit()
    assert written.synced[-1] < position


async def test_the_thread_writes_what_is_large(written: Written) -> None:
    await written.get_to_know_the_disk()
    position = written.append(IN_PLACE_MAX_BYTES)
    written.committer.commit(in_place=True)
    assert written.synced[-1] < position


async def test_the_thread_writes_for_a_slow_disk(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "QUICK_SYNC_S", 0.0)
    await written.get_to_know_the_disk()
    position = written.append()
    written.committer.commit(in_place=True)
    assert written.synced[-1] < position


async def test_a_sync_that_fails_in_place_is_a_failure_of_the_journal(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written.get_to_know_the_disk()
    threads = list[threading.Thread]()

    def fails(file: MemoryFile) -> None:
        threads.append(threading.current_thread())
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(MemoryFile, "fdatasync", fails)
    written.reported = trio.Event()
    position = written.append()
    written.committer.commit(in_place=True)
    await written.reported.wait()
    assert threads == [threading.main_thread()]
    assert written.synced[-1] < position


async def test_reports_do_not_nest_ever_deeper(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written.get_to_know_the_disk()
    depth, deepest = 0, 0

    def synced(position: int) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        if len(written.synced) < 2 * ENOUGH_FOR_A_MEAN:
            written.append()
            written.committer.commit(in_place=True)
        written.synced.append(position)
        depth -= 1
        written.reported.set()

    monkeypatch.setattr(written.committer, "_synced", synced)
    written.append()
    written.committer.commit(in_place=True)
    while len(written.synced) < 2 * ENOUGH_FOR_A_MEAN or written.committer.has_work:
        written.reported = trio.Event()
        await written.reported.wait()
    assert deepest <= 2  # one within what the thread has written


async def test_a_journal_that_is_too_long_is_rewritten_in_proportion_to_what_comes(
    disk: MemoryDisk,
) -> None:
    small = Settings(segment_bytes=64 * 1024, slack_segments=2, rewrite_bytes=8 * 1024)
    written = Written(open_journal(disk, small)[0])
    journal, backlog = written.journal, 2
    for _ in range(1000):
        journal.append_message((backlog,), bytes(1000))
    while not journal.is_too_long:
        ids = [journal.append_message((OWNER,), bytes(1000)) for _ in range(300)]
        batch = journal.take_batch()
        assert batch is not None
        batch.write_and_sync()
        journal.synced(batch)
        journal.settle_many(OWNER, ids)
    before = [written.append(1000) for _ in range(100)][-1]
    written.committer.reclaim()
    assert before < journal.position < before + 300_000
    written.committer.stop()

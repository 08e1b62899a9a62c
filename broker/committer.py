"""Writing the journal to disk: one batch at a time, in a thread of its own or, if that is quicker,
in place.

While a batch is being written and synced the next one gathers in memory: that is group commit. The
thread gets batches through a queue and answers through a pipe, which costs less than a thread pool
and lets the loop sleep. Still it costs more than a quick disk takes to sync; so when the loop has
nothing else to do, and as long as syncs have been quick lately, small batches are written without
the thread.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable

import trio

from ..storage.batch import Batch
from ..storage.errors import DiskFull, JournalError, JournalFailed
from ..storage.journal import Journal
from .log import fields

log = logging.getLogger("leveret.journal")

RETRY_S = 1.0
"""How long to wait before a batch is written again that found the disk full."""

IN_PLACE_MAX_BYTES = 200_000
QUICK_SYNC_S = 0.0005
"""Batches up to that size, on a disk that quick, may be written in place."""


class Committer:
    """Takes batches from a journal, has them written, and reports how far it is durable.

    `synced` is called on the loop with the durable position, `disk_full` with True when a batch
    finds no room and with False when it has been written after all, `failed` when nothing can be
    made durable any more.
    """

    def __init__(
        self,
        journal: Journal,
        synced: Callable[[int], None],
        disk_full: Callable[[bool], None],
        failed: Callable[[JournalError], None],
    ):
        self._journal = journal
        self._synced = synced
        self._disk_full = disk_full
        self._failed = failed
        self._batch: Batch | None = None
        self._pages_taken = self._pages_written = 0
        self._full = False
        self._is_in_place = False
        self._mean_s = 1.0
        """About how long batches take lately, in seconds; slow until known better."""
        self._requests: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._failure: JournalError | None = None
        self._done, self._answer = os.pipe()
        os.set_blocking(self._done, False)
        self._thread = threading.Thread(target=self._write_batches, name="journal", daemon=True)
        self._thread.start()

    @property
    def unwritten_bytes(self) -> int:
        """What has been appended and is not on disk yet."""
        journal = self._journal
        return journal.position - journal.durable + journal.pages.position - self._pages_written

    @property
    def has_work(self) -> bool:
        """Whether there is something to write that is not being written yet."""
        return self._journal.has_work

    def reclaim(self) -> None:
        """Let the journal keep up with what is appended to it, if it has become too long."""
        if self._journal.is_too_long:
            self._journal.reclaim()

    def commit(self, *, in_place: bool = False) -> None:
        """Have all that was appended written, unless a batch is on its way: then that comes
        next.

        With `in_place`, for when nothing else is to be done meanwhile, a small batch may have been
        written and reported when this returns. What the report leads to goes to the thread: a
        client that has sent many commands ahead would else have them handled ever deeper in calls.
        """
        if self._batch is None and self._journal.has_work:
            self._batch = self._journal.take_batch()
            self._pages_taken = self._journal.pages.position
            if self._batch is None:
                return
            quick = self._mean_s < QUICK_SYNC_S and not self._is_in_place
            if in_place and quick and _is_small(self._batch):
                self._write(self._batch)
                if self._failure is None:
                    self._is_in_place = True
                    try:
                        self._report()
                    finally:
                        self._is_in_place = False
                else:
                    os.write(self._answer, b".")
            else:
                self._requests.put(self._batch)

    async def run(self) -> None:
        """Take the thread's answers, until a batch fails for good."""
        while self._failure is None or isinstance(self._failure, DiskFull):
            await trio.lowlevel.wait_readable(self._done)
            os.read(self._done, 1)
            await self._written()

    async def _written(self) -> None:
        batch, failure = self._batch, self._failure
        assert batch is not None
        if isinstance(failure, DiskFull):
            if not self._full:
                self._full = True
                log.error("the disk is full", extra=fields(error=str(failure)))
                self._disk_full(True)
            await trio.sleep(RETRY_S)
            self._requests.put(batch)
        elif failure is not None:
            self._failed(failure)
        else:
            if self._full:
                self._full = False
                log.warning("the disk has room again")
                self._disk_full(False)
            self._report()

    def _report(self) -> None:
        batch, self._batch = self._batch, None
        assert batch is not None
        self._pages_written = self._pages_taken
        self._synced(self._journal.synced(batch))

    def _write_batches(self) -> None:
        """The thread: write what comes, answer with a byte each."""
        while (batch := self._requests.get()) is not None:
            self._write(batch)
            os.write(self._answer, b".")

    def _write(self, batch: Batch) -> None:
        """Write a batch and note how long it took, or why it failed."""
        self._failure = None
        started = time.perf_counter()
        try:
            batch.write_and_sync()
        except JournalError as error:
            self._failure = error
        except Exception as error:
            self._failure = JournalFailed(f"cannot write the journal: {error!r}")
        self._mean_s += (time.perf_counter() - started - self._mean_s) / 8

    def stop(self) -> bool:
        """End the thread after the batch that it is at; whether the journal is whole."""
        self._requests.put(None)
        self._thread.join()
        whole = self._failure is None
        if whole and self._batch is not None and self._batch.written:
            self._journal.synced(self._batch)
        os.close(self._done)
        os.close(self._answer)
        return whole


def _is_small(batch: Batch) -> bool:
    return not batch.unlinks and batch.size <= IN_PLACE_MAX_BYTES

"""The journal alone, without a broker: what storing, settling, reading back and recovery cost.

    python benchmarks/journal.py [--messages N] [--size BYTES] [--directory DIR]

Appends N messages of one owner, in batches that a thread writes and syncs while the next one
gathers, with at most 16 MiB not yet on disk; reads them all back in order; opens the directory
after a crash and after a clean stop; settles everything. Costs are CPU time of the process in
microseconds a message, the thread's included; rates are by the clock. `longest stall` is the
longest time the appending thread was held up by anything, the writing thread included.
"""

import argparse
import gc
import shutil
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from leveret.storage.batch import Batch
from leveret.storage.disk import RealDisk
from leveret.storage.journal import Journal
from leveret.storage.opening import open_journal

OWNERS = (1,)
BATCH = 1000
READ = 500
PENDING_BYTES = 16 << 20


class Writer:
    """One batch in flight, written by a thread, as a broker does it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._to_write: SimpleQueue[Batch | None] = SimpleQueue()
        self._written: SimpleQueue[Batch] = SimpleQueue()
        self._flying = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while (batch := self._to_write.get()) is not None:
            batch.write_and_sync()
            self._written.put(batch)

    def poll(self, *, wait: bool = False) -> None:
        """Take what was written; hand over what has gathered."""
        if self._flying and (wait or not self._written.empty()):
            self._journal.synced(self._written.get())
            self._flying = False
        if not self._flying:
            batch = self._journal.take_batch()
            if batch is not None:
                self._to_write.put(batch)
                self._flying = True

    def finish(self) -> None:
        while self._flying or self._journal.has_work:
            self.poll(wait=True)
        self._to_write.put(None)
        self.thread.join()


def rss_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@contextmanager
def measured(what: str, messages: int) -> Generator[None]:
    gc.collect()
    cpu = time.process_time()
    clock = time.perf_counter()
    yield
    clock = time.perf_counter() - clock
    cpu = time.process_time() - cpu
    print(
        f"{what:28} {cpu / messages * 1e6:6.2f} µs/message {messages / clock / 1e3:8.0f} k/s"
        f" {clock:7.2f} s",
        flush=True,
    )


def append(journal: Journal, messages: int, size: int) -> tuple["array[int]", float]:
    writer = Writer(journal)
    ids = array("Q")
    stall = 0.0
    for start in range(0, messages, BATCH):
        before = time.perf_counter()
        for n in range(start, min(start + BATCH, messages)):
            # A body of its own for each, as they come from a socket.
            ids.append(journal.append_message(OWNERS, n.to_bytes(8, "little") * (size // 8)))
        writer.poll()
        stall = max(stall, time.perf_counter() - before)
        while journal.position - journal.durable > PENDING_BYTES:
            writer.poll(wait=True)
    writer.finish()
    return ids, stall


def read_back(journal: Journal, ids: "array[int]") -> None:
    for start in range(0, len(ids), READ):
        journal.read_many(ids[start : start + READ])


def settle(journal: Journal, ids: "array[int]") -> None:
    writer = Writer(journal)
    for start in range(0, len(ids), BATCH):
        for message_id in ids[start : start + BATCH]:
            journal.settle(1, message_id)
        writer.poll()
    writer.finish()


def run(directory: Path, messages: int, size: int) -> None:
    print(f"{messages} messages of {size} bytes in {directory}")
    journal, _ = open_journal(RealDisk(directory))
    empty = rss_bytes()
    with measured("append, write and sync", messages):
        ids, stall = append(journal, messages, size)
    grown = rss_bytes() - empty
    print(f"{'longest stall of 1000':28} {stall * 1e3:6.2f} ms")
    print(f"{'memory, with 8-byte ids':28} {grown / messages:6.2f} bytes/message")
    print(f"{'on disk':28} {journal.size / messages:6.1f} bytes/message")
    with measured("read back in order", messages):
        read_back(journal, ids)
    journal.close(clean=False)
    del journal, ids
    with measured("open after a crash", messages):
        journal, recovered = open_journal(RealDisk(directory))
    assert len(recovered.messages[1]) == messages
    del recovered
    with measured("close", messages):
        journal.close()
    del journal
    with measured("open after a clean stop", messages):
        journal, recovered = open_journal(RealDisk(directory))
    assert recovered.from_snapshot
    with measured("settle, write and sync", messages):
        settle(journal, recovered.messages[1])
    print(f"{'on disk in the end':28} {journal.size / 1e6:6.1f} MB")
    journal.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the journal alone.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--directory", type=Path, help="default: a temporary one")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="journal-", dir=arguments.directory))
    try:
        run(directory, arguments.messages, arguments.size)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())

"""The journal: one log for everything that must survive, and page files for what need not.

It is synchronous and knows no clock. Appending, settling and defining change memory only, at
once; `take_batch` gathers what was done since the last one, the caller has it written and synced
in a thread, and `synced` then moves `durable`, the log position up to which everything survives.
Opened by `opening.open_journal`.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from .batch import Batch, Write, Writer
from .chunk import Owners
from .definitions import Definitions
from .disk import Disk, Space
from .errors import JournalFailed
from .log import Log
from .log_files import LogFiles
from .pages import FIRST_PAGED_ID, Pages, split_paged
from .pages import PREFIX as PAGE_PREFIX
from .reading import Read
from .records import (
    JOURNAL_MAGIC,
    SPARE_NAME,
    U32,
    U64,
    Kind,
    StoredMessage,
    numbers_to_bytes,
    segment_name,
)
from .rewriting import Rewriter
from .segments import Segment
from .settings import Settings
from .snapshot import save_snapshot
from .state import State
from .statistics import Statistics

PREFIX = "journal"

# Ids in one record: a record fits in a block.
_IDS_PER_RECORD = 2048

# What is settled waits to be appended with the next batch, but no more of one owner than this: to
# append hundreds of thousands at once takes long.
_SETTLED_MAX = 10_000


class Journal(Log):
    """See the head of this module."""

    __slots__ = (
        "_definitions",
        "_durable",
        "_flight",
        "_log_writer",
        "_page_writer",
        "_rewriter",
        "_settled",
        "_state",
        "_syncs",
        "pages",
    )

    def __init__(self, disk: Disk, settings: Settings, state: State) -> None:
        files = LogFiles(PREFIX, JOURNAL_MAGIC, state.salt, settings, state.segments)
        super().__init__(disk, settings, files, state.index, state.next_id)
        self.pages = Pages(disk, settings, state.salt)
        self._state = state
        self._definitions = Definitions(self, state)
        self._rewriter = Rewriter(self)
        self._settled: dict[int, array[int]] = {}
        self._log_writer = Writer(disk)
        self._page_writer = Writer(disk)
        self._flight: Batch | None = None
        self._durable = self.position
        self._syncs = 0

    # What happens to messages

    def settle(self, owner: int, message_id: int) -> None:
        """An owner is done with a message, stored or paged; without owners it is gone."""
        try:
            self._settled[owner].append(message_id)
        except KeyError:
            self._settled[owner] = array("Q", (message_id,))

    def settle_many(self, owner: int, ids: Iterable[int]) -> None:
        """As `settle`, for many messages of one owner; an array('Q') is fastest."""
        try:
            settled = self._settled[owner]
            settled.extend(ids)
        except KeyError:
            settled = self._settled[owner] = array("Q", ids)
        if len(settled) > _SETTLED_MAX:
            self.flush_settled()

    def drop_owner(self, owner: int, ids: Iterable[int] | None = None) -> None:
        """Settle all that an owner has, stored or paged, in one record: purge or delete.

        Without `ids`, which must then be all of its messages, the whole index is looked through.
        """
        self._settled.pop(owner, None)
        self._state.forget_all(owner)
        self.append_record(Kind.DROPPED, owner)
        if ids is None:
            self.index.settle_all(owner)
            self.pages.index.settle_all(owner)
        else:
            stored, paged = split_paged(ids)
            self.index.settle(owner, stored)
            self.pages.index.settle(owner, paged)

    def note_deliveries(self, owner: int, counts: Mapping[int, int]) -> None:
        """Remember how often stored messages of an owner were delivered, until it settles them.

        The counts replace earlier ones. Each costs some 100 bytes of memory.
        """
        known = self._state.deliveries.setdefault(owner, {})
        pairs = iter(
            [(message_id, n) for message_id, n in counts.items() if self.index.lives(message_id)]
        )
        while some := dict(islice(pairs, _IDS_PER_RECORD)):
            known.update(some)
            ids = numbers_to_bytes(array("Q", some.keys()))
            self.append_record(
                Kind.DELIVERED, owner, ids + numbers_to_bytes(array("I", some.values()))
            )

    def deliveries(self, owner: int, message_id: int) -> int:
        """What `note_deliveries` was told last of a message of an owner, 0 if nothing."""
        return self._state.deliveries.get(owner, {}).get(message_id, 0)

    def note(self, owner: int, message_id: int, note: bytes) -> None:
        """Remember something of a stored message for an owner, until that settles it.

        It replaces what was noted before, and costs some 150 bytes of memory.
        """
        if self.index.lives(message_id):
            self._state.notes.setdefault(owner, {})[message_id] = note
            self.append_record(Kind.NOTED, owner, U64.pack(message_id) + note)

    def noted(self, owner: int, message_id: int) -> bytes:
        """What `note` was told last of a message of an owner, b"" if nothing."""
        return self._state.notes.get(owner, {}).get(message_id, b"")

    def page(
        self, owners: tuple[int, ...], blob: bytes, more: bytes = b"", attributes: bytes = b""
    ) -> int:
        """As `append_message`, for a message that no restart needs to survive."""
        return self.pages.append_message(owners, blob, more, attributes)

    # Definitions

    def define(self, key: bytes, value: bytes) -> None:
        """Set what a key stands for."""
        self._definitions.define(key, value)

    def undefine(self, key: bytes) -> None:
        """The key stands for nothing any more; if it never did, nothing happens."""
        self._definitions.undefine(key)

    def definitions(self, keys: Iterable[bytes] | None = None) -> dict[bytes, bytes]:
        """Keys and values, of all definitions or of some; read back from the log."""
        return self._definitions.read(keys)

    # Groups

    def end_group(self) -> None:
        self.flush_settled()
        super().end_group()

    # Batches

    @property
    def durable(self) -> int:
        """The log position up to which everything survives a crash."""
        return self._durable

    @property
    def failure(self) -> JournalFailed | None:
        """Why nothing becomes durable any more, if that is so."""
        return self._flight.failure if self._flight is not None else None

    @property
    def has_work(self) -> bool:
        """Would `take_batch` find something to do, and is no group open?"""
        return not self._group and bool(
            self.unwritten
            or self._settled
            or self.pages.unwritten
            or self._rewriter.wanted
            or self.pages.rewriter.wanted
        )

    def take_batch(self) -> Batch | None:
        """All that was done since the last batch, and a bit of rewriting; None if there is nothing.

        The batch before must have been written and reported to `synced`.
        """
        return self._take(reclaim=True)

    def _take(self, *, reclaim: bool) -> Batch | None:
        if self._flight is not None:
            raise self._flight.failure or RuntimeError("the last batch has not been synced")
        if self._group:
            raise RuntimeError("a group is open")
        self.flush_settled()
        unlinks: list[str] = []
        retired = ""
        page_writes: list[Write] = []
        if reclaim:
            idle = not self.unwritten and not self.pages.unwritten
            self._rewriter.step(idle=idle)
            trimmed = self.trim()
            if trimmed:
                self.append_record(Kind.TRIMMED, self._files.oldest.number)
                unlinks, retired = self._files.retire(trimmed, self._blocks.is_read)
            if self.pages.segments:
                self.pages.rewriter.step(idle=idle)
                unlinks += [segment_name(PAGE_PREFIX, s.number) for s in self.pages.trim()]
                page_writes = self.pages.take_writes()
        log_writes = self.take_writes()
        if not log_writes and not page_writes and not unlinks:
            return None
        writers = self._log_writer, self._page_writer
        self._flight = Batch(
            self.position, *writers, log_writes, page_writes, unlinks, retired=retired
        )
        return self._flight

    def synced(self, batch: Batch) -> int:
        """A batch was written; return the log position up to which everything is durable now."""
        if batch is not self._flight or not batch.written:
            raise batch.failure or RuntimeError("this batch is not the one written last")
        self._flight = None
        self._durable = batch.end
        self._syncs += 1
        self.written()
        self.pages.written()
        return batch.end

    def flush_settled(self) -> None:
        """Append what has been settled, which waits to be appended with what comes later: for
        groups that become large.
        """
        if not self._settled:
            return
        settled, self._settled = self._settled, {}
        for owner, ids in settled.items():
            if not ids:
                continue
            if self.pages.segments and max(ids) >= FIRST_PAGED_ID:
                ids, paged = split_paged(ids)
                self.pages.index.settle(owner, paged)
            self.index.settle(owner, ids)
            for at in range(0, len(ids), _IDS_PER_RECORD):
                some = numbers_to_bytes(ids[at : at + _IDS_PER_RECORD])
                self.append_record(Kind.SETTLED, owner, some)
            self._state.forget(owner, ids)

    # Reading

    def fitting(self, ids: Sequence[int], limit_bytes: int) -> int:
        """How many of these messages, from the first on, take about so many bytes together; at
        least one. Sizes are known to a quarter or so.
        """
        if not ids:
            return 0
        if max(ids) < FIRST_PAGED_ID:
            return self.index.fitting(ids, limit_bytes)
        if min(ids) >= FIRST_PAGED_ID:
            return self.pages.index.fitting(ids, limit_bytes)
        for count, message_id in enumerate(ids):
            index = self.index if message_id < FIRST_PAGED_ID else self.pages.index
            limit_bytes -= index.size(message_id)
            if limit_bytes < 0:
                return max(count, 1)
        return len(ids)

    def add_to(self, read: Read, ids: Sequence[int]) -> None:
        stored = [message_id for message_id in ids if message_id < FIRST_PAGED_ID]
        super().add_to(read, stored)
        if len(stored) < len(ids):
            self.pages.add_to(read, [n for n in ids if n >= FIRST_PAGED_ID])

    def read(self, message_id: int) -> StoredMessage:
        if message_id >= FIRST_PAGED_ID:
            return self.pages.read(message_id)
        return super().read(message_id)

    # Rewriting

    @property
    def is_too_long(self) -> bool:
        """Is the log so much longer than what lives in it that `reclaim` should be called after
        each bit that was appended, and not only by `take_batch`?
        """
        return not self._group and (self._rewriter.presses or self.pages.rewriter.presses)

    def reclaim(self) -> None:
        """Rewrite in proportion to what was appended since the last time."""
        if self._rewriter.presses:
            self._rewriter.keep_up()
        if self.pages.rewriter.presses:
            self.pages.rewriter.keep_up()

    def append_moved(self, message: StoredMessage, owners: Owners) -> None:
        deliveries, noted = self._state.deliveries, self._state.notes
        told = [owner for owner in owners.numbers if owner in deliveries or owner in noted]
        if not told:
            super().append_moved(message, owners)
            return
        message_id = message.message_id
        counts = {owner: deliveries.get(owner, {}).get(message_id, 0) for owner in told}
        notes = {owner: noted.get(owner, {}).get(message_id) for owner in told}
        # What is said of it stands behind the message, in no earlier segment, lest it go before it;
        # and a crash may not part them, for what was said first goes with the old segment.
        self.begin_group()
        super().append_moved(message, owners)
        for owner, count in counts.items():
            if count:
                self.note_deliveries(owner, {message_id: count})
        for owner, note in notes.items():
            if note is not None:  # an empty one is one, too
                self.note(owner, message_id, note)
        super().end_group()

    def move_definitions(self, segment: Segment, limit_bytes: int) -> bool:
        return self._definitions.move(segment, limit_bytes)

    # The directory

    def space(self) -> Space:
        """Free and total bytes of the file system, for an alarm. Raises OSError."""
        return self.disk.space()

    def statistics(self) -> Statistics:
        """Figures for people; nothing depends on them."""
        return Statistics(
            segments=len(self.segments),
            bytes=self.size,
            live_bytes=sum(segment.live_bytes for segment in self.segments.values()),
            messages=sum(segment.messages - segment.dead for segment in self.segments.values()),
            definitions=len(self._state.definitions),
            pending_bytes=self.position - self._durable,
            syncs=self._syncs,
            rewritten_bytes=self._rewriter.rewritten_bytes,
            rewriting_stopped=str(self._rewriter.trouble or self.pages.rewriter.trouble or ""),
            page_segments=len(self.pages.segments),
            page_bytes=self.pages.size,
        )

    def close(self, *, clean: bool = True) -> None:
        """Write what is left, mark a clean stop, give the directory free.

        Without `clean`, or after a failure, nothing is written. No batch may be in flight. Reads
        that were prepared can still be run.
        """
        try:
            if clean and self.failure is None:
                self._write_now()
                self._stop()
        finally:
            self._log_writer.close()
            self._page_writer.close()
            self.close_files()
            self.pages.close_files()
            self.disk.unlock()

    def start(self) -> None:
        """Mark the log as in use, on disk: from now on it takes a clean stop to be clean."""
        self.append_record(Kind.STARTED, 0)
        self._write_now()

    def _write_now(self) -> None:
        batch = self._take(reclaim=False)
        if batch is not None:
            batch.write_and_sync()
            self.synced(batch)

    def _stop(self) -> None:
        size = crc = 0
        if self.settings.snapshots:
            size, crc = save_snapshot(self.disk, self._state, self.next_id)
        self.append_record(Kind.STOPPED, size, U32.pack(crc))
        self._write_now()
        if self._head.room > self._head.size:
            name = self._files.name(self._head.number)
            self._log_writer.file(name).truncate(self._head.size)
        if self._files.has_spare and SPARE_NAME in self.disk.names():
            self.disk.unlink(SPARE_NAME)
        for number in self.pages.segments:
            name = segment_name(PAGE_PREFIX, number)
            if name in self.disk.names():
                self.disk.unlink(name)

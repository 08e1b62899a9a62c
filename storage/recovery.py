"""Rebuilding the state from the files, and deciding where the log ends. Nothing is changed here.

A bad block is one of two things. Every batch begins with a block that says that all before it was
on disk when it was written (SYNCED), and no segment is begun before the last one is on disk. So a
bad block with such a block or another segment behind it is damage, and the journal is not opened.
One without is the write that a crash cut short; nobody was ever told that it was stored, and the
log ends before it. In a file that was another segment's before, all of that lies behind the end as
well; but no block of it is a good one here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .disk import Disk
from .errors import Damaged
from .journal import PREFIX
from .records import (
    JOURNAL_MAGIC,
    OPEN,
    SEGMENT_HEADER_SIZE,
    SYNCED,
    SegmentHeader,
    checksum_seed,
    segment_name,
    segment_number,
)
from .replay import Replay
from .scanning import BadBlock, BadRecord, read_blocks, read_header, was_synced_behind
from .segments import Segment
from .snapshot import load_snapshot
from .state import State

Progress = Callable[[int, int], None]

# Report progress this often, in bytes.
_PROGRESS = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cut:
    """The log ends here, although the files go on: from this byte of this segment."""

    number: int
    offset: int
    reason: str


@dataclass(slots=True)
class Recovery:
    """What was found in a directory.

    `stale` are segments that are needed no longer, `unused` such as have got the name of a new one
    but not its contents yet. `cut` says where to end the log if not where
    the files end, `last_batch` is the offset, in the last segment, of the last batch.
    """

    state: State
    stale: list[int]
    cut: Cut | None
    clean: bool
    last_batch: int
    records: int
    from_snapshot: bool = False
    unused: list[int] = field(default_factory=list[int])


class _EndsEarlier(Exception):
    """What was replayed includes something that does not count."""

    def __init__(self, cut: Cut) -> None:
        super().__init__(cut.reason)
        self.cut = cut


def recover(
    disk: Disk, progress: Progress | None = None, *, snapshot: bool = True
) -> Recovery | None:
    """Replay the journal in a directory; None if there is none.

    `progress` is called now and then with the bytes read so far and all bytes. Without `snapshot`
    the whole log is read in any case.
    """
    numbers = sorted(
        number for name in disk.names() if (number := segment_number(PREFIX, name)) is not None
    )
    unused: list[int] = []
    while numbers and _is_unused(disk, numbers[-1]):
        unused.append(numbers.pop())
    if not numbers:
        return None
    # Segments are removed oldest first, but the removals may reach the disk in any order. Behind
    # the last gap is what was needed; whether more was is checked below.
    first = numbers[-1]
    while first - 1 in numbers:
        first -= 1
    run = [number for number in numbers if number >= first]
    recovery = _from_snapshot(disk, run, progress) if snapshot else None
    cut: Cut | None = None
    while recovery is None:
        try:
            recovery = _Scan(disk, run, cut, progress).run()
        except _EndsEarlier as earlier:
            cut = earlier.cut
            run = [number for number in run if number <= cut.number]
    oldest = min(recovery.state.segments, default=0)
    recovery.stale = [number for number in numbers if number < oldest]
    recovery.unused = unused
    return recovery


def _is_unused(disk: Disk, number: int) -> bool:
    """Is a file still what it was before it became the file of this segment?"""
    file = disk.open(segment_name(PREFIX, number))
    header = SegmentHeader.decode(file.pread(SEGMENT_HEADER_SIZE, 0))
    file.close()
    return header is not None and header.number < number


def _from_snapshot(disk: Disk, run: Sequence[int], progress: Progress | None) -> Recovery | None:
    """Start from the snapshot of a clean stop, if there was one and the log confirms it."""
    loaded = load_snapshot(disk)
    if loaded is None or not set(loaded.state.segments) <= set(run):
        return None
    try:
        scan = _Scan(disk, run, None, progress)
        recovery = scan.run_from(loaded.state)
    except (BadBlock, Damaged, _EndsEarlier):
        # Whatever is wrong, reading the whole log will tell.
        return None
    if recovery.cut or not recovery.clean or scan.snapshot != (loaded.size, loaded.crc):
        return None
    recovery.from_snapshot = True
    return recovery


class _Scan:
    """One pass over the segments."""

    def __init__(
        self, disk: Disk, run: Sequence[int], cut: Cut | None, progress: Progress | None
    ) -> None:
        self._disk = disk
        self._run = run
        self._cut = cut
        self._progress = progress
        self._files = {number: disk.open(segment_name(PREFIX, number)) for number in run}
        self._sizes = {number: file.size() for number, file in self._files.items()}
        if cut is not None:
            self._sizes[cut.number] = cut.offset
        self._total = sum(self._sizes.values())
        self._salt: int | None = None
        self._done = 0
        self._reported = 0
        self._base = -1
        self._last_batch = 0
        # Where a group began whose end has not come yet.
        self._group: tuple[int, int] | None = None
        self._oldest = 0
        self.snapshot = (0, 0)

    def run(self) -> Recovery:
        first = self._run[0]
        header = self._header(first)
        if header is None:
            if first != 1:
                # There were segments before it, and it was on disk before they were removed.
                raise self._damaged(first, 0, "the segment header is not whole")
            return Recovery(State.empty(0), [], self._cut, False, 0, 0)
        replay = Replay(State.empty(header.salt, header.next_id))
        for number in self._run:
            self._segment(replay, number)
        return self._finish(replay)

    def run_from(self, state: State) -> Recovery:
        """Replay only what stands behind the segments of a snapshot."""
        replay = Replay(state)
        self._oldest = min(state.segments)
        last = max(state.segments)
        self._salt = state.salt
        for number in self._run:
            segment = state.segments.get(number)
            if number >= last:
                self._segment(replay, number, segment)
            elif segment is not None and self._sizes[number] < segment.size:
                raise self._damaged(number, segment.size, "its length has changed")
        return self._finish(replay)

    def _segment(self, replay: Replay, number: int, segment: Segment | None = None) -> None:
        """Replay one segment, from the beginning or from where a snapshot leaves off."""
        header = self._header(number)
        if header is None:
            return
        if self._base not in (-1, header.base):
            reason = "the segment ends too early or too late for the next one"
            raise self._damaged(number - 1, self._sizes[number - 1], reason)
        if header.salt != replay.state.salt:
            raise self._damaged(number, 0, "it belongs to another journal")
        self._salt = header.salt
        self._oldest = max(self._oldest, header.oldest)
        if segment is None:
            segment = Segment(number, header.base)
            segment.size = SEGMENT_HEADER_SIZE
            if header.next_id > replay.state.next_id:
                replay.skip_to(header.next_id)
        segment.version = header.version
        replay.begin_segment(segment)
        self._last_batch = 0
        try:
            self._blocks(replay, number, segment.size)
        except BadRecord as bad:
            raise self._damaged(number, bad.offset, bad.reason) from bad
        except BadBlock as bad:
            self._bad(number, bad)
        self._done += self._sizes[number]
        self._base = segment.end

    def _blocks(self, replay: Replay, number: int, start: int) -> None:
        file = self._files[number]
        seed = checksum_seed(replay.state.salt, number)
        for window, at, end, offset, flags in read_blocks(file, start, self._sizes[number], seed):
            replay.block(window, at, end, offset)
            self._note_flags(number, offset, flags)
            done = self._done + offset
            if self._progress is not None and done - self._reported >= _PROGRESS:
                self._reported = done
                self._progress(done, self._total)
        size = replay.state.segments[number].size
        if size < self._sizes[number] and self._was_synced_behind(number, size):
            raise BadBlock(size, "it ends, and more follows that was written later")

    def _note_flags(self, number: int, offset: int, flags: int) -> None:
        if flags & SYNCED:
            self._last_batch = offset
        if not flags & OPEN:
            self._group = None
        elif self._group is None:
            self._group = number, offset

    def _header(self, number: int) -> SegmentHeader | None:
        """A segment's header; None if the log ends before it."""
        if self._cut is not None and self._cut.number == number and not self._cut.offset:
            return None
        try:
            return read_header(
                self._files[number], segment_name(PREFIX, number), JOURNAL_MAGIC, number
            )
        except BadBlock as bad:
            self._bad(number, bad)
            return None

    def _bad(self, number: int, bad: BadBlock) -> None:
        """Decide whether a bad block is damage, which raises, or the end of the log."""
        last = number == self._run[-1]
        if not last or self._was_synced_behind(number, bad.offset):
            raise self._damaged(number, bad.offset, bad.reason)
        self._cut = Cut(number, bad.offset, bad.reason)

    def _was_synced_behind(self, number: int, offset: int) -> bool:
        seed = None if self._salt is None else checksum_seed(self._salt, number)
        return was_synced_behind(self._files[number], offset + 1, self._sizes[number], seed)

    def _damaged(self, number: int, offset: int, reason: str) -> Damaged:
        return Damaged(segment_name(PREFIX, number), offset, reason, self._disk.path)

    def _finish(self, replay: Replay) -> Recovery:
        if self._group is not None:
            reason = "a transaction was cut short"
            raise _EndsEarlier(Cut(*self._group, self._cut.reason if self._cut else reason))
        replay.finish()
        self.snapshot = replay.snapshot
        state = replay.state
        oldest = max(self._oldest, replay.oldest)
        if min(state.segments) > oldest:
            raise self._damaged(self._run[0] - 1, 0, "the file is missing")
        for number in [n for n in state.segments if n < oldest]:
            if not state.segments[number].empty:
                raise self._damaged(number, 0, "it was given up, but something in it is needed")
            del state.segments[number]
        # The last one's room is cut off, for the log goes on in a file that grows.
        last = max(state.segments)
        for number, segment in state.segments.items():
            segment.room = 0 if number == last else self._sizes[number]
        return Recovery(state, [], self._cut, replay.stopped, self._last_batch, replay.records)

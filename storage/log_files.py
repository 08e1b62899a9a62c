"""The files of one log: the segments there are, and what is to be written to the newest of them."""

from collections.abc import Callable, Iterable

from .batch import Write
from .disk import Buffer
from .records import SEGMENT_HEADER_SIZE, VERSION, SegmentHeader, segment_name
from .segments import Segment
from .settings import Settings
from .spare import Spare


class LogFiles:
    """`prefix` and `magic` tell one log's files from another's, `salt` one journal's.

    `segments` ascend by number; `newest` is the one to go on with, one without a file if there are
    none yet. A file grows by whole blocks, and what is to be written ends in an end mark.
    """

    __slots__ = (
        "_magic",
        "_settings",
        "_spare",
        "_writes",
        "newest",
        "prefix",
        "salt",
        "segments",
    )

    def __init__(
        self,
        prefix: str,
        magic: bytes,
        salt: int,
        settings: Settings,
        segments: dict[int, Segment],
    ) -> None:
        self.prefix = prefix
        self._magic = magic
        self.salt = salt
        self._settings = settings
        self._spare = Spare()
        self._writes: list[Write] = []
        self.segments = segments
        self.newest = segments[max(segments)] if segments else Segment(0, 0)

    @property
    def oldest(self) -> Segment:
        """The one that goes next."""
        return next(iter(self.segments.values()))

    @property
    def full(self) -> bool:
        """Must the next block stand in a new segment?"""
        newest = self.newest
        ends = newest.size >= self._settings.segment_bytes or newest.version < VERSION
        return ends or not self.segments

    @property
    def unwritten(self) -> bool:
        """Would `take` find anything?"""
        return bool(self._writes)

    @property
    def has_spare(self) -> bool:
        """Is there a file waiting to become the next segment?"""
        return self._spare.size_bytes > 0

    def name(self, number: int) -> str:
        """The name of a segment's file."""
        return segment_name(self.prefix, number)

    def begin(self, next_id: int) -> Segment:
        """Begin the next segment, in the spare file if there is one; messages to come have ids from
        `next_id` on.
        """
        self._mark_end()
        number = self.newest.number + 1
        base = self.newest.end
        oldest = self.oldest.number if self.segments else number
        header = SegmentHeader(
            self._magic, VERSION, self.salt, number, oldest, base, next_id
        ).encode()
        segment = self.newest = self.segments[number] = Segment(number, base)
        segment.size = SEGMENT_HEADER_SIZE
        segment.room = self._spare.take()
        recycle = segment.room > 0
        self._writes.append(
            Write(self.name(number), 0, create=True, recycle=recycle, buffers=[header])
        )
        return segment

    def add(self, block: Iterable[Buffer], start: int) -> None:
        """Have a sealed block written at an offset, behind everything before."""
        if not self._writes:
            self._writes.append(Write(self.name(self.newest.number), start, create=False))
        self._writes[-1].buffers += block

    def take(self) -> list[Write]:
        """All that is to be written, and has not been taken yet."""
        self._mark_end()
        writes, self._writes = self._writes, []
        return writes

    def _mark_end(self) -> None:
        if self._writes and (mark := self.newest.mark_end(self.salt)):
            self._writes[-1].buffers.append(mark)

    def trim(self) -> list[Segment]:
        """Forget the oldest segments if nothing in them lives, and return them."""
        trimmed: list[Segment] = []
        while len(self.segments) > 1 and (segment := self.oldest).empty:
            del self.segments[segment.number]
            trimmed.append(segment)
        return trimmed

    def retire(
        self, trimmed: Iterable[Segment], is_read: Callable[[int], bool]
    ) -> tuple[list[str], str]:
        """The names of files of trimmed segments: those to remove, and the one to keep as the spare
        file, or "". It is none that somebody still reads, and not much longer than a segment.
        """
        limit_bytes = self._settings.segment_bytes * 5 // 4
        spare = self._spare.choose(trimmed, limit_bytes, is_read)
        unlinks = [self.name(segment.number) for segment in trimmed if segment is not spare]
        return unlinks, "" if spare is None else self.name(spare.number)

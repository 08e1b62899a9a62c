"""The messages of a stream in order, each at its offset, until retention drops the oldest.

With a journal messages are on disk: in memory are four bytes each and the last few messages, for
consumers that keep up. Without one all are in memory.

Messages come in segments, which are dropped whole. A segment ends behind the message that makes it
as large as a segment may be; the last one is never dropped.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .backlog import Backlog
from .line import LOADED_BYTES, LOADED_MESSAGES, Line, Store
from .message import Message

SEGMENT_BYTES = 500_000_000
"""How large a segment may be unless something else is set."""

SEGMENTS_ABOUT = 1000
"""When there are more segments, the next ones are such a part of all; for each takes memory, and
one could ask for a segment a message.
"""


class Segment(NamedTuple):
    """A segment, or as far as it had come when it was written down, if it is not `full`."""

    first_offset: int
    end_offset: int
    size_bytes: int
    full: bool = True


class StreamLog:
    """The log of `line`'s messages. `store` is where they are kept, if not in memory only."""

    def __init__(self, line: Line, store: Store | None):
        self._line = line
        self._store = store
        self._ids: Backlog | None = None if store is None else Backlog()
        self._held: list[Message] = []
        self.first_offset = 0
        self.next_offset = 0
        self.kept_bytes = 0
        """The bytes of all messages."""
        self._segments: deque[list[int]] = deque([[0, 0]])
        """First offset and bytes of each."""

    @property
    def held_messages(self) -> int:
        """How many messages are in memory: the last ones."""
        return len(self._held)

    @property
    def first_id(self) -> int:
        """The journal's id of the first message, 0 if there is none or no journal."""
        return self._ids.first(1)[0] if self._ids else 0

    @property
    def segment_count(self) -> int:
        """How many segments there are, the one that is being filled included."""
        return len(self._segments)

    @property
    def last_full_segment(self) -> Segment:
        """The one before that which is being filled."""
        (first, size_bytes), (end, _) = self._segments[-2], self._segments[-1]
        return Segment(first, end, size_bytes)

    @property
    def open_segment(self) -> Segment:
        """The one that is being filled."""
        first, size_bytes = self._segments[-1]
        return Segment(first, self.next_offset, size_bytes, full=False)

    def append(self, message: Message, segment_bytes: int) -> bool:
        """Add a message at the end; True if a new segment begins with it."""
        begins = self._count(self.next_offset, len(message.content), segment_bytes)
        self.next_offset += 1
        self._held.append(message)
        if self._ids is not None:
            self._ids.append(message.stored)
            most = self._line.held_messages()
            if len(self._held) > 2 * most:
                self.forget_held(most)
        return begins

    def _count(self, offset: int, size_bytes: int, segment_bytes: int) -> bool:
        least_bytes = max(segment_bytes, self.kept_bytes // SEGMENTS_ABOUT)
        begins = segment_bytes > 0 and self._segments[-1][1] >= least_bytes
        if begins:
            self._segments.append([offset, 0])
        self._segments[-1][1] += size_bytes
        self.kept_bytes += size_bytes
        return begins

    def forget_held(self, most: int = 0) -> None:
        """Hold at most the last so many messages in memory, if there is a journal."""
        if self._ids is not None:
            del self._held[: max(len(self._held) - most, 0)]

    def restore(
        self,
        ids: Sequence[int],
        first_offset: int,
        segments: Iterable[Segment],
    ) -> None:
        """Take over messages from before a restart, in the segments that were written down. Those
        behind the last one are read to know their size.
        """
        self.first_offset, self.next_offset = first_offset, first_offset + len(ids)
        self._ids = Backlog(ids)
        self._segments = deque([[first_offset, 0]])
        end = first_offset
        for first, end, size_bytes, full in segments:
            self._segments[-1] = [first, size_bytes]
            if full:
                self._segments.append([end, 0])
        behind = self._line.all_of(ids[end - first_offset :])
        self._segments[-1][1] += sum(len(message.content) for message in behind)
        self.kept_bytes = sum(size_bytes for _, size_bytes in self._segments)

    def read(self, offset: int, most: int = LOADED_MESSAGES) -> list[Message]:
        """Messages from an offset on, at most so many and about `LOADED_BYTES`; none at the end."""
        held_from = self.next_offset - len(self._held)
        if offset >= held_from:
            return self._held[offset - held_from : offset - held_from + most]
        assert self._ids is not None
        assert self._store is not None
        ids = self._ids.part(offset - self.first_offset, most)
        return self._store.load(ids[: self._store.fitting(ids, LOADED_BYTES)])

    def drop_segment(self) -> Backlog | None:
        """Be done with the messages of the first segment; return those that are on disk."""
        self.kept_bytes -= self._segments.popleft()[1]
        first_offset = self._segments[0][0] if self._segments else self.next_offset
        dropped = None if self._ids is None else self._ids.take(first_offset - self.first_offset)
        held_from = self.next_offset - len(self._held)
        del self._held[: max(first_offset - held_from, 0)]
        self.first_offset = first_offset
        return dropped

    def published_ms(self, offset: int) -> int:
        """When the message at an offset was published, in milliseconds since 1970."""
        notes = self.read(offset, 1)[0].notes
        return 0 if notes is None else notes.published_ms

    def last_offset_of_first_segment(self) -> int:
        """The offset of the last message of the oldest segment that is not the only one."""
        return self._segments[1][0] - 1

    def offset_at(self, wall_ms: int) -> int:
        """The offset of the first message published at a time or later, the next one if none
        was.
        """
        low, high = self.first_offset, self.next_offset
        while low < high:
            middle = (low + high) // 2
            if self.published_ms(middle) < wall_ms:
                low = middle + 1
            else:
                high = middle
        return low

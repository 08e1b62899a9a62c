"""The far end of a long queue: messages that are on disk only, eight bytes each in memory.

A queue that has a backlog takes every new message to its end and reads from its front, a batch at a
time, when what it holds in memory runs out.
"""

from array import array
from collections.abc import Container, Iterable, Sequence

_FREED_AT = 1 << 16


class Backlog:
    """The ids, as the journal knows them, of messages in queue order."""

    __slots__ = ("_at", "_ids", "_redelivered")

    def __init__(self, ids: Iterable[int] = (), redelivered: Container[int] = ()):
        """`redelivered` has the ids of those that were delivered before."""
        self._ids = ids if isinstance(ids, array) else array("Q", ids)
        self._at = 0
        self._redelivered = redelivered

    def __len__(self) -> int:
        return len(self._ids) - self._at

    def append(self, stored: int) -> None:
        """Add a message at the end."""
        self._ids.append(stored)

    def first(self, count: int) -> Sequence[int]:
        """The first messages, at most `count`."""
        return self._ids[self._at : self._at + count]

    def drop(self, count: int) -> None:
        """Take the first messages out."""
        self._at += count
        if self._at >= _FREED_AT:
            del self._ids[: self._at]
            self._at = 0

    def delivered(self) -> list[int]:
        """Those that must be flagged redelivered."""
        return [stored for stored in self._ids[self._at :] if self.was_delivered(stored)]

    def was_delivered(self, stored: int) -> bool:
        """Whether a message must be flagged redelivered."""
        return stored in self._redelivered

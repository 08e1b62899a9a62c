"""The far end of a long queue: messages that are on disk only, eight bytes each in memory.

A queue that has a backlog takes every new message to its end and reads from its front, a batch at a
time, when what it holds in memory runs out.
"""

from array import array
from collections.abc import Iterable, Sequence

_FREED_AT = 1 << 16


class Backlog:
    """The ids, as the journal knows them, of messages in queue order.

    Those that have been delivered before, and must be flagged redelivered, stand at the front: a
    queue gives out its messages in order and takes them back to their places.
    """

    __slots__ = ("_at", "_ids", "delivered")

    def __init__(self, ids: Iterable[int] = (), delivered: int = 0):
        """`delivered` says how many at the front were delivered before."""
        self._ids = ids if isinstance(ids, array) else array("Q", ids)
        self._at = 0
        self.delivered = delivered

    def __len__(self) -> int:
        return len(self._ids) - self._at

    def append(self, stored: int) -> None:
        """Add a message at the end."""
        self._ids.append(stored)

    def put_before(self, ids: Iterable[int], delivered: int) -> None:
        """Add messages at the front, so many of which were delivered before."""
        before = array("Q", ids)
        self.delivered = len(before) + self.delivered if self.delivered else delivered
        self._ids = before + self._ids[self._at :]
        self._at = 0

    def first(self, count: int) -> Sequence[int]:
        """The first messages, at most `count`."""
        return self._ids[self._at : self._at + count]

    def drop(self, count: int) -> None:
        """Take the first messages out."""
        self._at += count
        self.delivered = max(self.delivered - count, 0)
        if self._at >= _FREED_AT:
            del self._ids[: self._at]
            self._at = 0

"""The values that an x-message-deduplication exchange has seen, in memory or also on disk.

On disk they are messages of the journal, whose owner is the exchange: rewriting, reclaiming space
and recovery are as for those of queues. A value is written at the end of the turn in which it was
seen, and so behind the message that it came with: a crash may leave a message whose value is
forgotten, never a value without its message, which would have a publisher that tries again turned
down. By the time a persistent message is confirmed both are on disk.
"""

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..storage.journal import Journal

NEVER = 1 << 63
ENTRY_BYTES = 200
_EXPIRED_AT_ONCE = 2
_READ_AT_ONCE = 1000
_EXPIRES_MS = struct.Struct(">Q")


class SeenValues:
    """Fingerprints, and till when they are remembered, in milliseconds since 1970."""

    __slots__ = ("_expires_ms",)

    number = 0
    """The journal's number for them; 0 if they are in memory only."""

    def __init__(self) -> None:
        self._expires_ms: dict[bytes, int] = {}

    def know(self, value: bytes, now_ms: int) -> bool:
        """Whether a value is remembered."""
        return self._expires_ms.get(value, 0) > now_ms

    def add(self, value: bytes, expires_ms: int, now_ms: int, most: int) -> None:
        """Remember a value that is not known till then. Those whose time is over, and then the
        oldest, give way, so that there are `most` of them.
        """
        if value in self._expires_ms:
            self._forget(value)
        for _ in range(_EXPIRED_AT_ONCE):
            oldest = next(iter(self._expires_ms), None)
            if oldest is None or self._expires_ms[oldest] > now_ms:
                break
            self._forget(oldest)
        while len(self._expires_ms) >= most:
            self._forget(next(iter(self._expires_ms)))
        self._expires_ms[value] = expires_ms

    def _forget(self, value: bytes) -> None:
        del self._expires_ms[value]

    @property
    def memory_bytes(self) -> int:
        """About how much memory they take."""
        return ENTRY_BYTES * len(self._expires_ms)

    def page_out(self) -> None:
        """Forget the older half."""
        known = self._expires_ms
        for value in [*known][: len(known) // 2]:
            self._forget(value)

    def end(self) -> None:
        """The exchange is deleted."""


class KeptValues(SeenValues):
    """Values that are in the journal, too. `number` stands for the exchange there, `later` has a
    call made at the end of the turn.
    """

    __slots__ = ("_journal", "_later", "_stored", "_unwritten", "number")

    def __init__(
        self, number: int, journal: "Journal", later: Callable[[Callable[[], None]], None]
    ):
        super().__init__()
        self.number = number
        self._journal = journal
        self._later = later
        self._stored: dict[bytes, int] = {}
        """The journal's ids of those that are written."""
        self._unwritten: list[bytes] = []

    def add(self, value: bytes, expires_ms: int, now_ms: int, most: int) -> None:
        super().add(value, expires_ms, now_ms, most)
        if not self._unwritten:
            self._later(self._write)
        self._unwritten.append(value)

    def _write(self) -> None:
        unwritten, self._unwritten = dict.fromkeys(reversed(self._unwritten)), []
        for value in reversed(unwritten):  # where it was seen last, if more than once
            expires_ms = self._expires_ms.get(value)
            if expires_ms is not None:
                self._stored[value] = self._journal.append_message(
                    (self.number,), _EXPIRES_MS.pack(expires_ms), value
                )

    def _forget(self, value: bytes) -> None:
        super()._forget(value)
        stored = self._stored.pop(value, None)
        if stored is not None:
            self._journal.settle(self.number, stored)

    def restore(self, ids: Sequence[int]) -> None:
        """Take over what the journal holds from before a restart."""
        for at in range(0, len(ids), _READ_AT_ONCE):
            for message in self._journal.read_many(ids[at : at + _READ_AT_ONCE]):
                value = message.blob[_EXPIRES_MS.size :]
                if value in self._expires_ms:  # a crash came before the older one was settled
                    self._forget(value)
                (self._expires_ms[value],) = _EXPIRES_MS.unpack_from(message.blob)
                self._stored[value] = message.message_id

    def end(self) -> None:
        self._expires_ms.clear()
        self._journal.drop_owner(self.number)
        self._stored.clear()

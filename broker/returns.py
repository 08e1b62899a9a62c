"""How often a message came back to a queue, when it is ready again, and where it stands then.

This belongs to one queue: it stands with the copy of the message there, and in the journal as what
that queue has noted of the message. Such a note is (little-endian) how often u32, how many of these
times were failures u32, when it is ready u64; then its place, which notes of earlier versions do
not have: its turn u64, and before which message it stands u64.
"""

import struct
from typing import NamedTuple

import msgspec

_RETURNS = struct.Struct("<IIQ")
_PLACE = struct.Struct("<QQ")


class Returns(msgspec.Struct, frozen=True, gc=False):
    """How often a message came back, and how many of these times were failures: all but basic.nack
    and basic.recover.
    """

    times: int = 0
    failures: int = 0
    due_ms: int = 0
    """When it is ready again, in milliseconds since 1970; 0 for at once."""

    def once_more(self, *, failed: bool) -> "Returns":
        """The same after another time."""
        return Returns(self.times + 1, self.failures + failed)

    def waiting(self, due_ms: int) -> "Returns":
        """The same, but ready at that time."""
        return Returns(self.times, self.failures, due_ms)


NEVER = Returns()


class Place(NamedTuple):
    """Where a message stands that came back to a quorum queue. Those that came back have turns in
    the order in which they did.
    """

    turn: int = 0
    before: int = 0
    """If it went to the end of the queue, the journal's id of the message to be stored next then; 0
    if it goes before all that were never delivered.
    """


def note_of(returns: Returns, place: Place) -> bytes:
    """What the journal is to remember of a message that came back."""
    head = _RETURNS.pack(returns.times, returns.failures, returns.due_ms)
    return head + _PLACE.pack(*place)


def read_returns(note: bytes) -> Returns:
    """How often the message came back of which that was noted; NEVER if nothing was."""
    return Returns(*_RETURNS.unpack_from(note)) if note else NEVER


def read_place(note: bytes) -> Place:
    """Where it stands."""
    return Place(*_PLACE.unpack_from(note, _RETURNS.size)) if len(note) > _RETURNS.size else Place()

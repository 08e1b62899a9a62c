"""How often a message came back to a queue, and when it is ready again.

This belongs to one queue: it stands with the copy of the message there, and in the journal as what
that queue has noted of the message.
"""

import struct

import msgspec

_ENCODED = struct.Struct("<IIQ")


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

    def encoded(self) -> bytes:
        """As a note in the journal."""
        return _ENCODED.pack(self.times, self.failures, self.due_ms)


NEVER = Returns()


def read_returns(note: bytes) -> Returns:
    """The inverse of `Returns.encoded`; NEVER if there is no note."""
    return Returns(*_ENCODED.unpack(note)) if note else NEVER

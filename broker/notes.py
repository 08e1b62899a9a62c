"""What the broker must know of some messages beyond their bytes, in memory and in the journal.

Only messages that can expire, those with a BCC header (which is taken out before anybody sees it),
dead letters whose CC header leads nowhere any more, and those with deaths that a client made up
have notes at all.

In the journal they are (big-endian) when the message was published u64, its own time to live i64
(-1 for none), flags u8 (1 foreign deaths, 2 times to live of queues,
4 copies spent); with flag 2 their count u16,
and of each the queue's number u32 and the time u64; then BCC's keys as short strings.
"""

import struct

import msgspec

from ..amqp.wire_types import shortstr

_HEAD = struct.Struct(">QqB")
_COUNT = struct.Struct(">H")
_QUEUE_TTL = struct.Struct(">IQ")
_NO_TTL = -1
_FOREIGN_DEATHS, _QUEUE_TTLS, _COPIES_SPENT = 1, 2, 4

QUEUE_TTLS_MAX = 1000
"""How many queues' times to live the notes of one message have room for."""


class Notes(msgspec.Struct, gc=False, eq=False):
    """When a message was published (milliseconds since 1970), how long it may wait by its own
    `expiration` (milliseconds, None for as long as it takes), and the routing keys of its BCC
    header. `foreign_deaths` says that its x-death header is not the broker's and must not count,
    `copies_spent` that the keys of its CC header do not lead it any more.

    `queue_ttls` has, by their numbers, the queues that it may wait in for another time than their
    arguments say, because a policy said so when it was published, and for how long (milliseconds).
    """

    published_ms: int = 0
    ttl_ms: int | None = None
    bcc: tuple[str, ...] = ()
    foreign_deaths: bool = False
    queue_ttls: tuple[tuple[int, int], ...] = ()
    copies_spent: bool = False

    def encoded(self) -> bytes:
        """As the attributes of a message in the journal."""
        ttl_ms = _NO_TTL if self.ttl_ms is None else self.ttl_ms
        flags = _FOREIGN_DEATHS * self.foreign_deaths | _COPIES_SPENT * self.copies_spent
        ttls = b""
        if self.queue_ttls:
            flags |= _QUEUE_TTLS
            pairs = [_QUEUE_TTL.pack(*pair) for pair in self.queue_ttls]
            ttls = _COUNT.pack(len(pairs)) + b"".join(pairs)
        head = _HEAD.pack(self.published_ms, ttl_ms, flags)
        return head + ttls + b"".join(map(shortstr, self.bcc))


NO_NOTES = Notes()


def read_notes(attributes: bytes) -> Notes:
    """The inverse of `Notes.encoded`."""
    published_ms, ttl_ms, flags = _HEAD.unpack_from(attributes)
    at = _HEAD.size
    queue_ttls: tuple[tuple[int, int], ...] = ()
    if flags & _QUEUE_TTLS:
        start = at + _COUNT.size
        at = start + _COUNT.unpack_from(attributes, at)[0] * _QUEUE_TTL.size
        queue_ttls = tuple(
            (number, ttl) for number, ttl in _QUEUE_TTL.iter_unpack(attributes[start:at])
        )
    bcc: list[str] = []
    while at < len(attributes):
        end = at + 1 + attributes[at]
        bcc.append(attributes[at + 1 : end].decode("utf-8", "surrogateescape"))
        at = end
    return Notes(
        published_ms,
        None if ttl_ms == _NO_TTL else ttl_ms,
        tuple(bcc),
        bool(flags & _FOREIGN_DEATHS),
        queue_ttls,
        bool(flags & _COPIES_SPENT),
    )

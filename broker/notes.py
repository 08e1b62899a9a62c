"""What the broker must know of some messages beyond their bytes, in memory and in the journal.

Only messages that can expire, those with a BCC header (which is taken out before anybody sees it),
and those with deaths that a client made up have notes at all.
"""

import struct

import msgspec

from ..amqp.methods import shortstr

_HEAD = struct.Struct(">QqB")
_NO_TTL = -1


class Notes(msgspec.Struct, gc=False, eq=False):
    """When a message was published (milliseconds since 1970), how long it may wait by its own
    `expiration` (milliseconds, None for as long as it takes), and the routing keys of its BCC
    header. `foreign_deaths` says that its x-death header is not the broker's and must not count.
    """

    published_ms: int = 0
    ttl_ms: int | None = None
    bcc: tuple[str, ...] = ()
    foreign_deaths: bool = False

    def encoded(self) -> bytes:
        """As the attributes of a message in the journal."""
        ttl_ms = _NO_TTL if self.ttl_ms is None else self.ttl_ms
        head = _HEAD.pack(self.published_ms, ttl_ms, self.foreign_deaths)
        return head + b"".join(map(shortstr, self.bcc))


def read_notes(attributes: bytes) -> Notes:
    """The inverse of `Notes.encoded`."""
    published_ms, ttl_ms, foreign_deaths = _HEAD.unpack_from(attributes)
    bcc: list[str] = []
    at = _HEAD.size
    while at < len(attributes):
        end = at + 1 + attributes[at]
        bcc.append(attributes[at + 1 : end].decode("utf-8", "surrogateescape"))
        at = end
    return Notes(
        published_ms, None if ttl_ms == _NO_TTL else ttl_ms, tuple(bcc), bool(foreign_deaths)
    )

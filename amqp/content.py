"""Content headers: the body's size, and the fourteen properties of the basic class.

Properties pass through leveret as the bytes that came. `Properties` finds where each one stands and
reads the few that the broker needs; changing one splices bytes, so that everything else, header
tables above all, keeps its exact wire form.
"""

import struct
from collections.abc import Mapping

from .errors import FrameError
from .fields import (
    Field,
    MalformedField,
    Table,
    check_field,
    check_table,
    decode_field,
    decode_table,
    encode_field,
)
from .wire_types import shortstr

BASIC_CLASS = 60

CONTENT_HEAD = struct.Struct(">HHQ")
"""Class id, weight, body size: what stands before the properties in a content header."""

(
    CONTENT_TYPE,
    CONTENT_ENCODING,
    HEADERS,
    DELIVERY_MODE,
    PRIORITY,
    CORRELATION_ID,
    REPLY_TO,
    EXPIRATION,
    MESSAGE_ID,
    TIMESTAMP,
    TYPE,
    USER_ID,
    APP_ID,
    CLUSTER_ID,
) = (1 << bit for bit in range(15, 1, -1))
"""The flag of each property, in the order of the property list."""

PERSISTENT = 2

_FLAGS = struct.Struct(">H")
_ORDER = tuple(1 << bit for bit in range(15, 1, -1))
_KNOWN = sum(_ORDER)
_OCTETS = DELIVERY_MODE | PRIORITY


class Properties:
    """The property flags and list of one content header, with the place of each property present.

    Raises FrameError if the list does not hold what its flags announce (or more), or if the headers
    are no table.
    """

    __slots__ = ("flags", "raw", "spans")

    def __init__(self, raw: bytes):
        self.raw = raw
        self.spans: dict[int, tuple[int, int]] = {}
        try:
            self.flags: int = _FLAGS.unpack_from(raw)[0]
            if self.flags & ~_KNOWN:
                raise MalformedField("flags of no known property")
            end = self._walk()
        except (MalformedField, IndexError, struct.error):
            end = -1
        if end != len(raw):
            raise FrameError("cannot decode the properties of a content header")

    def _walk(self) -> int:
        raw, flags, at = self.raw, self.flags, 2
        for flag in _ORDER:
            if not flags & flag:
                continue
            start = at
            if flag == HEADERS:
                at = check_table(raw, at)
            elif flag & _OCTETS:
                at += 1
            elif flag == TIMESTAMP:
                at += 8
            else:
                at += 1 + raw[at]
            self.spans[flag] = start, at
        return at

    @property
    def persistent(self) -> bool:
        """Whether delivery-mode asks for the message to be kept on disk."""
        span = self.spans.get(DELIVERY_MODE)
        return span is not None and self.raw[span[0]] == PERSISTENT

    def octet(self, flag: int) -> int | None:
        """DELIVERY_MODE or PRIORITY, None if absent."""
        span = self.spans.get(flag)
        return None if span is None else self.raw[span[0]]

    def text(self, flag: int) -> str | None:
        """A short string property, None if absent."""
        span = self.spans.get(flag)
        if span is None:
            return None
        return self.raw[span[0] + 1 : span[1]].decode("utf-8", "surrogateescape")

    @property
    def timestamp(self) -> int | None:
        """Seconds since 1970 by convention, None if absent."""
        span = self.spans.get(TIMESTAMP)
        return None if span is None else int.from_bytes(self.raw[span[0] : span[1]])

    def headers(self) -> Table:
        """The headers table, decoded; empty if absent."""
        span = self.spans.get(HEADERS)
        return {} if span is None else decode_table(self.raw, span[0])[0]

    def replaced(self, changes: Mapping[int, bytes | None]) -> bytes:
        """The raw properties with some set to new encoded values, or taken out with None."""
        flags, parts = 0, [b""]
        for flag in _ORDER:
            if flag in changes:
                value = changes[flag]
            else:
                span = self.spans.get(flag)
                value = None if span is None else self.raw[span[0] : span[1]]
            if value is not None:
                flags |= flag
                parts.append(value)
        parts[0] = _FLAGS.pack(flags)
        return b"".join(parts)

    def without_header(self, name: str) -> bytes:
        """The raw properties without one entry of the headers; the other entries stay as they
        are.
        """
        span = self.spans.get(HEADERS)
        if span is None:
            return self.raw
        content = b"".join(
            self.raw[start:end]
            for entry, start, end in header_entries(self.raw, span[0])
            if entry != name
        )
        return self.replaced({HEADERS: struct.pack(">I", len(content)) + content})

    def with_header(self, name: str, field: Field) -> bytes:
        """The raw properties with one entry of the headers set, as the first one."""
        raw = self.raw
        others = Properties(self.without_header(name)) if name.encode() in raw else self
        span = others.spans.get(HEADERS)
        content = shortstr(name) + encode_field(field)
        if span is not None:
            content += others.raw[span[0] + 4 : span[1]]
        return self.replaced({HEADERS: struct.pack(">I", len(content)) + content})


def header_entries(raw: bytes, at: int) -> list[tuple[str, int, int]]:
    """(name, start, end) of each entry of the table at `at`: what splicing cuts along."""
    entries: list[tuple[str, int, int]] = []
    end = at + 4 + int.from_bytes(raw[at : at + 4])
    at += 4
    while at < end:
        start = at
        name = raw[at + 1 : at + 1 + raw[at]]
        at = check_field(raw, at + 1 + raw[at])
        entries.append((name.decode("utf-8", "surrogateescape"), start, at))
    return entries


def find_header(raw: bytes, name: str) -> Field | None:
    """One entry of the headers of raw properties (flags and list) that have been checked before;
    None if there is none. Costs less than to decode all of them.
    """
    flags, at = _FLAGS.unpack_from(raw)[0], 2
    if not flags & HEADERS:
        return None
    for flag in (CONTENT_TYPE, CONTENT_ENCODING):
        if flags & flag:
            at += 1 + raw[at]
    found = None
    for entry, start, _ in header_entries(raw, at):
        if entry == name:
            found = decode_field(raw, start + 1 + raw[start])[0]
    return found


def content_header(body_bytes: int, properties: bytes) -> bytes:
    """A content header's payload for a body of that size and raw properties (flags and list)."""
    return CONTENT_HEAD.pack(BASIC_CLASS, 0, body_bytes) + properties

"""The format on disk, version 3. All numbers are unsigned and little-endian.

A journal is the files `journal-<number>.log`, its *segments*, numbered without gaps. Each begins
with a header and goes on with blocks, to the end of the file or to a block with the flag END. What
stands behind that is room: a segment may be written over one that is needed no longer, which the
disk takes in half the time that a growing file needs.

    segment header, 48 bytes; magic, version and CRC stay where they are in every version
        magic        8s   "leveretJ" ("leveretP" for page files, which no restart survives)
        version      u16
        reserved     u16
        salt         u32  the same in every file of one journal
        number       u32  of this segment
        oldest       u32  lowest segment still needed when this one was begun
        base         u64  bytes of log before this segment, counted since the journal began
        next id      u64  no message at or above this id stands before this segment
        reserved     u32
        crc          u32  CRC-32 of the 44 bytes before it

    block: what is checked, read and torn as one
        magic        4s   8b "LvB"
        crc          u32  CRC-32 of the rest of the block, started with salt XOR segment
                            number: never right for a block left over from another segment
        length       u32  of the records, in bytes
        offset       u32  of this block in its file
        flags        u16  1 SYNCED: all of this file before this block was on disk before the
                            block was written. A bad block before a good SYNCED one is damage;
                            a bad block without one behind it is a write the crash cut short.
                          2 OPEN: counts only together with the next block, for the group (a
                            transaction) does not end here
                          4 END: nothing follows; no records. The next batch is written over it
        reserved     u16
        records

    record
        length       u32  of the whole record, in bytes
        kind         u8
        flags        u8   1 ATTRIBUTES, 2 RANKED
        number       u64  its meaning depends on the kind

    kind             number           after the 14 bytes
    1 MESSAGE        message id       count u16, owners u32 each; with RANKED: rank u16, not 0,
                                      whose meaning is the writer's (a priority), and which is
                                      known after opening without the message being read; with
                                      ATTRIBUTES: length u16 and as many bytes, whose meaning is
                                      the writer's, too (expiry time, ...); then the blob
    2 MOVED          message id       like MESSAGE: takes the place of the earlier copy
    3 SETTLED        owner            message ids u64 each
    4 DELIVERED      owner            message ids u64 each, then as many counts u32 each
    5 DROPPED        owner            -  (settles all the owner's messages that stand before it)
    6 DEFINED        length of key    key, value
    7 UNDEFINED      length of key    key
    8 TRIMMED        segment          -  (no segment below that number is needed any more)
    9 STARTED        0                -
    10 STOPPED       snapshot length  u32 CRC of `journal.snapshot`, 0 if there is none; counts
                                      as a clean stop only as the last record of the log
    11 NOTED         owner            message id u64, then as many bytes as are left, whose
                                      meaning is the writer's; they replace those noted before

Message ids are given in the order of appending and never go backwards. A reader that meets a
version, kind or flag it does not know refuses the file. Version 2 is the same without RANKED: such
files are read, but not appended to.
"""

import re
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cache
from struct import Struct
from typing import Literal, NamedTuple, cast
from zlib import crc32

from .disk import Buffer

VERSION = 3
OLDEST_VERSION = 2
JOURNAL_MAGIC = b"leveretJ"
PAGE_MAGIC = b"leveretP"
BLOCK_MAGIC = b"\x8bLvB"

SEGMENT_HEADER = Struct("<8sHHIIIQQI")
BLOCK_HEADER = Struct("<4sIIIHH")
BLOCK_CHECKED = Struct("<IIHH")
RECORD = Struct("<IBBQ")
_unpack_message = Struct("<IBBQHI").unpack_from
U16 = Struct("<H")
U32 = Struct("<I")
U64 = Struct("<Q")

SEGMENT_HEADER_SIZE = SEGMENT_HEADER.size + U32.size
BLOCK_HEADER_SIZE = BLOCK_HEADER.size
CHECKED_FROM = BLOCK_HEADER_SIZE - BLOCK_CHECKED.size
RECORD_SIZE = RECORD.size
assert SEGMENT_HEADER_SIZE == 48
assert BLOCK_HEADER_SIZE == 20
assert CHECKED_FROM == 8
assert RECORD_SIZE == 14

# A message has at least one owner.
LEAST_MESSAGE_SIZE = RECORD_SIZE + U16.size + U32.size
# Offsets and lengths are 32 bits; a segment is closed long before that.
GREATEST_RECORD_SIZE = (1 << 32) - (1 << 29)
MOST_OWNERS = (1 << 16) - 1
MOST_ATTRIBUTES = (1 << 16) - 1

SYNCED = 1
OPEN = 2
END = 4
ATTRIBUTES = 1
RANKED = 2


class Kind(IntEnum):
    """What a record says."""

    MESSAGE = 1
    MOVED = 2
    SETTLED = 3
    DELIVERED = 4
    DROPPED = 5
    DEFINED = 6
    UNDEFINED = 7
    TRIMMED = 8
    STARTED = 9
    STOPPED = 10
    NOTED = 11


SPARE_NAME = "journal.spare"
"""A segment that is needed no longer, to write a later one over."""

_PAGE_BYTES = 4096
"""What the kernel reads and writes at once: less of it would have to be read first."""

_SEGMENT_NAME = re.compile(r"(journal|page)-(\d{10})\.log")


def segment_name(prefix: str, number: int) -> str:
    """The name of a segment's file."""
    return f"{prefix}-{number:010d}.log"


def segment_number(prefix: str, name: str) -> int | None:
    """The number in a segment's file name, None for any other file."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match[2]) if match and match[1] == prefix else None


def checksum_seed(salt: int, number: int) -> int:
    """What the checksums of a segment's blocks start with."""
    return salt ^ number


class SegmentHeader(NamedTuple):
    """The first 48 bytes of a file; see the head of this module."""

    magic: bytes
    version: int
    salt: int
    number: int
    oldest: int
    base: int
    next_id: int

    def encode(self) -> bytes:
        head = SEGMENT_HEADER.pack(
            self.magic,
            self.version,
            0,
            self.salt,
            self.number,
            self.oldest,
            self.base,
            self.next_id,
            0,
        )
        return head + U32.pack(crc32(head))

    @classmethod
    def decode(cls, data: bytes) -> "SegmentHeader | None":
        """None if these bytes are not a whole, unharmed header."""
        if len(data) < SEGMENT_HEADER_SIZE:
            return None
        if U32.unpack_from(data, SEGMENT_HEADER.size)[0] != crc32(data[: SEGMENT_HEADER.size]):
            return None
        magic, version, _, salt, number, oldest, base, next_id, _ = SEGMENT_HEADER.unpack_from(data)
        if magic not in (JOURNAL_MAGIC, PAGE_MAGIC):
            return None
        return cls(magic, version, salt, number, oldest, base, next_id)


# Stands first among a block's parts until the block is sealed.
BLANK_BLOCK_HEADER = bytes(BLOCK_HEADER_SIZE)

# A last part of at least this many bytes is written from where it is instead of being copied.
_NOT_COPIED = 256 * 1024


def seal_block(parts: Sequence[Buffer], offset: int, flags: int, seed: int) -> list[Buffer]:
    """The buffers of a block whose parts are a blank header and the records in pieces."""
    apart: list[Buffer] = []
    if len(parts[-1]) >= _NOT_COPIED:
        apart.append(parts[-1])
        parts = parts[:-1]
    block = bytearray().join(parts)
    length = len(block) - BLOCK_HEADER_SIZE + sum(map(len, apart))
    BLOCK_CHECKED.pack_into(block, CHECKED_FROM, length, offset, flags, 0)
    with memoryview(block) as view:
        crc = crc32(view[CHECKED_FROM:], seed)
    for buffer in apart:
        crc = crc32(buffer, crc)
    BLOCK_HEADER.pack_into(block, 0, BLOCK_MAGIC, crc, length, offset, flags, 0)
    return [block, *apart]


def end_mark(offset: int, seed: int) -> bytes:
    """A block that says that nothing follows, and zeros to the end of a page."""
    (mark,) = seal_block([BLANK_BLOCK_HEADER], offset, END, seed)
    return bytes(mark) + bytes(-(offset + BLOCK_HEADER_SIZE) % _PAGE_BYTES)


def check_block(window: bytes, at: int, offset: int, seed: int) -> str:
    """What is wrong with the block at `at` in a window of the file, or nothing.

    `offset` is where the block stands in the file. The block must not reach beyond the window.
    """
    magic, crc, length, own_offset, _, _ = BLOCK_HEADER.unpack_from(window, at)
    if magic != BLOCK_MAGIC:
        return "no block begins here"
    with memoryview(window) as view:
        checked = view[at + CHECKED_FROM : at + BLOCK_HEADER_SIZE + length]
        actual = crc32(checked, seed)
        checked.release()
    if actual != crc:
        return f"the checksum should be {crc:08x} and is {actual:08x}"
    if own_offset != offset:
        return f"the block belongs at byte {own_offset}"
    return ""


def record(kind: Kind, number: int, body: bytes = b"") -> bytes:
    """Any record but a message."""
    return RECORD.pack(RECORD_SIZE + len(body), kind, 0, number) + body


@cache
def message_start(encoded_size: int) -> Struct:
    """All of a message record before its blob; kind and flags as one number."""
    return Struct(f"<IHQ{encoded_size}s")


def owner_list(owners: Iterable[int], rank: int = 0) -> bytes:
    """Owners, and their message's rank if it has one, as they stand in a record."""
    numbers = tuple(owners)
    encoded = Struct(f"<H{len(numbers)}I").pack(len(numbers), *numbers)
    return encoded + U16.pack(rank) if rank else encoded


def with_attributes(encoded_owners: bytes, flags: int, attributes: bytes) -> tuple[bytes, int]:
    """What stands between a message record's head and its blob, and the record's flags; those that
    the owners ask for are given.
    """
    if not attributes:
        return encoded_owners, flags
    return encoded_owners + U16.pack(len(attributes)) + attributes, flags | ATTRIBUTES


def walk(block: Buffer, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Each record between two places of a checked block: start, length, kind, flags, number."""
    unpack = RECORD.unpack_from
    while at < end:
        length, kind, flags, number = unpack(block, at)
        yield at, length, kind, flags, number
        at += length


class StoredMessage(NamedTuple):
    """A message as its record has it; `owners` may include some that have settled since."""

    message_id: int
    owners: tuple[int, ...]
    attributes: bytes
    blob: bytes
    rank: int = 0


_new_message = cast(
    Callable[[type[StoredMessage], tuple[int, tuple[int, ...], bytes, bytes, int]], StoredMessage],
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType] - typeshed has no type for it
)


def stored_message(block: bytes, at: int) -> StoredMessage:
    """The MESSAGE or MOVED record that begins at `at`."""
    length, _, flags, message_id, count, owner = _unpack_message(block, at)
    if count == 1 and not flags:
        # Nearly all messages, and half the time that the class's own constructor takes.
        blob = block[at + LEAST_MESSAGE_SIZE : at + length]
        return _new_message(StoredMessage, (message_id, (owner,), b"", blob, 0))
    owners_at = at + RECORD_SIZE + U16.size
    blob_at = owners_at + count * U32.size
    owners: tuple[int, ...] = Struct(f"<{count}I").unpack_from(block, owners_at)
    attributes, rank = b"", 0
    if flags & RANKED:
        (rank,) = U16.unpack_from(block, blob_at)
        blob_at += U16.size
    if flags & ATTRIBUTES:
        attributes_at = blob_at + U16.size
        blob_at = attributes_at + U16.unpack_from(block, blob_at)[0]
        attributes = block[attributes_at:blob_at]
    return StoredMessage(message_id, owners, attributes, block[blob_at : at + length], rank)


def numbers_to_bytes(numbers: "array[int]") -> bytes:
    """An array's items in the byte order of the format."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def numbers_from_bytes(code: Literal["H", "I", "Q"], data: bytes) -> "array[int]":
    """Numbers of an array's type code, as they are on disk."""
    numbers: array[int] = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers

"""Going through a segment file block by block, checking everything."""

from collections.abc import Iterator

from .disk import File
from .errors import UnknownVersion
from .records import (
    BLOCK_HEADER,
    BLOCK_HEADER_SIZE,
    BLOCK_MAGIC,
    END,
    OLDEST_VERSION,
    SEGMENT_HEADER_SIZE,
    SYNCED,
    VERSION,
    SegmentHeader,
    check_block,
)

_WINDOW = 4 * 1024 * 1024


class BadBlock(Exception):
    """No good block begins at this offset."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class BadRecord(BadBlock):
    """The block is what was written, but it cannot be understood."""


def read_header(file: File, name: str, magic: bytes, number: int) -> SegmentHeader:
    """The header of a segment file. Raises BadBlock or UnknownVersion."""
    header = SegmentHeader.decode(file.pread(SEGMENT_HEADER_SIZE, 0))
    if header is None:
        raise BadBlock(0, "the segment header is not whole")
    if not OLDEST_VERSION <= header.version <= VERSION:
        raise UnknownVersion(
            f"{name} has format version {header.version}, this leveret knows versions"
            f" {OLDEST_VERSION} to {VERSION}"
        )
    if header.magic != magic or header.number != number:
        raise BadBlock(0, "the segment header belongs to another file")
    return header


def read_blocks(
    file: File, start: int, end: int, seed: int
) -> Iterator[tuple[bytes, int, int, int, int]]:
    """The blocks of a file between two offsets. Raises BadBlock.

    Each is a window on the file, begin and end of the records in it, the block's offset in the
    file, and its flags. A block with the flag END is not among them: it is the end.
    """
    offset = start
    want = _WINDOW
    while offset < end:
        window = file.pread(min(want, end - offset), offset)
        if len(window) < min(want, end - offset):
            end = offset + len(window)
        want = _WINDOW
        at = 0
        while at < len(window):
            size, flags = _block_size(window, at, offset + at, end)
            if at + size > len(window):
                want = max(size, _WINDOW)
                break
            problem = check_block(window, at, offset + at, seed)
            if problem:
                raise BadBlock(offset + at, problem)
            if flags & END:
                return
            yield window, at + BLOCK_HEADER_SIZE, at + size, offset + at, flags
            at += size
        offset += at


def _block_size(window: bytes, at: int, offset: int, end: int) -> tuple[int, int]:
    """Size of a block, as its header has it, and its flags."""
    if offset + BLOCK_HEADER_SIZE > end:
        raise BadBlock(offset, "the file ends in the middle of a block")
    if at + BLOCK_HEADER_SIZE > len(window):
        # Enough to make the caller read on from here.
        return BLOCK_HEADER_SIZE, 0
    magic, _, length, _, flags, _ = BLOCK_HEADER.unpack_from(window, at)
    if magic != BLOCK_MAGIC:
        raise BadBlock(offset, "no block begins here")
    size = BLOCK_HEADER_SIZE + length
    if offset + size > end:
        raise BadBlock(offset, "the file ends in the middle of a block")
    return size, flags


def next_block(file: File, start: int, end: int, seed: int | None, flag: int = 0) -> int:
    """The offset of the next good block at or after `start` that has this flag, or -1.

    For finding the way again behind a bad block. Without a seed, checksums are not looked at.
    """
    offset = start
    while offset < end:
        window = file.pread(min(_WINDOW, end - offset), offset)
        at = window.find(BLOCK_MAGIC)
        while at >= 0:
            if is_block(file, offset + at, end, seed, flag):
                return offset + at
            at = window.find(BLOCK_MAGIC, at + 1)
        if len(window) < _WINDOW:
            break
        # The magic may stand across the border of two windows.
        offset += len(window) - len(BLOCK_MAGIC) + 1
    return -1


def is_block(file: File, offset: int, end: int, seed: int | None, flag: int) -> bool:
    """Does a good block with this flag begin here?"""
    header = file.pread(BLOCK_HEADER_SIZE, offset)
    if len(header) < BLOCK_HEADER_SIZE:
        return False
    magic, _, length, own_offset, flags, _ = BLOCK_HEADER.unpack(header)
    size = BLOCK_HEADER_SIZE + length
    if magic != BLOCK_MAGIC or own_offset != offset or offset + size > end or flags & flag != flag:
        return False
    if seed is None:
        return True
    block = file.pread(size, offset)
    return len(block) == size and not check_block(block, 0, offset, seed)


def was_synced_behind(file: File, start: int, end: int, seed: int | None) -> bool:
    """Is there a block, from `start` on, that was written when all before it was on disk?"""
    return next_block(file, start, end, seed, SYNCED) >= 0

"""The sealed blocks of one log, wherever they are: waiting, being written, or in a file.

A location is segment number << 32 | offset of the block in its file.
"""

from collections.abc import Sequence
from weakref import WeakValueDictionary

from .disk import Buffer, Disk, File
from .reading import Read, load_block
from .records import (
    BLOCK_HEADER_SIZE,
    Kind,
    StoredMessage,
    checksum_seed,
    segment_name,
    stored_message,
    walk,
)

_MOST_OPEN_FILES = 64


class Blocks:
    """See the head of this module. `prefix` is that of the log's file names."""

    __slots__ = (
        "_disk",
        "_files",
        "_last_read",
        "_opened",
        "_prefix",
        "_salt",
        "_waiting",
        "_writing",
    )

    def __init__(self, disk: Disk, prefix: str, salt: int) -> None:
        self._disk = disk
        self._prefix = prefix
        self._salt = salt
        self._waiting: dict[int, list[Buffer]] = {}
        self._writing: dict[int, list[Buffer]] = {}
        self._files: dict[int, File] = {}
        self._opened: WeakValueDictionary[int, File] = WeakValueDictionary()
        # The block that a message was read from last, and where its messages are.
        self._last_read: tuple[int, bytes, dict[int, int]] = (-1, b"", {})

    def add(self, location: int, buffers: list[Buffer]) -> None:
        """A block was sealed."""
        self._waiting[location] = buffers

    def taken(self) -> None:
        """What was waiting is being written."""
        self._writing, self._waiting = self._waiting, {}

    def written(self) -> None:
        """What was being written is in the files."""
        self._writing = {}

    def load(self, location: int) -> bytes:
        """One block, checked. Raises Damaged or OSError."""
        block = self._in_memory(location)
        if block is None:
            number = location >> 32
            name = segment_name(self._prefix, number)
            offset = location & 0xFFFFFFFF
            seed = checksum_seed(self._salt, number)
            block = load_block(self._file(number), name, offset, seed, self._disk.path)
        return block

    def message(self, location: int, message_id: int) -> StoredMessage:
        """One message of a block; others of the same block come cheaper. Raises as `load` does."""
        if self._last_read[0] != location:
            block = self.load(location)
            places = {
                number: at
                for at, _, kind, _, number in walk(block, BLOCK_HEADER_SIZE, len(block))
                if kind in (Kind.MESSAGE, Kind.MOVED)
            }
            self._last_read = location, block, places
        _, block, places = self._last_read
        return stored_message(block, places[message_id])

    def add_to(self, read: Read, locations: Sequence[int]) -> None:
        """Let a read know where to find these blocks."""
        by_file: dict[int, list[int]] = {}
        for location in sorted(set(locations)):
            block = self._in_memory(location)
            if block is None:
                by_file.setdefault(location >> 32, []).append(location & 0xFFFFFFFF)
            else:
                read.take_block(location, block)
        for number, offsets in by_file.items():
            read.take_file(number, segment_name(self._prefix, number), self._file(number), offsets)

    def _in_memory(self, location: int) -> bytes | None:
        buffers = self._waiting.get(location) or self._writing.get(location)
        return None if buffers is None else b"".join(buffers)

    def _file(self, number: int) -> File:
        file = self._files.pop(number, None) or self._opened.get(number)
        if file is None:
            file = self._disk.open(segment_name(self._prefix, number))
            self._opened[number] = file
            if len(self._files) >= _MOST_OPEN_FILES:
                # Not closed here: a read that was prepared earlier may still need it.
                del self._files[next(iter(self._files))]
        self._files[number] = file
        return file

    def forget(self, number: int) -> None:
        """A segment is no longer needed."""
        self._files.pop(number, None)

    def is_read(self, number: int) -> bool:
        """Does a read still hold the file of a segment that was forgotten?"""
        return number in self._opened

    def close(self) -> None:
        """Let go of the files; they close when no read needs them any more."""
        self._files.clear()

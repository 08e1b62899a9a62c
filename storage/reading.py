"""Reading messages back, in few system calls, without touching the journal's memory.

A read is prepared where the journal lives and run anywhere, in a worker thread for instance.
Blocks that are close together are read at once; every block is checked before anything in it is
believed.
"""

from collections.abc import Iterable, Sequence

from .disk import File
from .errors import Damaged
from .records import (
    BLOCK_HEADER,
    BLOCK_HEADER_SIZE,
    RECORD,
    Kind,
    StoredMessage,
    check_block,
    checksum_seed,
    stored_message,
)

# Read this much at once, including gaps of up to _GAP bytes; a block is guessed to be no
# longer than _GUESS, and read again at its true length if it is.
_WINDOW = 1 << 20
_GAP = 1 << 17
_GUESS = 72 * 1024

_MOVED = int(Kind.MOVED)


# A window on a file, and where in it a block begins and ends.
_Found = tuple[bytes, int, int]


def load_block(file: File, name: str, offset: int, seed: int, path: str) -> bytes:
    """One block, read and checked."""
    ((window, at, end),) = _load_blocks(file, name, [offset], seed, path)
    return window[at:end]


def _load_blocks(
    file: File, name: str, offsets: Sequence[int], seed: int, path: str
) -> Iterable[_Found]:
    at = 0
    while at < len(offsets):
        start = offsets[at]
        last = at
        while (
            last + 1 < len(offsets)
            and offsets[last + 1] - offsets[last] <= _GAP
            and offsets[last + 1] - start <= _WINDOW
        ):
            last += 1
        window = file.pread(offsets[last] - start + _GUESS, start)
        for offset in offsets[at : last + 1]:
            yield _find(file, name, window, start, offset, seed, path)
        at = last + 1


def _find(
    file: File, name: str, window: bytes, start: int, offset: int, seed: int, path: str
) -> _Found:
    at = offset - start
    length = 0
    if at + BLOCK_HEADER_SIZE <= len(window):
        length = BLOCK_HEADER_SIZE + BLOCK_HEADER.unpack_from(window, at)[2]
        if at + length > len(window):
            window = file.pread(length, offset)
            at = 0
    if not length or at + length > len(window):
        raise Damaged(name, offset, "the file ends in the middle of a block", path)
    problem = check_block(window, at, offset, seed)
    if problem:
        raise Damaged(name, offset, problem, path)
    return window, at, at + length


class Read:
    """Messages to be read back; `run` may be called once, in any thread."""

    __slots__ = ("_blocks", "_files", "_ids", "_path", "_salt", "_wanted")

    def __init__(self, ids: Sequence[int], salt: int, path: str) -> None:
        self._ids = ids
        self._salt = salt
        self._path = path
        self._wanted: dict[int, int] = {}
        self._blocks: list[tuple[int, bytes]] = []
        self._files: list[tuple[int, str, File, list[int]]] = []

    def take_places(self, ids: Sequence[int], locations: Sequence[int]) -> None:
        """Say in which blocks messages are: segment << 32 | offset."""
        self._wanted.update(zip(ids, locations, strict=True))

    def take_block(self, location: int, block: bytes) -> None:
        """This block is not on disk yet."""
        self._blocks.append((location, block))

    def take_file(self, number: int, name: str, file: File, offsets: list[int]) -> None:
        """These blocks are in a file; `offsets` ascend."""
        self._files.append((number, name, file, offsets))

    def run(self) -> list[StoredMessage]:
        """The messages, in the order asked for. Raises Damaged or OSError."""
        found: dict[int, StoredMessage] = {}
        for location, block in self._blocks:
            self._pick(block, 0, len(block), location, found)
        for number, name, file, offsets in self._files:
            seed = checksum_seed(self._salt, number)
            blocks = _load_blocks(file, name, offsets, seed, self._path)
            for offset, (window, at, end) in zip(offsets, blocks, strict=True):
                self._pick(window, at, end, number << 32 | offset, found)
        return [found[message_id] for message_id in self._ids]

    def _pick(
        self, window: bytes, at: int, end: int, location: int, found: dict[int, StoredMessage]
    ) -> None:
        """Take from a block what is wanted and what is to be taken from this block."""
        wanted = self._wanted
        unpack = RECORD.unpack_from
        at += BLOCK_HEADER_SIZE
        while at < end:
            length, kind, _, number = unpack(window, at)
            if wanted.get(number) == location and kind <= _MOVED:
                found[number] = stored_message(window, at)
            at += length

"""What is remembered of each segment, and of the size of each message, to decide what to rewrite.

The size of a message is remembered as a class in one byte: classes are 9 % apart, so a sum of
sizes is off by a few percent at most. That is exact enough to compare live bytes with all bytes.
"""

from bisect import bisect_left

from .records import VERSION, checksum_seed, end_mark


def _bounds() -> list[int]:
    bounds = [0]
    bound = 24
    while bound < 1 << 32:
        bounds.append(bound)
        bound = max(bound + 16, bound * 109 // 100)
    bounds.append(1 << 32)
    return bounds


# Class c holds the sizes above _BOUNDS[c - 1] up to _BOUNDS[c]; class 0 means no message.
_BOUNDS = _bounds()
assert len(_BOUNDS) <= 256

# The classes of all sizes below 64 KiB.
SMALL_SIZE_CLASSES = bytes(
    size_class
    for size_class, bound in enumerate(_BOUNDS)
    for _ in range(_BOUNDS[size_class - 1] + 1 if size_class else 0, min(bound, 65535) + 1)
)
SMALL_SIZE = len(SMALL_SIZE_CLASSES)
assert SMALL_SIZE == 65536

TYPICAL_SIZES = [0] + [(_BOUNDS[c - 1] + _BOUNDS[c]) // 2 for c in range(1, len(_BOUNDS))]


def size_class(size: int) -> int:
    """The class of a record's size in bytes."""
    if size < len(SMALL_SIZE_CLASSES):
        return SMALL_SIZE_CLASSES[size]
    return bisect_left(_BOUNDS, size)


class Segment:
    """One file of the log: how long it is and how much of it still matters.

    `base` is the log position of its first byte, `size` its length up to the last sealed block,
    `room` the length that its file had before, if it was another segment's, `version` its format's.
    `messages` counts message records in sealed blocks, `message_bytes` their bytes; `dead` and
    `dead_bytes` (an estimate) those that nobody needs any more. `definitions` counts the
    definitions whose latest record stands here, `definition_bytes` their bytes. `chunks` are the
    index chunks in which messages of this segment may be found.
    """

    __slots__ = (
        "base",
        "chunks",
        "dead",
        "dead_bytes",
        "definition_bytes",
        "definitions",
        "message_bytes",
        "messages",
        "number",
        "room",
        "size",
        "version",
    )

    def __init__(self, number: int, base: int) -> None:
        self.number = number
        self.base = base
        self.size = 0
        self.room = 0
        self.version = VERSION
        self.messages = 0
        self.message_bytes = 0
        self.dead = 0
        self.dead_bytes = 0
        self.definitions = 0
        self.definition_bytes = 0
        self.chunks: set[int] = set()

    @property
    def end(self) -> int:
        """The log position behind its last byte."""
        return self.base + self.size

    def mark_end(self, salt: int) -> bytes:
        """What to write behind its last block if its file goes on behind that; else nothing."""
        if self.size >= self.room:
            return b""
        mark = end_mark(self.size, checksum_seed(salt, self.number))
        self.room = max(self.room, self.size + len(mark))
        return mark

    @property
    def live_bytes(self) -> int:
        """About how much of it still matters."""
        if self.dead == self.messages:
            return self.definition_bytes
        return max(self.message_bytes - self.dead_bytes, 0) + self.definition_bytes

    @property
    def empty(self) -> bool:
        """Does nothing in it matter any more?"""
        return self.dead == self.messages and not self.definitions

    def __repr__(self) -> str:
        return (
            f"<Segment {self.number}: {self.size} bytes, "
            f"{self.messages - self.dead} of {self.messages} messages live>"
        )

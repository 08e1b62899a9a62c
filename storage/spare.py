"""The file of a segment that is needed no longer, kept for the next segment to be written over it.

A file that grows costs the disk two writes a sync, for its length changes too; one that is written
over costs one. One spare file is enough: in a log of steady length one segment goes for every one
that comes.
"""

from collections.abc import Callable, Iterable

from .segments import Segment


class Spare:
    """What is known of the spare file: `size_bytes`, 0 if there is none."""

    __slots__ = ("size_bytes",)

    def __init__(self) -> None:
        self.size_bytes = 0

    def take(self) -> int:
        """The file becomes a segment; return how long it is, 0 if there was none."""
        size_bytes, self.size_bytes = self.size_bytes, 0
        return size_bytes

    def choose(
        self, trimmed: Iterable[Segment], limit_bytes: int, is_read: Callable[[int], bool]
    ) -> Segment | None:
        """The segment among these whose file becomes the spare one, if one is wanted: it must not
        be longer than `limit_bytes`, and nobody may still be reading it.
        """
        if self.size_bytes:
            return None
        for segment in trimmed:
            if segment.size <= limit_bytes and not is_read(segment.number):
                self.size_bytes = max(segment.size, segment.room)
                return segment
        return None

"""A heap of what is due when, at sixteen bytes an entry: for the many that are on disk only."""

from array import array

ENTRY_BYTES = 16
NO_DUE_MS = 1 << 63


class DueHeap:
    """Pairs of a due time (milliseconds since 1970) and a message's id in the journal, the earliest
    first; of those due at once, the lower id.
    """

    __slots__ = ("_dues", "_ids")

    def __init__(self) -> None:
        self._dues = array("Q")
        self._ids = array("Q")

    def __len__(self) -> int:
        return len(self._dues)

    @property
    def first_due_ms(self) -> int:
        """When the first one is due, NO_DUE_MS if there is none."""
        return self._dues[0] if self._dues else NO_DUE_MS

    @property
    def first_id(self) -> int:
        """The id of the first one, which there must be."""
        return self._ids[0]

    def push(self, due_ms: int, message_id: int) -> None:
        """Add an entry."""
        dues, ids = self._dues, self._ids
        at = len(dues)
        dues.append(due_ms)
        ids.append(message_id)
        while at:
            above = (at - 1) >> 1
            if (dues[above], ids[above]) <= (due_ms, message_id):
                break
            dues[at], ids[at] = dues[above], ids[above]
            at = above
        dues[at], ids[at] = due_ms, message_id

    def pop(self) -> tuple[int, int]:
        """Take the first entry out."""
        dues, ids = self._dues, self._ids
        first = dues[0], ids[0]
        due_ms, message_id = dues.pop(), ids.pop()
        if dues:
            self._sink(due_ms, message_id)
        return first

    def _sink(self, due_ms: int, message_id: int) -> None:
        """Put an entry in at the top, where there is a gap, and down to its place."""
        dues, ids = self._dues, self._ids
        at, below, count = 0, 1, len(dues)
        while below < count:
            right = below + 1
            if right < count and (dues[right], ids[right]) < (dues[below], ids[below]):
                below = right
            if (due_ms, message_id) <= (dues[below], ids[below]):
                break
            dues[at], ids[at] = dues[below], ids[below]
            at, below = below, 2 * below + 1
        dues[at], ids[at] = due_ms, message_id

    def take_all(self) -> "array[int]":
        """Empty it; the ids that were in it, in no order."""
        ids = self._ids
        self._dues, self._ids = array("Q"), array("Q")
        return ids

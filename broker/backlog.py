"""The far end of a long queue: messages that are on disk only, four bytes each in memory.

A queue that has a backlog takes every new message to its end and reads from its front, a batch at a
time, when what it holds in memory runs out.
"""

from array import array
from collections import deque
from collections.abc import Iterable
from itertools import islice

BLOCK_MESSAGES = 1 << 14
_OFFSETS = 1 << 32


class _Block:
    """Some messages in a row: offsets of their ids from a base."""

    __slots__ = ("base", "offsets")

    def __init__(self, base: int, offsets: Iterable[int] = ()):
        self.base = base
        self.offsets = array("I", offsets)

    def takes(self, stored: int) -> bool:
        """Whether there is room for that message at its end."""
        return 0 <= stored - self.base < _OFFSETS and len(self.offsets) < BLOCK_MESSAGES


class Backlog:
    """The ids, as the journal knows them, of messages in queue order.

    Those that have been delivered before, and must be flagged redelivered, stand at the front: a
    queue gives out its messages in order and takes them back to their places. Of those that came
    back since the start the places are remembered, since messages behind them may still be out.
    """

    __slots__ = ("_at", "_blocks", "_count", "_places", "delivered", "uncounted")

    def __init__(self, ids: Iterable[int] = (), delivered: int = 0):
        """`delivered` says how many at the front were delivered before."""
        self._blocks: deque[_Block] = deque()
        self._at = 0
        self._count = 0
        self.delivered = delivered
        self._places: Backlog | None = None
        self.uncounted = 0
        """How many at the front are missing from the count of the queue's bytes, see `Features`."""
        ids = ids if isinstance(ids, array) else array("Q", ids)
        for at in range(0, len(ids), BLOCK_MESSAGES):
            self._extend(ids[at : at + BLOCK_MESSAGES])

    def _extend(self, ids: "array[int]") -> None:
        """Add messages at the end, as many as fit in a block."""
        base = min(ids)
        if max(ids) - base < _OFFSETS:
            self._blocks.append(_Block(base, [each - base for each in ids]))
            self._count += len(ids)
        else:
            for each in ids:
                self.append(each)

    def __len__(self) -> int:
        return self._count

    def append(self, stored: int) -> None:
        """Add a message at the end."""
        block = self._blocks[-1] if self._blocks else None
        if block is None or not block.takes(stored):
            block = _Block(stored)
            self._blocks.append(block)
        block.offsets.append(stored - block.base)
        self._count += 1

    def put_before(self, ids: Iterable[int], delivered: int, places: Iterable[int] = ()) -> None:
        """Add messages at the front, so many of which were delivered before, and the places of
        those.
        """
        before = Backlog(ids)
        if self._places is not None and delivered == len(before):
            self._places.put_before(places, 0)
        else:
            self._places = Backlog(places) if delivered else None
        self.delivered = len(before) + self.delivered if self.delivered else delivered
        if self._at:
            del self._blocks[0].offsets[: self._at]
            self._at = 0
        self._blocks.extendleft(reversed(before._blocks))
        self._count += len(before)
        if self.uncounted:
            self.uncounted += len(before)

    def put_behind_delivered(self, ids: Iterable[int]) -> None:
        """Add messages that were delivered before, behind the others that were."""
        blocks, index, at = self._blocks, 0, self._at + self.delivered
        while index < len(blocks) and at >= len(blocks[index].offsets):
            at -= len(blocks[index].offsets)
            index += 1
        if at:
            block = blocks[index]
            index += 1
            blocks.insert(index, _Block(block.base, block.offsets[at:]))
            del block.offsets[at:]
        last = blocks[index - 1] if index else None
        for stored in ids:
            if last is None or not last.takes(stored):
                last = _Block(max(stored - _OFFSETS // 2, 0))
                blocks.insert(index, last)
                index += 1
            last.offsets.append(stored - last.base)
            self.delivered += 1
            self._count += 1

    def first(self, count: int) -> "array[int]":
        """The first messages, at most `count`."""
        return self.part(0, count)

    def part(self, start: int, count: int) -> "array[int]":
        """Messages from the one at `start` on, counted from the front, at most `count`."""
        found, at = array("Q"), self._at + start
        for block in self._blocks:
            if at >= len(block.offsets):
                at -= len(block.offsets)
                continue
            base = block.base
            wanted = count - len(found)
            found.extend(base + offset for offset in islice(block.offsets, at, at + wanted))
            if len(found) >= count:
                break
            at = 0
        return found

    def drop(self, count: int) -> None:
        """Take the first messages out."""
        self._forget_places(count)
        self._drop(count)

    def places(self, count: int) -> "array[int]":
        """The places of the first messages, at most `count`: of no more than are known."""
        return array("Q") if self._places is None else self._places.first(count)

    def _forget_places(self, count: int) -> None:
        if self._places is not None:
            self._places.drop(min(count, len(self._places)))
            if not len(self._places):
                self._places = None

    def _drop(self, count: int) -> None:
        self._count -= count
        self.delivered = max(self.delivered - count, 0)
        self.uncounted = max(self.uncounted - count, 0)
        self._at += count
        while self._blocks and self._at >= len(self._blocks[0].offsets):
            self._at -= len(self._blocks.popleft().offsets)

    def take(self, count: int) -> "Backlog":
        """Take the first messages out, as a backlog of their own; however many they are, that is
        quick.
        """
        taken = Backlog()
        self._forget_places(count)
        while count and self._blocks:
            block = self._blocks[0]
            if self._at:
                del block.offsets[: self._at]
                self._at = 0
            if len(block.offsets) > count:
                block = _Block(block.base, block.offsets[:count])
                self._drop(count)
            else:
                self._blocks.popleft()
                self._count -= len(block.offsets)
                self.delivered = max(self.delivered - len(block.offsets), 0)
                self.uncounted = max(self.uncounted - len(block.offsets), 0)
            taken._blocks.append(block)
            taken._count += len(block.offsets)
            count -= len(block.offsets)
        return taken

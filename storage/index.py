"""Where each live message of a log is, and who still owns it: the chunks together.

Message ids are dense, so this is arrays rather than a dictionary; see `chunk`. The newest chunk,
`head`, is filled by the log itself, entry by entry.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from .chunk import CHUNK_BITS, CHUNK_MASK, Chunk, Owners, Remaining
from .errors import NoSuchMessage
from .segments import TYPICAL_SIZES, Segment

# A table of this many owner sets is forgotten, and built anew by those in use.
_MOST_OWNER_SETS = 65_536

# With fewer ids in a row in one chunk, sorting them is worth while.
_FEW = 64

_NO_CHUNK = Chunk(-1)


class Place(NamedTuple):
    """The segment a message is in, the owners that remain, its size as a class, its rank."""

    segment: Segment
    owners: tuple[int, ...]
    size_class: int
    rank: int


class Index:
    """See the head of this module."""

    __slots__ = ("_owner_sets", "chunks", "head")

    def __init__(self, next_id: int) -> None:
        self.chunks: dict[int, Chunk] = {}
        self._owner_sets: dict[tuple[tuple[int, ...], int], Owners] = {}
        self.head = self._begin(next_id)

    def _begin(self, next_id: int) -> Chunk:
        number = next_id >> CHUNK_BITS
        chunk = self.chunks[number] = Chunk(number)
        if next_id & CHUNK_MASK:
            chunk.insert((next_id & CHUNK_MASK) - 1)
        return chunk

    def advance(self, next_id: int) -> Chunk:
        """Begin the chunk of `next_id`; the one before gets no more messages."""
        old = self.head
        self.head = self._begin(next_id)
        old.complete()
        self.tidy(old)
        return self.head

    def skip_to(self, next_id: int) -> None:
        """The next message appended will be this one; ids in between were never stored."""
        if next_id >> CHUNK_BITS != self.head.number:
            self.advance(next_id)
        elif next_id & CHUNK_MASK > len(self.head.states):
            self.head.insert((next_id & CHUNK_MASK) - 1)

    def owners(self, numbers: tuple[int, ...], rank: int = 0) -> Owners:
        """The one object that stands for these owners and that rank."""
        owners = self._owner_sets.get((numbers, rank))
        if owners is None:
            if len(self._owner_sets) >= _MOST_OWNER_SETS:
                self._owner_sets.clear()
            owners = self._owner_sets[numbers, rank] = Owners(numbers, rank)
        return owners

    def _find(self, message_id: int) -> tuple[Chunk, int]:
        """A live message's chunk and place in it, or place -1."""
        chunk = self.chunks.get(message_id >> CHUNK_BITS)
        if chunk is None:
            return self.head, -1
        at = chunk.find(message_id & CHUNK_MASK)
        return chunk, at if at >= 0 and chunk.states[at] else -1

    def lives(self, message_id: int) -> bool:
        """Does anybody still own this message?"""
        return self._find(message_id)[1] >= 0

    def place(self, message_id: int) -> Place | None:
        """What is known of a live message; None for any other id."""
        chunk, at = self._find(message_id)
        if at < 0:
            return None
        code = chunk.states[at]
        remaining = chunk.remaining[code]
        return Place(
            chunk.segments[code], remaining.numbers, chunk.sizes[at], remaining.owners.rank
        )

    def locations(self, ids: Iterable[int]) -> list[int]:
        """For each message segment number << 32 | offset of its block. Raises NoSuchMessage."""
        found: list[int] = []
        number = -1
        chunk = self.head
        for message_id in ids:
            if message_id >> CHUNK_BITS != number:
                number = message_id >> CHUNK_BITS
                chunk = self.chunks.get(number, _NO_CHUNK)
            at = chunk.find(message_id & CHUNK_MASK)
            code = chunk.states[at] if at >= 0 else 0
            if not code:
                raise NoSuchMessage(message_id)
            found.append(chunk.segments[code].number << 32 | chunk.offsets[at])
        return found

    def size(self, message_id: int) -> int:
        """About how many bytes a message takes; 0 if it is not on disk yet."""
        chunk = self.chunks.get(message_id >> CHUNK_BITS, _NO_CHUNK)
        at = chunk.find(message_id & CHUNK_MASK)
        return TYPICAL_SIZES[chunk.sizes[at]] if at >= 0 else 0

    def fitting(self, ids: Sequence[int], limit_bytes: int) -> int:
        """How many of these messages, from the first on, take about so many bytes together; at
        least one. The ids ascend.
        """
        first, last = ids[0], ids[-1]
        chunk = self.chunks.get(first >> CHUNK_BITS, _NO_CHUNK)
        start, end = chunk.find(first & CHUNK_MASK), chunk.find(last & CHUNK_MASK)
        if last >> CHUNK_BITS == chunk.number and 0 <= start <= end:
            largest = TYPICAL_SIZES[max(chunk.sizes[start : end + 1])]
            if largest * len(ids) <= limit_bytes:
                return len(ids)
        for count, message_id in enumerate(ids):
            limit_bytes -= self.size(message_id)
            if limit_bytes < 0:
                return max(count, 1)
        return len(ids)

    def settle(self, owner: int, ids: "array[int]") -> None:
        """Take an owner off messages. Ids that are dead or not the owner's are passed over."""
        at = 0
        ordered = False
        while at < len(ids):
            chunk = self.chunks.get(ids[at] >> CHUNK_BITS)
            if chunk is None:
                at += 1
                continue
            before = at
            at = chunk.settle(owner, ids, at)
            self.tidy(chunk)
            if not ordered and at < len(ids) and at - before < _FEW:
                # They jump about: in order, each chunk is visited once.
                ids = array("Q", sorted(ids[at:]))
                at = 0
                ordered = True

    def settle_all(self, owner: int) -> None:
        """Take an owner off all messages there are: every chunk is looked at."""
        for chunk in list(self.chunks.values()):
            chunk.settle_all(owner)
            self.tidy(chunk)

    def settle_before(self, marks: Mapping[int, int]) -> None:
        """For each owner, take it off all messages whose id is below its mark."""
        for chunk in list(self.chunks.values()):
            marked = {
                code: [owner for owner in chunk.remaining[code].numbers if owner in marks]
                for code in set(chunk.states)
            }
            if not any(marked.values()):
                continue
            found: dict[int, array[int]] = {}
            for message_id, code in chunk.live_entries():
                for owner in marked[code]:
                    if message_id < marks[owner]:
                        found.setdefault(owner, array("Q")).append(message_id)
            for owner, ids in found.items():
                chunk.settle(owner, ids, 0)
            self.tidy(chunk)

    def move(
        self, message_id: int, segment: Segment, owners: Owners, offset: int, size: int
    ) -> None:
        """A message has a new copy, in the block at `offset`; an older copy is dead."""
        number = message_id >> CHUNK_BITS
        chunk = self.chunks.get(number)
        if chunk is None:
            # Only while recovering: all of this chunk stood in segments that are gone.
            chunk = self.chunks[number] = Chunk(number)
            chunk.ordinals = array("H")
        chunk.put(message_id & CHUNK_MASK, segment, owners, offset, size)

    def tidy(self, chunk: Chunk) -> None:
        """Return the memory of a chunk that lost most of its messages."""
        if chunk is self.head:
            return
        live = chunk.live
        if not live:
            self.chunks.pop(chunk.number, None)
        elif live * 4 < len(chunk.states):
            chunk.shrink()

    def live_in(self, segment: Segment) -> Iterator[tuple[int, Place]]:
        """A segment's live messages; what is settled or moved meanwhile is left out."""
        for number in sorted(segment.chunks):
            chunk = self.chunks.get(number)
            if chunk is None:
                continue
            here = [other is segment for other in chunk.segments]
            ids = array("Q", [n for n, code in chunk.live_entries() if here[code]])
            for message_id in ids:
                place = self.place(message_id)
                if place is not None and place.segment is segment:
                    yield message_id, place

    def by_owner(self) -> "dict[int, array[int]]":
        """Each owner's live messages, in the order of their ids."""
        return {owner: in_order(by_rank) for owner, by_rank in self.by_rank().items()}

    def by_rank(self) -> "dict[int, dict[int, array[int]]]":
        """Each owner's live messages by their ranks, in the order of their ids."""
        found: dict[int, dict[int, array[int]]] = {}

        def lists(remaining: Remaining) -> "list[array[int]]":
            rank = remaining.owners.rank
            return [
                found.setdefault(owner, {}).setdefault(rank, array("Q"))
                for owner in remaining.numbers
            ]

        for number in sorted(self.chunks):
            chunk = self.chunks[number]
            by_code = {code: lists(chunk.remaining[code]) for code in set(chunk.states) - {0}}
            dense = not chunk.dead and chunk.ordinals is None
            kinds = {(chunk.remaining[n].numbers, chunk.remaining[n].owners.rank) for n in by_code}
            if dense and len(kinds) == 1:
                first = number << CHUNK_BITS
                for ids in by_code[chunk.states[0]]:
                    ids.extend(range(first, first + len(chunk.states)))
                continue
            for message_id, code in chunk.live_entries():
                for ids in by_code[code]:
                    ids.append(message_id)
        return found


def in_order(by_rank: "Mapping[int, array[int]]") -> "array[int]":
    """Messages of all ranks in the order of their ids."""
    if len(by_rank) == 1:
        return next(iter(by_rank.values()))
    return array("Q", sorted(chain.from_iterable(by_rank.values())))

"""16,384 messages of the index: where each is and who still owns it, in seven bytes a message.

An entry is the offset of the message's block (4 bytes), a code (2) and a size class (1). A code
is a number in the chunk's own tables and stands for a segment, the owners that remain there and the
rank: few distinct ones occur side by side. Code 0 is a dead message.

A chunk is dense (entry n is the nth id) until little in it lives; then it is shrunk to the entries
that do, and `ordinals` says whose they are.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import compress

from .records import RANKED, owner_list
from .segments import TYPICAL_SIZES, Segment, size_class

CHUNK_BITS = 14
CHUNK_SIZE = 1 << CHUNK_BITS
CHUNK_MASK = CHUNK_SIZE - 1

# Codes have 16 bits, and there are never more useful ones than messages.
_MOST_CODES = 60_000


class Owners:
    """The owners in a message's record and its rank, 0 if it has none; shared by many messages and
    compared by identity. `flags` are those of the record that come with them.
    """

    __slots__ = ("bits", "encoded", "flags", "full", "numbers", "rank")

    def __init__(self, numbers: tuple[int, ...], rank: int = 0) -> None:
        self.numbers = numbers
        self.rank = rank
        self.flags = RANKED if rank else 0
        self.bits = {owner: 1 << at for at, owner in enumerate(numbers)}
        if len(self.bits) != len(numbers):
            raise ValueError(f"an owner stands twice in {numbers}")
        self.encoded = owner_list(numbers, rank)
        self.full = Remaining(self, (1 << len(numbers)) - 1)


class Remaining:
    """Which of the owners in a record have not settled; `sole` if it is just that one, else -1."""

    __slots__ = ("mask", "owners", "sole")

    def __init__(self, owners: Owners, mask: int) -> None:
        self.owners = owners
        self.mask = mask
        self.sole = self.numbers[0] if mask.bit_count() == 1 else -1

    @property
    def numbers(self) -> tuple[int, ...]:
        """The owners that have yet to settle."""
        owners = self.owners
        if len(owners.numbers) == self.mask.bit_count():
            return owners.numbers
        return tuple(owner for owner, bit in owners.bits.items() if self.mask & bit)

    def without(self, owner: int) -> "Remaining | None":
        """What remains when this owner settles; itself if it has already, None for nobody."""
        bit = self.owners.bits.get(owner, 0) & self.mask
        if not bit:
            return self
        return Remaining(self.owners, self.mask ^ bit) if self.mask != bit else None


_NOBODY = Owners(()).full
_NOWHERE = Segment(0, 0)


# Code, packer of a record's start, encoded owners, size of a record without its blob.
Route = tuple[int, Callable[[int, int, int, bytes], bytes], bytes, int]


class Chunk:
    """See the head of this module."""

    __slots__ = (
        "_after",
        "_codes",
        "dead",
        "number",
        "offsets",
        "ordinals",
        "remaining",
        "routes",
        "segments",
        "sizes",
        "states",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.offsets = array("I")
        self.states = array("H")
        self.sizes = bytearray()
        self.ordinals: array[int] | None = None
        self.dead = 0
        # What the codes stand for.
        self.segments = [_NOWHERE]
        self.remaining = [_NOBODY]
        # The way back, rebuilt when it is needed again; and owner << 16 | code to what the code
        # becomes when that owner settles, for messages with several owners.
        self._codes: dict[tuple[Segment, Owners, int], int] | None = {}
        self._after: dict[int, int] = {}
        # For whoever fills the chunk: what to do with a message to these owners. Kept here
        # because codes change when they are renumbered.
        self.routes: dict[tuple[int, ...], Route] = {}

    @property
    def live(self) -> int:
        """How many messages somebody still owns."""
        return len(self.states) - self.dead

    def code(self, segment: Segment, remaining: Remaining) -> int:
        """The code of a segment and owners, which is entered in the tables if it is new."""
        if self._codes is None or len(self.segments) > _MOST_CODES:
            self._renumber()
        assert self._codes is not None
        key = (segment, remaining.owners, remaining.mask)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self.segments)
            self.segments.append(segment)
            self.remaining.append(remaining)
            segment.chunks.add(self.number)
        return code

    def _renumber(self) -> None:
        """Keep only the codes that are in use, and give them new numbers."""
        used = sorted(set(self.states) - {0})
        new_codes = array("H", bytes(2 * len(self.segments)))
        for new, old in enumerate(used, 1):
            new_codes[old] = new
        self.states[:] = array("H", map(new_codes.__getitem__, self.states))
        self.segments = [_NOWHERE, *map(self.segments.__getitem__, used)]
        self.remaining = [_NOBODY, *map(self.remaining.__getitem__, used)]
        pairs = zip(self.segments, self.remaining, strict=True)
        self._codes = {
            (segment, remaining.owners, remaining.mask): code
            for code, (segment, remaining) in enumerate(pairs)
        }
        self._after.clear()
        self.routes.clear()

    def find(self, ordinal: int) -> int:
        """The place of an id's entry, -1 if it has none."""
        if self.ordinals is None:
            return ordinal if ordinal < len(self.states) else -1
        at = bisect_left(self.ordinals, ordinal)
        return at if at < len(self.ordinals) and self.ordinals[at] == ordinal else -1

    def insert(self, ordinal: int) -> int:
        """Make a dead entry for an id that has none, and say where it is."""
        if self.ordinals is None:
            gap = ordinal + 1 - len(self.states)
            self.offsets.extend(array("I", bytes(4 * gap)))
            self.states.extend(array("H", bytes(2 * gap)))
            self.sizes.extend(bytes(gap))
            self.dead += gap
            return ordinal
        at = bisect_left(self.ordinals, ordinal)
        self.ordinals.insert(at, ordinal)
        self.offsets.insert(at, 0)
        self.states.insert(at, 0)
        self.sizes.insert(at, 0)
        self.dead += 1
        return at

    def settle(self, owner: int, ids: "array[int]", start: int) -> int:
        """Take an owner off messages from `ids[start]` on; say where the first other chunk's is.

        Ids that are dead or not the owner's are passed over.
        """
        run = self._settle_run(owner, ids, start)
        if run:
            return start + run
        first = self.number << CHUNK_BITS
        states = self.states
        dense = len(states) if self.ordinals is None else 0
        done = start
        for message_id in memoryview(ids)[start:] if start else ids:
            ordinal = message_id ^ first
            if ordinal >= CHUNK_SIZE:
                break
            done += 1
            at = ordinal if ordinal < dense else self.find(ordinal)
            code = states[at] if at >= 0 else 0
            if not code:
                continue
            if self.remaining[code].sole != owner:
                code = self._without(code, owner)
                if code:
                    states[at] = code
                    continue
            segment = self.segments[states[at]]
            segment.dead += 1
            segment.dead_bytes += TYPICAL_SIZES[self.sizes[at]]
            states[at] = 0
            self.dead += 1
        return done

    def _settle_run(self, owner: int, ids: "array[int]", start: int) -> int:
        """Settle at once if all of `ids` is one run of messages in one state; say how many.

        This is a queue being emptied in order, and ten times as fast as one by one.
        """
        count = len(ids) - start
        if count < 4 or self.ordinals is not None:
            return 0
        first = ids[start]
        at = first & CHUNK_MASK
        end = at + count
        if end > len(self.states):
            return 0
        code = self.states[at]
        if self.remaining[code].sole != owner or ids[-1] != first + count - 1:
            return 0
        if self.states[at:end] != array("H", (code,)) * count:
            return 0
        if ids[start:] != array("Q", range(first, first + count)):
            return 0
        segment = self.segments[code]
        segment.dead += count
        segment.dead_bytes += sum(map(TYPICAL_SIZES.__getitem__, self.sizes[at:end]))
        self.states[at:end] = array("H", bytes(2 * count))
        self.dead += count
        return count

    def _without(self, code: int, owner: int) -> int:
        """What a code becomes when an owner settles: itself if that changes nothing."""
        after = self._after.get(owner << 16 | code, -1)
        if after < 0:
            before = self.remaining[code]
            remaining = before.without(owner)
            segment = self.segments[code]
            codes = self._codes
            after = self.code(segment, remaining) if remaining is not None else 0
            if codes is self._codes:
                self._after[owner << 16 | code] = after
        return after

    def settle_all(self, owner: int) -> None:
        """Take an owner off all messages of this chunk."""
        if not any(r.mask & r.owners.bits.get(owner, 0) for r in self.remaining):
            return
        if any(r.sole != owner for r in self.remaining[1:]):
            first = self.number << CHUNK_BITS
            self.settle(owner, array("Q", [first + n for n, _ in self._live_ordinals()]), 0)
            return
        for code in range(1, len(self.segments)):
            segment = self.segments[code]
            gone = bytes(compress(self.sizes, map(code.__eq__, self.states)))
            segment.dead += len(gone)
            segment.dead_bytes += sum(map(TYPICAL_SIZES.__getitem__, gone))
        self.states[:] = array("H", bytes(2 * len(self.states)))
        self.dead = len(self.states)

    def put(self, ordinal: int, segment: Segment, owners: Owners, offset: int, size: int) -> None:
        """A message has a new copy, in the block at `offset`; an older copy is dead."""
        at = self.find(ordinal)
        if at < 0:
            at = self.insert(ordinal)
        elif code := self.states[at]:
            old = self.segments[code]
            old.dead += 1
            old.dead_bytes += TYPICAL_SIZES[self.sizes[at]]
            self.states[at] = 0
            self.dead += 1
        self.states[at] = self.code(segment, owners.full)
        self.offsets[at] = offset
        self.sizes[at] = size_class(size)
        self.dead -= 1

    def shrink(self) -> None:
        """Keep only the entries and codes that live."""
        states = self.states
        ordinals = range(len(states)) if self.ordinals is None else self.ordinals
        self.ordinals = array("H", compress(ordinals, states))
        self.offsets = array("I", compress(self.offsets, states))
        self.sizes = bytearray(compress(self.sizes, states))
        self.states = array("H", compress(states, states))
        self.dead = 0
        self._renumber()
        self._codes = None

    def complete(self) -> None:
        """All ids have been given: return the memory that only filling it needed."""
        self.offsets = self.offsets[:]
        self.states = self.states[:]
        self.sizes = bytearray(bytes(self.sizes))
        self.routes.clear()
        self._codes = None

    def restore(self, segments: list[Segment], remaining: list[Remaining]) -> None:
        """Set what the codes from 1 on stand for."""
        self.segments = [_NOWHERE, *segments]
        self.remaining = [_NOBODY, *remaining]
        self._codes = None
        for segment in segments:
            segment.chunks.add(self.number)

    def _live_ordinals(self) -> Iterator[tuple[int, int]]:
        ordinals = range(len(self.states)) if self.ordinals is None else self.ordinals
        return ((n, code) for n, code in zip(ordinals, self.states, strict=True) if code)

    def live_entries(self) -> Iterator[tuple[int, int]]:
        """Id and code of each live message, in the order of the ids."""
        first = self.number << CHUNK_BITS
        return ((first + ordinal, code) for ordinal, code in self._live_ordinals())

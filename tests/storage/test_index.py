"""The compact index against a dictionary, across chunk borders and through all its forms."""

import random
from array import array

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leveret.storage import chunk as chunk_module
from leveret.storage.chunk import CHUNK_SIZE, Chunk, Owners, Remaining
from leveret.storage.index import Index
from leveret.storage.segments import TYPICAL_SIZES, Segment, size_class


class Filled:
    """An index with messages in it, and what it should say."""

    def __init__(self, first: int, count: int, seed: int) -> None:
        self.choice = random.Random(seed)
        self.index = Index(first)
        self.segments = [Segment(n, n * 1000) for n in range(1, 5)]
        self.next_id = first
        self.expected: dict[int, set[int]] = {}
        self.where: dict[int, tuple[Segment, int]] = {}
        self.ranks: dict[int, int] = {}
        for _ in range(count):
            self.append()

    def append(self) -> None:
        chunk = self.index.head
        if self.next_id // CHUNK_SIZE != chunk.number:
            chunk = self.index.advance(self.next_id)
        numbers = tuple(self.choice.sample(range(12), self.choice.choice([1, 1, 1, 2, 10])))
        segment = self.segments[self.choice.randrange(3)]
        rank = self.ranks[self.next_id] = self.choice.choice([0, 0, 0, 1, 9])
        chunk.states.append(chunk.code(segment, self.index.owners(numbers, rank).full))
        chunk.offsets.append(self.next_id * 7)
        chunk.sizes.append(size_class(100))
        segment.messages += 1
        self.expected[self.next_id] = set(numbers)
        self.where[self.next_id] = segment, self.next_id * 7
        self.next_id += 1

    def settle(self, owner: int, ids: list[int]) -> None:
        self.index.settle(owner, array("Q", ids))
        for message_id in ids:
            held = self.expected.get(message_id, set())
            held.discard(owner)
            if not held:
                self.expected.pop(message_id, None)

    def settle_all(self, owner: int) -> None:
        self.index.settle_all(owner)
        for message_id in list(self.expected):
            self.settle_one(message_id, owner)

    def settle_before(self, marks: dict[int, int]) -> None:
        self.index.settle_before(marks)
        for owner, mark in marks.items():
            for message_id in [n for n in self.expected if n < mark]:
                self.settle_one(message_id, owner)

    def settle_one(self, message_id: int, owner: int) -> None:
        self.expected[message_id].discard(owner)
        if not self.expected[message_id]:
            del self.expected[message_id]

    def move(self, message_id: int) -> None:
        place = self.index.place(message_id)
        assert place is not None
        segment = self.segments[3]
        owners = self.index.owners(place.owners, place.rank)
        self.index.move(message_id, segment, owners, message_id, 100)
        segment.messages += 1
        self.where[message_id] = segment, message_id

    def check(self) -> None:
        by_owner: dict[int, list[int]] = {}
        by_rank: dict[int, dict[int, list[int]]] = {}
        for message_id in sorted(self.expected):
            place = self.index.place(message_id)
            assert place is not None
            assert set(place.owners) == self.expected[message_id]
            segment, offset = self.where[message_id]
            assert place.segment is segment
            assert self.index.locations([message_id]) == [segment.number << 32 | offset]
            assert place.rank == self.ranks[message_id]
            for owner in place.owners:
                by_owner.setdefault(owner, []).append(message_id)
                by_rank.setdefault(owner, {}).setdefault(place.rank, []).append(message_id)
        assert {owner: list(ids) for owner, ids in self.index.by_owner().items()} == by_owner
        assert by_rank == {
            owner: {rank: list(ids) for rank, ids in ranks.items()}
            for owner, ranks in self.index.by_rank().items()
        }
        for segment in self.segments:
            live = [n for n in self.expected if self.where[n][0] is segment]
            assert segment.messages - segment.dead == len(live)
            assert segment.dead_bytes == segment.dead * TYPICAL_SIZES[size_class(100)]
            assert [n for n, _ in self.index.live_in(segment)] == sorted(live)
        assert not self.index.lives(self.next_id)


@pytest.mark.slow
@given(
    first=st.sampled_from([1, CHUNK_SIZE - 150, 5 * CHUNK_SIZE + 3]),
    count=st.integers(0, 300),
    seed=st.integers(0, 1000),
    most_codes=st.sampled_from([60_000, 250]),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["append", "settle", "some", "all", "before", "move"]),
            st.integers(0, 11),
        ),
        max_size=30,
    ),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_index_says_what_a_dictionary_would(
    first: int, count: int, seed: int, most_codes: int, steps: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # A small table is renumbered often; real chunks hardly ever are.
        patch.setattr(chunk_module, "_MOST_CODES", most_codes)
        filled = Filled(first, count, seed)
        choice = filled.choice
        for step, owner in steps:
            live = sorted(filled.expected)
            match step:
                case "append":
                    for _ in range(owner * 5):
                        filled.append()
                case "settle":
                    filled.settle(owner, choice.sample(live, min(len(live), 40)))
                case "some":
                    filled.settle(owner, [0, *live[: len(live) // 2], *live[:3], 1 << 40])
                case "all":
                    filled.settle_all(owner)
                case "before":
                    mark = choice.choice(live or [0])
                    filled.settle_before({owner: mark, (owner + 1) % 12: mark + 5})
                case _:
                    for message_id in choice.sample(live, min(len(live), 20)):
                        filled.move(message_id)
        filled.check()


@pytest.mark.parametrize("skipped", [None, 0, 7, 99])
def test_a_queue_settled_in_order_is_settled_like_any_other(skipped: int | None) -> None:
    index = Index(10)
    segment = Segment(1, 0)
    chunk = index.head
    one, two = (chunk.code(segment, index.owners((owner,)).full) for owner in (1, 2))
    for n in range(100):
        chunk.states.append(two if n == skipped else one)
        chunk.offsets.append(48)
        chunk.sizes.append(size_class(20 * n + 20))
    index.settle(1, array("Q", range(10, 110)))
    expected = {} if skipped is None else {2: [10 + skipped]}
    assert {owner: list(ids) for owner, ids in index.by_owner().items()} == expected
    assert segment.dead == 100 - len(expected)
    gone = [TYPICAL_SIZES[size_class(20 * n + 20)] for n in range(100) if n != skipped]
    assert segment.dead_bytes == sum(gone)
    index.settle(1, array("Q", range(10, 110)))
    assert segment.dead == 100 - len(expected)


def test_moved_messages_are_found_when_all_of_their_chunk_is_gone() -> None:
    index = Index(10 * CHUNK_SIZE)
    segment = Segment(1, 0)
    owners = index.owners((1,))
    for message_id in (5, 3, 2 * CHUNK_SIZE, 4):
        index.move(message_id, segment, owners, 99, 100)
    assert list(index.by_owner()[1]) == [3, 4, 5, 2 * CHUNK_SIZE]
    index.settle(1, array("Q", [4, 5]))
    assert list(index.by_owner()[1]) == [3, 2 * CHUNK_SIZE]
    assert index.locations([3]) == [1 << 32 | 99]


def test_a_queue_of_a_thousand_owners_settles_each_once() -> None:
    owners = Owners(tuple(range(1000)))
    remaining: Remaining | None = owners.full
    for owner in range(1000):
        assert remaining is not None
        assert len(remaining.numbers) == 1000 - owner
        remaining = remaining.without(owner)
    assert remaining is None
    assert owners.full.without(5000) is owners.full


def test_a_long_queue_costs_seven_bytes_a_message() -> None:
    index = Index(1)
    segment = Segment(1, 0)
    count = 20 * CHUNK_SIZE
    owners = index.owners((1,)).full
    for number in range(21):
        chunk = index.head if not number else index.advance(number * CHUNK_SIZE)
        more = min(CHUNK_SIZE - len(chunk.states), count + 1 - number * CHUNK_SIZE)
        chunk.states.extend(array("H", [chunk.code(segment, owners)]) * more)
        chunk.offsets.extend(array("I", [48]) * more)
        chunk.sizes.extend(bytes([9]) * more)
    used = sum(
        chunk.offsets.itemsize * len(chunk.offsets)
        + chunk.states.itemsize * len(chunk.states)
        + len(chunk.sizes)
        for chunk in index.chunks.values()
    )
    assert used / count < 7.01
    assert len(index.by_owner()[1]) == count


def test_a_chunk_that_empties_gives_its_memory_back() -> None:
    index = Index(1)
    chunk = index.head
    segment = Segment(1, 0)
    code = chunk.code(segment, index.owners((1,)).full)
    for _ in range(CHUNK_SIZE - 1):
        chunk.states.append(code)
        chunk.offsets.append(48)
        chunk.sizes.append(9)
    index.advance(CHUNK_SIZE)
    index.settle(1, array("Q", range(1, CHUNK_SIZE - 10)))
    assert len(index.chunks[0].states) == 10
    assert list(index.by_owner()[1]) == list(range(CHUNK_SIZE - 10, CHUNK_SIZE))
    index.settle(1, array("Q", range(CHUNK_SIZE)))
    assert list(index.chunks) == [1]


@pytest.mark.parametrize("size", [20, 37, 150, 1100, 65_535, 65_536, 1 << 20, (1 << 32) - 1])
def test_a_size_is_remembered_within_a_tenth(size: int) -> None:
    assert abs(TYPICAL_SIZES[size_class(size)] - size) <= max(size / 20, 12)


def test_an_entry_for_an_id_that_was_skipped_is_dead() -> None:
    chunk = Chunk(0)
    assert chunk.insert(5) == 5
    assert chunk.live == 0
    assert chunk.find(6) == -1

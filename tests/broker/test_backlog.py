"""The backlog against a list that does the same."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.broker.backlog import BLOCK_MESSAGES, Backlog
from leveret.storage.pages import FIRST_PAGED_ID

IDS = st.lists(
    st.one_of(
        st.integers(0, 1000),
        st.integers(FIRST_PAGED_ID, FIRST_PAGED_ID + 1000),
        st.integers(0, (1 << 64) - 1),
    ),
    max_size=20,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), IDS),
        st.tuples(st.just("put before"), IDS),
        st.tuples(st.just("drop"), st.integers(0, 30)),
    ),
    max_size=20,
)


@given(IDS, STEPS)
def test_ids_come_out_in_the_order_of_the_queue(
    ids: list[int], steps: list[tuple[str, list[int] | int]]
) -> None:
    backlog, expected = Backlog(ids), deque(ids)
    for _, argument in steps:
        if isinstance(argument, int):
            count = min(argument, len(expected))
            assert list(backlog.first(count)) == [expected.popleft() for _ in range(count)]
            backlog.drop(count)
        elif _ == "append":
            for each in argument:
                backlog.append(each)
            expected.extend(argument)
        else:
            backlog.put_before(argument, 0)
            expected.extendleft(reversed(argument))
        assert len(backlog) == len(expected)
        assert list(backlog.first(len(expected) + 1)) == list(expected)


def test_a_long_backlog_is_kept_in_blocks() -> None:
    count = 3 * BLOCK_MESSAGES + 5
    backlog = Backlog(range(count))
    backlog.drop(BLOCK_MESSAGES + 3)
    backlog.append(count)
    assert len(backlog) == 2 * BLOCK_MESSAGES + 3
    assert list(backlog.first(BLOCK_MESSAGES)) == list(
        range(BLOCK_MESSAGES + 3, 2 * BLOCK_MESSAGES + 3)
    )
    backlog.drop(2 * BLOCK_MESSAGES + 2)
    assert list(backlog.first(2)) == [count]


@pytest.mark.parametrize("count", [10, 3 * BLOCK_MESSAGES])
@pytest.mark.parametrize("dropped", [0, 3])
def test_messages_go_behind_those_that_were_delivered(count: int, dropped: int):
    backlog, expected = Backlog(range(count), 5), list(range(count))
    backlog.drop(dropped)
    del expected[:dropped]
    for first in (1_000_000, 2_000_000):
        ids = range(first, first + count)
        expected[backlog.delivered : backlog.delivered] = ids
        backlog.put_behind_delivered(ids)
    assert backlog.delivered == 5 - dropped + 2 * count
    assert list(backlog.first(len(backlog))) == expected
    backlog.drop(count + 4)
    assert list(backlog.first(len(backlog))) == expected[count + 4 :]


def test_messages_go_to_an_empty_backlog():
    backlog = Backlog()
    backlog.put_behind_delivered([3, 4])
    assert (list(backlog.first(9)), backlog.delivered) == ([3, 4], 2)
    backlog.drop(2)
    backlog.put_behind_delivered([5])
    assert (list(backlog.first(9)), backlog.delivered) == ([5], 1)


def test_places_are_known_of_those_that_came_back_last():
    backlog = Backlog(range(100, 110), 4)
    assert not backlog.places(10)
    backlog.put_before([51, 52, 53], 3, [1, 2, 3])
    backlog.put_before([41, 42], 2, [7, 8])
    assert (list(backlog.places(4)), backlog.delivered) == ([7, 8, 1, 2], 9)
    backlog.drop(3)
    assert list(backlog.places(10)) == [2, 3]
    backlog.put_behind_delivered([200])
    assert list(backlog.take(1).first(2)) == [52]
    assert list(backlog.places(10)) == [3]
    backlog.drop(2)
    assert not backlog.places(10)

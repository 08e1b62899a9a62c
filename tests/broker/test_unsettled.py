"""How much a channel looks at to settle deliveries: only what is outstanding or named."""

from collections.abc import Iterator

import pytest

from leveret.amqp.errors import PreconditionFailed
from leveret.broker.message import Message
from leveret.broker.queue import Queue
from leveret.broker.timers import Timers
from leveret.broker.unsettled import Delivery, Unsettled

QUEUE = Queue("/", "q", lambda queue: None, timers=Timers())


class WatchedDeliveries(dict[int, Delivery]):
    """Counts how many tags are looked at."""

    looks = 0

    def __contains__(self, tag: object) -> bool:
        self.looks += 1
        return super().__contains__(tag)

    def __iter__(self) -> Iterator[int]:
        for tag in super().__iter__():
            self.looks += 1
            yield tag


def outstanding(*tags: int) -> tuple[Unsettled, WatchedDeliveries]:
    """A channel's deliveries of which only these are not settled."""
    unsettled, deliveries = Unsettled(), WatchedDeliveries()
    unsettled.deliveries = deliveries
    for tag in tags:
        unsettled.last_tag = tag - 1
        assert unsettled.add(Message(tag, b"", b"", 1, 0, False), QUEUE) == tag
    return unsettled, deliveries


def test_what_was_settled_one_by_one_costs_an_acknowledgement_of_many_nothing() -> None:
    last = 10**12
    unsettled, deliveries = outstanding(last - 1, last)
    assert list(unsettled.take(last, multiple=True)) == [last - 1, last]
    assert deliveries.looks < 10
    assert not deliveries


def test_what_is_outstanding_above_the_tag_costs_an_acknowledgement_of_many_nothing() -> None:
    unsettled, deliveries = outstanding(*range(1, 10_001))
    for last in (2, 4):
        assert list(unsettled.take(last, multiple=True)) == [last - 1, last]
    assert deliveries.looks < 20
    assert len(deliveries) == 9996


def test_many_are_taken_in_order_after_a_rollback_has_put_them_back() -> None:
    unsettled, _ = outstanding(1, 2, 5, 10**12)
    taken = unsettled.take(5, multiple=True)
    unsettled.put_back(taken)
    assert list(unsettled.take(10**12, multiple=True)) == [1, 2, 5, 10**12]


def test_what_a_rollback_has_put_back_stands_in_its_old_place() -> None:
    unsettled, deliveries = outstanding(1, 2, 3)
    unsettled.put_back(unsettled.take(2, multiple=True))
    assert list(deliveries) == [1, 2, 3]
    assert list(unsettled.take_all()) == [1, 2, 3]


@pytest.mark.parametrize("tag", [1, 2, 4])
def test_a_tag_that_is_not_outstanding_takes_nothing(tag: int) -> None:
    unsettled, deliveries = outstanding(3)
    with pytest.raises(PreconditionFailed):
        unsettled.take(tag, multiple=True)
    assert list(deliveries) == [3]


@pytest.mark.parametrize("up_to", [0, 60_000, 10_001])
def test_very_many_tags_are_not_listed(up_to: int) -> None:
    unsettled, deliveries = outstanding(*range(10_001, 60_001))
    assert unsettled.tags(up_to) == range(10_001, (up_to or 60_000) + 1)
    assert deliveries.looks < 10


def test_very_many_tags_are_not_listed_for_gaps_between_them() -> None:
    unsettled, deliveries = outstanding(*range(1, 100_001, 2), *range(100_001, 110_001))
    assert unsettled.tags(0) == range(1, 110_001)
    assert deliveries.looks < 10


def test_tags_are_listed_where_what_is_settled_is_most_of_them() -> None:
    unsettled, _ = outstanding(1, *range(10**12, 10**12 + 50_000))
    assert unsettled.tags(10**12) == [1, 10**12]
    unsettled, _ = outstanding(1, 3, 7)
    assert unsettled.tags(0) == [1, 3, 7]

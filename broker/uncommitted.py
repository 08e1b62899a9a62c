"""What a transaction has settled: neither outstanding nor done with until it is carried out.

As in RabbitMQ it counts as unacknowledged in its queues until then, and consumers get no credit for
it; but a channel whose only deliveries these are has nothing that could be late. Past the memory
budget it is held without its contents, like what is outstanding.
"""

from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeAlias

from .held_deliveries import DELIVERY_BYTES, SHED_AT_ONCE, shed

if TYPE_CHECKING:
    from .unsettled import Delivery, Outcome

Settlement: TypeAlias = tuple["dict[int, Delivery]", "Outcome"]
"""Deliveries by their tags, and what becomes of them."""


class Uncommitted:
    """The deliveries that one transaction has settled, in that order, in `settlements`."""

    __slots__ = ("_count", "_shed", "memory_bytes", "settlements")

    def __init__(self) -> None:
        self.settlements: deque[Settlement] = deque()
        self._count = 0
        self._shed = 0
        """How many of the first ones have no contents, or can't do without."""
        self.memory_bytes = 0
        """About how much memory they take."""

    def add(self, deliveries: "dict[int, Delivery]", outcome: "Outcome") -> None:
        """Deliveries were settled."""
        self._count += len(deliveries)
        self.memory_bytes += sum(
            message.memory_bytes + DELIVERY_BYTES for message, _, _ in deliveries.values()
        )
        if self.settlements and self.settlements[-1][1] is outcome:
            self.settlements[-1][0].update(deliveries)
        else:
            self.settlements.append((deliveries, outcome))

    def __len__(self) -> int:
        return self._count

    def went(self, count: int) -> None:
        """The first ones were taken out for good, so many."""
        self.memory_bytes -= self.memory_bytes * count // max(self._count, 1)
        self._count -= count
        self._shed = max(self._shed - count, 0)

    def __iter__(self) -> "Iterator[Delivery]":
        """The deliveries."""
        return chain.from_iterable(deliveries.values() for deliveries, _ in self.settlements)

    def page_out(self) -> None:
        """Hold the first ones without their contents, some at a time."""
        places = ((deliveries, tag) for deliveries, _ in self.settlements for tag in deliveries)
        for deliveries, tag in islice(places, self._shed, self._shed + SHED_AT_ONCE):
            whole = deliveries[tag]
            deliveries[tag] = shed(whole)
            self.memory_bytes += deliveries[tag][0].memory_bytes - whole[0].memory_bytes
            self._shed += 1

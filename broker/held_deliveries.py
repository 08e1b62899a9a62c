"""What the outstanding deliveries of a channel take in memory, and how that becomes less.

Delivering and acknowledging count nothing. When the memory budget is looked at, what was delivered
since the last time is counted; what has been settled since is taken to have been of middling size,
until that was so much that all are counted anew.

Past the budget, deliveries of messages that are on disk, or can be put there, are held without
their contents, the oldest first. Settling them makes no difference; where their messages are needed
again, because they come back to a queue or become dead letters, queues read them back.
"""

from itertools import dropwhile, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .unsettled import Delivery

SHED_AT_ONCE = 20_000
"""How many deliveries of a channel lose their contents in one turn."""

DELIVERY_BYTES = 150
"""About what a delivery takes in memory beside its message."""


class HeldDeliveries:
    """The memory of one channel's outstanding deliveries, which stand in `deliveries` by tags."""

    __slots__ = ("_bytes", "_count", "_counted_to", "_deliveries", "_settled", "_shed_to")

    def __init__(self, deliveries: "dict[int, Delivery]"):
        self._deliveries = deliveries
        self._count = 0
        self._bytes = 0
        self._counted_to = 0
        self._settled = 0
        """How many were settled since all were counted."""
        self._shed_to = 0

    @property
    def memory_bytes(self) -> int:
        """About how much memory they take."""
        deliveries, new, new_bytes = self._deliveries, 0, 0
        for tag, (message, _, _) in reversed(deliveries.items()):
            if tag <= self._counted_to:
                break
            new += 1
            new_bytes += message.memory_bytes + DELIVERY_BYTES
        left = len(deliveries) - new
        self._settled += self._count - left
        if left > self._count or self._settled > len(deliveries) >> 1:
            self._settled = 0
            self._bytes = sum(
                message.memory_bytes + DELIVERY_BYTES for message, _, _ in deliveries.values()
            )
        else:
            self._bytes = self._bytes * left // max(self._count, 1) + new_bytes
        self._count = len(deliveries)
        self._counted_to = max(self._counted_to, next(reversed(deliveries), 0))
        return self._bytes

    def put_back(self, lowest_tag: int) -> None:
        """Deliveries from this tag on are outstanding again, maybe with their contents."""
        self._shed_to = min(self._shed_to, lowest_tag - 1)

    def page_out(self) -> None:
        """Hold the oldest ones without their contents, `SHED_AT_ONCE` at most."""
        deliveries = self._deliveries
        for tag in islice(dropwhile(self._shed_to.__ge__, deliveries), SHED_AT_ONCE):
            self._shed_to = max(self._shed_to, tag)
            message = deliveries[tag][0]
            if message.is_whole:
                deliveries[tag] = shed(deliveries[tag])
                less = message.memory_bytes - deliveries[tag][0].memory_bytes
                self._bytes = max(self._bytes - less, 0)


def shed(delivery: "Delivery") -> "Delivery":
    """A delivery without its content, if that is on disk or can be put there."""
    message, queue, consumer = delivery
    if not message.is_whole:
        return delivery
    if queue.deleted:  # nobody will ask for it
        return message.shell(message.stored), queue, consumer
    if queue.store is None:
        return delivery
    return queue.shed(message), queue, consumer

"""Deliveries of one channel that wait for their ack, nack or reject.

Delivery tags count up from 1 over everything the channel delivers (basic.deliver and basic.get
alike). An acknowledgement of many walks up from the lowest tag that may still be outstanding, so
each tag is looked at once in all.
"""

from collections.abc import Sequence
from enum import Enum, auto
from itertools import takewhile
from typing import TypeAlias

from ..amqp.errors import PreconditionFailed
from .consumer import Consumer
from .held_deliveries import HeldDeliveries
from .message import Message
from .queue import Queue

Delivery: TypeAlias = tuple[Message, Queue, Consumer | None]
"""What was delivered, the queue it came from, and the consumer (None for a basic.get)."""

LISTED_TAGS = 20_000
"""Up to so many tags are listed if there are gaps between them."""


class Outcome(Enum):
    """What becomes of a delivery."""

    ACKNOWLEDGED = auto()
    ABANDONED = auto()
    """Back to its queue, because its channel has ended."""
    TIMED_OUT = auto()
    """Back to its queue, because it was not acknowledged in time."""
    RETURNED = auto()
    """Back to its queue by basic.reject."""
    HANDED_BACK = auto()
    """Back to its queue by basic.nack or basic.recover: from 4.3 that is no failure."""
    REJECTED = auto()


class Unsettled:
    """The outstanding deliveries of a channel and its channel-wide prefetch limit.

    `limit` is basic.qos's with global=true, 0 for none; `consumed` counts the outstanding
    deliveries to consumers, which are the ones that the limit is about. `reports` is set once there
    is a delivery of a queue that must be told of each message that is acknowledged. `got` counts
    those by basic.get of each queue, those settled in a transaction that is open included.
    """

    __slots__ = ("_lowest", "consumed", "deliveries", "got", "held", "last_tag", "limit", "reports")

    def __init__(self) -> None:
        self.deliveries: dict[int, Delivery] = {}
        self.held = HeldDeliveries(self.deliveries)
        self.got: dict[Queue, int] = {}
        self.last_tag = 0
        self.limit = 0
        self.consumed = 0
        self.reports = False
        self._lowest = 1

    def take(self, tag: int, multiple: bool) -> dict[int, Delivery]:
        """The deliveries that a tag names, taken out; with `multiple` all up to it, 0 meaning all.

        Raises PreconditionFailed for a tag that is not outstanding.
        """
        if multiple and tag == 0:
            return self.take_all()
        if tag not in self.deliveries:
            raise PreconditionFailed(f"unknown delivery tag {tag}")
        first = tag
        if multiple:
            first, self._lowest = self._lowest, tag + 1
        deliveries, tags = self.deliveries, range(first, tag + 1)
        if len(deliveries) < len(tags):
            named = sorted(each for each in deliveries if each in tags)
        else:
            named = [each for each in tags if each in deliveries]
        return {each: deliveries.pop(each) for each in named}

    def tags(self, tag: int) -> Sequence[int]:
        """The tags of all deliveries up to one, 0 meaning all; to be taken out bit by bit. If they
        are very many, some may be of deliveries that are outstanding no more.

        Raises PreconditionFailed for a tag that is not outstanding.
        """
        deliveries = self.deliveries
        if tag and tag not in deliveries:
            raise PreconditionFailed(f"unknown delivery tag {tag}")
        self._lowest = (tag or self.last_tag) + 1
        if not deliveries:
            return ()
        first, last = next(iter(deliveries)), next(reversed(deliveries))
        named = range(first, (tag or last) + 1)
        if last - first + 1 == len(deliveries):
            return named
        if LISTED_TAGS < len(named) < 2 * len(deliveries):  # a list of them would take long
            return named
        return list(takewhile(named[-1].__ge__, deliveries))

    def take_all(self) -> dict[int, Delivery]:
        """Every outstanding delivery, taken out."""
        taken = self.deliveries.copy()
        self.deliveries.clear()
        self._lowest = self.last_tag + 1
        return taken

    def add(self, message: Message, queue: Queue) -> int:
        """Note a delivery by basic.get and give its tag."""
        self.last_tag += 1
        self.reports |= queue.features is not None
        self.got[queue] = self.got.get(queue, 0) + 1
        self.deliveries[self.last_tag] = (message, queue, None)
        return self.last_tag

    def put_back(self, deliveries: dict[int, Delivery]) -> None:
        """Make settled deliveries outstanding again: a transaction was rolled back."""
        in_order = sorted((self.deliveries | deliveries).items())
        self.deliveries.clear()
        self.deliveries.update(in_order)
        lowest_tag = min(deliveries)
        self._lowest = min(self._lowest, lowest_tag)
        self.held.put_back(lowest_tag)

    def release(self, deliveries: list[Delivery]) -> None:
        """Give their consumers the credit back that these deliveries held."""
        for _, queue, consumer in deliveries:
            if consumer is None:
                self._got_less(queue)
                continue
            consumer.unsettled -= 1
            self.consumed -= 1
            if not consumer.in_rotation and not self.limit:
                queue.consumers.wake(consumer)

    def _got_less(self, queue: Queue) -> None:
        self.got[queue] -= 1
        if not self.got[queue]:
            del self.got[queue]

"""Settling very many deliveries bit by bit: when they are acknowledged or nacked at once, or when
their channel ends.

To the client that is one step: until all is done it is not read from, and what it is answered comes
after that. To others it is one, too, where it matters: a queue gives nothing out before all that is
on its way back has arrived, so that new messages don't overtake it (those that go to the end of a
quorum queue may do so). Deliveries count as outstanding until it is their turn. When the broker
stops it finishes what is left; a crash in between is one between acknowledgements.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from .features import Features
from .unsettled import Outcome
from .work import ChannelWork

if TYPE_CHECKING:
    from .channel import Channel
    from .held_deliveries import HeldDeliveries
    from .queue import Queue
    from .unsettled import Delivery

_queue_of = itemgetter(1)
_COME_BACK = (Outcome.ABANDONED, Outcome.TIMED_OUT, Outcome.RETURNED, Outcome.HANDED_BACK)


def _place_of(delivery: "Delivery") -> int:
    """Where a message stood, if that is where it comes back to. As in RabbitMQ what a channel
    leaves comes back in that order, what a client hands back in the order of its tags: this makes a
    difference to which messages a limit in bytes lets stay.
    """
    return delivery[0].id if delivery[1].keeps_places else 0


def is_much(channel: "Channel", deliveries: int) -> bool:
    """Whether so many of a channel are to be settled in several turns."""
    return deliveries > channel.connection.broker.turn_bounds.settled


def settle_in_turns(channel: "Channel", tags: Sequence[int], outcome: Outcome) -> None:
    """Settle deliveries of a channel, after all that is being settled already, and at once if they
    are few. Those that are not outstanding any more by then are passed over.
    """
    if tags:
        if channel.settling is None:
            channel.settling = Settling(channel)
        channel.settling.add(tags, outcome)


class Settling(ChannelWork):
    """What is being settled on one channel, as `Work` for the turns to come.

    The channel refers to it until it is done.
    """

    __slots__ = ("_orders", "_waits")

    def __init__(self, channel: "Channel"):
        super().__init__(channel)
        self._orders: deque[Order] = deque()
        self._waits = False
        """Whether the client waits for it."""

    @property
    def left_behind(self) -> "HeldDeliveries | None":
        """The outstanding deliveries of a channel that has ended; None if it has not."""
        channel = self._channel
        is_open = channel.connection.channels.get(channel.number) is channel
        return None if is_open else channel.unsettled.held

    def add(self, tags: Sequence[int], outcome: Outcome) -> None:
        """Settle deliveries after the others."""
        deliveries = self._channel.unsettled.deliveries
        self._orders.append(Order(self._channel, deliveries, tags, outcome))
        if len(self._orders) == 1 and self.dispatch():
            self._waits = True
            connection = self._channel.connection
            connection.wait()
            connection.broker.begin_settling(self)

    def dispatch(self) -> bool:
        """Settle some deliveries; True if there are more."""
        try:
            if not self._orders[0].go_on():
                self._orders.popleft().end()
            self.dirty = bool(self._orders)
        except BaseException:
            self.dirty = False
            self._give_up()
            raise
        finally:
            if not self.dirty:
                self._end()
        return self.dirty

    def _end(self) -> None:
        self._channel.settling = None
        if self._waits:
            self._channel.connection.broker.end_settling(self)
            self._channel.connection.waited()

    def _give_up(self) -> None:
        """Nobody must wait for ever for what has failed."""
        while self._orders:
            self._orders.popleft().end()

    def finish(self) -> None:
        """Settle all that is left, for the broker stops."""
        while self._orders:
            self.dispatch()


class Order:
    """Deliveries of a channel with one outcome: those that have these tags in `deliveries`."""

    __slots__ = ("_at", "_channel", "_deliveries", "_held_back", "_looked_at", "_outcome", "_tags")

    def __init__(
        self,
        channel: "Channel",
        deliveries: "dict[int, Delivery]",
        tags: Sequence[int],
        outcome: Outcome,
    ):
        self._channel = channel
        self._deliveries = deliveries
        self._tags = tags
        self._outcome = outcome
        self._at = 0
        self._held_back: dict[Queue, None] = {}
        comes_back = outcome in _COME_BACK and is_much(channel, len(tags))
        self._looked_at = 0 if comes_back else len(tags)
        """How many have been looked at for the queues that they come back to."""
        self._look_at_some()

    def _look_at_some(self) -> None:
        """Find queues to hold back. While none has got anything back they may give out more."""
        start = self._looked_at
        self._looked_at += self._channel.connection.broker.turn_bounds.looked_at
        coming_back = filter(None, map(self._deliveries.get, self._tags[start : self._looked_at]))
        found = dict.fromkeys(map(_queue_of, coming_back))
        hold_back([queue for queue in found if queue not in self._held_back])
        self._held_back |= found

    def go_on(self) -> bool:
        """Settle some; True if there are more."""
        if self._looked_at < len(self._tags):
            self._look_at_some()
            return True
        bounds, start = self._channel.connection.broker.turn_bounds, self._at
        acknowledged = self._outcome is Outcome.ACKNOWLEDGED
        self._at += bounds.acknowledged if acknowledged else bounds.settled
        take = self._deliveries.pop
        tags = self._tags[start : self._at]
        taken = [delivery for tag in tags if (delivery := take(tag, None)) is not None]
        if self._outcome is Outcome.ABANDONED:
            taken.sort(key=_place_of)
        self._channel.settle(taken, self._outcome)
        return self._at < len(self._tags)

    def end(self) -> None:
        """Let the queues give out messages again."""
        let_go_on(self._held_back)


def hold_back(queues: "Iterable[Queue]") -> None:
    """Have queues give nothing out for a while: messages are on their way back."""
    for queue in queues:
        if not queue.deleted:
            if queue.features is None:
                queue.features = Features(queue)
            queue.features.returning += 1


def let_go_on(queues: "Iterable[Queue]") -> None:
    """All messages that were on their way back to queues have arrived."""
    for queue in queues:
        features = queue.features
        if features is not None and not queue.deleted:
            features.returning -= 1
            if not features.is_needed:
                queue.features = None
            queue.look()

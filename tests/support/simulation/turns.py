"""Work in several turns: the oracle for settling and committing very much.

A turn does so much of it, and then others act. To the client it is one step: nothing more is taken
from it before all is done. A queue gives nothing out, and drops nothing, before all that comes back
to it at a time has come. Transactions are carried out one after the other. When a broker stops, all
is done before; a crash in between is one between two settlements, but leaves nothing of a commit.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .things import COME_BACK, Delivery, MChannel, MQueue, Outcome, Violation

Settle = Callable[[Iterable[Delivery], Outcome], bool]


@dataclass(slots=True, eq=False)
class Order:
    """Deliveries, out of all that a channel has, that get one outcome."""

    deliveries: dict[int, Delivery]
    tags: deque[int]
    outcome: Outcome
    held_back: set[MQueue] = field(default_factory=set)

    def begin(self, at_once: int) -> None:
        """Have queues wait for what will come back, if that takes more than one turn."""
        if self.outcome in COME_BACK and len(self.tags) > at_once:
            found = (self.deliveries.get(tag) for tag in self.tags)
            self.held_back = {each.queue for each in found if each and not each.queue.deleted}
        for queue in self.held_back:
            queue.returning += 1

    def go_on(self, at_once: int, settle: Settle) -> bool:
        """Settle some; whether there are more."""
        some = [self.tags.popleft() for _ in range(min(at_once, len(self.tags)))]
        taken = [self.deliveries.pop(tag) for tag in some if tag in self.deliveries]
        if self.outcome is Outcome.ABANDONED:
            taken.sort(key=_place_of)
        settle(taken, self.outcome)
        if not self.tags:
            self.end()
        return bool(self.tags)

    def end(self) -> None:
        for queue in self.held_back:
            queue.returning -= 1


def _place_of(delivery: Delivery) -> int:
    """What a channel leaves comes back in the order of its queue, if it has its place there."""
    return 0 if delivery.queue.traits.quorum else delivery.entry.place


@dataclass(slots=True, eq=False)
class Work:
    """What a channel has to do in several turns; `go_on` does some and tells if there is more."""

    channel: MChannel
    go_on: Callable[[], bool]


class Turns:
    """All that is being done in several turns, so much `at_once`."""

    def __init__(self, at_once: int, settle: Settle):
        self.at_once = at_once
        self._settle = settle
        self._orders: dict[MChannel, deque[Order]] = {}
        self._settling: list[Work] = []
        self._committing: list[Work] = []

    def settle(self, channel: MChannel, tags: Iterable[int], outcome: Outcome) -> None:
        """A channel settles deliveries: some now, and the others when it is their turn."""
        order = Order(channel.unsettled, deque(tags), outcome)
        if not order.tags:
            return
        order.begin(self.at_once)
        if channel in self._orders:
            self._orders[channel].append(order)
            return
        self._orders[channel] = deque([order])
        work = Work(channel, lambda: self._go_on_settling(channel))
        if work.go_on():
            self._settling.append(work)
            channel.client.busy += 1

    def _go_on_settling(self, channel: MChannel) -> bool:
        orders = self._orders[channel]
        if not orders[0].go_on(self.at_once, self._settle):
            orders.popleft()
        if not orders:
            del self._orders[channel]
        return bool(orders)

    def commit(self, channel: MChannel, go_on: Callable[[], bool]) -> None:
        """A transaction that takes several turns is to be carried out after the others."""
        self._committing.append(Work(channel, go_on))
        channel.client.busy += 1

    def go_on(self, name: str, *, commits: bool) -> None:
        """There has been a turn for the work of the channel of that name. Raises Violation if that
        was not to be done.
        """
        works = self._committing[:1] if commits else self._settling
        found = [work for work in works if work.channel.name == name]
        if not found:
            raise Violation(f"turns: nothing is to be done for {name}, or not yet")
        self._do(found[0])

    def _do(self, work: Work) -> None:
        if work.go_on():
            return
        (self._committing if work in self._committing else self._settling).remove(work)
        work.channel.client.busy -= 1

    def finish(self) -> None:
        """Do all that is left."""
        while works := self._committing or self._settling:
            self._do(works[0])

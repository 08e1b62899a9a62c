"""Carrying out a transaction: first its publishes, then its settlements, on disk all or nothing.

One with very much in it is carried out bit by bit, and others are served in between. To its client
that is one step, as in `settling`. What others write to the journal meanwhile is on disk with it,
and so their confirms wait, too: the journal is one line of records, of which a crash leaves a
beginning, so nothing behind the first record of a commit can be sure to be on disk before its last
one is. Such transactions are carried out one after the other, each when the one before is on disk.
Once it has begun the end of its channel does not stop it, nor does the end of the broker; a crash
leaves nothing of it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from ..amqp.errors import SoftError
from .message import Message
from .settling import Order, is_much
from .uncommitted import Uncommitted
from .unsettled import Outcome
from .work import ChannelWork, Work

if TYPE_CHECKING:
    from .broker import Broker
    from .channel import Channel
    from .queue import Queue

Publish: TypeAlias = "tuple[Message, tuple[Queue, ...], bool]"
"""A message, where it goes, and whether it was published with `mandatory`."""


class Commit(ChannelWork):
    """A transaction that is being carried out, as `Work`. `then` is called when that is done: with
    False if a queue refused a message.
    """

    __slots__ = (
        "_complete",
        "_order",
        "_published",
        "_publisher",
        "_then",
        "settled",
    )

    def __init__(
        self,
        channel: "Channel",
        published: list[Publish],
        settled: Uncommitted,
        then: Callable[[bool], None],
    ):
        super().__init__(channel)
        self._publisher = channel.publisher
        self._published = deque(published)
        self.settled = settled
        """What it has yet to settle."""
        self._order: Order | None = None
        self._then = then
        self._complete = True

    @property
    def is_much(self) -> bool:
        """Whether to carry it out in several turns."""
        bounds = self._channel.connection.broker.turn_bounds
        return len(self._published) > bounds.published or is_much(self._channel, len(self.settled))

    def carry_out(self) -> None:
        """Do all of it now."""
        with self._channel.connection.broker.definitions.together():
            while self._go_on():
                pass
        self._then(self._complete)

    def dispatch(self) -> bool:
        """Do some of it; True if there is more. The first time begins it, the last time ends it."""
        connection = self._channel.connection
        connection.broker.definitions.begin_together()
        try:
            self.dirty = self._go_on()
            if not self.dirty:
                self._end()
                self._then(self._complete)
                connection.waited()
        except Exception as error:
            self.dirty = False
            if self._order is not None:
                self._order.end()
            self._end()
            connection.waited()
            self._fail(error)
        return self.dirty

    def _fail(self, error: Exception) -> None:
        """Tell the client as if it had just asked, if its channel is still there."""
        connection, channel = self._channel.connection, self._channel
        if isinstance(error, SoftError) and connection.channels.get(channel.number) is channel:
            connection.close_channel(channel.number, error)
        else:
            connection.fault(error)

    def _end(self) -> None:
        broker = self._channel.connection.broker
        broker.definitions.end_together()
        broker.commits.ended(self)

    def _go_on(self) -> bool:
        """Do some of it; True if there is more."""
        self._publish()
        if not self._published:
            self._settle()
        broker = self._channel.connection.broker
        broker.do_postponed()  # dead letters belong to the commit
        if broker.journal is not None:
            broker.journal.flush_settled()
        return bool(self._published or self.settled.settlements)

    def _publish(self) -> None:
        broker = self._channel.connection.broker
        for _ in range(min(len(self._published), broker.turn_bounds.published)):
            message, queues, mandatory = self._published.popleft()
            message.id = broker.next_message_id()
            live = tuple(queue for queue in queues if not queue.deleted)
            self._complete &= self._publisher.deliver(message, live, mandatory)

    def _settle(self) -> None:
        """Settle about as much as a turn has time for, be it one settlement or hundreds."""
        bounds = self._channel.connection.broker.turn_bounds
        left = bounds.acknowledged
        while left > 0 and self.settled.settlements:
            acknowledged = self.settled.settlements[0][1] is Outcome.ACKNOWLEDGED
            before = len(self.settled)
            self._settle_some()
            count = before - len(self.settled)
            if not count and self._order is not None:
                return  # it has only looked at them, at as many as a turn has time for
            count = max(count, 1)
            left -= count if acknowledged else count * bounds.acknowledged // bounds.settled

    def _settle_some(self) -> None:
        settlements = self.settled.settlements
        if self._order is None:
            deliveries, outcome = settlements[0]
            self._order = Order(self._channel, deliveries, list(deliveries), outcome)
        left = len(settlements[0][0])
        more = self._order.go_on()
        self.settled.went(left - len(settlements[0][0]))
        if not more:
            self._order.end()
            self._order = None
            settlements.popleft()


class Commits:
    """The transactions with very much in them that are being committed, and definitions that are
    imported, one after the other.
    """

    __slots__ = ("_broker", "_commits")

    def __init__(self, broker: "Broker"):
        self._broker = broker
        self._commits: deque[Work] = deque()

    def add(self, commit: Work) -> None:
        """Carry one out in the turns to come, after the others."""
        self._commits.append(commit)
        if len(self._commits) == 1:
            self._broker.mark_dirty(commit)

    def ended(self, commit: Work) -> None:
        """The first one is done with; the next begins when it is on disk."""
        broker = self._broker
        if self._commits and self._commits[0] is commit:
            self._commits.popleft()
            if broker.position > broker.durable:
                broker.when_durable(broker.position, self._begin)
            else:
                self._begin()

    def holding(self) -> Iterator[Uncommitted]:
        """What has yet to be settled, which counts in the memory budget."""
        for commit in self._commits:
            if isinstance(commit, Commit):
                yield commit.settled

    def _begin(self) -> None:
        if self._commits and not self._commits[0].dirty:
            self._broker.mark_dirty(self._commits[0])

    def finish(self) -> None:
        """Carry all of them out, for the broker stops."""
        while self._commits:
            self._commits[0].dispatch()

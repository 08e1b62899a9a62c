"""x-queue-type quorum: RabbitMQ's replicated queue, as it is on one node.

Everything in it is kept on disk, also what was published as transient. It counts how often a
message comes back (`delivery_counts`); one that came back more often than x-delivery-limit allows
dies. It is durable and neither exclusive nor auto-delete, an exclusive consumer is one like any
other, and it can be deleted only unconditionally (https://www.rabbitmq.com/docs/quorum-queues).

Counts are in the journal as soon as a message comes back, and so survive a restart. What is out
with a consumer when the broker is killed comes back flagged as redelivered, but is not counted.

What comes back stands before what was never delivered, in the order in which it came back. But if
there is no limit, what a client returns goes to the end of the queue (from
4.3 on by basic.nack and basic.recover only); what a channel leaves behind when it ends does not.
After a restart all stand in their places again (`quorum_places`). What was out with a consumer when
the broker was killed stands where it did before: where it had come back to, else where it was
published.
"""

from array import array
from collections import deque
from collections.abc import Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import msgspec

from ..amqp.errors import NotSupported, ResourceLocked
from .backlog import Backlog
from .death import Reason
from .delivery_counts import counted, uncounted
from .features import Features
from .kept import Kept
from .line import LOADED_MESSAGES
from .message import Message
from .queue import Queue
from .quorum_places import places_of
from .returns import NEVER, Returns
from .rules import DEFAULT_RULES, Rules

if TYPE_CHECKING:
    from .consumer import Consumer


class QuorumQueue(Queue):
    """A quorum queue. What came back stands there as a counted copy."""

    __slots__ = ("_doubtful_to", "_next_place", "_rules")

    keeps_all = True
    global_qos = False
    keeps_places = False

    def __init__(self, *as_queue: Any, rules: Rules = DEFAULT_RULES, **options: Any):
        super().__init__(*as_queue, **options)
        self._rules = rules
        self._next_place = count(1)
        """For what comes back, in `returned`."""
        self._doubtful_to = 0
        """Messages stored up to here may have been delivered before the broker was killed."""

    @property
    def delivery_limit(self) -> int | None:
        """How often a message may come back and stay; None for any number of times."""
        limit = self.settings.delivery_limit
        if limit is None:
            limit = self._rules.delivery_limit
        return None if limit is None or limit < 0 else limit

    def requeue(self, message: Message, *, failed: bool = True, asked: bool = True) -> None:
        if self.deleted:
            return self.settle(message)
        returns = message.returns.once_more(failed=failed or self._rules.nack_is_failure)
        message = self._counted(message, returns)
        limit = self.delivery_limit
        if limit is not None and returns.failures > limit:
            return self.discard(message, Reason.DELIVERY_LIMIT)
        due_ms = 0 if self.retries is None else self.retries.due_ms(returns.failures, failed=failed)
        goes_first = limit is not None or not asked or (failed and self._rules.acquired_counts)
        at_end = not (goes_first or due_ms) and self.has_new
        if message.stored and self.store is not None:
            waiting = returns.waiting(due_ms)
            self.store.note_returns(self, message.stored, waiting, at_end=at_end)
        if due_ms and self.retries is not None:
            return self.retries.wait(message, due_ms)
        return self._ready_at_the_end(message) if at_end else self.ready_again(message)

    def _ready_at_the_end(self, message: Message) -> None:
        features = self.mix()
        if not message.is_whole:
            self.begin_backlog()
        super().append(message)
        if message.notes is not None:
            self.notice(message)
        features.gained(message)
        return self.look()

    def make_room(self) -> None:
        """Nothing: here a consumer that waits may have what comes back to a full queue, and the
        limits are kept at the end of the turn.
        """

    def mix(self) -> Features:
        """From now on `shift` decides which message is next."""
        if self.features is None:
            self.features = Features(self)
        self.features.mixed = True
        return self.features

    @property
    def has_new(self) -> bool:
        """Whether something waits behind what came back."""
        backlog = self.backlog
        return bool(self.ready) or (backlog is not None and len(backlog) > backlog.delivered)

    def shift(self) -> tuple[Message, bool] | None:
        taken = self.take_next()
        if self._is_mixed and taken is not None:
            message, again = taken
            again = again or message.returns.times > 0 or 0 < message.stored <= self._doubtful_to
            taken = message, again
            if self.features is not None and not self.has_new:
                self.features.mixed = False
        return taken

    def take_next(self) -> tuple[Message, bool] | None:
        """Take the next message out: it, and whether it was delivered before."""
        return super().shift()

    @property
    def _is_mixed(self) -> bool:
        """Whether there is something that came back among what was never delivered."""
        return self.features is not None and self.features.mixed

    def discard(self, message: Message, reason: Reason) -> None:
        if self.dead_letters is not None:
            message = self.whole(message)
        super().discard(uncounted(message), reason)

    def put_back(self, message: Message) -> None:
        """Add a message that came back, behind the others that did."""
        backlog = self.backlog
        if backlog is None or not backlog.delivered or self.ready:
            return self._put_last(message)
        if 0 < backlog.uncounted >= backlog.delivered:
            backlog.uncounted += 1
            self.count_bytes((message,), -1)
        return backlog.put_behind_delivered((self.stored_id(message),))

    def _put_last(self, message: Message) -> None:
        self.returned.append((next(self._next_place), self.with_count(message)))
        self.shells += not message.is_whole

    def load(self, most: int = LOADED_MESSAGES) -> bool:
        loaded = super().load(most)  # when nothing was in memory any more
        returned = sorted(self.returned)
        self.returned.clear()
        for _, message in returned:
            self._put_last(message)
        if self._is_mixed:
            self.ready = deque(map(self.with_count, self.ready))
        return loaded

    # --- restarts -----------------------------------------------------------------------------

    def line_up(self, ids: "array[int]", kept: Kept) -> None:
        places = places_of(ids, kept.notes)
        new = places.without_those(ids)
        self._doubtful_to = max((each for each in new if each in kept.delivered), default=0)
        if self._doubtful_to or places.at_end:
            self.mix()
        ordinary = places.with_those_at_end(self.line_up_new(new, kept))
        self.backlog = Backlog(chain(places.first, ordinary), len(places.first))
        self.load(1)

    def line_up_new(self, ids: "array[int]", kept: Kept) -> "array[int]":
        """Have those that never came back stand in order; those are returned that what was returned
        to the end stands among.
        """
        return ids

    def delivered_before(self) -> list[int]:
        """None of those that came back: of them it is known."""
        if not self._doubtful_to or self.store is None:
            return []
        doubtful: list[int] = []
        for line in self.lines():
            waiting = [message.stored for message in line.ready]
            if line.backlog is not None:
                waiting += line.backlog.first(len(line.backlog))
            doubtful += filter(self._doubtful_to.__ge__, waiting)
        for stored in sorted(doubtful, reverse=True):
            if not self.store.returns(self, stored).times:
                return [stored]
        return []

    def with_count(self, message: Message) -> Message:
        """A message that came back, with the count that the journal has of it."""
        if message.returns.times or self.store is None:
            return message
        returns = self.store.returns(self, message.stored)
        return self._counted(message, returns) if returns.times else message

    def read_back(self, shells: Sequence[Message]) -> list[Message]:
        messages = super().read_back(shells)
        return [
            self._counted(each, each.returns) if each.returns.times else each for each in messages
        ]

    def _counted(self, message: Message, returns: Returns) -> Message:
        if not message.is_whole:
            return msgspec.structs.replace(message, returns=returns)
        return counted(message, returns, acquired=self._rules.acquired_counts)

    def take(self) -> tuple[Message, bool] | None:
        """For a basic.get, whose answer may tell the count although it is 0. Raises
        ResourceLocked.
        """
        if self.consumers.single_active is not None:
            raise ResourceLocked(
                f"cannot obtain access to locked {self!r}. basic.get operations are not supported"
                " by quorum queues with single active consumer"
            )
        taken = super().take()
        if taken is None or taken[0].returns.times or not self._rules.gets_tell_zero:
            return taken
        return self._counted(taken[0], NEVER), taken[1]

    def declared(self) -> None:
        """Nothing: declaring it again does not keep it from expiring."""

    def add_consumer(self, consumer: "Consumer") -> None:
        consumer.exclusive = False
        super().add_consumer(consumer)

    def check_deletion(self, *, if_unused: bool, if_empty: bool) -> None:
        """Raises NotSupported if there is a condition."""
        for asked, flag in ((if_unused, "if-unused"), (if_empty, "if-empty")):
            if asked:
                raise NotSupported(
                    f"cannot delete {self!r}. queue.delete operations with {flag} flag set are not"
                    " supported by quorum queues"
                )

"""What some queues do beyond keeping messages in order and handing them out.

A queue without such features has no `Features` and pays one test per turn. Where messages can
expire or have priorities, or where their bytes are counted, the queue does not deliver in bulk:
each message is looked at before it goes to a consumer. Every feature is an object of its own; here
they meet, in the order in which they act: deliver, drop what has expired, drop what is too much.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .counting import begin_count, body_bytes_of, count_some
from .death import Reason
from .expiry import NEVER, Expiry
from .limits import REJECT_PUBLISH_DLX, Limits
from .message import Message

if TYPE_CHECKING:
    from .deduplication import Deduplication
    from .firehose import Firehose
    from .line import Line
    from .queue import Queue

DROPPED_AT_ONCE, DEAD_AT_ONCE = 1000, 200
"""How many messages expire or give way in one turn, besides as many as have come in since the last
one, before others have their turn: a long queue may be far beyond a limit that a policy sets, or
expire as a whole. Fewer, if they become dead letters.
"""

NEARLY_FULL = 1000
"""A queue that so many more messages would fill, and from which dead letters go then, is handed
each message by itself, so that no more come in than a turn has time for.
"""

COME_IN_MAX = 10_000
"""How many messages come in in one turn at most."""

DROPPED_BYTES = 16 << 20
"""And of how many bytes."""

PASSED_STEPS = 10
"""How many times as many expired messages a basic.get passes over to find one that has not."""

TRIMMED_FOR_ONE = 10
"""How many messages give way to one that comes back, before the turn's end."""


class Features:
    """The features of one queue."""

    __slots__ = (
        "_counting",
        "_left",
        "_queue",
        "_trimming",
        "counts_bytes",
        "deduplication",
        "expiry",
        "firehose",
        "limits",
        "mixed",
        "nearly_full",
        "prioritized",
        "returning",
    )

    def __init__(self, queue: "Queue", *, prioritized: bool = False):
        """`prioritized` says that the queue is a `PriorityQueue`."""
        self._queue = queue
        self._left = queue.message_count
        """How many messages there were after the last turn."""
        self._counting = False
        """Whether there are messages on disk whose bytes have not been counted."""
        self._trimming = False
        """Whether what was too much has only been dropped in part."""
        self.prioritized = prioritized
        self.expiry: Expiry | None = None
        self.limits: Limits | None = None
        self.counts_bytes = False
        self.mixed = False
        """Whether what is next, and whether it is flagged redelivered, is for `shift` to say."""
        self.nearly_full = False
        """Whether a turn's messages may be too much for it, and become dead letters."""
        self.deduplication: Deduplication | None = None
        self.firehose: Firehose | None = None
        """What is told of each delivery, while the vhost is traced."""
        self.returning = 0
        """How often very many messages are on their way back: nothing is given out meanwhile."""

    @property
    def is_needed(self) -> bool:
        """Whether the queue has any features."""
        others = (self.limits, self.prioritized, self.mixed, self.firehose, self.deduplication)
        return bool(self.returning or self.expiry is not None or any(others))

    def limit(self, limits: Limits | None) -> None:
        """Have other limits, or none, from now on, also for what the queue holds already."""
        counted = self.limits if self.counts_bytes else None
        self.limits = limits
        self.counts_bytes = limits is not None and limits.max_bytes is not None
        if limits is None:
            self.nearly_full = False
            return
        self._see_how_full(limits)
        if not self.counts_bytes:
            return
        if counted is None:
            self._counting = begin_count(limits, self._queue.lines())
        else:
            limits.ready_bytes = counted.ready_bytes

    @property
    def singly(self) -> bool:
        """Whether every message must come through `Queue.enqueue`."""
        rejects = self.limits is not None and not self.limits.drops_head
        one_by_one = self.counts_bytes or self.prioritized or self.nearly_full
        return self.timed or rejects or one_by_one

    @property
    def makes_dead_letters(self) -> bool:
        """Whether a new message is likely to make a dead letter at once, of itself or another."""
        if self._queue.dead_letters is None:
            return False
        too_late = self.expiry is not None and self.expiry.ttl_ms == 0
        refused = self.limits is not None and self.limits.overflow == REJECT_PUBLISH_DLX
        return too_late or refused or self.counts_bytes or self.nearly_full

    @property
    def _delivers_in_bulk(self) -> bool:
        shift_decides = self.prioritized or self.mixed
        must_be_known = self.firehose is not None or self.deduplication is not None
        looks_at_each = self.expiry is not None or must_be_known or self.counts_bytes
        return not (shift_decides or looks_at_each)

    @property
    def timed(self) -> bool:
        """Whether messages must know when they were published."""
        expires = self.expiry is not None and self.expiry.ttl_ms is not None
        return expires or self.deduplication is not None

    @property
    def ask_properties(self) -> bool:
        """Whether they look at the properties of messages that come back or go."""
        return self.prioritized or self.deduplication is not None

    # --- what comes and goes ------------------------------------------------------------------

    def takes(self, message: Message) -> bool:
        """Whether a new message may come in: not, if it must be refused."""
        return self._has_room(message) and not self._is_duplicate(message)

    def _has_room(self, message: Message) -> bool:
        limits, queue = self.limits, self._queue
        if limits is None or limits.drops_head or limits.has_room(queue.message_count, message):
            return True
        self._queue.catch_up()
        return limits.has_room(queue.message_count, message)

    def _is_duplicate(self, message: Message) -> bool:
        deduplication = self.deduplication
        if deduplication is None or not deduplication.knows(message):
            return False
        self._queue.catch_up()
        return deduplication.knows(message)

    def lets_die(self, refused: Message) -> bool:
        """Whether a message that it does not take becomes a dead letter."""
        if not self._has_room(refused):
            return self.limits is not None and self.limits.overflow == REJECT_PUBLISH_DLX
        return self.deduplication is not None and self.deduplication.duplicates_die

    def gained(self, message: Message) -> None:
        """A message became ready."""
        if self.counts_bytes and self.limits is not None:
            self.limits.ready_bytes += message.body_bytes
        self._know(message)

    def _know(self, message: Message) -> None:
        """A message is in the queue."""
        if self.deduplication is not None:
            expires_ms = NEVER if self.expiry is None else self.expiry.expires_ms(message)
            self.deduplication.add(message, None if expires_ms == NEVER else expires_ms)

    def lost(self, message: Message) -> None:
        """A message is not ready any more."""
        if self.counts_bytes and self.limits is not None:
            self.limits.ready_bytes -= message.body_bytes

    def gone(self, message: Message) -> None:
        """A message that was ready once is out of the queue."""
        if self.deduplication is not None:
            self.deduplication.remove(message)

    def emptied(self) -> None:
        """The queue was purged: no message is ready any more."""
        if self.limits is not None:
            self.limits.ready_bytes = 0
        if self.deduplication is not None:
            self.deduplication.clear()

    def count_bytes(self, messages: Iterable[Message], sign: int) -> None:
        """Messages of a backlog are (1) or are not any more (-1) among those counted."""
        if self.counts_bytes and self.limits is not None:
            self.limits.ready_bytes += sign * sum(map(body_bytes_of, messages))

    def settled_down(self) -> None:
        """What there is now is not new."""
        self._left = self._queue.message_count

    def know_again(self, ids: Sequence[int]) -> None:
        """All stored messages from before a restart, ready or not."""
        if self.deduplication is not None:
            for message in self._queue.all_of(ids):
                self._queue.notice(message)
                self._know(message)

    # --- turns --------------------------------------------------------------------------------

    def dispatch(self, most: int) -> bool:
        """Deliver what may be delivered, `most` messages at most, then be done with what must not
        stay. True if that could go on; while messages are delivered nothing is too much, and a
        message with a time of 0 may still find its consumer.
        """
        queue = self._queue
        if self.returning:
            return False
        if self._counting:
            self._counting = self.limits is not None and count_some(self.limits, queue.lines())
        in_bulk = self._delivers_in_bulk
        if queue.consumers.serve(queue, most) if in_bulk else self._deliver(most):
            return True
        self._drop()
        if self.limits is not None:
            self._see_how_full(self.limits)
        self._left = queue.message_count
        return self._trimming or self._counting

    def _drop(self) -> None:
        """Be done with what has expired at the head, then with what is too much, then with what has
        expired behind that: of what a message dies does not depend on how many turns this takes.
        """
        trimming, self._trimming = self._trimming, False
        if (trimming or self.expire()) and self._is_too_long:
            self._trimming = self.trim(self._dropped_at_once())
            if not self._trimming:
                self.expire()
        elif trimming:
            self.expire()

    @property
    def _is_too_long(self) -> bool:
        return self.limits is not None and self.limits.are_passed(self._queue.message_count)

    def _deliver(self, most: int) -> bool:
        queue, rotation = self._queue, self._queue.consumers.rotation
        for _ in range(most):
            if not rotation:
                return False
            consumer = rotation[0]
            if not consumer.can_take():
                rotation.popleft().leave_rotation()
                continue
            taken = queue.pop()
            if taken is None:
                return False
            if self._comes_too_late(*taken):
                queue.discard(taken[0], Reason.EXPIRED)
                continue
            if self.firehose is not None:
                self.firehose.delivered(consumer.channel, queue, *taken)
            if self.deduplication is not None:
                consumer.channel.unsettled.reports = True
            consumer.hand(*taken)
            rotation.rotate(-1)
        return bool(rotation) and queue.head() is not None

    def _comes_too_late(self, message: Message, redelivered: bool) -> bool:
        expiry = self.expiry
        if expiry is None:
            return False
        return expiry.is_over(message) if redelivered else expiry.is_too_late(message)

    def passes_expired(self) -> bool:
        """Have no overdue message stand at the head, for a basic.get; False if they are too many to
        drop all now, or if others are on their way back.
        """
        return not self.returning and any(self.expire() for _ in range(PASSED_STEPS))

    def expire(self) -> bool:
        """Drop overdue messages from the head on, and wait for the next one to be overdue; False if
        it is already.
        """
        expiry, queue = self.expiry, self._queue
        if expiry is None:
            return True
        fronts = queue.fronts
        for front in fronts:
            self._expire_in(front, expiry)
        head = queue.head()
        if self._is_over(expiry, head):
            expiry.stop()
            self.expiry = None
            if not self.is_needed:
                queue.features = None
        else:
            for front in fronts:
                expiry.watch(front.head())
        return head is None or not expiry.is_over(head)

    def _expire_in(self, line: "Line", expiry: Expiry) -> None:
        for _ in range(self._dropped_at_once()):
            head = line.head()
            if head is None or not expiry.is_over(head):
                break
            line.shift()
            self.lost(head)
            self._queue.discard(head, Reason.EXPIRED)

    def _is_over(self, expiry: Expiry, head: Message | None) -> bool:
        """Whether nothing in the queue can expire any more, nor what will be published to it."""
        if expiry.ttl_ms is not None:
            return False
        if head is None:
            return True
        queue = self._queue
        in_order = not (queue.backlog or queue.returned or self.prioritized or self.mixed)
        return in_order and head.id > expiry.last_id

    def trim(self, most: int = TRIMMED_FOR_ONE) -> bool:
        """Drop messages from the head on while there are too many, at most so many; True if that
        should go on.
        """
        limits, queue = self.limits, self._queue
        if limits is None or not limits.drops_head:
            return False
        content_bytes = DROPPED_BYTES
        while limits.are_passed(queue.message_count):
            if most <= 0 or content_bytes <= 0:
                return True
            taken = queue.pop()
            if taken is None:
                return False
            queue.discard(taken[0], Reason.MAXLEN)
            most -= 1
            content_bytes -= len(taken[0].content)
        return False

    def _see_how_full(self, limits: Limits) -> None:
        """Have routes know whether the queue wants each message by itself now."""
        dies = self._queue.dead_letters is not None and limits.max_length is not None
        nearly_full = dies and limits.are_passed(self._queue.message_count + NEARLY_FULL)
        if nearly_full != self.nearly_full:
            self.nearly_full = nearly_full
            self._queue.backlog_changed()

    def _dropped_at_once(self) -> int:
        """As many as have come in, or the queue would outgrow its limits, and some more."""
        queue = self._queue
        least = DROPPED_AT_ONCE if queue.dead_letters is None else DEAD_AT_ONCE
        return least + min(max(queue.message_count - self._left, 0), COME_IN_MAX)

    def end(self) -> None:
        """The queue is deleted."""
        if self.expiry is not None:
            self.expiry.stop()

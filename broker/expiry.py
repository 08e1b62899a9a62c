"""Time to live: x-message-ttl of a queue and `expiration` of a message, the shorter one counts.

Messages expire at the head of the queue only: one behind another that may wait longer is counted
until it comes to the head, and dies there instead of being delivered. Delivered messages don't
expire; one that comes back overdue does at once. With a time of 0 a message is delivered if a
consumer is ready for it, else it expires (https://www.rabbitmq.com/docs/ttl).

One timer per queue, for its head, is set when a turn leaves a head that will expire; it looks when
it is due and sets itself anew, so a busy queue costs no timer operations and an empty one none at
all.

Which time holds for a message is settled when it is published: a queue's may change later, by a
policy, for those that come then. What a policy said stands in the message's notes, and so holds
after a restart, too; what the queue's arguments say need not.
"""

from collections.abc import Callable

from .message import Message
from .timers import Timer, Timers

NEVER = 1 << 62


class Expiry:
    """When the messages of the queue with that number expire.

    `own_ttl_ms` is what the queue's arguments say and `ttl_ms` what holds for messages that are
    published now, None for no limit. `look` is called when the head may have expired.
    """

    __slots__ = (
        "_due",
        "_look",
        "_number",
        "_own_ttl_ms",
        "_timer",
        "_timers",
        "last_id",
        "ttl_ms",
    )

    def __init__(
        self,
        number: int,
        own_ttl_ms: int | None,
        ttl_ms: int | None,
        timers: Timers,
        look: Callable[[], None],
    ):
        self.ttl_ms = ttl_ms
        self._number = number
        self._own_ttl_ms = own_ttl_ms
        self._timers = timers
        self._look = look
        self._timer: Timer | None = None
        self._due = NEVER
        self.last_id = 0
        """The id of the last message in memory that can expire; it may have gone already."""

    @property
    def noted_ttl_ms(self) -> int | None:
        """What must be noted with messages that are published now, if anything."""
        return None if self.ttl_ms == self._own_ttl_ms else self.ttl_ms

    def notice(self, message: Message) -> None:
        """A message with notes is in the queue."""
        if message.id > self.last_id and self.expires_ms(message) < NEVER:
            self.last_id = message.id

    def expires_ms(self, message: Message) -> int:
        """When a message expires in this queue, in milliseconds since 1970."""
        notes = message.notes
        if notes is None:
            return NEVER
        ttl_ms = self._own_ttl_ms
        if notes.queue_ttls:
            ttl_ms = dict(notes.queue_ttls).get(self._number, ttl_ms)
        if notes.ttl_ms is None:
            return NEVER if ttl_ms is None else notes.published_ms + ttl_ms
        if ttl_ms is None:
            return notes.published_ms + notes.ttl_ms
        return notes.published_ms + min(ttl_ms, notes.ttl_ms)

    def is_over(self, message: Message) -> bool:
        """Whether its time is up."""
        return self.expires_ms(message) <= self._timers.wall_ms

    def is_too_late(self, message: Message) -> bool:
        """Whether it must not be delivered any more: that is still allowed in its very last
        millisecond, or a message with a time of 0 never would be.
        """
        return self.expires_ms(message) < self._timers.wall_ms

    def watch(self, head: Message | None) -> None:
        """Wake up when this head expires, unless that is known to happen earlier anyway."""
        due = NEVER if head is None else self.expires_ms(head)
        if due >= self._due:
            return
        self.stop()
        self._due = due
        wait_s = (due - self._timers.wall_ms) / 1000
        self._timer = self._timers.at(self._timers.now + wait_s, self._wake)

    def stop(self) -> None:
        """Don't wake up any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._due = None, NEVER

    def _wake(self) -> None:
        self._timer, self._due = None, NEVER
        self._look()

"""Time to live: x-message-ttl of a queue and `expiration` of a message, the shorter one counts.

Messages expire at the head of the queue only: one behind another that may wait longer is counted
until it comes to the head, and dies there instead of being delivered. Delivered messages don't
expire; one that comes back overdue does at once. With a time of 0 a message is delivered if a
consumer is ready for it, else it expires (https://www.rabbitmq.com/docs/ttl).

One timer per queue, for its head, is set when a turn leaves a head that will expire; it looks when
it is due and sets itself anew, so a busy queue costs no timer operations and an empty one none at
all.

Which time holds for a message is settled when it is published: a queue's may change later, by a
policy, for those that come then.
"""

from collections.abc import Callable

from .message import Message
from .timers import Timer, Timers

NEVER = 1 << 62
_REMEMBERED_CHANGES = 100


class Expiry:
    """When the messages of one queue expire. `look` is called when the head may have expired."""

    __slots__ = ("_due", "_earlier", "_look", "_timer", "_timers", "ttl_ms")

    def __init__(self, ttl_ms: int | None, timers: Timers, look: Callable[[], None]):
        self.ttl_ms = ttl_ms
        self._earlier: list[tuple[int, int | None]] = []
        """Till when other times held, and which, the oldest first."""
        self._timers = timers
        self._look = look
        self._timer: Timer | None = None
        self._due = NEVER

    def change(self, ttl_ms: int | None) -> None:
        """Have another time hold for messages that are published from now on."""
        self._earlier = self._earlier[1 - _REMEMBERED_CHANGES :]
        self._earlier.append((self._timers.wall_ms, self.ttl_ms))
        self.ttl_ms = ttl_ms

    def expires_ms(self, message: Message) -> int:
        """When a message expires in this queue, in milliseconds since 1970."""
        notes = message.notes
        if notes is None:
            return NEVER
        ttl_ms = self._ttl_ms_at(notes.published_ms) if self._earlier else self.ttl_ms
        if notes.ttl_ms is None:
            return NEVER if ttl_ms is None else notes.published_ms + ttl_ms
        if ttl_ms is None:
            return notes.published_ms + notes.ttl_ms
        return notes.published_ms + min(ttl_ms, notes.ttl_ms)

    def _ttl_ms_at(self, published_ms: int) -> int | None:
        for until_ms, ttl_ms in self._earlier:
            if published_ms < until_ms:
                return ttl_ms
        return self.ttl_ms

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

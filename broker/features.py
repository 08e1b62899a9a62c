"""What some queues do beyond keeping messages in order and handing them out.

A queue without such features has no `Features` and pays one test per turn. One that has them does
not deliver in bulk: the message at its head is looked at before it goes to a consumer. Each feature
is an object of its own; here they meet, in the order in which they act: deliver, expire.
"""

from typing import TYPE_CHECKING

from .death import Reason
from .expiry import Expiry
from .message import Message

if TYPE_CHECKING:
    from .queue import Queue

EXPIRED_AT_ONCE = 2000
"""How many messages expire in one turn before others have their turn."""


class Features:
    """The features of one queue."""

    __slots__ = ("_queue", "expiry")

    def __init__(self, queue: "Queue"):
        self._queue = queue
        self.expiry: Expiry | None = None

    @property
    def singly(self) -> bool:
        """Whether every message must come through `Queue.enqueue`."""
        return self.timed

    @property
    def timed(self) -> bool:
        """Whether messages must know when they were published."""
        return self.expiry is not None and self.expiry.ttl_ms is not None

    def dispatch(self) -> None:
        """Deliver what may be delivered, then be done with what must not stay."""
        self._deliver()
        self._expire()

    def catch_up(self) -> None:
        """Do what the end of the turn would do, for somebody is going to look at the queue."""
        if self._queue.dirty:
            self._queue.dispatch()
        else:
            self._expire()

    def _deliver(self) -> None:
        rotation = self._queue.rotation
        while rotation:
            consumer = rotation[0]
            if not consumer.can_take():
                rotation.popleft()
                consumer.leave_rotation()
                continue
            taken = self._next()
            if taken is None:
                return
            consumer.hand(*taken)
            rotation.rotate(-1)

    def _next(self) -> tuple[Message, bool] | None:
        """The first message that may be delivered; those before it are done with."""
        queue, expiry = self._queue, self.expiry
        while (taken := queue.pop()) is not None:
            message, redelivered = taken
            if expiry is None:
                return taken
            over = expiry.is_over(message) if redelivered else expiry.is_too_late(message)
            if not over:
                return taken
            queue.discard(message, Reason.EXPIRED)
        return None

    def _expire(self) -> None:
        """Drop overdue messages from the head on, and wait for the next one to be overdue."""
        expiry, queue = self.expiry, self._queue
        if expiry is None:
            return
        for _ in range(EXPIRED_AT_ONCE):
            head = queue.head()
            if head is None or not expiry.is_over(head):
                break
            queue.pop()
            queue.discard(head, Reason.EXPIRED)
        expiry.watch(queue.head())

    def end(self) -> None:
        """The queue is deleted."""
        if self.expiry is not None:
            self.expiry.stop()

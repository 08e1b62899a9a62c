"""x-delayed-retry-type, -min and -max: messages that come back wait before they are ready again.

The first time for the minimum, the second time twice as long and so on, up to the maximum, which is
the minimum if there is none. `all` is for every return, `failed` for those by basic.reject or by a
channel that ends, `returned` for those by basic.nack and basic.recover. RabbitMQ has this from 4.3
on, for quorum queues (https://www.rabbitmq.com/docs/quorum-queues#delayed-retry); here it is for
classic ones, too.

What waits is not ready: it is neither counted nor delivered, but purged and deleted like the rest,
and it keeps its place. It is in the journal with its count if the queue is a quorum queue; when it
was to be ready is forgotten by a restart, after which it is at once.
"""

from heapq import heappop, heappush
from typing import TYPE_CHECKING

import msgspec

from .message import Message
from .timers import Timer, Timers

if TYPE_CHECKING:
    from .queue import Queue

WAITING_MAX = 20_000
WAITING_MAX_BYTES = 32 << 20
"""When more are waiting in a queue, the next ones are ready at once: they take memory."""


class DelayedRetries:
    """What waits for its next delivery in one queue."""

    __slots__ = ("_queue", "_timer", "_timers", "_waiting", "_waiting_bytes")

    def __init__(self, queue: "Queue", timers: Timers):
        self._queue = queue
        self._timers = timers
        self._timer: Timer | None = None
        self._waiting: list[tuple[float, int, Message]] = []
        self._waiting_bytes = 0

    def delay_ms(self, returns: int, *, failed: bool) -> int:
        """How long a message waits that has come back so many times; 0 for not at all."""
        settings = self._queue.settings
        least = settings.delayed_retry_min_ms
        kinds = ("all", "failed" if failed else "returned")
        if settings.delayed_retry_type not in kinds or least is None or least <= 0:
            return 0
        most = settings.delayed_retry_max_ms
        if most is None or most <= 0:
            most = least
        return min(least * max(returns, 1), most)

    def hold(self, message: Message, *, failed: bool) -> bool:
        """Have a message that comes back wait, if it must; False if it is ready at once."""
        if not self._queue.keeps_all:  # a quorum queue has counted it
            message = msgspec.structs.replace(message, returns=message.returns + 1)
        delay_ms = self.delay_ms(message.returns, failed=failed)
        waiting_bytes = self._waiting_bytes + message.memory_bytes
        if not delay_ms or len(self._waiting) >= WAITING_MAX or waiting_bytes > WAITING_MAX_BYTES:
            return False
        self._waiting_bytes = waiting_bytes
        due = self._timers.now + delay_ms / 1000
        heappush(self._waiting, (due, message.id, message))
        self._watch()
        return True

    def clear(self) -> None:
        """Drop all that waits."""
        for message in self._take_all():
            if message.stored:
                self._queue.settle(message)
        self._watch()

    def release(self) -> None:
        """Have all that waits be ready now."""
        for message in self._take_all():
            self._queue.ready_again(message)
        self._watch()

    def _take_all(self) -> list[Message]:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return [message for _, _, message in waiting]

    def _watch(self) -> None:
        due = self._waiting[0][0] if self._waiting else None
        if self._timer is not None:
            if self._timer.due == due:
                return
            self._timer.cancel()
        self._timer = None if due is None else self._timers.at(due, self._release_due)

    def _release_due(self) -> None:
        self._timer = None
        while self._waiting and self._waiting[0][0] <= self._timers.now:
            message = heappop(self._waiting)[2]
            self._waiting_bytes -= message.memory_bytes
            self._queue.ready_again(message)
        self._watch()

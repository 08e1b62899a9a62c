"""x-delayed-retry-type, -min and -max: messages that come back wait before they are ready again.

The first time for the minimum, the second time twice as long and so on, up to the maximum, which is
the minimum if there is none. `all` is for every return, `failed` for those by basic.reject or by a
channel that ends, `returned` for those by basic.nack and basic.recover. RabbitMQ has this from 4.3
on, for quorum queues, where only failures make the time longer
(https://www.rabbitmq.com/docs/quorum-queues#delayed-retry); here it is for classic ones, too, where
every return does.

What waits is not ready: it is neither counted nor delivered, but purged and deleted like the rest.
How often a stored message came back, and the time of day when it is ready again, are in the
journal, so that a restart does not make the wait longer or shorter.

What waits counts in the memory budget. When that is short, it is on disk only, at sixteen bytes a
message in memory. Then it becomes ready behind what its queue has in memory, if that is much; and
how often it came back is forgotten if it is transient.
"""

from array import array
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import msgspec

from .clearing import Clearing
from .due_heap import ENTRY_BYTES, NO_DUE_MS, DueHeap
from .line import PAGED_MESSAGES, owns
from .message import Message
from .returns import NEVER
from .timers import Timer, Timers

if TYPE_CHECKING:
    from .queue import Queue

RELEASED_AT_ONCE = 1000
PAUSE_S = 0.001
"""How many messages become ready in one go, and how long others have their turn then."""


class DelayedRetries:
    """What waits for its next delivery in one queue."""

    __slots__ = ("_due_ms", "_held_bytes", "_on_disk", "_queue", "_timer", "_timers", "_waiting")

    def __init__(self, queue: "Queue", timers: Timers):
        self._queue = queue
        self._timers = timers
        self._timer: Timer | None = None
        self._due_ms = NO_DUE_MS
        self._waiting: list[tuple[int, int, Message]] = []
        self._on_disk = DueHeap()
        self._held_bytes = 0

    # --- coming back --------------------------------------------------------------------------

    def due_ms(self, times: int, *, failed: bool) -> int:
        """When a message is ready again, in milliseconds since 1970, that has come back so many
        times; 0 for at once.
        """
        settings = self._queue.settings
        least = settings.delayed_retry_min_ms
        kinds = ("all", "failed" if failed else "returned")
        if settings.delayed_retry_type not in kinds or least is None or least <= 0:
            return 0
        most = settings.delayed_retry_max_ms
        if most is None or most <= 0:
            most = least
        return self._timers.wall_ms + min(least * max(times, 1), most)

    def take_back(self, message: Message, *, failed: bool) -> None:
        """Count a message that comes back to a classic queue, and have it wait, if it must."""
        queue, returns = self._queue, message.returns
        store = queue.store if owns(queue, message) else None
        if returns is NEVER and store is not None:
            returns = store.returns(queue, message.stored)
        returns = returns.once_more(failed=failed)
        due_ms = self.due_ms(returns.times, failed=failed)
        if store is not None:
            store.note_returns(queue, message.stored, returns.waiting(due_ms))
        message = msgspec.structs.replace(message, returns=returns)
        if due_ms:
            self.wait(message, due_ms)
        else:
            queue.ready_again(message)

    def wait(self, message: Message, due_ms: int) -> None:
        """Have a message that came back wait till then, in milliseconds since 1970."""
        self._held_bytes += message.memory_bytes
        heappush(self._waiting, (due_ms, message.id, message))
        self._watch()

    def restore(self, ids: "array[int]") -> "array[int]":
        """Keep those of a queue's messages from before a restart that are still to wait; the others
        are returned.
        """
        queue, now_ms = self._queue, self._timers.wall_ms
        assert queue.store is not None
        ready = array("Q")
        for stored in ids:
            due_ms = queue.store.returns(queue, stored).due_ms
            if due_ms > now_ms:
                self._on_disk.push(due_ms, stored)
            else:
                ready.append(stored)
        self._watch()
        return ready

    # --- being ready again --------------------------------------------------------------------

    def _release_due(self) -> None:
        self._timer = None
        now_ms, on_disk = self._timers.wall_ms, self._on_disk
        ids = array("Q")
        for _ in range(RELEASED_AT_ONCE):
            if self._first_due_ms > now_ms:
                break
            if self._waiting and self._waiting[0][0] <= on_disk.first_due_ms:
                message = heappop(self._waiting)[2]
                self._held_bytes -= message.memory_bytes
                self._queue.ready_again(message)
            else:
                ids.append(on_disk.pop()[1])
        if ids:
            self._queue.stored_ready_again(ids)
        self._watch()

    @property
    def _first_due_ms(self) -> int:
        waiting_ms = self._waiting[0][0] if self._waiting else NO_DUE_MS
        return min(waiting_ms, self._on_disk.first_due_ms)

    def _watch(self) -> None:
        """Wake up when the first message is due, or after a pause if it is by now."""
        due_ms = self._first_due_ms
        if self._timer is not None and self._due_ms == due_ms:
            return
        self._stop()
        if due_ms < NO_DUE_MS:
            self._due_ms = due_ms
            wait_s = (due_ms - self._timers.wall_ms) / 1000
            due = self._timers.now + max(wait_s, PAUSE_S)
            self._timer = self._timers.at(due, self._release_due)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- memory and the end -------------------------------------------------------------------

    @property
    def memory_bytes(self) -> int:
        """About how much memory all that waits takes."""
        return self._held_bytes + ENTRY_BYTES * len(self._on_disk)

    def page_out(self) -> None:
        """Keep what waits on disk only, beginning with what is due last."""
        if self._queue.store is None:
            return
        self._waiting.sort()
        paged = self._waiting[-PAGED_MESSAGES:]
        del self._waiting[-PAGED_MESSAGES:]
        for due_ms, _, message in paged:
            self._held_bytes -= message.memory_bytes
            self._on_disk.push(due_ms, self._queue.stored_id(message))

    def clear(self) -> None:
        """Drop all that waits."""
        queue = self._queue
        queue.clearings.add(
            Clearing(
                queue,
                queue.name,
                queue.vhost_name,
                returned=self._waiting,
                ids=self._on_disk.take_all(),
            )
        )
        self._waiting = []
        self._held_bytes = 0
        self._stop()

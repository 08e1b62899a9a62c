"""x-expires: a queue that nobody uses for a while goes away.

Using it is declaring it (also passively), unless it is a quorum queue, basic.get, and having
consumers; publishing to it is not (https://www.rabbitmq.com/docs/ttl#queue-ttl). Renewing only
notes the time: the timer looks when it is due and sets itself anew, so that a busy queue costs no
timer operations.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from .timers import Timer, Timers

if TYPE_CHECKING:
    from .queue import Queue


class Lease:
    """How long a queue may be unused, and since when it is."""

    __slots__ = ("_expire", "_expires_s", "_queue", "_timer", "_timers", "_used")

    def __init__(
        self, queue: "Queue", expires_ms: int, timers: Timers, expire: Callable[["Queue"], object]
    ):
        """`expire` is called with the queue once it has been unused for `expires_ms`."""
        self._queue = queue
        self._expires_s = expires_ms / 1000
        self._timers = timers
        self._expire = expire
        self._used = timers.now
        self._timer: Timer = timers.at(self._used + self._expires_s, self._look)

    def renew(self) -> None:
        """The queue is used now."""
        self._used = self._timers.now

    def end(self) -> None:
        """The queue is gone."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._timers.now
        if self._queue.consumers.all:
            self._used = now
        due = self._used + self._expires_s
        if due <= now:
            self._expire(self._queue)
        else:
            self._timer = self._timers.at(due, self._look)

"""Deadlines: one heap for all, driven by whoever knows the time."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from .faults import attempt

_HAIR = 1e-3
"""Makes up for what the conversion from seconds loses."""

_CANCELLED_MAX = 1000


class Timer:
    """A call due at a time; `cancel` takes it back."""

    __slots__ = ("_timers", "call", "due")

    def __init__(self, timers: "Timers", due: float, call: Callable[[], None]):
        self._timers = timers
        self.due = due
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Never make the call."""
        if self.call is not None:
            self.call = None
            self._timers.cancelled()


class Timers:
    """Timers by deadline, in seconds of whatever clock `now` is set from."""

    def __init__(self) -> None:
        self.now = 0.0
        """The time, in seconds; whoever drives the timers sets it."""
        self.epoch_ms = 0.0
        """When `now` was 0, in milliseconds since 1970; whoever drives the timers sets it."""
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._cancelled = 0
        self.on_earlier: Callable[[float], None] = lambda _: None
        """Called with a deadline that is earlier than all before it: whoever sleeps must wake
        sooner.
        """

    @property
    def wall_ms(self) -> int:
        """The time of day, in milliseconds since 1970: for what must make sense after a restart."""
        return int(self.epoch_ms + self.now * 1000 + _HAIR)

    def at(self, due: float, call: Callable[[], None]) -> Timer:
        """Have `call` made by the first `run` at or after `due`."""
        timer = Timer(self, due, call)
        if not self._heap or due < self._heap[0][0]:
            self.on_earlier(due)
        heappush(self._heap, (due, next(self._order), timer))
        return timer

    def cancelled(self) -> None:
        """A timer in the heap has been cancelled. When most of them are, they are taken out."""
        self._cancelled += 1
        if self._cancelled > max(len(self._heap) // 2, _CANCELLED_MAX):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapify(self._heap)
            self._cancelled = 0

    def next_deadline(self) -> float | None:
        """When `run` has something to do; None if never."""
        heap = self._heap
        while heap and heap[0][2].call is None:
            heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def run(self) -> None:
        """Make the calls that are due. Raises JournalError."""
        while self._heap and self._heap[0][0] <= self.now:
            timer = heappop(self._heap)[2]
            call, timer.call = timer.call, None
            if call is not None:
                attempt(call)
            else:
                self._cancelled -= 1

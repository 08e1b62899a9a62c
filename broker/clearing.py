"""Clearing a queue bit by bit: to be done with a million messages would keep all others waiting.

A queue that is purged or deleted is empty at once; what was in it is settled in the turns that
follow. When the broker stops it finishes that for the queues that are still there; messages of
others belong to nobody, and the next start drops them. After a crash, what was not settled yet of a
purged queue is back.
"""

from array import array
from collections import deque
from collections.abc import Callable

from .backlog import Backlog
from .line import Line, owns
from .message import Message
from .work import Work

CLEARED_AT_ONCE = 5000
"""How many messages are settled in one turn."""

IDS_PER_MESSAGE = 10
"""How many that are on disk only count as one: there is nothing to them but a number."""


class Clearing:
    """What was in a line of the queue of that name, as `Work` for the turns to come.

    `returned` are tuples that end with a message, in any order; `ids` are of messages that are on
    disk only, in no order.
    """

    __slots__ = ("_backlog", "_ids", "_line", "_ready", "_returned", "dirty", "name", "vhost_name")

    def __init__(
        self,
        line: Line,
        name: str,
        vhost_name: str,
        *,
        ready: deque[Message] | None = None,
        returned: list[tuple[int, Message]] | list[tuple[int, int, Message]] | None = None,
        backlog: Backlog | None = None,
        ids: "array[int] | None" = None,
    ):
        self._line = line
        self._ready = deque[Message]() if ready is None else ready
        self._returned = [] if returned is None else returned
        self._backlog = Backlog() if backlog is None else backlog
        self._ids = array("Q") if ids is None else ids
        self.name = name
        self.vhost_name = vhost_name
        self.dirty = False

    def __len__(self) -> int:
        return len(self._ready) + len(self._returned) + len(self._backlog) + len(self._ids)

    def dispatch(self) -> bool:
        """Settle some of the messages; True if there are more."""
        line, ids = self._line, array("Q")
        ready, returned, backlog = self._ready, self._returned, self._backlog
        left = CLEARED_AT_ONCE
        while left and (ready or returned):
            message = ready.popleft() if ready else returned.pop()[-1]
            if owns(line, message):
                ids.append(message.stored)
            left -= 1
        if left and backlog:
            some = backlog.first(left * IDS_PER_MESSAGE)
            backlog.drop(len(some))
            ids.extend(some)
            left -= len(some) // IDS_PER_MESSAGE
        if left and self._ids:
            ids.extend(self._ids[-left * IDS_PER_MESSAGE :])
            del self._ids[-left * IDS_PER_MESSAGE :]
        if ids and line.store is not None:
            line.store.settle(line, ids)
        self.dirty = len(self) > 0
        return self.dirty


class Clearings:
    """What a queue has dropped and is not done with yet."""

    __slots__ = ("_mark_dirty", "_unfinished")

    def __init__(self, mark_dirty: Callable[[Work], None]):
        self._mark_dirty = mark_dirty
        self._unfinished: list[Clearing] = []

    def add(self, clearing: Clearing) -> None:
        """Be done with messages, in the turns to come if they are many."""
        if clearing.dispatch():
            self._unfinished = [*filter(len, self._unfinished), clearing]
            self._mark_dirty(clearing)

    def finish(self) -> None:
        """Settle all that is left, for the broker stops."""
        for clearing in self._unfinished:
            while clearing.dispatch():
                pass


def cleared(line: Line, name: str, vhost_name: str) -> Clearing:
    """Empty a line of the queue of that name; what was in it."""
    clearing = Clearing(
        line,
        name,
        vhost_name,
        ready=line.ready,
        returned=line.returned,
        backlog=line.backlog,
    )
    line.ready, line.returned, line.shells = deque(), [], 0
    if line.backlog is not None:
        line.backlog = None
        line.backlog_changed()
    return clearing

"""Deleting very many queues at once, those of a connection or of a vhost, and what was in them.

Connections may leave thousands of exclusive queues behind: they go in several turns, and the client
has its connection.close-ok when all are gone. What was in the queues is settled after that, so much
in each turn for all of them together.
"""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .clearing import CLEARED_AT_ONCE, Clearing, Clearings

if TYPE_CHECKING:
    from .connection import Connection
    from .queue import Queue
    from .vhost import VirtualHost

DELETED_AT_ONCE = 250
"""How many queues are deleted in one turn."""


class Sweep(Clearings):
    """What was in queues that are deleted together, as one `Work` for all of them."""

    __slots__ = ("_clearings", "dirty", "vhost_name")

    name = "deleted queues"

    def __init__(self, vhost: "VirtualHost"):
        super().__init__(vhost.mark_dirty)
        self._clearings: deque[Clearing] = deque()
        self.vhost_name = vhost.name
        self.dirty = False

    def add(self, clearing: Clearing) -> None:
        """Be done with messages in the turns to come."""
        if len(clearing):
            self._clearings.append(clearing)
            if not self.dirty:
                self._mark_dirty(self)

    def finish(self) -> None:
        """Nothing: the messages belong to nobody any more, and the next start drops them."""

    def dispatch(self) -> bool:
        """Settle some of the messages; True if there are more."""
        clearings, left = self._clearings, CLEARED_AT_ONCE
        while clearings and left > 0:
            count = len(clearings[0])
            clearings[0].dispatch()
            left -= count - len(clearings[0])
            if not len(clearings[0]):
                clearings.popleft()
        self.dirty = bool(clearings)
        return self.dirty


class ExclusiveQueues:
    """Those that a connection leaves behind, as `Work`."""

    __slots__ = ("_connection", "_left", "_sweep", "dirty")

    def __init__(self, connection: "Connection"):
        self._connection = connection
        self._left = deque(connection.exclusive_queues)
        self._sweep = Sweep(connection.vhost)
        self.dirty = False

    @property
    def name(self) -> str:
        """Of the connection."""
        return f"queues of connection {self._connection.name}"

    @property
    def vhost_name(self) -> str:
        """Of its vhost."""
        return self._connection.vhost.name

    def delete(self) -> None:
        """Delete them, in the turns to come if they are many; the client waits for it."""
        if self._delete_some():
            self._connection.wait()
            self._connection.broker.mark_dirty(self)

    def dispatch(self) -> bool:
        """Delete some; True if there are more."""
        self.dirty = self._delete_some()
        if not self.dirty:
            self._connection.waited()
        return self.dirty

    def _delete_some(self) -> bool:
        some = (self._left.popleft() for _ in range(min(len(self._left), DELETED_AT_ONCE)))
        delete_together(self._connection.vhost, some, self._sweep)
        return bool(self._left)


def delete_together(vhost: "VirtualHost", queues: "Iterable[Queue]", sweep: Sweep) -> None:
    """Delete queues now, but settle what was in them in the turns to come."""
    for queue in queues:
        if not queue.deleted:
            queue.clearings = sweep
            vhost.delete_queue(queue)

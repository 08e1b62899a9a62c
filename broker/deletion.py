"""Deleting very much at once: the queues of a connection, and what very much is bound to.

Connections may leave thousands of exclusive queues behind: they go in several turns, and the client
has its connection.close-ok when all are gone. What was in the queues is settled after that, so much
in each turn for all of them together.

A queue or an exchange with thousands of bindings loses them in several turns, and then goes itself.
To the client that deletes it that is one step; to others it is as if it had been unbound before. In
the journal it goes first, so that no restart brings it back with some of its bindings.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from .clearing import CLEARED_AT_ONCE, Clearing, Clearings
from .faults import attempt
from .queue import Queue
from .work import ConnectionWork

if TYPE_CHECKING:
    from .connection import Connection
    from .exchange import Exchange
    from .vhost import VirtualHost

DELETED_AT_ONCE = 250
"""How many queues and bindings are deleted in one turn, of those that are deleted together."""

UNBOUND_AT_ONCE = 500
"""How many bindings a queue or an exchange that is deleted loses in one turn."""


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


class ExclusiveQueues(ConnectionWork):
    """Those that a connection leaves behind, as `Work`."""

    __slots__ = ("_left", "_sweep")

    def __init__(self, connection: "Connection"):
        super().__init__(connection)
        self._left = deque(connection.exclusive_queues)
        self._sweep = Sweep(connection.vhost)

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
        most = DELETED_AT_ONCE
        while self._left and most > 0:
            queue = self._left.popleft()
            bindings = min(len(queue.destination_of), most)
            attempt(partial(self._delete, queue, bindings))
            most -= 1 + bindings
        return bool(self._left)

    def _delete(self, queue: Queue, bindings: int) -> None:
        """Take so many bindings away from one, and the queue itself if it has no more."""
        vhost = self._connection.vhost
        vhost.unbind_some(queue, bindings)
        if queue.destination_of:
            self._left.appendleft(queue)
        else:
            delete_together(vhost, [queue], self._sweep)


class Deletion:
    """A queue or an exchange that is being deleted, as `Work`; `then` is called when it is gone.

    What is bound to it meanwhile counts no more: it goes when all that was bound at first is gone.
    """

    __slots__ = ("_left", "_then", "_thing", "_vhost", "dirty", "name", "vhost_name")

    def __init__(
        self, vhost: "VirtualHost", thing: "Queue | Exchange", then: Callable[[int], None]
    ):
        self._vhost = vhost
        self._thing = thing
        self._then = then
        self._left = binding_count(thing)
        self.name = thing.name
        self.vhost_name = vhost.name
        self.dirty = False

    @property
    def is_much(self) -> bool:
        """Whether there is more than one turn should take away."""
        return is_much(self._left)

    def dispatch(self) -> bool:
        """Take some bindings away, or the thing itself; True if there is more."""
        count = 0
        try:
            self.dirty = self.is_much and self._vhost.has(self._thing)
            if self.dirty:
                self._left -= UNBOUND_AT_ONCE
                self._vhost.unbind_some(self._thing, UNBOUND_AT_ONCE)
            else:
                count = self._vhost.delete(self._thing)
        except BaseException:
            self.dirty = False
            raise
        finally:
            if not self.dirty:
                self._then(count)
        return self.dirty


def delete_for(
    connection: "Connection",
    thing: "Queue | Exchange",
    then: Callable[[int], None] = lambda count: None,
) -> None:
    """Delete something because of what a client does, which waits if that takes several turns.
    `then` is called as by a `Deletion`.
    """
    if not is_much(binding_count(thing)):
        return connection.vhost.delete_in_turns(thing, then)

    def gone(count: int) -> None:
        then(count)
        connection.waited()

    connection.wait()
    return connection.vhost.delete_in_turns(thing, gone)


def is_much(bindings: int) -> bool:
    """Whether so many are taken away in several turns."""
    return bindings > UNBOUND_AT_ONCE


def binding_count(thing: "Queue | Exchange") -> int:
    """How many bindings go with a queue or an exchange."""
    as_source = 0 if isinstance(thing, Queue) else len(thing.bindings)
    return as_source + len(thing.destination_of)


def delete_together(vhost: "VirtualHost", queues: "Iterable[Queue]", sweep: Sweep) -> None:
    """Delete queues now, but settle what was in them in the turns to come."""
    for queue in queues:
        if not queue.deleted:
            queue.clearings = sweep
            vhost.delete_queue(queue)

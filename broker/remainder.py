"""What is left of the input of a connection when a turn has done enough of it.

Others are served before it goes on. To the client that is nothing but the pace: it is not read from
meanwhile, and everything is done in the order in which it came.
"""

from typing import TYPE_CHECKING

from .work import ConnectionWork

if TYPE_CHECKING:
    from .connection import Connection
    from .queue import Queue

METHOD_EFFORT = 4
"""What a method counts as effort, one of which takes some 10 µs. Some count more for what they
find.
"""

QUEUES_PER_EFFORT = 8
"""A message that is looked at by itself counts one, and one more for so many queues; so does
finding out where a publish leads to.
"""

DEAD_LETTER_EFFORT = 2
"""And so many more for each queue in which it makes a dead letter."""

CLEARED_PER_EFFORT = 50
"""To how many messages a client can put an end for that."""


def effort_of(queues: "tuple[Queue, ...]") -> int:
    """What it counts to publish a message that goes to these queues."""
    dead_letters = sum(
        queue.features is not None and queue.features.makes_dead_letters for queue in queues
    )
    return 1 + len(queues) // QUEUES_PER_EFFORT + DEAD_LETTER_EFFORT * dead_letters


class EnoughForNow(Exception):
    """The turn has done enough; the receiver's `position` tells where the next one goes on. Raised
    between two messages where each is looked at: a test in the loop would cost those who publish in
    bulk.
    """


class Remainder(ConnectionWork):
    """What is left, as `Work` for the next turn."""

    __slots__ = ("_put_off",)

    def __init__(self, connection: "Connection"):
        super().__init__(connection)
        self._put_off = False
        connection.wait()
        connection.broker.mark_dirty(self)

    def dispatch(self) -> bool:
        """Nothing in the turn that has done enough; in the next one, have the connection go on."""
        if not self._put_off:
            self._put_off = True
            return True
        self.dirty = False
        self._connection.waited()
        return False

"""Priorities in quorum queues by the rules of 4.0: the oracle for which message is next.

There are two, a high one from 5 on. While messages of both wait, two of high priority go for one of
the others, which has the third turn unless one of high priority is older. Every message that never
came back takes a turn when it leaves the front, whatever becomes of it; what came back goes before
all others. After a restart turns are counted anew.
"""

from .things import Entry, MQueue

_HIGH_FROM = 5
_TURNS = 3


def first(queue: MQueue) -> Entry | None:
    """The message that is next, of any queue."""
    if not queue.ready:
        return None
    front = queue.ready[0]
    if not queue.takes_turns or front.stands < 0 or is_high(front):
        return front
    high = next(filter(is_high, queue.ready), front)
    return front if queue.turn == _TURNS - 1 else high


def leave(queue: MQueue, entry: Entry) -> None:
    """A message leaves the front of its queue."""
    queue.ready.remove(entry)
    if queue.turn is not None and entry.stands >= 0:
        queue.turn = (queue.turn + 1) % _TURNS


def is_high(entry: Entry) -> bool:
    """Whether it goes before others."""
    return entry.sent.priority >= _HIGH_FROM

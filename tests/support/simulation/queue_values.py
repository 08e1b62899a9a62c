"""Message deduplication: the oracle for queues that hold each value but once.

A message does not come in, which its publisher is told, while another one with its value is in the
queue: ready, out with a client, or waiting for a retry. The value may come again as soon as that is
done with, whatever its end was, or its time is up, though it may still be there; and when the queue
is purged, also of what is out.

So it happens that several messages have the same value. Then it stands for the one whose time is up
last, of equal ones for the first, and may come again when that is gone. (Messages that came in the
same millisecond are not told apart.)

A restart brings the values back with their messages. If a policy turns this on it is for the
messages that come, or come back, from then on.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from .expiry import is_over

if TYPE_CHECKING:
    from .things import Entry, MQueue, Sent


def has(queue: MQueue, sent: Sent, now_ms: int) -> bool:
    """Whether a message is a duplicate."""
    holder = queue.values.get(sent.value)
    return holder is not None and not is_over(holder, now_ms)


def hold(queue: MQueue, entry: Entry) -> None:
    """A message is in the queue, anew or again."""
    value = entry.sent.value
    if not queue.traits.deduplicates or value < 0:
        return
    holder = queue.values.get(value)
    if holder is None or _end_of(entry) > _end_of(holder):
        queue.values[value] = entry


def _end_of(entry: Entry) -> float:
    return inf if entry.expires_ms is None else entry.expires_ms


def free(queue: MQueue, entry: Entry) -> None:
    """The queue is done with a message."""
    holder = queue.values.get(entry.sent.value)
    if holder is not None and holder.came_ms == entry.came_ms:
        del queue.values[entry.sent.value]

"""Limits of length: the oracle for x-max-length, x-max-length-bytes and x-overflow.

Only what is ready counts, and its bodies. With drop-head the first messages give way; otherwise a
new message that does not fit is refused, which its publisher is told.
"""

from .things import MQueue, Sent

GIVE_WAY_TO_ONE = 10
"""How many give way at once to one that comes back; further ones do when the turn ends."""


def are_passed(queue: MQueue) -> bool:
    """Whether a queue holds more than it may."""
    return not _fits(queue, len(queue.ready), sum(entry.sent.size for entry in queue.ready))


def must_give_way(queue: MQueue) -> bool:
    """Whether it drops its first message for that."""
    return not queue.traits.refuses and are_passed(queue)


def has_room(queue: MQueue, sent: Sent) -> bool:
    """Whether a queue takes a new message."""
    if not queue.traits.refuses:
        return True
    size = sum(entry.sent.size for entry in queue.ready) + sent.size
    return _fits(queue, len(queue.ready) + 1, size)


def _fits(queue: MQueue, count: int, size: int) -> bool:
    most, most_bytes = queue.traits.max_length, queue.traits.max_bytes
    return (most is None or count <= most) and (most_bytes is None or size <= most_bytes)

"""Quorum queues: the oracle for delivery counts, x-delivery-limit, and where returned messages go.

Everything stays on disk. Each return of a message is counted, over restarts as well, except that
the last ones before a crash may be forgotten; one that comes back too often dies. What comes back
stands first, in the order of returns; but if there is no limit, what a client hands back goes to
the end. Where those from before a restart stand among those that come back, nobody may rely on.
"""

from itertools import count

from fake_client import Received

from .things import Entry, MQueue, Violation

_HEADER = "x-delivery-count"
_FIRST = count(-(1 << 40)).__next__
"""Places before all that were never delivered."""


def count_return(entry: Entry, batch: int) -> None:
    """A message comes back."""
    entry.returns += 1
    entry.returned_in.append(batch)


def is_too_often(queue: MQueue, entry: Entry) -> bool:
    """Whether a message has come back more often than it may."""
    limit = queue.traits.delivery_limit
    return limit is not None and entry.returns > limit


def put_in_place(queue: MQueue, entry: Entry, last: int, *, asked: bool) -> None:
    """Give a returned message its place; `last` is the one behind all others. `asked` says that the
    client wants it back in the queue.
    """
    some_are_new = any(other.stands >= 0 for other in queue.ready)
    to_the_end = asked and queue.traits.delivery_limit is None and some_are_new
    entry.stands = last if to_the_end else _FIRST()


def check_count(entry: Entry, got: Received) -> None:
    """A message is delivered with its count, or without one if that is 0. Raises Violation."""
    shown = (got.headers or {}).get(_HEADER, 0)
    if not entry.returns <= shown <= entry.returns + entry.doubtful_returns:
        raise Violation(f"delivery count: {entry.name} has {shown}, not {entry.returns}")
    entry.returned_in += [0] * (shown - entry.returns)  # they were on disk, then
    entry.returns, entry.doubtful_returns = shown, 0

"""Quorum queues: the oracle for delivery counts, x-delivery-limit, and where returned messages go.

Everything stays on disk. Each return of a message is counted, over restarts as well, except that
the last ones before a crash may be forgotten; one that comes back too often dies. What comes back
stands first, in the order of returns; but if there is no limit, what a client hands back goes to
the end. So it does after a restart; what was out with a client when the broker crashed stands where
it did before. Where those stand whose last return may be on disk or not, nobody may rely on.

From 4.0 on a queue that names no limit has one of 20.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

from fake_client import Received
from leveret.broker.rules import EmulatedVersion

from .queues import Traits
from .things import Entry, MQueue, Return, Violation

_HEADER = "x-delivery-count"
_DEFAULT_LIMIT = 20
_FIRST = count(-(1 << 40)).__next__
"""Places before all that were never delivered."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a restart has left of a message's returns: how often it came back for sure, how many
    more of these times there may be on disk, and where it stands, None if that is not known.
    """

    returns: int
    doubtful: int
    stands: int | None


def left_of_returns(alike: Sequence[Entry], written: int, taken: int) -> Left:
    """What is left of the returns of a message, which is one of these that can't be told apart. The
    batches up to `written` are on disk, those behind `taken` are not.
    """
    left = [_left_of_returns(entry, written, taken) for entry in alike]
    least = min(each.returns for each in left)
    most = max(each.returns + each.doubtful for each in left)
    return Left(least, most - least, left[0].stands if len(left) == 1 else None)


def _left_of_returns(entry: Entry, written: int, taken: int) -> Left:
    sure = [each for each in entry.returned if each.batch <= written]
    doubtful = sum(written < each.batch <= taken for each in entry.returned)
    stands = sure[-1].stands if sure else entry.place
    unknown = doubtful or (entry.doubtful_returns and not sure)
    return Left(len(sure), doubtful + entry.doubtful_returns, None if unknown else stands)


def with_default_limit(traits: Traits, emulate: EmulatedVersion) -> Traits:
    """What counts for a queue that is declared with these traits."""
    if emulate == "3.13" or not traits.quorum or traits.delivery_limit is not None:
        return traits
    return replace(traits, delivery_limit=_DEFAULT_LIMIT)


def count_return(entry: Entry) -> None:
    """A message comes back."""
    entry.returns += 1


def is_too_often(queue: MQueue, entry: Entry) -> bool:
    """Whether a message has come back more often than it may."""
    limit = queue.traits.delivery_limit
    return limit is not None and entry.returns > limit


def put_in_place(queue: MQueue, entry: Entry, last: int, batch: int, *, asked: bool) -> None:
    """Give a returned message its place, which is in that batch; `last` is the one behind all
    others. `asked` says that the client wants it back in the queue.
    """
    some_are_new = any(other.stands >= 0 for other in queue.ready)
    to_the_end = asked and queue.traits.delivery_limit is None and some_are_new
    entry.stands = last if to_the_end else _FIRST()
    entry.is_sure = True
    entry.returned.append(Return(batch, entry.stands))


def put_first(entry: Entry) -> None:
    """Give a message that has waited its place."""
    entry.stands = _FIRST()
    entry.is_sure = True


def check_count(entry: Entry, got: Received) -> None:
    """A message is delivered with its count, or without one if that is 0. Raises Violation."""
    shown = (got.headers or {}).get(_HEADER, 0)
    if not entry.returns <= shown <= entry.returns + entry.doubtful_returns:
        raise Violation(f"delivery count: {entry.name} has {shown}, not {entry.returns}")
    entry.returned += [Return(0, None)] * (shown - entry.returns)  # they were on disk, then
    entry.returns, entry.doubtful_returns = shown, 0

"""Priorities of messages as ranks in the journal, so that a restart need not read the messages to
know them.

Only what goes to a queue with priorities has a rank there: its own priority and one more, for 0 is
no rank, and no priority. From which message on that holds for a queue is in its definition, since
there may be older ones whose priorities nobody has written down: from before there were ranks, or
from when the queue had no priorities, by the rules of another version of RabbitMQ. Those of them
that have no rank are read.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TypeVar

from ..amqp.content import PRIORITY, Properties
from .kept import Kept
from .message import Message

_REMEMBERED_MAX = 4096

_LevelT = TypeVar("_LevelT")


class Priorities(dict[bytes, int | None]):
    """The priorities that property bytes give a message, None for none; a bounded number of them is
    remembered.
    """

    def __missing__(self, raw: bytes) -> int | None:
        if len(self) >= _REMEMBERED_MAX:
            self.clear()
        self[raw] = priority = Properties(raw).octet(PRIORITY)
        return priority


def rank_of(priority: int | None) -> int:
    """The rank of a message with that priority."""
    return 0 if priority is None else priority + 1


def _priority_of(rank: int) -> int | None:
    return rank - 1 if rank else None


def by_level(
    ids: "array[int]",
    kept: Kept,
    level_of: Callable[[int | None], _LevelT],
    read: Callable[["array[int]"], Iterator[Message]],
    priorities: Priorities,
) -> "dict[_LevelT, array[int]]":
    """Some of a queue's messages from before a restart, in their order, by the levels that their
    priorities belong to. Those whose priorities are not in the journal are read.
    """
    found: dict[_LevelT, list[Iterable[int]]] = {}
    chosen = set(ids) if len(ids) < len(kept.ids) else None
    for rank, ranked in kept.by_rank.items():
        some = ranked if chosen is None else array("Q", filter(chosen.__contains__, ranked))
        if not rank and (unknown := some[: bisect_left(some, kept.ranked_from)]):
            some = some[len(unknown) :]
            for message in read(unknown):
                level = level_of(priorities[message.raw_properties])
                found.setdefault(level, []).append((message.stored,))
        if some:
            found.setdefault(level_of(_priority_of(rank)), []).append(some)
    return {level: _in_order(parts) for level, parts in found.items()}


def _in_order(parts: list[Iterable[int]]) -> "array[int]":
    if len(parts) == 1:
        return array("Q", parts[0])
    return array("Q", sorted(chain.from_iterable(parts)))

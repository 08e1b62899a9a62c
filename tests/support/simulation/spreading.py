"""Spreading messages: the oracle for x-consistent-hash and x-modulus-hash.

What they make of a message is a number that nobody knows but that is always the same for what is
alike, also after a restart. The model sees where messages go, and checks that one number explains
it, whatever bindings there were at the time.

x-consistent-hash has buckets, in the order in which destinations were bound first, as many for each
as the key of that binding says. A message has one of them; if there are more buckets it is in the
same one, or in one of those that have come; and so most of what has its place keeps it.
x-modulus-hash takes the number modulo how many bindings there are, which stand in the order of
their keys, then exchanges before queues, then names.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import gcd

from .exchanges import EXCHANGES
from .things import BindingKey, Violation


class Spread:
    """Where the exchanges of a story have led messages that are alike."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, object], list[tuple[int, range]]] = {}
        self._remainders: dict[tuple[str, object], list[tuple[int, set[int]]]] = {}

    def check(self, bindings: Sequence[BindingKey], basis: object, chosen: str) -> None:
        """An exchange with these bindings has led a message to this destination. Raises
        Violation.
        """
        exchange = bindings[0][0]
        if EXCHANGES[exchange].type == "x-modulus-hash":
            fits = self._is_remainder(exchange, bindings, basis, chosen)
        else:
            fits = self._is_in_bucket(exchange, bindings, basis, chosen)
        if not fits:
            raise Violation(f"choice: {exchange} has led {basis} to {chosen}")

    def _is_in_bucket(
        self, exchange: str, bindings: Sequence[BindingKey], basis: object, chosen: str
    ) -> bool:
        weights: dict[str, int] = {}
        for _, destination, key in bindings:
            weights.setdefault(destination, int(key))
        names = list(weights)
        ends = [sum(list(weights.values())[:count]) for count in range(len(names) + 1)]
        ranges = {name: range(*ends) for name, ends in zip(names, pairwise(ends), strict=True)}
        known = self._buckets.setdefault((exchange, basis), [])
        known.append((ends[-1], ranges[chosen]))
        return all(_may_be_one(*known[-1], *earlier) for earlier in known)

    def _is_remainder(
        self, exchange: str, bindings: Sequence[BindingKey], basis: object, chosen: str
    ) -> bool:
        in_order = sorted((key, name not in EXCHANGES, name) for _, name, key in bindings)
        places = {at for at, (_, _, name) in enumerate(in_order) if name == chosen}
        known = self._remainders.setdefault((exchange, basis), [])
        known.append((len(in_order), places))
        return all(_may_be_equal(*known[-1], *earlier) for earlier in known)


def _may_be_one(count: int, found: range, other_count: int, other: range) -> bool:
    """Whether a message that is in one of those of so many buckets can be in one of the others of
    so many.
    """
    if count > other_count:
        return _may_be_one(other_count, other, count, found)
    has_come = count < other_count and other.stop > count
    return has_come or max(found.start, other.start) < min(found.stop, other.stop)


def _may_be_equal(count: int, places: set[int], other_count: int, others: set[int]) -> bool:
    """Whether a number can have one of these remainders and one of the others."""
    common = gcd(count, other_count)
    return any(one % common == other % common for one in places for other in others)

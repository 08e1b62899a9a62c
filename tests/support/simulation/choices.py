"""Watching exchanges that choose one of their bindings: which one, and that equal ones are equal.

What they hash, and what the dice say, is their own business. But what is told to two messages that
are alike, as far as the exchange looks at them, must be the same as long as its bindings are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from leveret.amqp.content import MESSAGE_ID
from leveret.broker.exchange import Exchange
from leveret.broker.message import Message

from .exchanges import EXCHANGES, Basis
from .names import name_of
from .things import BindingKey, Violation

Match: TypeAlias = Callable[[Any, Sequence[str], Message | None], Iterable[Any]]


class Choices:
    """The random numbers of a broker, and what its exchanges have chosen."""

    def __init__(self, next_number: Callable[[], int]):
        self._next_number = next_number
        self._chosen: dict[tuple[object, ...], deque[str]] = {}
        self._wrong: list[str] = []

    def __call__(self, end: int) -> int:
        return self._next_number() % end

    def note(
        self, exchange: Exchange, keys: Sequence[str], message: Message | None, chosen: str
    ) -> None:
        """An exchange has chosen that destination."""
        by = EXCHANGES[exchange.name].chooses_by
        assert by is not None
        bindings = [
            (exchange.name, each.destination.name, each.routing_key)
            for each in exchange.bindings.values()
        ]
        key = (_in_order(bindings, by), by, _basis(by, keys, message))
        earlier = self._chosen.setdefault(key, deque())
        if by is Basis.NOTHING or not earlier:
            earlier.append(chosen)
        elif earlier[0] != chosen:
            self._wrong.append(f"{exchange.name} led {key[-1]} to {earlier[0]}, then to {chosen}")

    def of(self, bindings: Iterable[BindingKey], by: Basis, basis: object) -> str | None:
        """What an exchange with these bindings, in this order, has chosen. Raises Violation if it
        has not chosen the same for all that are alike.
        """
        if self._wrong:
            raise Violation(f"choice: {self._wrong[0]}")
        chosen = self._chosen.get((_in_order(bindings, by), by, basis))
        if not chosen:
            return None
        return chosen.popleft() if by is Basis.NOTHING else chosen[0]


def _in_order(bindings: Iterable[BindingKey], by: Basis) -> tuple[BindingKey, ...]:
    """Bindings as far as it matters in which order they came."""
    return tuple(sorted(bindings) if by is Basis.KEYS else bindings)


def _basis(by: Basis, keys: Sequence[str], message: Message | None) -> object:
    if by is Basis.KEY:
        return keys[0]
    if by is Basis.KEYS:
        return tuple(keys)
    assert message is not None
    match by:
        case Basis.HEADER:
            field = message.properties.headers().get("h")
            return field and field.value
        case Basis.ID:
            return message.properties.text(MESSAGE_ID)
        case _:
            return name_of(message)


def telling(match: Match) -> Match:
    """The method `match` of an exchange that also notes what it chooses."""

    def match_and_tell(
        self: Exchange, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable[Any]:
        chosen = list(match(self, routing_keys, message))
        if isinstance(self.random_below, Choices) and chosen:
            (one,) = chosen
            self.random_below.note(self, routing_keys, message, one.name)
        return chosen

    return match_and_tell

"""How a headers exchange compares a binding's arguments with a message's headers.

RabbitMQ's rules (https://www.rabbitmq.com/docs/exchanges#headers): `x-match` is all (the default),
any, all-with-x or any-with-x; the first two leave out arguments whose names begin with `x-`. A void
argument asks only that the header be there. Values are compared as Erlang's == compares them
without their types: numbers of every type are equal by value, strings and binaries by their bytes;
booleans and decimals equal their own kind only. Inside arrays and tables types and order count.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

from ..amqp.errors import PreconditionFailed
from ..amqp.fields import INTEGER_TAGS, Field, Table, Value
from .erlang_terms import erlang_term

Target = TypeVar("Target")
Comparable: TypeAlias = tuple[object, ...]
Condition: TypeAlias = str | tuple[str, Comparable]
"""A header that must be there, or must be there with that value."""

_MODES = ("all", "any", "all-with-x", "any-with-x")


class HeaderMatch:
    """One binding's conditions. Raises PreconditionFailed for an x-match that RabbitMQ refuses."""

    __slots__ = ("all", "conditions", "names")

    def __init__(self, arguments: Table):
        mode = _mode(arguments.get("x-match"))
        counting = {
            name: field
            for name, field in arguments.items()
            if name != "x-match" and (mode.endswith("-with-x") or not name.startswith("x-"))
        }
        self.all = mode.startswith("all")
        self.names = tuple(counting)
        self.conditions = frozenset[Condition](
            name if field.tag == "V" else (name, _comparable(field))
            for name, field in counting.items()
        )

    def is_met(self, present: "set[Condition]") -> bool:
        """Whether a message in which these conditions are met is wanted."""
        if self.all:
            return self.conditions <= present
        return not self.conditions.isdisjoint(present)


class HeaderIndex(Generic[Target]):
    """Finds, among many bindings, those that want a message.

    Each header of a message is made comparable once, however many bindings ask for it. A binding
    is looked at only if the condition that it is filed under is met: one of those that must all be
    met, that which the fewest others are filed under, or each of those of which any will do.
    """

    __slots__ = ("_asked", "_filed", "_matches", "_unconditional")

    def __init__(self) -> None:
        self._matches: dict[Target, tuple[HeaderMatch, Sequence[Condition]]] = {}
        self._filed: dict[Condition, dict[Target, HeaderMatch]] = {}
        self._unconditional: dict[Target, None] = {}
        self._asked: Counter[str] = Counter()
        """How many bindings ask for a header of that name."""

    def add(self, target: Target, arguments: Table) -> None:
        """Let a binding's arguments lead to a target, which has no others. Raises as
        `HeaderMatch`.
        """
        match = HeaderMatch(arguments)
        places = self._places(match)
        self._matches[target] = match, places
        self._asked.update(match.names)
        for condition in places:
            self._filed.setdefault(condition, {})[target] = match
        if match.all and not places:
            self._unconditional[target] = None

    def _places(self, match: HeaderMatch) -> Sequence[Condition]:
        if not match.all or not match.conditions:
            return tuple(match.conditions)
        filed = self._filed
        return (min(match.conditions, key=lambda condition: len(filed.get(condition, ()))),)

    def remove(self, target: Target) -> None:
        """The inverse of `add`."""
        match, places = self._matches.pop(target)
        self._unconditional.pop(target, None)
        for name in match.names:
            self._asked[name] -= 1
            if not self._asked[name]:
                del self._asked[name]
        for condition in places:
            filed = self._filed[condition]
            del filed[target]
            if not filed:
                del self._filed[condition]

    def match(self, headers: Table) -> Iterable[Target]:
        """The targets of the bindings that want a message with these headers; may repeat."""
        asked, filed = self._asked, self._filed
        present: set[Condition] = set()
        for name, field in headers.items():
            if name in asked:
                present.add(name)
                present.add((name, _comparable(field)))
        found = list(self._unconditional)
        for condition in present:
            candidates = filed.get(condition)
            if candidates is not None:
                found += [each for each, match in candidates.items() if match.is_met(present)]
        return found


def _mode(field: Field | None) -> str:
    if field is None:
        return "all"
    if field.tag != "S":
        raise PreconditionFailed(
            f"Invalid x-match field type {field.type_name} (value {erlang_term(field)});"
            " expected longstr"
        )
    if field.text not in _MODES:
        raise PreconditionFailed(
            f"Invalid x-match field value {erlang_term(field)};"
            " expected all, any, all-with-x, or any-with-x"
        )
    return field.text


def _comparable(field: Field) -> Comparable:
    tag, value = field
    if tag in INTEGER_TAGS or tag in "Tfd":
        return ("number", value)
    if isinstance(value, list | dict):
        return ("list", *_items(value))
    return ("bytes" if tag in "Sx" else tag, value)


def _items(value: "list[Field] | Table") -> Iterable[object]:
    """What stands in an array or table, types and order included, so that it can be hashed."""
    if isinstance(value, list):
        return map(_hashable, value)
    return ((name, _hashable(field)) for name, field in value.items())


def _hashable(field: Field) -> tuple[str, Value | tuple[object, ...]]:
    tag, value = field
    return tag, tuple(_items(value)) if isinstance(value, list | dict) else value

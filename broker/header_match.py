"""How a headers exchange compares a binding's arguments with a message's headers.

RabbitMQ's rules (https://www.rabbitmq.com/docs/exchanges#headers): `x-match` is all (the default),
any, all-with-x or any-with-x; the first two leave out arguments whose names begin with `x-`. A void
argument asks only that the header be there. Values are compared as Erlang's == compares them
without their types: numbers of every type are equal by value, strings and binaries by their bytes;
booleans and decimals equal their own kind only. Inside arrays and tables types and order count.
"""

from typing import TypeAlias

from ..amqp.errors import PreconditionFailed
from ..amqp.fields import INTEGER_TAGS, Field, Table
from .erlang_terms import erlang_term

Comparable: TypeAlias = tuple[object, ...]

_MODES = ("all", "any", "all-with-x", "any-with-x")


class HeaderMatch:
    """One binding's condition. Raises PreconditionFailed for an x-match that RabbitMQ refuses."""

    __slots__ = ("_all", "_wanted")

    def __init__(self, arguments: Table):
        mode = _mode(arguments.get("x-match"))
        self._all = mode.startswith("all")
        self._wanted: list[tuple[str, Comparable | None]] = [
            (name, None if field.tag == "V" else _comparable(field))
            for name, field in arguments.items()
            if name != "x-match" and (mode.endswith("-with-x") or not name.startswith("x-"))
        ]

    def matches(self, headers: Table) -> bool:
        """Whether a message with these headers is wanted."""
        for name, value in self._wanted:
            field = headers.get(name)
            hit = field is not None and (value is None or value == _comparable(field))
            if hit != self._all:
                return hit
        return self._all


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
    if isinstance(value, list):
        return ("list", *value)
    if isinstance(value, dict):
        return ("list", *value.items())
    return ("bytes" if tag in "Sx" else tag, value)

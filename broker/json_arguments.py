"""Arguments of queues, exchanges and bindings as JSON has them, and back; other values of JSON."""

import json
from collections.abc import Mapping

from ..amqp.fields import MAX_DEPTH, Field, Table
from .policy import JsonValue
from .queue_arguments import SHORTSTR_MAX_BYTES

_LONG_END = 1 << 63


class InvalidTable(ValueError):
    """Arguments that cannot stand in an AMQP table; the text says why."""


class InvalidJson(ValueError):
    """A value that JSON cannot have, or is nested too deeply; the text says why."""


def json_copy(value: JsonValue) -> JsonValue:
    """A copy of a value that is to be kept, so that nobody changes it. Raises InvalidJson."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise InvalidJson(f"{value!r} cannot stand in JSON: {error}"[:200]) from error
    except RecursionError as error:
        raise InvalidJson("nested too deeply") from error
    if _depth(value) > MAX_DEPTH:
        raise InvalidJson("nested too deeply")
    return json.loads(text)


def _depth(value: JsonValue) -> int:
    match value:
        case list() as items:
            return 1 + max(map(_depth, items), default=0)
        case Mapping() as table:
            return 1 + max(map(_depth, table.values()), default=0)
        case _:
            return 0


def table_from_json(values: Mapping[str, JsonValue], depth: int = 0) -> Table:
    """Arguments as RabbitMQ reads them from JSON: every whole number is a long.

    Raises InvalidTable. What is nested more deeply than a client could send it is refused, for it
    could not be read back.
    """
    for name in values:
        if len(_encoded(name)) > SHORTSTR_MAX_BYTES:
            raise InvalidTable(f"{name[:20]!r}...: a name of more than {SHORTSTR_MAX_BYTES} bytes")
    return {name: _field_from_json(value, depth) for name, value in values.items()}


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidTable(f"{text[:20]!r} must be UTF-8") from error


def _field_from_json(value: JsonValue, depth: int) -> Field:
    if depth > MAX_DEPTH:
        raise InvalidTable("nested too deeply")
    match value:
        case None:
            return Field("V", None)
        case bool():
            return Field("t", value)
        case int():
            if not -_LONG_END <= value < _LONG_END:
                raise InvalidTable(f"{value}: a number of more than 64 bits")
            return Field("l", value)
        case float():
            return Field("d", value)
        case str():
            return Field("S", _encoded(value))
        case list():
            return Field("A", [_field_from_json(item, depth + 1) for item in value])
        case _:
            return Field("F", table_from_json(value, depth + 1))


def json_from_table(table: Table) -> dict[str, JsonValue]:
    """Arguments as JSON has them; the widths of numbers are lost, as in RabbitMQ."""
    return {name: _json_from_field(value) for name, value in table.items()}


def _json_from_field(item: Field) -> JsonValue:
    match item.value:
        case bytes() as text:
            return text.decode("utf-8", "surrogateescape")
        case dict() as table:
            return json_from_table(table)
        case list() as items:
            return [_json_from_field(each) for each in items]
        case None | bool() | int() | float() as plain:
            return plain
        case other:
            return str(other)

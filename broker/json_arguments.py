"""Arguments of queues, exchanges and bindings as JSON has them, and back."""

from collections.abc import Mapping

from ..amqp.fields import Field, Table
from .policy import JsonValue
from .queue_arguments import SHORTSTR_MAX_BYTES

_LONG_END = 1 << 63


class InvalidTable(ValueError):
    """Arguments that cannot stand in an AMQP table; the text says why."""


def table_from_json(values: Mapping[str, JsonValue]) -> Table:
    """Arguments as RabbitMQ reads them from JSON: every whole number is a long.

    Raises InvalidTable.
    """
    for name in values:
        if len(name.encode()) > SHORTSTR_MAX_BYTES:
            raise InvalidTable(f"{name[:20]!r}...: a name of more than {SHORTSTR_MAX_BYTES} bytes")
    return {name: _field_from_json(value) for name, value in values.items()}


def _field_from_json(value: JsonValue) -> Field:
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
            return Field("S", value.encode("utf-8", "surrogateescape"))
        case list():
            return Field("A", [_field_from_json(item) for item in value])
        case _:
            return Field("F", table_from_json(value))


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

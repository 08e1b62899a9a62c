"""Field tables that keep their wire types.

A table is a dict of name to `Field`, and a field is its type tag beside its value, so that encoding
a decoded table gives the same types back (an `I` never returns as a `b`). Tags and their meaning
are RabbitMQ's (https://www.rabbitmq.com/docs/amqp-0-9-1-errata#section_3), which differ from AMQP
0-9-1 §4.2.1 in places: `l` and `L` are both signed, `s` is a short integer.

Strategy: one table of (struct, size) for the fixed-size types, a branch each for the rest; offsets
are passed along instead of slices; nesting is bounded, so that a small hostile frame cannot exhaust
the stack.
"""

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

MAX_DEPTH = 64

type_names = {
    "t": "bool",
    "b": "byte",
    "B": "unsignedbyte",
    "s": "short",
    "u": "unsignedshort",
    "I": "signedint",
    "i": "unsignedint",
    "l": "long",
    "L": "long",
    "f": "float",
    "d": "double",
    "D": "decimal",
    "S": "longstr",
    "x": "binary",
    "A": "array",
    "T": "timestamp",
    "F": "table",
    "V": "void",
}

INTEGER_TAGS = frozenset("bBsuIilL")


class Field(NamedTuple):
    """One value of a table or array: its type tag and the value.

    Values by tag: bool `t`; int `b B s u I i l L T`; float `f d`; (scale, unsigned int) `D`; bytes
    `S x`; list of Field `A`; Table `F`; None `V`.
    """

    tag: str
    value: "Value"

    @property
    def type_name(self) -> str:
        """RabbitMQ's name for the type, as its error texts show it."""
        return type_names[self.tag]

    @property
    def integer(self) -> int:
        """The value of an integer field."""
        assert isinstance(self.value, int)
        return self.value

    @property
    def text(self) -> str:
        """A string's characters (bytes that are not UTF-8 survive as surrogates)."""
        assert isinstance(self.value, bytes)
        return self.value.decode("utf-8", "surrogateescape")


Table: TypeAlias = dict[str, Field]
Value: TypeAlias = bool | int | float | bytes | tuple[int, int] | list[Field] | Table | None
Plain: TypeAlias = "bool | int | str | Mapping[str, Plain]"


class MalformedField(ValueError):
    """The bytes are not a table: too short, an unknown tag, nested too deeply."""


_FIXED = {
    tag: (layout, layout.size)
    for tag, layout in {
        "b": struct.Struct(">b"),
        "B": struct.Struct(">B"),
        "s": struct.Struct(">h"),
        "u": struct.Struct(">H"),
        "I": struct.Struct(">i"),
        "i": struct.Struct(">I"),
        "l": struct.Struct(">q"),
        "L": struct.Struct(">q"),
        "T": struct.Struct(">Q"),
        "f": struct.Struct(">f"),
        "d": struct.Struct(">d"),
    }.items()
}
_FIXED_SIZES = {ord(tag): size for tag, (_, size) in _FIXED.items()} | {
    ord("t"): 1,
    ord("V"): 0,
    ord("D"): 5,
}
_TABLE, _ARRAY = ord("F"), ord("A")
_SIZE = struct.Struct(">I")
_DECIMAL = struct.Struct(">BI")


def decode_table(data: bytes, at: int, depth: int = 0) -> tuple[Table, int]:
    """The table whose length field stands at `at`, and the offset behind it.

    Raises MalformedField. Of a repeated name the last value counts.
    """
    end, at = _bounds(data, at)
    if depth > MAX_DEPTH:
        raise MalformedField("tables nested too deeply")
    table: Table = {}
    while at < end:
        size = data[at]
        name = data[at + 1 : at + 1 + size].decode("utf-8", "surrogateescape")
        at += 1 + size
        if at >= end:
            raise MalformedField("a name without a value")
        table[name], at = decode_field(data, at, depth)
    if at != end:
        raise MalformedField("the last value reaches past the end of its table")
    return table, at


def check_table(data: bytes, at: int, depth: int = 0) -> int:
    """The offset behind the table at `at`, every value of it checked but none built.

    Raises MalformedField just where `decode_table` would, at a fraction of its cost.
    """
    end, at = _bounds(data, at)
    if depth > MAX_DEPTH:
        raise MalformedField("tables nested too deeply")
    while at < end:
        at += 1 + data[at]
        if at >= end:
            raise MalformedField("a name without a value")
        at = check_field(data, at, depth)
    if at != end:
        raise MalformedField("the last value reaches past the end of its table")
    return at


def encode_table(table: Table) -> bytes:
    """The table with its length field; the inverse of `decode_table`."""
    parts: list[bytes] = []
    for name, field in table.items():
        encoded = name.encode("utf-8", "surrogateescape")
        parts += (bytes((len(encoded),)), encoded, encode_field(field))
    content = b"".join(parts)
    return _SIZE.pack(len(content)) + content


def encode_field(field: Field) -> bytes:
    """A tag and its value, as they stand in a table behind a name."""
    tag, value = field
    head = tag.encode()
    if tag in _FIXED:
        return head + _FIXED[tag][0].pack(value)
    match value:
        case None:
            return head
        case bool():
            return head + (b"\1" if value else b"\0")
        case bytes():
            return head + _SIZE.pack(len(value)) + value
        case tuple():
            return head + _DECIMAL.pack(*value)
        case list():
            content = b"".join(map(encode_field, value))
            return head + _SIZE.pack(len(content)) + content
        case dict():
            return head + encode_table(value)
        case _:
            raise TypeError(f"a field of type {tag!r} cannot hold {value!r}")


def table_of(values: Mapping[str, Plain]) -> Table:
    """A table from plain Python values: str as `S`, bool as `t`, int as `I` or `l`, mappings as
    `F`.
    """
    return {name: _field_of(value) for name, value in values.items()}


def _field_of(value: Plain) -> Field:
    match value:
        case bool():
            return Field("t", value)
        case int():
            return Field("I" if -(2**31) <= value < 2**31 else "l", value)
        case str():
            return Field("S", value.encode("utf-8", "surrogateescape"))
        case _:
            return Field("F", table_of(value))


def _bounds(data: bytes, at: int) -> tuple[int, int]:
    """End and start of the content whose length field stands at `at`."""
    start = at + 4
    if start > len(data):
        raise MalformedField("too short for a length")
    end = start + _SIZE.unpack_from(data, at)[0]
    if end > len(data):
        raise MalformedField("longer than the data that holds it")
    return end, start


def decode_field(data: bytes, at: int, depth: int = 0) -> tuple[Field, int]:
    """The tag and value at `at`, and the offset behind them. Raises MalformedField."""
    tag = chr(data[at])
    at += 1
    fixed = _FIXED.get(tag)
    if fixed is not None:
        layout, size = fixed
        if at + size > len(data):
            raise MalformedField("too short for its type")
        return Field(tag, layout.unpack_from(data, at)[0]), at + size
    decode = _DECODERS.get(tag)
    if decode is None:
        raise MalformedField(f"unknown type tag {tag!r}")
    value, at = decode(data, at, depth + 1)
    return Field(tag, value), at


def _decode_string(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    end, at = _bounds(data, at)
    return data[at:end], end


def _decode_boolean(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if at >= len(data):
        raise MalformedField("too short for its type")
    return data[at] != 0, at + 1


def _decode_void(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    return None, at


def _decode_decimal(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if at + _DECIMAL.size > len(data):
        raise MalformedField("too short for its type")
    scale, value = _DECIMAL.unpack_from(data, at)
    return (scale, value), at + _DECIMAL.size


def _decode_array(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    end, at = _bounds(data, at)
    if depth > MAX_DEPTH:
        raise MalformedField("arrays nested too deeply")
    items: list[Field] = []
    while at < end:
        item, at = decode_field(data, at, depth)
        items.append(item)
    if at != end:
        raise MalformedField("the last value reaches past the end of its array")
    return items, at


_DECODERS: dict[str, Callable[[bytes, int, int], tuple[Value, int]]] = {
    "S": _decode_string,
    "x": _decode_string,
    "t": _decode_boolean,
    "F": decode_table,
    "A": _decode_array,
    "V": _decode_void,
    "D": _decode_decimal,
}


def check_field(data: bytes, at: int, depth: int = 0) -> int:
    """The offset behind the tag and value at `at`; raises MalformedField."""
    tag = data[at]
    at += 1
    size = _FIXED_SIZES.get(tag)
    if size is not None:
        if at + size > len(data):
            raise MalformedField("too short for its type")
        return at + size
    if tag in b"Sx":
        return _bounds(data, at)[0]
    if tag == _TABLE:
        return check_table(data, at, depth + 1)
    if tag != _ARRAY:
        raise MalformedField(f"unknown type tag {chr(tag)!r}")
    end, at = _bounds(data, at)
    if depth >= MAX_DEPTH:
        raise MalformedField("arrays nested too deeply")
    while at < end:
        at = check_field(data, at, depth + 1)
    if at != end:
        raise MalformedField("the last value reaches past the end of its array")
    return at

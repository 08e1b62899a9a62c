"""The types that the fields of methods have on the wire, each with how it is encoded and decoded.

They are annotations: `queue: ShortStr` is a str in Python, and a short string in a frame.
"""

import struct
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeAlias

from .fields import Table as FieldTable
from .fields import decode_table, encode_table

_LONG = struct.Struct(">I")


class WireType(NamedTuple):
    """`decode` takes the bytes and where a value begins, and returns it and where it ends. It
    raises IndexError, struct.error or MalformedField for what is no such value.
    """

    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes, int], tuple[Any, int]]


def shortstr(text: str) -> bytes:
    """A short string: a length byte and at most 255 bytes of UTF-8."""
    encoded = text.encode("utf-8", "surrogateescape")
    return bytes((len(encoded),)) + encoded


def _longstr(data: bytes) -> bytes:
    return _LONG.pack(len(data)) + data


def _decode_shortstr(payload: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end], end


def _decode_unchecked(payload: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end].decode("utf-8", "surrogateescape"), end


def _decode_longstr(payload: bytes, at: int) -> tuple[bytes, int]:
    end = at + 4 + _LONG.unpack_from(payload, at)[0]
    return payload[at + 4 : end], end


def _number(name: str, layout: str) -> WireType:
    number = struct.Struct(layout)

    def decode(payload: bytes, at: int) -> tuple[Any, int]:
        return number.unpack_from(payload, at)[0], at + number.size

    return WireType(name, number.pack, decode)


BIT = _number("bit", ">?")
"""For one that stands alone. Bits in a row share a byte, the first one in its lowest bit."""

SHORTSTR = WireType("shortstr", shortstr, _decode_shortstr)
"""Decoded to bytes: whether they are UTF-8 is looked at after everything else."""

Bit: TypeAlias = Annotated[bool, BIT]
Octet: TypeAlias = Annotated[int, _number("octet", ">B")]
Short: TypeAlias = Annotated[int, _number("short", ">H")]
Long: TypeAlias = Annotated[int, _number("long", ">I")]
LongLong: TypeAlias = Annotated[int, _number("longlong", ">Q")]
ShortStr: TypeAlias = Annotated[str, SHORTSTR]
Unchecked: TypeAlias = Annotated[str, WireType("unchecked", shortstr, _decode_unchecked)]
"""A short string whose bytes need not be UTF-8: RabbitMQ lets any pass in the names of a
publish.
"""
LongStr: TypeAlias = Annotated[bytes, WireType("longstr", _longstr, _decode_longstr)]
Table: TypeAlias = Annotated[FieldTable, WireType("table", encode_table, decode_table)]

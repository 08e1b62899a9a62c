"""Method frames' payloads, encoded and decoded from what is declared of methods."""

import struct
from typing import Any

from . import connection_methods, methods
from .errors import CommandInvalid, FrameError
from .fields import MalformedField
from .method_ids import METHOD_IDS, Method
from .wire_types import BIT, SHORTSTR, WireType

DECLARED_IN = (connection_methods, methods)
"""Where all methods are declared: being imported is what makes them known."""

_Layout = tuple[WireType, ...]
_IDS = struct.Struct(">HH")


def _layout(declared: type[Method]) -> _Layout:
    return tuple(wanted.__metadata__[0] for wanted in declared.__annotations__.values())


# By its first four bytes, and what they are.
_by_head: dict[bytes, tuple[type[Method], _Layout]] = {
    _IDS.pack(*ids): (declared, _layout(declared)) for declared, ids in METHOD_IDS.items()
}
_by_type: dict[type[Method], tuple[bytes, _Layout]] = {
    declared: (head, layout) for head, (declared, layout) in _by_head.items()
}


def decode(payload: bytes) -> Method:
    """The method in a method frame's payload.

    Raises CommandInvalid for unknown ids, FrameError for arguments that do not fit the method
    exactly (as RabbitMQ does, bytes left over are an error too), or for a short string that is not
    UTF-8.
    """
    if len(payload) < _IDS.size:
        raise cannot_decode(payload, at=(0, 0))
    known = _by_head.get(payload[: _IDS.size])
    if known is None:
        class_id, method_id = at = _IDS.unpack_from(payload)
        raise CommandInvalid(f"unknown method: class {class_id}, method {method_id}", at=at)
    declared, layout = known
    try:
        return declared(*_decode_arguments(payload, layout))
    except UnicodeDecodeError:
        raise FrameError("Malformed UTF-8 in shortstr", at=(0, 0)) from None
    except (MalformedField, IndexError, struct.error):
        raise cannot_decode(payload[_IDS.size :], METHOD_IDS[declared]) from None


def _decode_arguments(payload: bytes, layout: _Layout) -> list[Any]:
    values: list[Any] = []
    at, bit = _IDS.size, 8
    for kind in layout:
        if kind is BIT:
            if bit == 8:
                bit, at = 0, at + 1
            values.append(payload[at - 1] >> bit & 1 == 1)
            bit += 1
        else:
            bit = 8
            value, at = kind.decode(payload, at)
            values.append(value)
    if at != len(payload):
        raise IndexError("bytes left over, or too few")
    # Only now: as in RabbitMQ, a layout that does not fit counts before a string that is not UTF-8.
    return [
        value.decode() if kind is SHORTSTR else value
        for kind, value in zip(layout, values, strict=True)
    ]


def encode(call: Method) -> bytes:
    """A method frame's payload: ids and arguments."""
    head, layout = _by_type[type(call)]
    parts = [head]
    bits = count = 0
    for kind, value in zip(layout, call, strict=True):
        if kind is BIT:
            bits |= bool(value) << count
            count += 1
            continue
        if count:
            parts.append(bytes((bits,)))
            bits = count = 0
        parts.append(kind.encode(value))
    if count:
        parts.append(bytes((bits,)))
    return b"".join(parts)


def cannot_decode(arguments: bytes, at: tuple[int, int] | None = None) -> FrameError:
    """The error for arguments that are not laid out as their method says; bytes shown as Erlang
    does.
    """
    return FrameError(f"cannot decode <<{','.join(map(str, arguments))}>>", at)

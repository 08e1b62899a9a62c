"""Every method of AMQP 0-9-1 and of RabbitMQ's extensions, as declarations.

A method is a NamedTuple whose fields stand in wire order, registered under its class and method id
with the wire types of its fields. `decode` and `encode` work from that registry alone. The few
methods that come with every message (publish, deliver, ack, …) also have code of their own in
`basic.py`; tests hold both to one answer.

Sources: the AMQP 0-9-1 XML specification; https://www.rabbitmq.com/docs/specification for the
extensions.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

from .errors import CommandInvalid, FrameError
from .fields import MalformedField, Table, decode_table, encode_table

Method: TypeAlias = tuple[Any, ...]
MethodType = TypeVar("MethodType", bound=type[tuple[Any, ...]])

_by_id: dict[int, tuple[type[Method], tuple[str, ...]]] = {}
_by_type: dict[type[Method], tuple[int, tuple[str, ...]]] = {}

_IDS = struct.Struct(">I")
_SHORT = struct.Struct(">H")
_LONG = struct.Struct(">I")
_LONGLONG = struct.Struct(">Q")


def method(class_id: int, method_id: int, types: str = "") -> Callable[[MethodType], MethodType]:
    """Register a NamedTuple as a method; `types` are the wire types of its fields, in order.

    An `unchecked` is a short string whose bytes need not be UTF-8: RabbitMQ lets any pass in the
    names of a publish.
    """

    def register(declared: MethodType) -> MethodType:
        number, layout = class_id << 16 | method_id, tuple(types.split())
        _by_id[number] = declared, layout
        _by_type[declared] = number, layout
        return declared

    return register


def method_ids(kind: type[Method]) -> tuple[int, int]:
    """(class id, method id) of a method's type."""
    number = _by_type[kind][0]
    return number >> 16, number & 0xFFFF


def decode(payload: bytes) -> Method:
    """The method in a method frame's payload.

    Raises CommandInvalid for unknown ids, FrameError for arguments that do not fit the method
    exactly (as RabbitMQ does, bytes left over are an error too), or for a short string that is not
    UTF-8.
    """
    if len(payload) < 4:
        raise cannot_decode(payload, at=(0, 0))
    number = _IDS.unpack_from(payload)[0]
    known = _by_id.get(number)
    at = (number >> 16, number & 0xFFFF)
    if known is None:
        raise CommandInvalid(f"unknown method: class {at[0]}, method {at[1]}", at=at)
    declared, layout = known
    try:
        return declared(*_decode_arguments(payload, layout))
    except UnicodeDecodeError:
        raise malformed_shortstr() from None
    except (MalformedField, IndexError, struct.error):
        raise cannot_decode(payload[4:], at) from None


def encode(call: Method) -> bytes:
    """A method frame's payload: ids and arguments."""
    number, layout = _by_type[type(call)]
    parts = [_IDS.pack(number)]
    bits = count = 0
    for kind, value in zip(layout, call, strict=True):
        if kind == "bit":
            bits |= bool(value) << count
            count += 1
            continue
        if count:
            parts.append(bytes((bits,)))
            bits = count = 0
        parts.append(_encoders[kind](value))
    if count:
        parts.append(bytes((bits,)))
    return b"".join(parts)


def shortstr(text: str) -> bytes:
    """A short string: a length byte and at most 255 bytes of UTF-8."""
    encoded = text.encode("utf-8", "surrogateescape")
    return bytes((len(encoded),)) + encoded


def _longstr(data: bytes) -> bytes:
    return _LONG.pack(len(data)) + data


_encoders: dict[str, Callable[[Any], bytes]] = {
    "octet": lambda value: bytes((value,)),
    "short": _SHORT.pack,
    "long": _LONG.pack,
    "longlong": _LONGLONG.pack,
    "shortstr": shortstr,
    "unchecked": shortstr,
    "longstr": _longstr,
    "table": encode_table,
}


def _decode_arguments(payload: bytes, layout: tuple[str, ...]) -> list[Any]:
    values: list[Any] = []
    at, bit = 4, 8
    for kind in layout:
        if kind == "bit":
            if bit == 8:
                bit, at = 0, at + 1
            values.append(payload[at - 1] >> bit & 1 == 1)
            bit += 1
        else:
            bit = 8
            value, at = _decoders[kind](payload, at)
            values.append(value)
    if at != len(payload):
        raise IndexError("bytes left over, or too few")
    # Only now: as in RabbitMQ, a layout that does not fit counts before a string that is not UTF-8.
    return [
        value.decode() if kind == "shortstr" else value
        for kind, value in zip(layout, values, strict=True)
    ]


def _decode_shortstr(payload: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end], end


def _decode_unchecked_shortstr(payload: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end].decode("utf-8", "surrogateescape"), end


def _decode_longstr(payload: bytes, at: int) -> tuple[bytes, int]:
    end = at + 4 + _LONG.unpack_from(payload, at)[0]
    return payload[at + 4 : end], end


_decoders: dict[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "octet": lambda payload, at: (payload[at], at + 1),
    "short": lambda payload, at: (_SHORT.unpack_from(payload, at)[0], at + 2),
    "long": lambda payload, at: (_LONG.unpack_from(payload, at)[0], at + 4),
    "longlong": lambda payload, at: (_LONGLONG.unpack_from(payload, at)[0], at + 8),
    "shortstr": _decode_shortstr,
    "unchecked": _decode_unchecked_shortstr,
    "longstr": _decode_longstr,
    "table": decode_table,
}


def cannot_decode(arguments: bytes, at: tuple[int, int] | None = None) -> FrameError:
    """The error for arguments that are not laid out as their method says; bytes shown as Erlang
    does.
    """
    return FrameError(f"cannot decode <<{','.join(map(str, arguments))}>>", at)


def malformed_shortstr() -> FrameError:
    """The error for a short string that is not UTF-8."""
    return FrameError("Malformed UTF-8 in shortstr", at=(0, 0))


# --- connection -------------------------------------------------------------------------------


@method(10, 10, "octet octet table longstr longstr")
class ConnectionStart(NamedTuple):
    version_major: int
    version_minor: int
    server_properties: Table
    mechanisms: bytes
    locales: bytes


@method(10, 11, "table shortstr longstr shortstr")
class ConnectionStartOk(NamedTuple):
    client_properties: Table
    mechanism: str
    response: bytes
    locale: str


@method(10, 20, "longstr")
class ConnectionSecure(NamedTuple):
    challenge: bytes


@method(10, 21, "longstr")
class ConnectionSecureOk(NamedTuple):
    response: bytes


@method(10, 30, "short long short")
class ConnectionTune(NamedTuple):
    channel_max: int
    frame_max: int
    heartbeat: int


@method(10, 31, "short long short")
class ConnectionTuneOk(NamedTuple):
    channel_max: int
    frame_max: int
    heartbeat: int


@method(10, 40, "shortstr shortstr bit")
class ConnectionOpen(NamedTuple):
    virtual_host: str
    capabilities: str
    insist: bool


@method(10, 41, "shortstr")
class ConnectionOpenOk(NamedTuple):
    known_hosts: str = ""


@method(10, 50, "short shortstr short short")
class ConnectionClose(NamedTuple):
    reply_code: int
    reply_text: str
    class_id: int
    method_id: int


@method(10, 51)
class ConnectionCloseOk(NamedTuple):
    pass


@method(10, 60, "shortstr")
class ConnectionBlocked(NamedTuple):
    reason: str


@method(10, 61)
class ConnectionUnblocked(NamedTuple):
    pass


@method(10, 70, "longstr shortstr")
class ConnectionUpdateSecret(NamedTuple):
    new_secret: bytes
    reason: str


@method(10, 71)
class ConnectionUpdateSecretOk(NamedTuple):
    pass


# --- channel ----------------------------------------------------------------------------------


@method(20, 10, "shortstr")
class ChannelOpen(NamedTuple):
    out_of_band: str = ""


@method(20, 11, "longstr")
class ChannelOpenOk(NamedTuple):
    channel_id: bytes = b""


@method(20, 20, "bit")
class ChannelFlow(NamedTuple):
    active: bool


@method(20, 21, "bit")
class ChannelFlowOk(NamedTuple):
    active: bool


@method(20, 40, "short shortstr short short")
class ChannelClose(NamedTuple):
    reply_code: int
    reply_text: str
    class_id: int
    method_id: int


@method(20, 41)
class ChannelCloseOk(NamedTuple):
    pass


@method(30, 10, "shortstr bit bit bit bit bit")
class AccessRequest(NamedTuple):
    realm: str
    exclusive: bool
    passive: bool
    active: bool
    write: bool
    read: bool


@method(30, 11, "short")
class AccessRequestOk(NamedTuple):
    ticket: int = 1


# --- exchange ---------------------------------------------------------------------------------


@method(40, 10, "short shortstr shortstr bit bit bit bit bit table")
class ExchangeDeclare(NamedTuple):
    ticket: int
    exchange: str
    type: str
    passive: bool
    durable: bool
    auto_delete: bool
    internal: bool
    nowait: bool
    arguments: Table


@method(40, 11)
class ExchangeDeclareOk(NamedTuple):
    pass


@method(40, 20, "short shortstr bit bit")
class ExchangeDelete(NamedTuple):
    ticket: int
    exchange: str
    if_unused: bool
    nowait: bool


@method(40, 21)
class ExchangeDeleteOk(NamedTuple):
    pass


@method(40, 30, "short shortstr shortstr shortstr bit table")
class ExchangeBind(NamedTuple):
    ticket: int
    destination: str
    source: str
    routing_key: str
    nowait: bool
    arguments: Table


@method(40, 31)
class ExchangeBindOk(NamedTuple):
    pass


@method(40, 40, "short shortstr shortstr shortstr bit table")
class ExchangeUnbind(NamedTuple):
    ticket: int
    destination: str
    source: str
    routing_key: str
    nowait: bool
    arguments: Table


@method(40, 51)
class ExchangeUnbindOk(NamedTuple):
    pass


# --- queue ------------------------------------------------------------------------------------


@method(50, 10, "short shortstr bit bit bit bit bit table")
class QueueDeclare(NamedTuple):
    ticket: int
    queue: str
    passive: bool
    durable: bool
    exclusive: bool
    auto_delete: bool
    nowait: bool
    arguments: Table


@method(50, 11, "shortstr long long")
class QueueDeclareOk(NamedTuple):
    queue: str
    message_count: int
    consumer_count: int


@method(50, 20, "short shortstr shortstr shortstr bit table")
class QueueBind(NamedTuple):
    ticket: int
    queue: str
    exchange: str
    routing_key: str
    nowait: bool
    arguments: Table


@method(50, 21)
class QueueBindOk(NamedTuple):
    pass


@method(50, 30, "short shortstr bit")
class QueuePurge(NamedTuple):
    ticket: int
    queue: str
    nowait: bool


@method(50, 31, "long")
class QueuePurgeOk(NamedTuple):
    message_count: int


@method(50, 40, "short shortstr bit bit bit")
class QueueDelete(NamedTuple):
    ticket: int
    queue: str
    if_unused: bool
    if_empty: bool
    nowait: bool


@method(50, 41, "long")
class QueueDeleteOk(NamedTuple):
    message_count: int


@method(50, 50, "short shortstr shortstr shortstr table")
class QueueUnbind(NamedTuple):
    ticket: int
    queue: str
    exchange: str
    routing_key: str
    arguments: Table


@method(50, 51)
class QueueUnbindOk(NamedTuple):
    pass


# --- basic ------------------------------------------------------------------------------------


@method(60, 10, "long short bit")
class BasicQos(NamedTuple):
    prefetch_size: int
    prefetch_count: int
    global_: bool


@method(60, 11)
class BasicQosOk(NamedTuple):
    pass


@method(60, 20, "short shortstr shortstr bit bit bit bit table")
class BasicConsume(NamedTuple):
    ticket: int
    queue: str
    consumer_tag: str
    no_local: bool
    no_ack: bool
    exclusive: bool
    nowait: bool
    arguments: Table


@method(60, 21, "shortstr")
class BasicConsumeOk(NamedTuple):
    consumer_tag: str


@method(60, 30, "shortstr bit")
class BasicCancel(NamedTuple):
    consumer_tag: str
    nowait: bool


@method(60, 31, "shortstr")
class BasicCancelOk(NamedTuple):
    consumer_tag: str


@method(60, 40, "short unchecked unchecked bit bit")
class BasicPublish(NamedTuple):
    ticket: int
    exchange: str
    routing_key: str
    mandatory: bool
    immediate: bool


@method(60, 50, "short shortstr unchecked unchecked")
class BasicReturn(NamedTuple):
    reply_code: int
    reply_text: str
    exchange: str
    routing_key: str


@method(60, 60, "shortstr longlong bit unchecked unchecked")
class BasicDeliver(NamedTuple):
    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str


@method(60, 70, "short shortstr bit")
class BasicGet(NamedTuple):
    ticket: int
    queue: str
    no_ack: bool


@method(60, 71, "longlong bit unchecked unchecked long")
class BasicGetOk(NamedTuple):
    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    message_count: int


@method(60, 72, "shortstr")
class BasicGetEmpty(NamedTuple):
    cluster_id: str = ""


@method(60, 80, "longlong bit")
class BasicAck(NamedTuple):
    delivery_tag: int
    multiple: bool


@method(60, 90, "longlong bit")
class BasicReject(NamedTuple):
    delivery_tag: int
    requeue: bool


@method(60, 100, "bit")
class BasicRecoverAsync(NamedTuple):
    requeue: bool


@method(60, 110, "bit")
class BasicRecover(NamedTuple):
    requeue: bool


@method(60, 111)
class BasicRecoverOk(NamedTuple):
    pass


@method(60, 120, "longlong bit bit")
class BasicNack(NamedTuple):
    delivery_tag: int
    multiple: bool
    requeue: bool


# --- confirm, tx ------------------------------------------------------------------------------


@method(85, 10, "bit")
class ConfirmSelect(NamedTuple):
    nowait: bool


@method(85, 11)
class ConfirmSelectOk(NamedTuple):
    pass


@method(90, 10)
class TxSelect(NamedTuple):
    pass


@method(90, 11)
class TxSelectOk(NamedTuple):
    pass


@method(90, 20)
class TxCommit(NamedTuple):
    pass


@method(90, 21)
class TxCommitOk(NamedTuple):
    pass


@method(90, 30)
class TxRollback(NamedTuple):
    pass


@method(90, 31)
class TxRollbackOk(NamedTuple):
    pass

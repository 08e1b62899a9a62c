"""AMQP 0-9-1 frames for a load generator: publishes encoded once, deliveries read by offset.

Only what the workloads need of the specification (sections 2.3.5 and 4.2) is here. Functions
take and return bytes; nothing in this file knows about sockets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, pack, unpack_from
from typing import NamedTuple

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_METHOD, FRAME_HEADER, FRAME_BODY = 1, 2, 3
FRAME_END = b"\xce"
FRAME_OVERHEAD = 8

CLASS_BASIC = 60
HEADERS, DELIVERY_MODE, PRIORITY, CORRELATION_ID, REPLY_TO = (
    1 << 13,
    1 << 12,
    1 << 11,
    1 << 10,
    1 << 9,
)

frame_head = Struct(">BHI")
# A whole basic.ack from the broker: constant up to the method id, delivery tag, multiple, end.
confirm_frame = Struct(">11sQBB")
stamp = Struct(">II")


class Method(IntEnum):
    """Class id in the upper, method id in the lower 16 bits."""

    CONNECTION_START = 10 << 16 | 10
    CONNECTION_START_OK = 10 << 16 | 11
    CONNECTION_TUNE = 10 << 16 | 30
    CONNECTION_TUNE_OK = 10 << 16 | 31
    CONNECTION_OPEN = 10 << 16 | 40
    CONNECTION_OPEN_OK = 10 << 16 | 41
    CONNECTION_CLOSE = 10 << 16 | 50
    CONNECTION_CLOSE_OK = 10 << 16 | 51
    CHANNEL_OPEN = 20 << 16 | 10
    CHANNEL_OPEN_OK = 20 << 16 | 11
    CHANNEL_CLOSE = 20 << 16 | 40
    EXCHANGE_DECLARE = 40 << 16 | 10
    EXCHANGE_DECLARE_OK = 40 << 16 | 11
    EXCHANGE_DELETE = 40 << 16 | 20
    EXCHANGE_DELETE_OK = 40 << 16 | 21
    QUEUE_DECLARE = 50 << 16 | 10
    QUEUE_DECLARE_OK = 50 << 16 | 11
    QUEUE_BIND = 50 << 16 | 20
    QUEUE_BIND_OK = 50 << 16 | 21
    QUEUE_DELETE = 50 << 16 | 40
    QUEUE_DELETE_OK = 50 << 16 | 41
    BASIC_QOS = 60 << 16 | 10
    BASIC_QOS_OK = 60 << 16 | 11
    BASIC_CONSUME = 60 << 16 | 20
    BASIC_CONSUME_OK = 60 << 16 | 21
    BASIC_PUBLISH = 60 << 16 | 40
    BASIC_DELIVER = 60 << 16 | 60
    BASIC_ACK = 60 << 16 | 80
    BASIC_NACK = 60 << 16 | 120
    CONFIRM_SELECT = 85 << 16 | 10
    CONFIRM_SELECT_OK = 85 << 16 | 11


class Frame(NamedTuple):
    kind: int
    channel: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """One basic.deliver with its content.

    `head` is its beginning up to the method id; `size` is that of all its frames together, and
    the body begins `body_offset` bytes into them.
    """

    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    head: bytes
    size: int
    body_offset: int


def short_string(text: str) -> bytes:
    data = text.encode()
    return bytes((len(data),)) + data


def long_string(data: bytes) -> bytes:
    return pack(">I", len(data)) + data


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return frame_head.pack(kind, channel, len(payload)) + payload + FRAME_END


def method(channel: int, identifier: Method, arguments: bytes = b"") -> bytes:
    return frame(FRAME_METHOD, channel, pack(">I", identifier) + arguments)


def table(entries: Mapping[str, str | int]) -> bytes:
    """A field table with its length, as methods and content headers hold it."""
    data = b""
    for name, value in entries.items():
        if isinstance(value, int):
            field = pack(">ci", b"I", value)
        else:
            field = b"S" + long_string(value.encode())
        data += short_string(name) + field
    return long_string(data)


def properties(
    *,
    headers: Mapping[str, str | int] | None = None,
    persistent: bool = False,
    priority: int | None = None,
    correlation_id: str | None = None,
    reply_to: str | None = None,
) -> bytes:
    """Property flags and values as they stand in a content header."""
    flags, values = 0, b""
    if headers is not None:
        flags, values = flags | HEADERS, values + table(headers)
    if persistent:
        flags, values = flags | DELIVERY_MODE, values + b"\x02"
    if priority is not None:
        flags, values = flags | PRIORITY, values + bytes((priority,))
    if correlation_id is not None:
        flags, values = flags | CORRELATION_ID, values + short_string(correlation_id)
    if reply_to is not None:
        flags, values = flags | REPLY_TO, values + short_string(reply_to)
    return pack(">H", flags) + values


def correlation_and_reply_to(header_properties: bytes) -> tuple[str, str]:
    """The two properties of a request that `properties` made."""
    (flags,) = unpack_from(">H", header_properties)
    if flags != CORRELATION_ID | REPLY_TO:
        raise ValueError(f"a request with the property flags {flags:#06x}")
    start = 3 + header_properties[2]
    return header_properties[3:start].decode(), header_properties[start + 1 :].decode()


def publish(channel: int, exchange: str, routing_key: str, header: bytes, body: bytes) -> bytes:
    """A whole publish; `header` comes from `properties`, the body must fit in one frame."""
    address = b"\0\0" + short_string(exchange) + short_string(routing_key) + b"\0"
    return (
        method(channel, Method.BASIC_PUBLISH, address)
        + frame(FRAME_HEADER, channel, pack(">HHQ", CLASS_BASIC, 0, len(body)) + header)
        + frame(FRAME_BODY, channel, body)
    )


def ack(channel: int, delivery_tag: int) -> bytes:
    """Acknowledges everything up to and including the delivery tag."""
    return method(channel, Method.BASIC_ACK, pack(">QB", delivery_tag, 1))


def reject(channel: int, delivery_tag: int) -> bytes:
    """Rejects everything up to and including the delivery tag, without requeueing it."""
    return method(channel, Method.BASIC_NACK, pack(">QB", delivery_tag, 1))


def frames(data: bytes) -> Iterator[Frame]:
    """The complete frames at the start of `data`."""
    offset = 0
    while len(data) - offset >= FRAME_OVERHEAD:
        kind, channel, size = frame_head.unpack_from(data, offset)
        end = offset + FRAME_OVERHEAD + size
        if end > len(data):
            return
        if data[end - 1 : end] != FRAME_END:
            raise ValueError(f"no frame end where a frame of {size} bytes should end")
        yield Frame(kind, channel, data[offset + 7 : end - 1])
        offset = end


def delivery(data: bytes) -> Delivery:
    """Reads the delivery that `data` starts with; ValueError if it is not one, or incomplete."""
    parts = frames(data)
    head = next(parts, None)
    content = next(parts, None)
    if head is None or content is None or content.kind != FRAME_HEADER:
        raise ValueError("a delivery without content")
    if unpack_from(">I", head.payload) != (Method.BASIC_DELIVER,):
        raise ValueError("a method other than basic.deliver")
    (body_size,) = unpack_from(">Q", content.payload, 4)
    body_offset = len(head.payload) + len(content.payload) + 2 * FRAME_OVERHEAD
    size, body = body_offset, b""
    while len(body) < body_size:
        part = next(parts, None)
        if part is None or part.kind != FRAME_BODY:
            raise ValueError("a delivery with less body than its header says")
        body += part.payload
        size += len(part.payload) + FRAME_OVERHEAD
    tag_end = 5 + head.payload[4]
    (delivery_tag, redelivered) = unpack_from(">Q?", head.payload, tag_end)
    exchange_end = tag_end + 10 + head.payload[tag_end + 9]
    return Delivery(
        delivery_tag,
        redelivered,
        head.payload[tag_end + 10 : exchange_end].decode(),
        head.payload[exchange_end + 1 :].decode(),
        content.payload[12:],
        body,
        data[:11],
        size,
        body_offset + frame_head.size,
    )


def close_reason(data: bytes) -> str | None:
    """What a connection.close or channel.close at the start of `data` says."""
    for part in frames(data):
        if part.kind == FRAME_METHOD:
            (identifier,) = unpack_from(">I", part.payload)
            if identifier in (Method.CONNECTION_CLOSE, Method.CHANNEL_CLOSE):
                (code,) = unpack_from(">H", part.payload, 4)
                return f"{code} {part.payload[7 : 7 + part.payload[6]].decode()}"
    return None

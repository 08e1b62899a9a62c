"""x-delivery-count and, from RabbitMQ 4.3 on, x-acquired-count: how often a message has come back
to a quorum queue, shown to whoever gets it again
(https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).

Before 4.3 x-delivery-count is for all returns. From 4.3 on that is x-acquired-count, and
x-delivery-count tells of the failures among them, if there were any: by basic.reject, or when a
channel ended.

The counts belong to one queue, so a message that came back stands there as a copy of its own, with
the headers in it. They are taken out again when the message leaves the queue as a dead letter.
Headers of these names which a client sent survive neither.
"""

import struct

import msgspec

from ..amqp.content import HEADERS, Properties
from ..amqp.fields import Field
from .message import Message
from .returns import NEVER, Returns

DELIVERY_COUNT, ACQUIRED_COUNT = "x-delivery-count", "x-acquired-count"
_SIZE = struct.Struct(">I")


def counted(message: Message, returns: Returns, *, acquired: bool) -> Message:
    """A copy of the message that says how often it has come back; `acquired` as from 4.3 on."""
    raw = message.raw_properties
    if not acquired:
        raw = _with_count(raw, DELIVERY_COUNT, returns.times)
    else:
        if returns.failures:
            raw = _with_count(raw, DELIVERY_COUNT, returns.failures)
        raw = _with_count(raw, ACQUIRED_COUNT, returns.times)
    copy = msgspec.structs.replace(message, returns=returns)
    copy.replace_properties(raw)
    return copy


def uncounted(message: Message) -> Message:
    """The message as it was published."""
    raw = _without(_without(message.raw_properties, DELIVERY_COUNT), ACQUIRED_COUNT)
    if raw == message.raw_properties:
        return message
    properties = Properties(raw)
    span = properties.spans.get(HEADERS)
    if span is not None and span[1] - span[0] == _SIZE.size:
        raw = properties.replaced({HEADERS: None})
    copy = msgspec.structs.replace(message, returns=NEVER)
    copy.replace_properties(raw)
    return copy


def _with_count(raw: bytes, name: str, count: int) -> bytes:
    return Properties(raw).with_header(name, Field("l", count))


def _without(raw: bytes, name: str) -> bytes:
    return Properties(raw).without_header(name) if name.encode() in raw else raw

"""x-delivery-count: how often a message has come back to a quorum queue, shown to whoever gets it
again (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).

The count belongs to one queue, so a message that came back stands there as a copy of its own, with
the header in it. It is taken out again when the message leaves the queue as a dead letter. A header
of that name which a client sent survives neither.
"""

import struct

import msgspec

from ..amqp.content import HEADERS, Properties
from ..amqp.fields import Field
from .message import Message

HEADER = "x-delivery-count"
_SIZE = struct.Struct(">I")


def counted(message: Message, returns: int) -> Message:
    """A copy of the message that says that it has come back so many times."""
    copy = msgspec.structs.replace(message, returns=returns)
    copy.replace_properties(message.properties.with_header(HEADER, Field("l", returns)))
    return copy


def uncounted(message: Message) -> Message:
    """The message as it was published."""
    if HEADER.encode() not in message.raw_properties:
        return message
    properties = Properties(_uncounted(message.properties))
    span, raw = properties.spans.get(HEADERS), properties.raw
    if span is not None and span[1] - span[0] == _SIZE.size:
        raw = properties.replaced({HEADERS: None})
    copy = msgspec.structs.replace(message, returns=0)
    copy.replace_properties(raw)
    return copy


def _uncounted(properties: Properties) -> bytes:
    raw = properties.raw
    return properties.without_header(HEADER) if HEADER.encode() in raw else raw

"""The methods that come with every message, encoded and decoded by hand.

A delivery is a prefix that belongs to its consumer, the delivery tag, the redelivered flag and the
message's address; `DeliverFrame` makes that one pack.
"""

import struct

from .frames import END_OCTET, METHOD, METHOD_HEAD
from .method_codec import cannot_decode

BASIC_PUBLISH = 60 << 16 | 40
BASIC_ACK = 60 << 16 | 80
BASIC_DELIVER = 60 << 16 | 60
BASIC_NACK = 60 << 16 | 120
NACK_REQUEUE = 2

PUBLISH_HEAD = struct.Struct(">BHIIH")
"""Type, channel, payload size, method, ticket: what stands before a publish's address."""

CONTENT_FRAME_HEAD = struct.Struct(">BHIIQ")
"""Of a content header frame: type, channel, payload size, class id and weight as one number,
body size.
"""

BASIC_CONTENT = 60 << 16
"""Class id and weight, as one number, of every valid content header."""

SETTLE = struct.Struct(">BHIIQBB")
"""A whole basic.ack, nack or reject frame: type, channel, size, method, delivery tag, bits, end
octet.
"""

SETTLE_BYTES = SETTLE.size
SETTLE_PAYLOAD_BYTES = 13
MANDATORY, IMMEDIATE = 1, 2


def ack_frame(channel: int, delivery_tag: int, multiple: bool) -> bytes:
    """basic.ack, as a confirm."""
    return SETTLE.pack(
        METHOD, channel, SETTLE_PAYLOAD_BYTES, BASIC_ACK, delivery_tag, multiple, END_OCTET[0]
    )


def nack_frame(channel: int, delivery_tag: int, multiple: bool) -> bytes:
    """basic.nack, as a confirm that the broker could not keep the message. Its requeue bit, which
    means nothing here, is set as RabbitMQ sets it.
    """
    bits = multiple | NACK_REQUEUE
    return SETTLE.pack(
        METHOD, channel, SETTLE_PAYLOAD_BYTES, BASIC_NACK, delivery_tag, bits, END_OCTET[0]
    )


def publish_parts(frame: bytes) -> tuple[bytes, str, str, int]:
    """(address, exchange, routing key, bits) of a basic.publish frame.

    The address is the two short strings as they stand, which is how deliver, get-ok and return want
    them. Bytes that are not UTF-8 become surrogates: unlike in other methods, RabbitMQ lets them
    pass in here. Raises FrameError if it is not laid out as a publish.
    """
    start, last = PUBLISH_HEAD.size, len(frame) - 1
    middle = start + 1 + frame[start] if start < last else last
    end = middle + 1 + frame[middle] if middle < last else last
    if end + 1 != last:
        raise cannot_decode(frame[METHOD_HEAD.size : -1])
    exchange, routing_key = _text(frame[start + 1 : middle]), _text(frame[middle + 1 : end])
    return frame[start:end], exchange, routing_key, frame[end]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def split_address(address: bytes) -> tuple[str, str]:
    """Exchange and routing key of an address."""
    middle = 1 + address[0]
    return _text(address[1:middle]), _text(address[middle + 1 :])


class DeliverFrame:
    """basic.deliver frames for one consumer and all addresses of one length:
    `pack(prefix, delivery tag, redelivered, address, END)`.
    """

    __slots__ = ("pack", "prefix", "size")

    def __init__(self, channel: int, consumer_tag: bytes, address_bytes: int):
        payload_bytes = 4 + 1 + len(consumer_tag) + 8 + 1 + address_bytes
        head = METHOD_HEAD.pack(METHOD, channel, payload_bytes, BASIC_DELIVER)
        self.prefix = head + bytes((len(consumer_tag),)) + consumer_tag
        layout = struct.Struct(f">{len(self.prefix)}sQ?{address_bytes}sB")
        self.pack, self.size = layout.pack, layout.size


def get_ok_frame(
    channel: int, delivery_tag: int, redelivered: bool, address: bytes, message_count: int
) -> bytes:
    """basic.get-ok."""
    return (
        struct.pack(
            ">BHIHHQ?", METHOD, channel, 13 + len(address) + 4, 60, 71, delivery_tag, redelivered
        )
        + address
        + struct.pack(">I", message_count)
        + END_OCTET
    )


def return_frame(channel: int, reply_code: int, reply_text: bytes, address: bytes) -> bytes:
    """basic.return."""
    size = 4 + 2 + 1 + len(reply_text) + len(address)
    return (
        struct.pack(">BHIHHHB", METHOD, channel, size, 60, 50, reply_code, len(reply_text))
        + reply_text
        + address
        + END_OCTET
    )

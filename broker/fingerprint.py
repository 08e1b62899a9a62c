"""What messages are compared by where duplicates are looked for: the value of their header
`x-deduplication-header`, made short.

As in the plugin rabbitmq-message-deduplication, values of different types differ, but not those of
integers of different widths or of strings and binaries; void is a value like any other; arrays,
tables and decimals are not compared.
"""

import struct
from hashlib import sha256

from ..amqp.content import find_header
from ..amqp.fields import Field
from .message import Message

HEADER = "x-deduplication-header"
_NAME = bytes((len(HEADER),)) + HEADER.encode()
_HASHED_FROM_BYTES = 32
_DOUBLE = struct.Struct(">d")


def fingerprint_of(message: Message) -> bytes | None:
    """The fingerprint of the value that a message carries; None if it is not to be compared."""
    raw = message.raw_properties
    field = find_header(raw, HEADER) if _NAME in raw else None
    return None if field is None else fingerprint(field)


def fingerprint(field: Field) -> bytes | None:
    """Bytes, at most 33 of them, that values have in common if and only if they are equal; None for
    what is not compared.
    """
    match field.value:
        case None:
            return b"v"
        case bool(value):
            return b"t" if value else b"f"
        case int(value):
            return b"i%d" % value
        case float(value):
            return b"d" + _DOUBLE.pack(value + 0.0)  # for -0.0 equals 0.0
        case bytes(value) if len(value) > _HASHED_FROM_BYTES:
            return b"h" + sha256(value).digest()
        case bytes(value):
            return b"s" + value
        case _:
            return None

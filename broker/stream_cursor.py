"""How far one consumer of a stream has come, and which messages it wants.

x-stream-filter names one value or several: the consumer gets only messages whose header
x-stream-filter-value is one of them, and with x-stream-match-unfiltered also those without that
header. RabbitMQ filters whole chunks, and consumers have to look again; here no other message comes
(https://www.rabbitmq.com/docs/streams#filtering).
"""

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from ..amqp.fields import Field, Table
from .message import Message
from .stream_log import StreamLog

if TYPE_CHECKING:
    from .consumer import Consumer

AHEAD_MESSAGES = 128
"""How many messages are read at once."""

OFFSET_HEADER = "x-stream-offset"
_FILTER_VALUE = "x-stream-filter-value"


class Cursor:
    """A consumer's place in the log, before the message at `offset`."""

    def __init__(self, log: StreamLog, consumer: "Consumer", offset: int):
        self._log = log
        self.consumer = consumer
        self.offset = offset
        self._filter = _Filter(consumer.arguments)
        self._ahead: deque[Message] = deque()

    @property
    def held_messages(self) -> int:
        """How many messages it has read that it has not passed."""
        return len(self._ahead)

    def forget_held(self) -> None:
        """Have none in memory."""
        self._ahead.clear()

    def next(self) -> Message | None:
        """Pass the next message; None if it has come to the end."""
        if self.offset < self._log.first_offset:
            self._ahead.clear()
            self.offset = self._log.first_offset
        if not self._ahead:
            self._ahead.extend(self._log.read(self.offset, AHEAD_MESSAGES))
            if not self._ahead:
                return None
        self.offset += 1
        return self._ahead.popleft()

    def wants(self, message: Message) -> bool:
        """Whether the consumer is to get a message."""
        return self._filter.matches(message)


class _Filter:
    """Which messages a consumer asks for with its arguments."""

    def __init__(self, arguments: Table):
        self._values = _values(arguments.get("x-stream-filter"))
        self._unfiltered = arguments.get("x-stream-match-unfiltered") == Field("t", True)

    def matches(self, message: Message) -> bool:
        """Whether it asks for that message."""
        if not self._values:
            return True
        if _FILTER_VALUE.encode() not in message.raw_properties:
            return self._unfiltered
        value = message.properties.headers().get(_FILTER_VALUE)
        if value is None or value.tag != "S":
            return self._unfiltered
        return value.value in self._values


def _values(field: Field | None) -> frozenset[object]:
    if field is None:
        return frozenset()
    items = field.value if isinstance(field.value, list) else [field]
    return frozenset(item.value for item in items if item.tag == "S")


def at_offset(message: Message, offset: int) -> Message:
    """The message as it is delivered: a copy whose header x-stream-offset tells its offset.

    It is no longer the journal's: acknowledging it is not the end of the stored one.
    """
    copy = msgspec.structs.replace(message, stored=0)
    copy.replace_properties(message.properties.with_header(OFFSET_HEADER, Field("l", offset)))
    return copy

"""The firehose: while a vhost is traced, a copy of all that is published and delivered in it.

Copies go to the exchange amq.rabbitmq.trace, with the routing key `publish.<exchange>` or
`deliver.<queue>` and headers that tell the rest; names, types and order of the headers are those of
RabbitMQ (https://www.rabbitmq.com/docs/firehose). What was published to that exchange is not
traced itself. Copies are transient and enter their queues at the end of the turn.

Off, it costs nothing: turning it on makes publishers resolve their routes anew, to hand every
message over singly, and queues look at every message before it is delivered.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..amqp.basic import split_address
from ..amqp.content import (
    APP_ID,
    CLUSTER_ID,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    EXPIRATION,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    REPLY_TO,
    TIMESTAMP,
    TYPE,
    USER_ID,
    Properties,
)
from ..amqp.fields import Field, Table, encode_table
from ..amqp.wire_types import shortstr
from .message import Message, routing_keys

if TYPE_CHECKING:
    from .channel import Channel
    from .exchange import Exchange
    from .intake import Intake
    from .queue import Queue

TRACE_EXCHANGE = "amq.rabbitmq.trace"
_KEY_MAX_BYTES = 255
_INT_MAX = (1 << 31) - 1
_NO_PROPERTIES = b"\0\0"

_TEXTS = {
    "cluster_id": CLUSTER_ID,
    "app_id": APP_ID,
    "user_id": USER_ID,
    "type": TYPE,
    "timestamp": TIMESTAMP,
    "message_id": MESSAGE_ID,
    "expiration": EXPIRATION,
    "reply_to": REPLY_TO,
    "correlation_id": CORRELATION_ID,
    "priority": PRIORITY,
    "delivery_mode": DELIVERY_MODE,
    "headers": HEADERS,
    "content_encoding": CONTENT_ENCODING,
    "content_type": CONTENT_TYPE,
}
"""The properties in the order in which RabbitMQ tells them."""


class Firehose:
    """The tracing of one vhost. `route` finds the queues that a copy goes to."""

    __slots__ = ("_exchange", "_intake", "_route")

    def __init__(
        self,
        exchange: "Exchange",
        route: "Callable[[Exchange, Sequence[str], Message], dict[Queue, None] | None]",
        intake: "Intake",
    ):
        self._exchange = exchange
        self._route = route
        self._intake = intake

    def published(
        self, channel: "Channel", keys: Sequence[str], message: Message, queues: "Sequence[Queue]"
    ) -> None:
        """A client has published a message, with these routing keys, and it leads there."""
        exchange = split_address(message.address)[0]
        if exchange == TRACE_EXCHANGE:
            return
        headers = _told(message, keys, channel)
        headers |= _whose(channel)
        names = [queue.name for queue in queues if queue.is_destination]
        headers["routed_queues"] = Field("A", [_text(name) for name in names])
        self._trace(f"publish.{exchange}", headers, message)

    def delivered(
        self, channel: "Channel", queue: "Queue", message: Message, redelivered: bool
    ) -> None:
        """A queue has given a message to a client."""
        if split_address(message.address)[0] == TRACE_EXCHANGE:
            return
        headers = _told(message, routing_keys(message), channel)
        headers["redelivered"] = Field("I", int(redelivered))
        headers |= _whose(channel)
        self._trace(f"deliver.{queue.name}", headers, message)

    def _trace(self, routing_key: str, headers: Table, message: Message) -> None:
        key = routing_key.encode("utf-8", "surrogateescape")[:_KEY_MAX_BYTES]
        routing_key = key.decode("utf-8", "surrogateescape")
        copy = message.copied(0)
        copy.address = shortstr(TRACE_EXCHANGE) + shortstr(routing_key)
        copy.persistent, copy.notes = False, None
        changes = {HEADERS: encode_table(headers)}
        copy.replace_properties(Properties(_NO_PROPERTIES).replaced(changes))
        self._intake.later(lambda: self._put(copy, routing_key))

    def _put(self, copy: Message, routing_key: str) -> None:
        copy.id = self._intake.next_message_id()
        queues = self._route(self._exchange, (routing_key,), copy) or {}
        if queues:
            self._intake.put(copy, tuple(queues))


def _told(message: Message, keys: Sequence[str], channel: "Channel") -> Table:
    """What is told first of a message, published or delivered."""
    node = channel.connection.broker.cluster_name
    return {
        "exchange_name": _text(split_address(message.address)[0]),
        "routing_keys": Field("A", [_text(key) for key in keys]),
        "properties": Field("F", _properties(message.properties)),
        "node": _text(node),
    }


def _whose(channel: "Channel") -> Table:
    """Who has published a message, or whom it was delivered to."""
    connection = channel.connection
    return {
        "vhost": _text(connection.vhost.name),
        "connection": _text(connection.name),
        "channel": Field("I", channel.number),
        "user": _text(connection.user.name),
    }


def _properties(properties: Properties) -> Table:
    """Those that a message has, as a table."""
    told: Table = {}
    for name, flag in _TEXTS.items():
        if not properties.flags & flag:
            continue
        if flag == HEADERS:
            told[name] = Field("F", properties.headers())
        elif flag in (PRIORITY, DELIVERY_MODE):
            told[name] = Field("I", properties.octet(flag) or 0)
        elif flag == TIMESTAMP:
            seconds = properties.timestamp or 0
            told[name] = Field("I" if seconds <= _INT_MAX else "T", seconds)
        else:
            told[name] = _text(properties.text(flag) or "")
    return told


def _text(text: str) -> Field:
    return Field("S", text.encode("utf-8", "surrogateescape"))

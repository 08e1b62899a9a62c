"""x-delayed-message: an exchange that routes a message only after the time in its header x-delay.

As RabbitMQ's plugin rabbitmq_delayed_message_exchange: `x-delayed-type` names the type that it
routes by, with the bindings as they are when the message is due; the header is then negated, so
that such an exchange further on routes the message at once. Times from 1 ms to 2^32 - 1 ms are
kept to, any other header makes no delay. A delayed message counts as not routed to whoever
publishes it with `mandatory`.

Unlike the plugin's, a message of a rolled back transaction is not delayed but gone, deleting the
exchange drops what is delayed in it, and an alternate exchange gets a message when it is due rather
than twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from ..amqp.content import HEADERS
from ..amqp.errors import CommandInvalid, PreconditionFailed
from ..amqp.fields import INTEGER_TAGS, Field, Table, encode_table
from .binding import Binding
from .delay_line import DelayLine
from .exchange import Exchange, Holding
from .message import Message, routing_keys

if TYPE_CHECKING:
    from .binding import Destination
    from .intake import Intake
    from .queue import Queue

ExchangeType: TypeAlias = type[Exchange]

_TYPE, _DELAY = "x-delayed-type", "x-delay"
_MAX_MS = 0xFFFF_FFFF
_DIGITS_MAX = 20


class DelayedExchange(Exchange):
    """An exchange of another type, with a line of messages before it.

    `types` are those that it may be of. The line is `delayed`, once there is one.
    """

    type = "x-delayed-message"
    types: ClassVar[Mapping[str, "ExchangeType"]] = {}
    __slots__ = ("_routing", "delayed")

    @property
    def routes_each_message(self) -> bool:
        return True

    @property
    def history(self) -> Sequence[tuple[Sequence[str], Message]]:
        return self._routing.history

    @property
    def messages_delayed(self) -> int:
        """How many messages wait to be due."""
        return 0 if self.delayed is None else self.delayed.message_count

    @property
    def number(self) -> int:
        return 0 if self.delayed is None else self.delayed.number

    def end(self) -> None:
        super().end()
        if self.delayed is not None:
            self.delayed.end()

    def prepare(self) -> None:
        self.delayed: DelayLine | None = None
        kind = self.arguments.get(_TYPE)
        if kind is not None and kind.value == self.type.encode():
            raise PreconditionFailed(f"Invalid argument, '{self.type}' can't be used for '{_TYPE}'")
        if kind is None or not isinstance(kind.value, bytes):
            raise PreconditionFailed(
                f"Invalid argument, '{_TYPE}' must be an existing exchange type"
            )
        if kind.text not in self.types:
            raise CommandInvalid(f"unknown exchange type '{kind.text}'")
        self._routing = self.types[kind.text](
            self.vhost_name,
            self.name,
            durable=self.durable,
            arguments=self.arguments,
            random_below=self.random_below,
            wall_ms=self.wall_ms,
        )
        self._routing.bindings = self.bindings
        if self._routing.persistent:
            raise PreconditionFailed(
                f"Invalid argument, '{_TYPE}' '{kind.text}' cannot keep anything on disk"
            )

    def added(self, binding: Binding) -> None:
        self._routing.added(binding)

    def removed(self, binding: Binding) -> None:
        self._routing.removed(binding)

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        assert message is not None
        if self.delayed is not None and delay_ms(message):
            return (self.delayed,)
        return self._routing.match(routing_keys, message)

    @property
    def holds(self) -> Sequence[Holding]:
        return self._routing.holds if self.delayed is None else (self.delayed, *self._routing.holds)


class _Router(Protocol):
    def __call__(
        self, exchange: Exchange, routing_keys: Sequence[str], message: Message | None, /
    ) -> "dict[Queue, None] | None": ...


class Release:
    """Publishes messages of one exchange that are due."""

    __slots__ = ("_exchange", "_intake", "_route", "_together")

    def __init__(
        self,
        exchange: DelayedExchange,
        route: _Router,
        intake: "Intake",
        together: "_Together",
    ):
        self._exchange = exchange
        self._route = route
        self._intake = intake
        self._together = together

    def __call__(self, messages: list[Message], line: DelayLine) -> None:
        """Route and enqueue them, and settle them in the line, all or nothing."""
        with self._together():
            for message in messages:
                due = message.copied(self._intake.next_message_id())
                due.persistent = message.properties.persistent  # as one on disk always seems
                due.replace_properties(_negated(message))
                queues = self._route(self._exchange, routing_keys(message), due) or {}
                self._intake.put(due, tuple(queues))
                if message.stored:
                    line.settle(message)


class _Together(Protocol):
    def __call__(self) -> AbstractContextManager[None]: ...


def delay_ms(message: Message) -> int:
    """How long a message is to wait; 0 if it is to be routed at once."""
    field = _header(message)
    asked = 0 if field is None else _milliseconds(field)
    return asked if 0 < asked <= _MAX_MS else 0


def _header(message: Message) -> Field | None:
    properties = message.properties
    if b"\x07x-delay" not in properties.raw:
        return None
    return properties.headers().get(_DELAY)


def _milliseconds(field: Field) -> int:
    """A whole number, a float or a string of digits, in milliseconds."""
    value = field.value
    if field.tag in INTEGER_TAGS and isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if abs(value) <= _MAX_MS else 0
    if isinstance(value, bytes) and value.isdigit() and len(value) <= _DIGITS_MAX:
        return int(value)
    return 0


def _negated(message: Message) -> bytes:
    """The properties with the delay that is over negated."""
    properties = message.properties
    headers: Table = properties.headers()
    headers[_DELAY] = Field("l", -delay_ms(message))
    return properties.replaced({HEADERS: encode_table(headers)})

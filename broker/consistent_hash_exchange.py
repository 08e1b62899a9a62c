"""x-consistent-hash: each message to one binding, equal ones to the same one, many evenly spread.

As RabbitMQ's rabbitmq_consistent_hash_exchange. A binding's key is its weight: it owns that many
of the exchange's buckets. What is hashed is the routing key the message was published with, or what
one of these arguments of the exchange names:

* `hash-header`: a header of the message;
* `hash-property`: message_id, correlation_id or timestamp.

A message without it is hashed too, all such messages alike. Of the bindings of one destination only
the first counts; when that is removed, the next one does, in its own place. Keys, properties, and
headers that are text, whole numbers, booleans or timestamps fall into the bucket that RabbitMQ 3.13
gives them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from ..amqp.content import CORRELATION_ID, MESSAGE_ID
from ..amqp.errors import PreconditionFailed
from ..amqp.fields import Field, encode_field
from ..amqp.frames import erlang_binary
from .binding import Binding
from .erlang_hash import (
    PHASH2_FALSE,
    PHASH2_TRUE,
    PHASH2_UNDEFINED,
    jump_consistent_hash,
    phash2,
)
from .exchange import Exchange
from .message import Message

if TYPE_CHECKING:
    from .binding import Destination

_PROPERTIES = ("message_id", "correlation_id", "timestamp")


class ConsistentHashExchange(Exchange):
    """Its buckets in the order in which the bindings were made, each binding's side by side."""

    type = "x-consistent-hash"
    __slots__ = ("_counted", "_destinations", "_ends", "_header", "_property")

    def prepare(self) -> None:
        self._header = self._text_argument("hash-header")
        self._property = self._text_argument("hash-property")
        if self._header is not None and self._property is not None:
            raise PreconditionFailed("hash-header and hash-property are mutually exclusive")
        if self._property is not None and self._property not in _PROPERTIES:
            raise PreconditionFailed(f"Unsupported property: {self._property}")
        self._counted: dict[Destination, Binding] = {}
        self._destinations: list[Destination] = []
        self._ends: list[int] = []
        """The number of the first bucket behind those of each destination; counted when there is a
        message, for whoever removes thousands of bindings must not have thousands counted for each.
        """

    def _text_argument(self, name: str) -> str | None:
        field = self.arguments.get(name)
        if field is None:
            return None
        if field.tag != "S":
            raise PreconditionFailed(
                f"invalid type '{field.type_name}' for arg '{name}' in {self!r}"
            )
        return field.text

    @property
    def routes_each_message(self) -> bool:
        return self._header is not None or self._property is not None

    def added(self, binding: Binding) -> None:
        weight = _weight(binding.routing_key)
        if self._ends and binding.destination not in self._counted:
            self._counted[binding.destination] = binding
            self._destinations.append(binding.destination)
            self._ends.append(weight + self._ends[-1])

    def removed(self, binding: Binding) -> None:
        if self._counted.get(binding.destination) is binding:
            self._counted, self._destinations, self._ends = {}, [], []

    def _count(self) -> None:
        for other in self.bindings.values():
            self._counted.setdefault(other.destination, other)
        self._destinations = list(self._counted)
        weights = (_weight(binding.routing_key) for binding in self._counted.values())
        self._ends = list(accumulate(weights))

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        if not self._ends:
            self._count()
            if not self._ends:
                return ()
        if self._header is None and self._property is None:
            key = phash2(_encoded(routing_keys[0]))
        else:
            assert message is not None
            key = self._message_key(message)
        bucket = jump_consistent_hash(key, self._ends[-1])
        return (self._destinations[bisect_right(self._ends, bucket)],)

    def _message_key(self, message: Message) -> int:
        properties = message.properties
        if self._header is not None:
            return _header_key(properties.headers().get(self._header))
        if self._property == "timestamp":
            timestamp = properties.timestamp
            text = None if timestamp is None else str(timestamp)
        else:
            text = properties.text(MESSAGE_ID if self._property == "message_id" else CORRELATION_ID)
        return PHASH2_UNDEFINED if text is None else phash2(_encoded(text))


def _weight(binding_key: str) -> int:
    """A binding key as Erlang's list_to_integer reads it. Raises PreconditionFailed."""
    digits = binding_key[1:] if binding_key[:1] in ("+", "-") else binding_key
    if not (digits.isascii() and digits.isdecimal()):
        shown = erlang_binary(_encoded(binding_key))
        raise PreconditionFailed(f"The binding key must be an integer: {shown}")
    weight = int(binding_key)
    if weight < 1:
        raise PreconditionFailed("The binding key must be greater than 0")
    return weight


def _header_key(field: Field | None) -> int:
    if field is None or field.tag == "V":
        return PHASH2_UNDEFINED
    tag, value = field
    if isinstance(value, bool):
        return PHASH2_TRUE if value else PHASH2_FALSE
    if isinstance(value, int):
        # RabbitMQ routes on timestamps in milliseconds.
        return value * 1000 if tag == "T" else value
    return phash2(value if isinstance(value, bytes) else encode_field(field))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

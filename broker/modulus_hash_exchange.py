"""x-modulus-hash: each message to one binding, by the hash of its routing keys modulo the number of
bindings; as the exchange type of RabbitMQ's rabbitmq_sharding (without its policies).

Binding keys do not matter, but for the order in which the bindings are counted: that of binding
keys, then of the destinations' names, exchanges before queues. Where a routing key leads is the
same after a restart, and in RabbitMQ.
"""

from bisect import insort
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .binding import Binding
from .erlang_hash import phash2
from .exchange import Exchange
from .message import Message
from .queue import Queue

if TYPE_CHECKING:
    from .binding import Destination


class ModulusHashExchange(Exchange):
    """A destination bound twice gets twice as much."""

    type = "x-modulus-hash"
    __slots__ = ("_bound",)

    def prepare(self) -> None:
        self._bound: list[Binding] = []

    def added(self, binding: Binding) -> None:
        insort(self._bound, binding, key=_rank)

    def removed(self, binding: Binding) -> None:
        self._bound.remove(binding)

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        if not self._bound:
            return ()
        hashed = phash2([key.encode("utf-8", "surrogateescape") for key in routing_keys])
        return (self._bound[hashed % len(self._bound)].destination,)


def _rank(binding: Binding) -> tuple[bytes, bool, bytes]:
    destination = binding.destination
    key, name = (
        text.encode("utf-8", "surrogateescape") for text in (binding.routing_key, destination.name)
    )
    return key, isinstance(destination, Queue), name

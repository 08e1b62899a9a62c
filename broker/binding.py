"""A binding: from a source exchange to a queue or exchange, by routing key and arguments."""

from typing import TYPE_CHECKING, TypeAlias

from ..amqp.fields import Table, encode_table

if TYPE_CHECKING:
    from .exchange import Exchange
    from .queue import Queue

    Destination: TypeAlias = Queue | Exchange

BindingKey: TypeAlias = tuple[int, str, bytes]


class Binding:
    """One binding; two with the same source, destination, key and arguments are the same one."""

    __slots__ = ("arguments", "destination", "routing_key", "source")

    def __init__(
        self, source: "Exchange", destination: "Destination", routing_key: str, arguments: Table
    ):
        self.source = source
        self.destination = destination
        self.routing_key = routing_key
        self.arguments = arguments

    @property
    def destination_bindings(self) -> "dict[Binding, None]":
        """The bindings that its destination knows itself to be the destination of."""
        return self.destination.destination_of

    @property
    def key(self) -> BindingKey:
        """What tells it from the other bindings of its source."""
        return binding_key(self.destination, self.routing_key, self.arguments)


def binding_key(destination: "Destination", routing_key: str, arguments: Table) -> BindingKey:
    """A binding's identity within its source; the order of arguments does not matter."""
    ordered = encode_table(dict(sorted(arguments.items()))) if arguments else b""
    return id(destination), routing_key, ordered

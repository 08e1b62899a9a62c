"""Exchanges: which destinations a routing key (and a message's headers) leads to.

Each type is a small class with `added`, `removed` and `match`. Walking on from exchange to
exchange, alternate exchanges included, is the vhost's business.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from ..amqp.fields import Table
from .binding import Binding, BindingKey, binding_key
from .header_match import HeaderMatch
from .topic_trie import TopicTrie

if TYPE_CHECKING:
    from .binding import Destination
    from .queue import Queue


class Exchange(ABC):
    """One exchange of a vhost, with the bindings that have it as their source."""

    type: ClassVar[str]
    needs_headers: ClassVar[bool] = False
    """Whether `match` looks at a message's headers, so that its answer holds for that message
    only.
    """

    __slots__ = (
        "alternate",
        "arguments",
        "auto_delete",
        "bindings",
        "destination_of",
        "durable",
        "internal",
        "name",
        "vhost_name",
    )

    def __init__(
        self,
        vhost_name: str,
        name: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Table | None = None,
    ):
        self.vhost_name = vhost_name
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments: Table = arguments or {}
        alternate = self.arguments.get("alternate-exchange")
        self.alternate: str | None = None if alternate is None else alternate.text
        self.bindings: dict[BindingKey, Binding] = {}
        self.destination_of: set[Binding] = set()
        self.prepare()

    def __repr__(self) -> str:
        return f"exchange '{self.name or 'amq.default'}' in vhost '{self.vhost_name}'"

    def bind(self, binding: Binding) -> bool:
        """Add a binding; False if it was there already. Raises PreconditionFailed for bad
        arguments.
        """
        if binding.key in self.bindings:
            return False
        self.added(binding)
        self.bindings[binding.key] = binding
        return True

    def unbind(
        self, destination: "Destination", routing_key: str, arguments: Table
    ) -> Binding | None:
        """Take a binding out; None if there is none."""
        binding = self.bindings.pop(binding_key(destination, routing_key, arguments), None)
        if binding is not None:
            self.removed(binding)
        return binding

    @abstractmethod
    def prepare(self) -> None:
        """Set up whatever index a type keeps of its bindings."""

    @abstractmethod
    def added(self, binding: Binding) -> None:
        """Take a new binding into account."""

    @abstractmethod
    def removed(self, binding: Binding) -> None:
        """No longer take a binding into account."""

    @abstractmethod
    def match(self, routing_key: str, headers: Table) -> Iterable["Destination"]:
        """The destinations that bindings lead to; repeats are allowed."""


class DefaultExchange(Exchange):
    """The exchange "": every queue is reachable by its name, and nothing can be bound.

    Direct replies take this way too, to queues of their own.
    """

    type = "direct"
    __slots__ = ("_queues", "_reply_queues")

    def __init__(
        self, vhost_name: str, queues: "dict[str, Queue]", reply_queues: "dict[str, Queue]"
    ):
        super().__init__(vhost_name, "", durable=True)
        self._queues = queues
        self._reply_queues = reply_queues

    def prepare(self) -> None:
        pass

    def added(self, binding: Binding) -> None:
        raise AssertionError("the default exchange takes no bindings")

    def removed(self, binding: Binding) -> None:
        raise AssertionError("the default exchange has no bindings")

    def match(self, routing_key: str, headers: Table) -> Iterable["Destination"]:
        queue = self._queues.get(routing_key) or self._reply_queues.get(routing_key)
        return () if queue is None else (queue,)


class DirectExchange(Exchange):
    """Routing key equal to the binding key."""

    type = "direct"
    __slots__ = ("_by_key",)

    def prepare(self) -> None:
        self._by_key: dict[str, list[Destination]] = {}

    def added(self, binding: Binding) -> None:
        self._by_key.setdefault(binding.routing_key, []).append(binding.destination)

    def removed(self, binding: Binding) -> None:
        destinations = self._by_key[binding.routing_key]
        destinations.remove(binding.destination)
        if not destinations:
            del self._by_key[binding.routing_key]

    def match(self, routing_key: str, headers: Table) -> Iterable["Destination"]:
        return self._by_key.get(routing_key, ())


class FanoutExchange(Exchange):
    """Every binding, whatever the key."""

    type = "fanout"
    __slots__ = ()

    def prepare(self) -> None:
        pass

    def added(self, binding: Binding) -> None:
        pass

    def removed(self, binding: Binding) -> None:
        pass

    def match(self, routing_key: str, headers: Table) -> Iterable["Destination"]:
        return [binding.destination for binding in self.bindings.values()]


class TopicExchange(Exchange):
    """Binding keys are patterns of words: `*` stands for one word, `#` for any number."""

    type = "topic"
    __slots__ = ("_trie",)

    def prepare(self) -> None:
        self._trie: TopicTrie[Destination] = TopicTrie()

    def added(self, binding: Binding) -> None:
        self._trie.add(binding.routing_key, binding.destination)

    def removed(self, binding: Binding) -> None:
        self._trie.remove(binding.routing_key, binding.destination)

    def match(self, routing_key: str, headers: Table) -> Iterable["Destination"]:
        return self._trie.match(routing_key)


class HeadersExchange(Exchange):
    """Binding arguments are compared with the message's headers (x-match: all, any, all-with-x,
    any-with-x).
    """

    type = "headers"
    needs_headers = True
    __slots__ = ("_matches",)

    def prepare(self) -> None:
        self._matches: dict[Binding, HeaderMatch] = {}

    def added(self, binding: Binding) -> None:
        self._matches[binding] = HeaderMatch(binding.arguments)

    def removed(self, binding: Binding) -> None:
        del self._matches[binding]

    def match(self, routing_key: str, headers: Table) -> Iterable["Destination"]:
        return [
            binding.destination
            for binding, match in self._matches.items()
            if match.matches(headers)
        ]


EXCHANGE_TYPES: dict[str, type[Exchange]] = {
    kind.type: kind for kind in (DirectExchange, FanoutExchange, TopicExchange, HeadersExchange)
}

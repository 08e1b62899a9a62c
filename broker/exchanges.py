"""Exchanges: which destinations a message's routing keys (or the message itself) lead to.

Each type is a small class with `added`, `removed` and `match`; those that RabbitMQ has as plugins
stand in files of their own. Walking on from exchange to exchange, alternate exchanges included, is
the vhost's business.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from ..amqp.fields import Table
from .binding import Binding, BindingKey, binding_key
from .header_match import HeaderMatch
from .message import Message
from .topic_trie import TopicTrie

if TYPE_CHECKING:
    from .binding import Destination
    from .queue import Queue


class Exchange(ABC):
    """One exchange of a vhost, with the bindings that have it as their source.

    `random_below` gives a random number from 0 up to its argument. Raises PreconditionFailed for
    arguments that the type refuses.
    """

    type: ClassVar[str]

    __slots__ = (
        "alternate",
        "arguments",
        "auto_delete",
        "bindings",
        "destination_of",
        "durable",
        "internal",
        "name",
        "random_below",
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
        random_below: Callable[[int], int] = lambda end: 0,
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
        self.random_below = random_below
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

    @property
    def routes_each_message(self) -> bool:
        """Whether `match` has to see every message: its answer does not follow from the routing
        keys, or it remembers messages.
        """
        return False

    @property
    def history(self) -> "Sequence[tuple[Sequence[str], Message]]":
        """What the destination of a new binding gets at once: messages and their routing keys."""
        return ()

    @abstractmethod
    def prepare(self) -> None:
        """Read the arguments, and set up whatever index a type keeps of its bindings."""

    @abstractmethod
    def added(self, binding: Binding) -> None:
        """Take a new binding into account. Raises PreconditionFailed if it makes no sense."""

    @abstractmethod
    def removed(self, binding: Binding) -> None:
        """No longer take a binding into account."""

    @abstractmethod
    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        """The destinations that bindings lead to; repeats are allowed.

        `routing_keys` are the one that the message was published with, then those of CC and BCC.
        `message` is there if `routes_each_message`.
        """


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

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        found = [self._queues.get(key) or self._reply_queues.get(key) for key in routing_keys]
        return [queue for queue in found if queue is not None]


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

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        return [each for key in routing_keys for each in self._by_key.get(key, ())]


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

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
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

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        return [each for key in routing_keys for each in self._trie.match(key)]


class HeadersExchange(Exchange):
    """Binding arguments are compared with the message's headers (x-match: all, any, all-with-x,
    any-with-x).
    """

    type = "headers"
    __slots__ = ("_matches",)

    @property
    def routes_each_message(self) -> bool:
        return True

    def prepare(self) -> None:
        self._matches: dict[Binding, HeaderMatch] = {}

    def added(self, binding: Binding) -> None:
        self._matches[binding] = HeaderMatch(binding.arguments)

    def removed(self, binding: Binding) -> None:
        del self._matches[binding]

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        assert message is not None
        headers = message.properties.headers()
        return [
            binding.destination
            for binding, match in self._matches.items()
            if match.matches(headers)
        ]


EXCHANGE_TYPES: dict[str, type[Exchange]] = {
    kind.type: kind for kind in (DirectExchange, FanoutExchange, TopicExchange, HeadersExchange)
}

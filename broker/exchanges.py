"""The exchange types: which destinations a message's routing keys (or the message itself) lead to.

AMQP's own are here; those that RabbitMQ has as plugins stand in files of their own.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .binding import Binding
from .consistent_hash_exchange import ConsistentHashExchange
from .deduplication_exchange import DeduplicationExchange
from .delayed_exchange import DelayedExchange
from .exchange import Exchange
from .header_match import HeaderIndex
from .message import Message
from .modulus_hash_exchange import ModulusHashExchange
from .policy import Definition
from .random_exchange import RandomExchange
from .recent_history_exchange import RecentHistoryExchange
from .topic_trie import TopicTrie

if TYPE_CHECKING:
    from .binding import Destination
    from .queue import Queue


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

    def follow(self, policy: Definition) -> None:
        """No policy applies to it."""

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
    __slots__ = ("_index",)

    @property
    def routes_each_message(self) -> bool:
        return True

    def prepare(self) -> None:
        self._index: HeaderIndex[Binding] = HeaderIndex()

    def added(self, binding: Binding) -> None:
        self._index.add(binding, binding.arguments)

    def removed(self, binding: Binding) -> None:
        self._index.remove(binding)

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        assert message is not None
        headers = message.properties.headers()
        return [binding.destination for binding in self._index.match(headers)]


EXCHANGE_TYPES: dict[str, type[Exchange]] = {
    kind.type: kind
    for kind in (
        DirectExchange,
        FanoutExchange,
        TopicExchange,
        HeadersExchange,
        ConsistentHashExchange,
        RandomExchange,
        ModulusHashExchange,
        RecentHistoryExchange,
        DelayedExchange,
        DeduplicationExchange,
    )
}
DelayedExchange.types = EXCHANGE_TYPES

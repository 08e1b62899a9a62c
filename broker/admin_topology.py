"""The part of `Administration` that is about exchanges, queues and bindings."""

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..amqp.errors import AMQPError, NotFound
from .admin_checks import AdministrationPart, Invalid, NoSuchThing, check_name
from .binding import Binding
from .exchange import Exchange
from .json_arguments import InvalidTable, json_from_table, table_from_json
from .policy import JsonValue
from .queue import Queue
from .queue_settings import QueueSettings, queue_type

if TYPE_CHECKING:
    from .binding import Destination


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """How a queue stands."""

    vhost: str
    name: str
    type: str
    messages_ready: int
    messages_unacknowledged: int
    consumers: int
    memory_bytes: int
    """About what its messages take in memory; the others are on disk only."""
    policy: str | None
    operator_policy: str | None
    settings: QueueSettings
    """What is in force, by its arguments and the policies."""


class TopologyAdministration(AdministrationPart):
    """Exchanges, queues and bindings: what clients declare, for those who have no channel.

    Permissions are not asked for, and exclusive queues of connections are as any other. What AMQP
    closes a channel or a connection for is Invalid or NoSuchThing, with the same text.
    """

    # --- exchanges ----------------------------------------------------------------------------

    def exchanges(self, vhost: str) -> list[Exchange]:
        """All exchanges of a vhost, the predeclared ones too, by their names."""
        exchanges = self.vhost(vhost).exchanges
        return [exchanges[name] for name in sorted(exchanges)]

    def exchange(self, vhost: str, name: str) -> Exchange:
        """The exchange of that name."""
        with _as_ours():
            return self.vhost(vhost).exchange(name)

    def declare_exchange(
        self,
        vhost: str,
        name: str,
        kind: str,
        *,
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, JsonValue] | None = None,
    ) -> Exchange:
        """Create an exchange, or find the one that is there equal to what is asked for."""
        check_name("exchange", name)
        with _as_ours():
            return self.vhost(vhost).declare_exchange(
                name,
                kind,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
                arguments=table_from_json(arguments or {}),
            )

    def delete_exchange(self, vhost: str, name: str, *, if_unused: bool = False) -> None:
        """Delete an exchange and its bindings. With very many of them everybody waits, some 6 ms
        for a thousand: see `delete_exchange_in_turns`.
        """
        self.exchange(vhost, name)
        with _as_ours():
            self.vhost(vhost).delete_exchange(name, if_unused=if_unused)

    def delete_exchange_in_turns(
        self, vhost: str, name: str, then: Callable[[], None] = lambda: None
    ) -> None:
        """The same bit by bit, with others served in between. `then` is called when it is gone."""
        self.exchange(vhost, name)
        with _as_ours():
            exchange = self.vhost(vhost).exchange_to_delete(name)
        if exchange is not None:
            self.vhost(vhost).delete_in_turns(exchange, lambda _: then())

    # --- queues -------------------------------------------------------------------------------

    def queues(self, vhost: str) -> list[Queue]:
        """All queues of a vhost, by their names."""
        queues = self.vhost(vhost).queues
        return [queues[name] for name in sorted(queues)]

    def queue(self, vhost: str, name: str) -> Queue:
        """The queue of that name, whoever it belongs to."""
        queue = self.vhost(vhost).queues.get(name)
        if queue is None:
            raise NoSuchThing(f"no queue {name!r} in vhost {vhost!r}")
        return queue

    def declare_queue(
        self,
        vhost: str,
        name: str,
        *,
        durable: bool = True,
        auto_delete: bool = False,
        arguments: Mapping[str, JsonValue] | None = None,
    ) -> Queue:
        """Create a queue, or find the one that is there equal to what is asked for."""
        check_name("queue", name)
        with _as_ours():
            return self.vhost(vhost).declare_queue(
                name,
                durable=durable,
                auto_delete=auto_delete,
                owner=None,
                arguments=table_from_json(arguments or {}),
            )

    def delete_queue(
        self, vhost: str, name: str, *, if_unused: bool = False, if_empty: bool = False
    ) -> int:
        """Delete a queue; its consumers are told. Returns how many ready messages it held. With
        very many bindings everybody waits, some 8 ms for a thousand: see `delete_queue_in_turns`.
        """
        queue = self.queue(vhost, name)
        with _as_ours():
            return self.vhost(vhost).delete_queue(queue, if_unused=if_unused, if_empty=if_empty)

    def delete_queue_in_turns(
        self, vhost: str, name: str, then: Callable[[int], None] = lambda messages: None
    ) -> None:
        """The same bit by bit, with others served in between. `then` is called when it is gone,
        with how many ready messages it held.
        """
        self.vhost(vhost).delete_in_turns(self.queue(vhost, name), then)

    def purge_queue(self, vhost: str, name: str) -> int:
        """Drop all ready messages of a queue; returns how many there were."""
        queue = self.queue(vhost, name)
        with _as_ours():
            queue.check_purge()
        return queue.purge()

    def queue_statistics(self, vhost: str, name: str | None = None) -> list[QueueStatistics]:
        """How the queues of a vhost stand, by their names, or the one of that name."""
        queues = self.queues(vhost) if name is None else [self.queue(vhost, name)]
        unacknowledged = self._unacknowledged()
        return [self._statistics(queue, unacknowledged[queue]) for queue in queues]

    def _statistics(self, queue: Queue, unacknowledged: int) -> QueueStatistics:
        kind = queue_type(queue.arguments)
        matching = self.vhost(queue.vhost_name).policies.matching(kind, queue.name)
        policy, operator_policy = matching.policy, matching.operator_policy
        return QueueStatistics(
            queue.vhost_name,
            queue.name,
            kind,
            queue.message_count,
            unacknowledged,
            len(queue.consumers.all),
            queue.memory_bytes,
            None if policy is None else policy.name,
            None if operator_policy is None else operator_policy.name,
            queue.settings,
        )

    def _unacknowledged(self) -> Counter[Queue]:
        """How many deliveries of each queue wait for their acknowledgement, or for a tx.commit with
        it.
        """
        counts = Counter[Queue]()
        for connection in self._broker.connections:
            for channel in connection.channels.values():
                for queue, count in channel.outstanding():
                    counts[queue] += count
        return counts

    # --- bindings -----------------------------------------------------------------------------

    def bindings(self, vhost: str, *, source: str | None = None) -> list[Binding]:
        """All bindings of a vhost, or those with that exchange as their source. The default
        exchange, which every queue is bound to by its name, has none here.
        """
        exchanges = self.exchanges(vhost) if source is None else [self.exchange(vhost, source)]
        return [binding for exchange in exchanges for binding in exchange.bindings.values()]

    def bind(
        self,
        vhost: str,
        source: str,
        destination: str,
        routing_key: str = "",
        arguments: Mapping[str, JsonValue] | None = None,
        *,
        to_exchange: bool = False,
    ) -> None:
        """Bind a queue, or with `to_exchange` an exchange, to an exchange; twice is fine."""
        exchange, target = self._ends(vhost, source, destination, to_exchange)
        with _as_ours():
            table = table_from_json(arguments or {})
            self.vhost(vhost).bind(exchange, target, _checked_key(routing_key), table)

    def unbind(
        self,
        vhost: str,
        source: str,
        destination: str,
        routing_key: str = "",
        arguments: Mapping[str, JsonValue] | None = None,
        *,
        to_exchange: bool = False,
    ) -> None:
        """Take away the binding with just these arguments."""
        exchange, target = self._ends(vhost, source, destination, to_exchange)
        for binding in exchange.bindings.values():
            if (
                binding.destination is target
                and binding.routing_key == routing_key
                and json_from_table(binding.arguments) == (arguments or {})
            ):
                return self.vhost(vhost).unbind(exchange, target, routing_key, binding.arguments)
        raise NoSuchThing(
            f"no binding of {target!r} to {exchange!r} with the key {routing_key!r} and these"
            " arguments"
        )

    def _ends(
        self, vhost: str, source: str, destination: str, to_exchange: bool
    ) -> "tuple[Exchange, Destination]":
        find = self.exchange if to_exchange else self.queue
        return self.exchange(vhost, source), find(vhost, destination)


def _checked_key(routing_key: str) -> str:
    try:
        encoded = routing_key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise Invalid("a routing key must be UTF-8") from error
    if len(encoded) > 255:
        raise Invalid("a routing key must have at most 255 bytes")
    return routing_key


@contextmanager
def _as_ours() -> Generator[None]:
    """AMQP's errors as those of an operator."""
    try:
        yield
    except NotFound as error:
        raise NoSuchThing(error.explanation) from error
    except AMQPError as error:
        raise Invalid(error.explanation) from error
    except InvalidTable as error:
        raise Invalid(str(error)) from error

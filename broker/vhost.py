"""A virtual host: its exchanges, queues and bindings, and the routing between them.

This is the model that every interface works on: the methods of a channel today, an HTTP API or
embedding code later. Operations check everything that does not depend on who asks, and raise AMQP's
errors with RabbitMQ's texts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..amqp.errors import (
    AccessRefused,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)
from ..amqp.fields import Table
from .binding import Binding
from .deduplication_exchange import DeduplicationExchange
from .delay_line import DelayLine
from .delayed_exchange import DelayedExchange, Release, delay_ms
from .equivalence import check_equivalent_exchange, check_equivalent_queue
from .exchange import Exchange
from .exchange_declaration import PREDECLARED, check_alternate, exchange_class
from .exchanges import EXCHANGE_TYPES, DefaultExchange
from .firehose import TRACE_EXCHANGE, Firehose
from .intake import Intake
from .line import Store
from .message import Message
from .policies import Policies
from .policy import EXCHANGE
from .queue import Queue
from .queue_declaration import check_new_queue, queue_class, with_default_type
from .queue_features import add_features, trace, update_settings
from .routing import route
from .rules import DEFAULT_RULES, Rules
from .seen_values import KeptValues
from .vhost_settings import VhostSettings, restored_settings
from .work import Work

if TYPE_CHECKING:
    from .ack_timeout import AckTimeouts
    from .binding import Destination
    from .connection import Connection
    from .definitions import Definitions

_ON_DEFAULT_EXCHANGE = "operation not permitted on the default exchange"


class VirtualHost:
    """One vhost. `epoch` moves whenever a routing answer may have changed: caches of answers
    watch it. `random_below` gives a random number from 0 up to its argument.
    """

    __slots__ = (
        "_definitions",
        "_intake",
        "_mark_dirty",
        "_random_below",
        "_store",
        "_timers",
        "ack_timeouts",
        "epoch",
        "exchanges",
        "firehose",
        "name",
        "policies",
        "queues",
        "reply_queues",
        "rules",
        "settings",
    )

    def __init__(
        self,
        name: str,
        mark_dirty: Callable[[Work], None],
        intake: Intake,
        definitions: "Definitions",
        store: Store | None = None,
        *,
        random_below: Callable[[int], int],
        ack_timeouts: "AckTimeouts",
        rules: Rules = DEFAULT_RULES,
    ):
        self.name = name
        self.ack_timeouts = ack_timeouts
        self.rules = rules
        self.epoch = 0
        self.firehose: Firehose | None = None
        """What copies of messages go through while the vhost is traced; see `tracing`."""
        self._mark_dirty = mark_dirty
        self._intake = intake
        self._timers = intake.timers
        self._definitions = definitions
        self._store = store
        self._random_below = random_below
        self.settings = VhostSettings()
        self.policies = Policies(name, definitions, self.apply_policies)
        self.queues: dict[str, Queue] = {}
        self.reply_queues: dict[str, Queue] = {}
        """Queues that only direct replies reach; they are neither listed nor bound."""
        default = DefaultExchange(name, self.queues, self.reply_queues)
        self.exchanges: dict[str, Exchange] = {"": default}
        for exchange, kind in PREDECLARED.items():
            internal = exchange == TRACE_EXCHANGE
            self.exchanges[exchange] = EXCHANGE_TYPES[kind](
                name, exchange, durable=True, internal=internal
            )

    @property
    def value(self) -> dict[str, Any]:
        """What is set for it, for the journal."""
        return {**self.settings.value, "tracing": self.tracing}

    def restore(self, value: Mapping[str, Any]) -> None:
        """Have set again what `value` gave."""
        self.settings = restored_settings(value)
        self.tracing = value["tracing"]

    def _routes_changed(self) -> None:
        self.epoch += 1

    def apply_policies(self) -> None:
        """Have all exchanges and queues do what policies set for them now."""
        for exchange in self.exchanges.values():
            exchange.follow(self.policies.matching(EXCHANGE, exchange.name).definition)
        for queue in self.queues.values():
            update_settings(queue, self, self._intake)
        self.epoch += 1

    @property
    def tracing(self) -> bool:
        """Whether all that is published and delivered here is copied to amq.rabbitmq.trace."""
        return self.firehose is not None

    @tracing.setter
    def tracing(self, tracing: bool) -> None:
        if tracing == self.tracing:
            return
        exchange = self.exchanges[TRACE_EXCHANGE]
        self.firehose = Firehose(exchange, self.route, self._intake) if tracing else None
        for queue in self.queues.values():
            trace(queue, self.firehose)
        self.epoch += 1

    # --- looking up ---------------------------------------------------------------------------

    def exchange(self, name: str) -> Exchange:
        """The exchange of that name. Raises NotFound."""
        exchange = self.exchanges.get(name)
        if exchange is None:
            raise NotFound(f"no exchange '{name}' in vhost '{self.name}'")
        return exchange

    def queue(self, name: str, connection: "Connection | None" = None) -> Queue:
        """The queue of that name. Raises NotFound, or ResourceLocked if it is another
        connection's own.
        """
        queue = self.queues.get(name)
        if queue is None:
            raise NotFound(f"no queue '{name}' in vhost '{self.name}'")
        if queue.exclusive_owner is not None and queue.exclusive_owner is not connection:
            raise self._locked(queue)
        return queue

    def _locked(self, queue: Queue) -> ResourceLocked:
        return ResourceLocked(
            f"cannot obtain exclusive access to locked {queue!r}. It could be originally declared"
            " on another connection or the exclusive property value does not match that of the"
            " original declaration."
        )

    # --- exchanges ----------------------------------------------------------------------------

    def check_exchange_type(self, kind: str) -> type[Exchange]:
        """The class for a type's name. Raises CommandInvalid or, from 4.0 on,
        PreconditionFailed.
        """
        return exchange_class(kind, self.rules)

    def declare_exchange(
        self,
        name: str,
        kind: str,
        *,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
    ) -> Exchange:
        """Create an exchange, or find the one that is there equal to what is asked for.

        Raises CommandInvalid, AccessRefused, PreconditionFailed.
        """
        made_by = self.check_exchange_type(kind)
        current = self.exchanges.get(name)
        if current is not None:
            check_equivalent_exchange(current, kind, durable, auto_delete, internal, arguments)
            return current
        if name.startswith("amq."):
            raise AccessRefused(f"exchange name '{name}' contains reserved prefix 'amq.*'")
        check_alternate(arguments, f"exchange '{name}' in vhost '{self.name}'")
        exchange = self._add_exchange(made_by, name, durable, auto_delete, internal, arguments)
        self._definitions.add_exchange(exchange)
        return exchange

    def restore_exchange(
        self,
        name: str,
        kind: str,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
        number: int = 0,
    ) -> Exchange:
        """Set a durable exchange up again as it was; `number` is its own in the journal."""
        kind_class = EXCHANGE_TYPES[kind]
        return self._add_exchange(
            kind_class, name, True, auto_delete, internal, arguments, number=number
        )

    def _add_exchange(
        self,
        exchange_class: type[Exchange],
        name: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
        *,
        number: int = 0,
    ) -> Exchange:
        exchange = exchange_class(
            self.name,
            name,
            durable=durable,
            auto_delete=auto_delete,
            internal=internal,
            arguments=arguments,
            random_below=self._random_below,
            wall_ms=lambda: self._timers.wall_ms,
        )
        self.exchanges[name] = exchange
        journal = self._definitions.journal
        if isinstance(exchange, DeduplicationExchange) and exchange.persistent and journal:
            number = number or self._definitions.next_queue_number()
            exchange.keep(KeptValues(number, journal, self._intake.later))
        if isinstance(exchange, DelayedExchange):
            self._add_delay_line(exchange, number or self._definitions.next_queue_number())
        exchange.follow(self.policies.matching(EXCHANGE, name).definition)
        self.epoch += 1
        return exchange

    def _add_delay_line(self, exchange: DelayedExchange, number: int) -> None:
        exchange.delayed = DelayLine(
            self.name,
            self._mark_dirty,
            self._intake,
            self._store,
            number=number,
            durable=exchange.durable,
            delay_ms=delay_ms,
            release=Release(exchange, self.route, self._intake, self._definitions.together),
        )

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete an exchange and its bindings; one that is not there is fine.

        Raises AccessRefused for the predeclared ones, PreconditionFailed if it is in use.
        """
        if name == "":
            raise AccessRefused(_ON_DEFAULT_EXCHANGE)
        if name.startswith("amq."):
            raise AccessRefused(
                f"deletion of system exchange '{name}' in vhost '{self.name}' not allowed"
            )
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise PreconditionFailed(f"{exchange!r} in use")
        self._remove_exchanges([exchange])

    def _remove_exchanges(self, doomed: list[Exchange]) -> None:
        """Remove exchanges, and those that are to go with what they led to."""
        with self._definitions.together():
            while doomed:
                exchange = doomed.pop()
                if self.exchanges.get(exchange.name) is not exchange:
                    continue
                del self.exchanges[exchange.name]
                self._definitions.remove_exchange(exchange)
                for binding in list(exchange.bindings.values()):
                    binding.destination_bindings.discard(binding)
                    self._definitions.remove_binding(binding)
                exchange.end()
                doomed += self._unbind_destination(exchange.destination_of)
        self.epoch += 1

    # --- queues -------------------------------------------------------------------------------

    def declare_queue(
        self,
        name: str,
        *,
        durable: bool,
        auto_delete: bool,
        owner: "Connection | None",
        arguments: Table,
        generated: bool = False,
    ) -> Queue:
        """Create a queue, or find the one that is there equal to what is asked for.

        `owner` is the connection of an exclusive queue, `generated` says that leveret made up the
        name. Raises AccessRefused, ResourceLocked, PreconditionFailed, InternalError.
        """
        exclusive = owner is not None
        if self.settings.default_queue_type is not None:
            arguments = with_default_type(
                arguments,
                self.settings.default_queue_type,
                durable=durable,
                exclusive=exclusive,
                auto_delete=auto_delete,
            )
        if name.startswith("amq.") and not generated:
            raise AccessRefused(f"queue name '{name}' contains reserved prefix 'amq.*'")
        current = self.queues.get(name)
        if current is not None:
            if current.exclusive_owner is not owner:
                raise self._locked(current)
            check_equivalent_queue(current, durable, auto_delete, arguments, self.rules)
            return current
        limit = self.settings.limit("max-queues")
        if limit is not None and len(self.queues) >= limit:
            raise PreconditionFailed(
                f"cannot declare queue '{name}': queue limit in vhost '{self.name}' ({limit})"
                " is reached"
            )
        check_new_queue(
            f"queue '{name}' in vhost '{self.name}'",
            arguments,
            self.rules,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            generated=generated,
        )
        number = self._definitions.next_queue_number()
        queue = self._add_queue(name, number, durable, auto_delete, owner, arguments)
        self._definitions.add_queue(queue)
        return queue

    def restore_queue(self, name: str, number: int, auto_delete: bool, arguments: Table) -> Queue:
        """Set a durable queue up again as it was; its messages are added by whoever knows them."""
        return self._add_queue(name, number, True, auto_delete, None, arguments)

    def _add_queue(
        self,
        name: str,
        number: int,
        durable: bool,
        auto_delete: bool,
        owner: "Connection | None",
        arguments: Table,
    ) -> Queue:
        queue = self.queues[name] = queue_class(arguments, self.rules, self._definitions)(
            self.name,
            name,
            self._mark_dirty,
            timers=self._timers,
            number=number,
            store=self._store,
            routes_changed=self._routes_changed,
            durable=durable,
            auto_delete=auto_delete,
            exclusive_owner=owner,
            arguments=arguments,
        )
        add_features(queue, self, self._intake)
        self.epoch += 1
        return queue

    def delete_queue(self, queue: Queue, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue; its consumers are told. Returns how many ready messages it held.

        Raises PreconditionFailed, NotSupported.
        """
        queue.check_deletion(if_unused=if_unused, if_empty=if_empty)
        count = queue.purge()
        queue.end()
        del self.queues[queue.name]
        with self._definitions.together():
            self._definitions.remove_queue(queue)
            self._remove_exchanges(self._unbind_destination(queue.destination_of))
        if queue.exclusive_owner is not None:
            del queue.exclusive_owner.exclusive_queues[queue]
        for consumer in list(queue.consumers):
            queue.remove_consumer(consumer)
            consumer.channel.cancelled_by_broker(consumer)
        self.epoch += 1
        return count

    def clear(self) -> None:
        """Delete all that is in it, the vhost itself being about to go."""
        for queue in list(self.queues.values()):
            self.delete_queue(queue)
        for exchange in list(self.exchanges.values()):
            if exchange.name not in ("", *PREDECLARED):
                self._remove_exchanges([exchange])
        self.policies.clear()

    def add_reply_queue(self, name: str) -> Queue:
        """Create a queue for direct replies; it is reached by its name alone."""
        queue = Queue(self.name, name, self._mark_dirty, timers=self._timers)
        self.reply_queues[name] = queue
        self.epoch += 1
        return queue

    def remove_reply_queue(self, queue: Queue) -> None:
        """The consumer of direct replies is gone."""
        del self.reply_queues[queue.name]
        queue.end()
        self.epoch += 1

    # --- bindings -----------------------------------------------------------------------------

    def bind(
        self, source: Exchange, destination: "Destination", routing_key: str, arguments: Table
    ) -> None:
        """Bind a queue or exchange to an exchange; binding twice is fine.

        Raises AccessRefused for the default exchange, PreconditionFailed for bad arguments.
        """
        self.check_not_default(source.name)
        binding = Binding(source, destination, routing_key, arguments)
        if source.bind(binding):
            binding.destination_bindings.add(binding)
            self._definitions.add_binding(binding)
            self.epoch += 1
            self._hand_history_on(binding)

    def _hand_history_on(self, binding: Binding) -> None:
        """Give a new binding's destination what the source remembers, as if published now."""
        destination = binding.destination
        for routing_keys, message in tuple(binding.source.history):
            copy = message.copied(self._intake.next_message_id())
            if isinstance(destination, Queue):
                queues = {destination: None}
            else:
                queues = self.route(destination, routing_keys, copy) or {}
            self._intake.put(copy, tuple(queues))

    def restore_binding(
        self, source: str, kind: str, destination: str, routing_key: str, arguments: Table
    ) -> None:
        """Set a binding up again; `kind` is 'queue' or 'exchange'."""
        target = self.queues[destination] if kind == "queue" else self.exchanges[destination]
        binding = Binding(self.exchanges[source], target, routing_key, arguments)
        binding.source.bind(binding)
        binding.destination_bindings.add(binding)

    def unbind(
        self, source: Exchange, destination: "Destination", routing_key: str, arguments: Table
    ) -> None:
        """Take a binding away; one that is not there is fine."""
        binding = source.unbind(destination, routing_key, arguments)
        if binding is not None:
            binding.destination_bindings.discard(binding)
            with self._definitions.together():
                self._definitions.remove_binding(binding)
                self._remove_exchanges(_useless([source]))

    def check_not_default(self, exchange: str) -> None:
        """Refuse operations on the exchange "". Raises AccessRefused."""
        if exchange == "":
            raise AccessRefused(_ON_DEFAULT_EXCHANGE)

    def _unbind_destination(self, bindings: set[Binding]) -> list[Exchange]:
        """Take away all bindings of a destination; return the exchanges that are to go as well."""
        sources = [binding.source for binding in bindings]
        for binding in list(bindings):
            binding.source.unbind(binding.destination, binding.routing_key, binding.arguments)
            self._definitions.remove_binding(binding)
        bindings.clear()
        return _useless(sources)

    # --- routing ------------------------------------------------------------------------------

    def route(
        self, exchange: Exchange, routing_keys: Sequence[str], message: Message | None
    ) -> dict[Queue, None] | None:
        """The queues that a message goes to, each once, alternate exchanges included.

        Without a message the answer must follow from the keys alone: None is returned if an
        exchange on the way has to see each message.
        """
        return route(self.exchanges, exchange, routing_keys, message)


def _useless(sources: list[Exchange]) -> list[Exchange]:
    """Of exchanges that have lost a binding, the auto-delete ones that have no other."""
    return [source for source in sources if source.auto_delete and not source.bindings]

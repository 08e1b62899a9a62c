"""The exchanges of a virtual host, what is bound to them, and where messages go from there."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ..amqp.errors import AccessRefused, NotFound, PreconditionFailed
from ..amqp.fields import Table
from .binding import Binding
from .deduplication_exchange import DeduplicationExchange
from .delay_line import DelayLine
from .delayed_exchange import DelayedExchange, Release, delay_ms
from .equivalence import check_equivalent_exchange
from .exchange import Exchange
from .exchange_declaration import PREDECLARED, check_alternate, exchange_class
from .exchanges import EXCHANGE_TYPES, DefaultExchange
from .firehose import TRACE_EXCHANGE
from .intake import Intake
from .line import Store
from .message import Message
from .policies import Policies
from .policy import EXCHANGE
from .queue import Queue
from .routing import route
from .rules import Rules
from .seen_values import KeptValues
from .work import Work

if TYPE_CHECKING:
    from .binding import Destination
    from .definitions import Definitions

_ON_DEFAULT_EXCHANGE = "operation not permitted on the default exchange"


class Topology:
    """The exchanges and bindings of one vhost, and the queues as far as they are destinations.

    `epoch` moves whenever a routing answer may have changed: caches of answers watch it.
    `random_below` gives a random number from 0 up to its argument.
    """

    __slots__ = (
        "_definitions",
        "_intake",
        "_random_below",
        "_store",
        "_timers",
        "epoch",
        "exchanges",
        "mark_dirty",
        "name",
        "policies",
        "queues",
        "reply_queues",
        "rules",
    )

    def __init__(
        self,
        name: str,
        mark_dirty: Callable[[Work], None],
        intake: Intake,
        definitions: "Definitions",
        store: Store | None,
        *,
        policies: Policies,
        random_below: Callable[[int], int],
        rules: Rules,
    ):
        self.name = name
        self.rules = rules
        self.epoch: int = 0
        self.mark_dirty = mark_dirty
        self._intake = intake
        self._timers = intake.timers
        self._definitions = definitions
        self._store = store
        self._random_below = random_below
        self.policies = policies
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

    def follow_policies(self, thing: Exchange) -> None:
        """Have an exchange do what policies set for it now. `epoch` must move afterwards."""
        thing.follow(self.policies.matching(EXCHANGE, thing.name).definition)

    # --- exchanges ----------------------------------------------------------------------------

    def exchange(self, name: str) -> Exchange:
        """The exchange of that name. Raises NotFound."""
        exchange = self.exchanges.get(name)
        if exchange is None:
            raise NotFound(f"no exchange '{name}' in vhost '{self.name}'")
        return exchange

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
        self.follow_policies(exchange)
        self.epoch += 1
        return exchange

    def _add_delay_line(self, exchange: DelayedExchange, number: int) -> None:
        exchange.delayed = DelayLine(
            self.name,
            self.mark_dirty,
            self._intake,
            self._store,
            number=number,
            durable=exchange.durable,
            delay_ms=delay_ms,
            release=Release(exchange, self.route, self._intake, self._definitions.together),
        )

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete an exchange and its bindings; one that is not there is fine. Raises as
        `exchange_to_delete`.
        """
        exchange = self.exchange_to_delete(name, if_unused=if_unused)
        if exchange is not None:
            self._remove_exchanges([exchange])

    def exchange_to_delete(self, name: str, *, if_unused: bool = False) -> Exchange | None:
        """The exchange of that name, None if it is not there.

        Raises AccessRefused for the predeclared ones, PreconditionFailed if it is in use.
        """
        if name == "":
            raise AccessRefused(_ON_DEFAULT_EXCHANGE)
        if name.startswith("amq."):
            raise AccessRefused(
                f"deletion of system exchange '{name}' in vhost '{self.name}' not allowed"
            )
        exchange = self.exchanges.get(name)
        if exchange is not None and if_unused and exchange.bindings:
            raise PreconditionFailed(f"{exchange!r} in use")
        return exchange

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
                    binding.destination_bindings.pop(binding, None)
                    self._definitions.remove_binding(binding)
                exchange.end()
                doomed += self._unbind(exchange.destination_of)
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
            binding.destination_bindings[binding] = None
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
        binding.destination_bindings[binding] = None

    def unbind(
        self, source: Exchange, destination: "Destination", routing_key: str, arguments: Table
    ) -> None:
        """Take a binding away; one that is not there is fine."""
        binding = source.unbind(destination, routing_key, arguments)
        if binding is not None:
            binding.destination_bindings.pop(binding, None)
            with self._definitions.together():
                self._definitions.remove_binding(binding)
                self._remove_exchanges(_useless([source]))

    def check_not_default(self, exchange: str) -> None:
        """Refuse operations on the exchange "". Raises AccessRefused."""
        if exchange == "":
            raise AccessRefused(_ON_DEFAULT_EXCHANGE)

    def unbind_some(self, thing: "Destination", most: int) -> int:
        """Take bindings away from and to something that is being deleted, so many at most; return
        how many. Auto-delete exchanges that have no other go with them.
        """
        some = list(islice(thing.destination_of, most))
        if isinstance(thing, Exchange):
            some += islice(thing.bindings.values(), most - len(some))
        with self._definitions.together():
            self._remove_exchanges(self._unbind(some))
        return len(some)

    def _unbind(self, bindings: Iterable[Binding]) -> list[Exchange]:
        """Take bindings away; return the exchanges that are to go as well."""
        taken = list(bindings)
        for binding in taken:
            binding.source.unbind(binding.destination, binding.routing_key, binding.arguments)
            binding.destination_bindings.pop(binding, None)
            self._definitions.remove_binding(binding)
        return _useless([binding.source for binding in taken])

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

"""A virtual host: its exchanges, queues and bindings, and the routing between them.

This is the model that every interface works on: the methods of a channel today, an HTTP API or
embedding code later. Operations check everything that does not depend on who asks, and raise AMQP's
errors with RabbitMQ's texts.
"""

from collections.abc import Callable, Collection, Generator, Mapping
from typing import TYPE_CHECKING, Any

from ..amqp.errors import (
    AccessRefused,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)
from ..amqp.fields import Table
from .deletion import Deletion, Sweep, delete_together
from .equivalence import check_equivalent_queue
from .exchange import Exchange
from .exchange_declaration import PREDECLARED
from .firehose import TRACE_EXCHANGE, Firehose
from .intake import Intake
from .line import Store
from .policies import Policies
from .policy import Policy
from .policy_change import PolicyChange
from .queue import Queue
from .queue_declaration import check_new_queue, queue_class, with_default_type
from .queue_features import add_features, trace, update_settings
from .rules import DEFAULT_RULES, Rules
from .topology import Topology
from .vhost_settings import VhostSettings, restored_settings
from .work import Work

if TYPE_CHECKING:
    from .ack_timeout import AckTimeouts
    from .connection import Connection
    from .definitions import Definitions


class VirtualHost(Topology):
    """One vhost: its topology, its queues, and what is set for it."""

    __slots__ = ("ack_timeouts", "firehose", "settings")

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
        super().__init__(
            name,
            mark_dirty,
            intake,
            definitions,
            store,
            policies=Policies(name, definitions, self._apply_policies, rules),
            random_below=random_below,
            rules=rules,
        )
        self.ack_timeouts = ack_timeouts
        self.firehose: Firehose | None = None
        """What copies of messages go through while the vhost is traced; see `tracing`."""
        self.settings = VhostSettings()

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

    def _apply_policies(self, changed: Collection[Policy]) -> None:
        """Have exchanges and queues do what policies set for them now: at once, or if there are
        very many, in the turns to come.
        """
        change = PolicyChange(self, changed)
        if change.dispatch():
            self.mark_dirty(change)

    def follow_policies(self, thing: Queue | Exchange) -> None:
        """Have a queue or an exchange do what policies set for it now. `epoch` must move
        afterwards.
        """
        if isinstance(thing, Queue):
            update_settings(thing, self, self._intake)
        else:
            super().follow_policies(thing)

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
            self.mark_dirty,
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
            self._remove_exchanges(self._unbind(queue.destination_of))
        if queue.exclusive_owner is not None:
            del queue.exclusive_owner.exclusive_queues[queue]
        for consumer in list(queue.consumers.all):
            queue.remove_consumer(consumer)
            consumer.channel.cancelled_by_broker(consumer)
        self.epoch += 1
        return count

    def delete_in_turns(
        self, thing: Queue | Exchange, then: Callable[[int], None] = lambda count: None
    ) -> None:
        """Delete a queue or an exchange, whatever is in it or uses it: at once, or if very much is
        bound to it, in the turns to come. `then` is called when it is gone, with how many ready
        messages it held.
        """
        deletion = Deletion(self, thing, then)
        if deletion.is_much:
            # What is bound to something that is not defined comes back after no restart.
            self._undefine(thing)
        if deletion.dispatch():
            self.mark_dirty(deletion)

    def _undefine(self, thing: Queue | Exchange) -> None:
        if isinstance(thing, Queue):
            self._definitions.remove_queue(thing)
        else:
            self._definitions.remove_exchange(thing)

    def has(self, thing: Queue | Exchange) -> bool:
        """Whether a queue or an exchange is still there."""
        there = self.queues if isinstance(thing, Queue) else self.exchanges
        return there.get(thing.name) is thing

    def delete(self, thing: Queue | Exchange) -> int:
        """Delete a queue or an exchange, if it is still there, with all that is left of its
        bindings. Returns how many ready messages it held.
        """
        if self.has(thing):
            if isinstance(thing, Queue):
                return self.delete_queue(thing)
            self._remove_exchanges([thing])
        return 0

    def take_apart(self) -> Generator[None, None, None]:
        """Delete all that is in it, a bit in each step. The vhost itself is gone already.

        Exchanges go first, so that nothing comes to a queue any more that is no more, and what was
        bound need not be looked for in them.
        """
        for exchange in tuple(self.exchanges.values()):
            for binding in tuple(exchange.bindings.values()):
                binding.destination_bindings.pop(binding, None)
                self._definitions.remove_binding(binding)
                yield
            self.exchanges.pop(exchange.name, None)
            if exchange.name not in ("", *PREDECLARED):
                self._definitions.remove_exchange(exchange)
            exchange.end()
            yield
        sweep = Sweep(self)
        for queue in tuple(self.queues.values()):
            delete_together(self, [queue], sweep)
            yield
        yield from self.policies.take_away()

    def add_reply_queue(self, name: str) -> Queue:
        """Create a queue for direct replies; it is reached by its name alone."""
        queue = Queue(self.name, name, self.mark_dirty, timers=self._timers)
        self.reply_queues[name] = queue
        self.epoch += 1
        return queue

    def remove_reply_queue(self, queue: Queue) -> None:
        """The consumer of direct replies is gone."""
        del self.reply_queues[queue.name]
        queue.end()
        self.epoch += 1

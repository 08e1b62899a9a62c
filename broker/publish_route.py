"""What a basic.publish frame means, worked out once for all messages that begin with the same."""

from itertools import islice
from typing import TYPE_CHECKING

from ..amqp.basic import IMMEDIATE, MANDATORY, publish_parts
from ..amqp.errors import AccessRefused, NotSupported
from .intake import owners_of
from .permissions import Right
from .queue import Queue
from .remainder import effort_of

if TYPE_CHECKING:
    from .channel import Channel
    from .exchange import Exchange

_OWN_ROUTES = 512
"""How many routes a channel may remember whatever others do."""
_SHARED_BYTES = 16 << 20
_ROUTE_BYTES = 360
"""What a route costs apart from its publish frame, which is kept, and the list of its queues."""

_ASKED_AT_ONCE = 16
"""How many channels are asked for their room at most when another one lacks some."""

_WIDE_QUEUES = 100
"""Routes to more queues are not remembered: looking them up is what bounds their number in a turn,
and costs less than the enqueuing.
"""

_ASKED = -1
"""In place of the epoch: the channel was asked for its room and has not published since."""

SINGLY, ENQUEUE, STORE = range(3)
"""What there is to do with a message, once its route is known."""

PLAIN = (ENQUEUE, ENQUEUE, SINGLY)
DURABLE = (ENQUEUE, STORE, SINGLY)
KEPT = (STORE, STORE, SINGLY)
SINGLY_ONLY = (SINGLY, SINGLY, SINGLY)


class Route:
    """What a basic.publish frame means: the address, and the queues it leads to.

    `per_message` says that an exchange on the way has to see each message. `handling` tells, by the
    kind of a message's properties, what to do with it. `owners` are the numbers of its durable
    queues, and `effort` is what a message counts to go there.
    """

    __slots__ = (
        "address",
        "effort",
        "exchange",
        "handling",
        "mandatory",
        "owners",
        "per_message",
        "queues",
        "routing_key",
    )

    def __init__(self, address: bytes, exchange: "Exchange", routing_key: str, mandatory: bool):
        self.address = address
        self.exchange = exchange
        self.routing_key = routing_key
        self.mandatory = mandatory
        self.queues: tuple[Queue, ...] = ()
        self.per_message = False
        self.owners: tuple[int, ...] = ()
        self.handling = SINGLY_ONLY
        self.effort = 1


class RouteMemory:
    """The bytes that routes of all channels together may take beyond the few that each has for
    itself: thousands of routing keys in turn are common, thousands on every channel are not.

    When a channel lacks room, some of the others are asked for theirs. Who has not published since
    it was last asked gives back all, and so does, at once, whose routes are out of date.
    """

    __slots__ = ("_holders", "left_bytes")

    def __init__(self) -> None:
        self.left_bytes = _SHARED_BYTES
        self._holders: dict[PublishRoutes, None] = {}
        """Who has taken some, the one first that is to be asked next."""

    def take(self, size: int, holder: "PublishRoutes") -> bool:
        """Take some for one more route; False if there is not enough."""
        if size > self.left_bytes:
            self._ask_others(size, holder)
        if size > self.left_bytes:
            return False
        self.left_bytes -= size
        self._holders.setdefault(holder)
        return True

    def give_back(self, size: int, holder: "PublishRoutes") -> None:
        """Give back all that a channel has taken."""
        self.left_bytes += size
        self._holders.pop(holder, None)

    def _ask_others(self, size: int, holder: "PublishRoutes") -> None:
        for other in tuple(islice(self._holders, _ASKED_AT_ONCE)):
            if other is holder or not other.give_back_if_idle():
                del self._holders[other]
                self._holders[other] = None
            if size <= self.left_bytes:
                break


class PublishRoutes:
    """What the publish frames of a channel mean, remembered until the topology changes."""

    __slots__ = (
        "_channel",
        "_epoch",
        "_exchanges",
        "_known",
        "_memory",
        "_shared_bytes",
        "_singly_only",
        "_unasked_epoch",
        "_vhost",
    )

    def __init__(self, channel: "Channel"):
        self._channel = channel
        self._vhost = channel.connection.vhost
        self._memory = channel.connection.broker.route_memory
        self._shared_bytes = 0
        """What of the shared memory this channel has taken."""
        self._known: dict[bytes, Route] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._epoch = self._unasked_epoch = self._vhost.epoch
        self._singly_only = False

    def current(self) -> dict[bytes, Route]:
        """The routes that are known, by the bytes of their publish frames."""
        if self._epoch != self._vhost.epoch:
            if self._epoch == _ASKED:
                self._epoch = self._unasked_epoch
            if self._epoch != self._vhost.epoch:
                self.forget()
        return self._known

    def give_back_if_idle(self) -> bool:
        """Forget the routes if they are out of date, or if there was no publish since this was last
        asked; whether that is so.
        """
        if self._epoch != self._vhost.epoch:
            self.forget()
            return True
        # That there was a publish shows because `current` puts this right, which costs a publish
        # nothing otherwise.
        self._epoch, self._unasked_epoch = _ASKED, self._epoch
        return False

    def forget(self) -> None:
        """Look every route up anew."""
        self._drop_routes()
        self._exchanges.clear()
        self._epoch = self._vhost.epoch

    def take_singly(self) -> None:
        """Have each message published by itself from now on: the channel is in a transaction."""
        self._singly_only = True
        self.forget()

    def look_up(self, publish: bytes) -> Route:
        """The route for a publish frame; it is remembered unless it is refused or leads to very
        many queues.

        Raises FrameError, NotFound, AccessRefused, NotSupported.
        """
        address, exchange_name, routing_key, bits = publish_parts(publish)
        if bits & IMMEDIATE:
            raise NotSupported("immediate=true")
        exchange = self._exchanges.get(exchange_name) or self._find_exchange(exchange_name)
        if exchange.type == "topic":
            permissions = self._channel.connection.permissions
            permissions.check_topic(Right.WRITE, exchange_name, routing_key)
        route = Route(address, exchange, routing_key, bool(bits & MANDATORY))
        self._find_queues(route)
        if len(route.queues) > _WIDE_QUEUES:
            return route
        if len(self._known) >= _OWN_ROUTES:
            self._take_memory(_ROUTE_BYTES + 3 * len(publish) + 16 * len(route.queues))
        self._known[publish] = route
        return route

    def _take_memory(self, size: int) -> None:
        """Get room for one more route, at the cost of those that are known if need be."""
        if self._memory.take(size, self):
            self._shared_bytes += size
        else:
            self._drop_routes()

    def _drop_routes(self) -> None:
        self._known.clear()
        self._memory.give_back(self._shared_bytes, self)
        self._shared_bytes = 0

    def _find_exchange(self, name: str) -> "Exchange":
        """The exchange to publish to, if that is allowed."""
        self._channel.connection.permissions.check(Right.WRITE, "exchange", name)
        exchange = self._vhost.exchange(name)
        if exchange.internal:
            raise AccessRefused(f"cannot publish to internal {exchange!r}")
        self._exchanges[name] = exchange
        return exchange

    def _find_queues(self, route: Route) -> None:
        queues = self._vhost.route(route.exchange, (route.routing_key,), None)
        route.per_message = queues is None
        route.queues = tuple(queues or ())
        route.owners = owners_of(route.queues)
        route.effort = effort_of(route.queues)
        has_journal = self._channel.connection.broker.journal is not None
        if (
            self._singly_only
            or self._vhost.firehose is not None
            or route.per_message
            or (route.mandatory and self.come_back(route.queues))
            or any(queue.singly for queue in route.queues)
        ):
            route.handling = SINGLY_ONLY
        elif any(queue.keeps_all for queue in route.queues):
            whole = has_journal and all(queue.keeps_all for queue in route.queues)
            route.handling = KEPT if whole else SINGLY_ONLY
        else:
            route.handling = DURABLE if route.owners and has_journal else PLAIN

    def come_back(self, queues: tuple[Queue, ...]) -> bool:
        """Whether a mandatory message to these queues is returned: if there are none, if it is only
        delayed, and before RabbitMQ 4.2 also if it is a direct reply; the latter two are delivered
        nevertheless.
        """
        if not any(queue.is_destination for queue in queues):
            return True
        return len(self.replied_to(queues)) == len(queues)

    def replied_to(self, queues: tuple[Queue, ...]) -> tuple[Queue, ...]:
        """Which of these are consumers of direct replies that pass by all queues, as they do before
        RabbitMQ 4.2.
        """
        replying = self._vhost.reply_queues
        if not replying or not self._channel.connection.broker.rules.replies_pass_by_queues:
            return ()
        return tuple(queue for queue in queues if queue.name in replying)

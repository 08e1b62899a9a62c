"""Publishing on one channel: from the frames of a message to the queues it goes to.

Strategy. `receive` takes whole messages in one go: as long as publish, header and a single body frame of this
channel follow each other completely in the buffer, it handles one message after the other without leaving its
loop. Everything that does not depend on the message itself is looked up by the bytes of the publish frame: a
`Route` says what they mean. What the properties ask for is looked up by their bytes too. Whatever does not fit
(a body in several frames, frames of other channels in between, errors) goes frame by frame through a
`ContentAssembly`.
"""

from typing import TYPE_CHECKING

from ..amqp.basic import (
    BASIC_CONTENT,
    BASIC_PUBLISH,
    CONTENT_FRAME_HEAD,
    IMMEDIATE,
    MANDATORY,
    publish_parts,
    return_frame,
)
from ..amqp.errors import NO_ROUTE, AccessRefused, NotSupported
from ..amqp.frames import (
    BODY,
    END,
    HEAD,
    HEADER,
    METHOD,
    METHOD_HEAD,
    OVERHEAD_BYTES,
    bad_end,
    check_head,
)
from .assembly import ContentAssembly
from .confirms import Confirms
from .message import Message
from .property_kinds import PERSISTENT, SPECIAL
from .queue import Queue
from .special import apply_special_properties
from .transaction import Transaction
from .users import Right

if TYPE_CHECKING:
    from .channel import Channel
    from .exchanges import Exchange

_ROUTES_MAX = 512

_ALWAYS = (True, True, False)
_NEVER = (False, False, False)


class Route:
    """What a basic.publish frame means: the address, and the queues it leads to.

    `by_content` says that the queues depend on the message's headers. `inline` tells, by the kind of a message's
    properties, whether enqueuing is all there is to do.
    """

    __slots__ = (
        "address",
        "by_content",
        "exchange",
        "inline",
        "mandatory",
        "queues",
        "routing_key",
    )

    def __init__(self, address: bytes, exchange: "Exchange", routing_key: str, mandatory: bool):
        self.address = address
        self.exchange = exchange
        self.routing_key = routing_key
        self.mandatory = mandatory
        self.queues: tuple[Queue, ...] = ()
        self.by_content = False
        self.inline = _NEVER


class Publisher:
    """The publishing side of a channel."""

    __slots__ = (
        "_assembly",
        "_channel",
        "_epoch",
        "_inline_max",
        "_number",
        "_routes",
        "_vhost",
        "confirms",
        "confirms_due",
        "last_queues",
        "transaction",
    )

    def __init__(self, channel: "Channel"):
        self._channel = channel
        self._number = channel.number
        self._vhost = channel.connection.vhost
        self._routes: dict[bytes, Route] = {}
        self._epoch = self._vhost.epoch
        self._assembly: ContentAssembly | None = None
        connection = channel.connection
        self._inline_max = min(
            connection.payload_max + OVERHEAD_BYTES,
            connection.broker.configuration.connection.max_message_bytes,
        )
        self.confirms: Confirms | None = None
        self.confirms_due = False
        self.transaction: Transaction | None = None
        self.last_queues: tuple[Queue, ...] = ()
        """Where the last message went: what back-pressure looks at."""

    # --- whole messages in one go -----------------------------------------------------------------------

    def receive(self, data: bytes, at: int) -> int:
        """Take the complete messages of this channel that stand at `at`; return the offset behind them.

        The offset given comes back while the first message is incomplete. On an error the connection's
        `position` tells where to go on.
        """
        connection, broker = self._channel.connection, self._channel.connection.broker
        if self._epoch != self._vhost.epoch:
            self.forget_routes()
        known, kinds, dirty = self._routes.get, broker.property_kinds, broker.dirty
        unpack, unpack_content = METHOD_HEAD.unpack_from, CONTENT_FRAME_HEAD.unpack_from
        unpack_body, next_id = HEAD.unpack_from, broker.next_message_id
        number, inline_max, payload_max = self._number, self._inline_max, connection.payload_max
        end = len(data)
        published, route = 0, None
        try:
            while at + METHOD_HEAD.size <= end:
                kind, channel, size, method = unpack(data, at)
                if method != BASIC_PUBLISH or channel != number or kind != METHOD:
                    break
                header_at = at + size + 8
                route = known(data[at:header_at]) or self._resolve(data, at, header_at)
                if route is None or header_at + CONTENT_FRAME_HEAD.size > end:
                    at = self._irregular(data, at, header_at, route)
                    break
                kind, channel, size, content_class, body_bytes = unpack_content(data, header_at)
                body_at = header_at + size + 8
                behind = body_at + body_bytes + 8 if body_bytes else body_at
                if (
                    kind != HEADER
                    or channel != number
                    or content_class != BASIC_CONTENT
                    or body_bytes > inline_max
                    or size > payload_max
                    or behind > end
                    or data[body_at - 1] != END
                    or data[behind - 1] != END
                    or (body_bytes and unpack_body(data, body_at) != (BODY, number, body_bytes))
                ):
                    at = self._irregular(data, at, header_at, route)
                    break
                asked = kinds[data[header_at + 19 : body_at - 1]]
                message = Message(
                    next_id(),
                    route.address,
                    data[header_at:behind],
                    number,
                    body_bytes,
                    asked == PERSISTENT,
                )
                at = behind
                if route.inline[asked]:
                    for queue in route.queues:
                        queue.ready.append(message)
                        if not queue.dirty:
                            queue.dirty = True
                            dirty.append(queue)
                else:
                    connection.position = behind
                    self._publish(route, message, asked)
                published += 1
        finally:
            if route is not None:
                self.last_queues = route.queues
            if published and self.confirms is not None:
                self._confirm(published)
        return at

    def _irregular(self, data: bytes, at: int, header_at: int, route: Route | None) -> int:
        """Where to go on when no whole message stands at `at`: there, if all that lacks is more bytes.

        Else the content is taken frame by frame, from the header on.
        """
        if route is None or header_at >= len(data):
            return at
        frame = (HEADER, self._number)
        if len(data) - header_at < CONTENT_FRAME_HEAD.size:
            regular = data[header_at] == HEADER
        else:
            kind, channel, size, content_class, body_bytes = CONTENT_FRAME_HEAD.unpack_from(
                data, header_at
            )
            body_at = header_at + size + OVERHEAD_BYTES
            regular = (
                (kind, channel) == frame
                and content_class == BASIC_CONTENT
                and size <= self._channel.connection.payload_max
                and body_bytes <= self._inline_max
                and not self._is_whole(data, body_at, body_bytes)
            )
        if regular:
            return at
        connection = self._channel.connection
        self._assembly = ContentAssembly(
            route, self._number, connection.broker.configuration.connection.max_message_bytes
        )
        return header_at

    def _is_whole(self, data: bytes, body_at: int, body_bytes: int) -> bool:
        """Whether enough has come to see that header and body frame are not as they should be."""
        if body_at > len(data):
            return False
        if data[body_at - 1] != END:
            return True
        if not body_bytes or body_at + HEAD.size > len(data):
            return False
        if HEAD.unpack_from(data, body_at) != (BODY, self._number, body_bytes):
            return True
        return body_at + body_bytes + OVERHEAD_BYTES <= len(data)

    def _resolve(self, data: bytes, at: int, behind: int) -> Route | None:
        """The route for the publish frame at `at`; None while it is incomplete.

        It is remembered unless it is refused.
        """
        connection = self._channel.connection
        check_head(METHOD, self._number, behind - at - OVERHEAD_BYTES, connection.payload_max)
        if behind > len(data):
            return None
        connection.method, connection.position = BASIC_PUBLISH, behind
        frame = data[at:behind]
        if frame[-1] != END:
            raise bad_end(METHOD, frame[HEAD.size : -1], frame[-1])
        address, exchange_name, routing_key, bits = publish_parts(frame)
        if bits & IMMEDIATE:
            raise NotSupported("immediate=true")
        connection.permissions.check(Right.WRITE, "exchange", exchange_name)
        exchange = self._vhost.exchange(exchange_name)
        if exchange.internal:
            raise AccessRefused(f"cannot publish to internal {exchange!r}")
        route = Route(address, exchange, routing_key, bool(bits & MANDATORY))
        self._find_queues(route)
        if len(self._routes) >= _ROUTES_MAX:
            self._routes.clear()
        self._routes[frame] = route
        return route

    def _find_queues(self, route: Route) -> None:
        queues = self._vhost.route(route.exchange, route.routing_key, None)
        route.by_content = queues is None
        route.queues = tuple(queues or ())
        inline = self.transaction is None and not route.by_content
        route.inline = _ALWAYS if inline and (queues or not route.mandatory) else _NEVER

    def forget_routes(self) -> None:
        """Look every route up anew: the topology or the channel's mode has changed."""
        self._routes.clear()
        self._epoch = self._vhost.epoch

    # --- frame by frame ---------------------------------------------------------------------------------

    @property
    def assembling(self) -> bool:
        """Whether a publish has come whose content is not complete."""
        return self._assembly is not None

    def receive_frame(self, kind: int, payload: bytes) -> None:
        """Take one frame of a message that does not come in one piece."""
        assembly = self._assembly
        assert assembly is not None
        self._channel.connection.method = BASIC_PUBLISH
        content = assembly.receive(kind, payload)
        if content is None:
            return
        self._assembly = None
        route: Route = assembly.route
        self._find_queues(route)
        asked = self._channel.connection.broker.property_kinds[assembly.properties]
        message = Message(
            self._channel.connection.broker.next_message_id(),
            route.address,
            content,
            self._number,
            assembly.body_bytes,
            asked == PERSISTENT,
        )
        self._publish(route, message, asked)
        self.last_queues = route.queues
        if self.confirms is not None:
            self._confirm(1)

    # --- everything that is not just enqueuing ----------------------------------------------------------

    def _publish(self, route: Route, message: Message, asked: int) -> None:
        """Route and enqueue one message, minding all that it asks for."""
        self._channel.connection.method = BASIC_PUBLISH
        keys = [route.routing_key]
        if asked == SPECIAL:
            keys += apply_special_properties(self._channel, message)
        queues = route.queues
        if route.by_content or len(keys) > 1:
            headers = message.properties.headers()
            found: dict[Queue, None] = {}
            for key in keys:
                found.update(self._vhost.route(route.exchange, key, headers) or {})
            queues = tuple(found)
        if self.transaction is not None:
            self.transaction.publish(message, queues, route.mandatory)
        else:
            self.deliver(message, queues, route.mandatory)

    def deliver(self, message: Message, queues: tuple[Queue, ...], mandatory: bool) -> None:
        """Enqueue a message, or return it to the client if that was asked for and no queue takes it."""
        if not queues and mandatory:
            connection = self._channel.connection
            head = return_frame(self._number, NO_ROUTE, b"NO_ROUTE", message.address)
            connection.send(head + message.content_for(self._number, connection.payload_max))
        for queue in queues:
            queue.enqueue(message)

    # --- confirms ---------------------------------------------------------------------------------------

    def _confirm(self, published: int) -> None:
        assert self.confirms is not None
        self.confirms.published += published
        if not self.confirms_due:
            self.confirms_due = True
            self._channel.connection.broker.confirming.append(self)

    def send_confirms(self) -> None:
        """Acknowledge what is done."""
        self.confirms_due = False
        if self.confirms is not None:
            self._channel.connection.send(self.confirms.frames(self._number))

"""Publishing on one channel: from the frames of a message to the queues it goes to.

Strategy. `receive` takes whole messages in one go: as long as publish, header and a single body
frame of this channel follow each other completely in the buffer, it handles one message after the
other without leaving its loop. Everything that does not depend on the message itself is looked up
by the bytes of the publish frame: a `Route` says what they mean. What the properties ask for is
looked up by their bytes too. A message of which only the body differs from the one before is not
even looked at: the bytes before its body are compared. Whatever does not fit (a body in several
frames, frames of other channels in between, errors) goes frame by frame through a
`ContentAssembly`.
"""

from collections.abc import Sequence
from itertools import islice, repeat
from typing import TYPE_CHECKING

from ..amqp.basic import (
    BASIC_CONTENT,
    BASIC_PUBLISH,
    CONTENT_FRAME_HEAD,
    return_frame,
)
from ..amqp.errors import NO_ROUTE, NotSupported, SoftError
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
from ..amqp.whole_content import may_become_whole
from .assembly import ContentAssembly
from .confirms import Confirms
from .message import Message
from .permissions import Right
from .property_kinds import PERSISTENT, SPECIAL, TRANSIENT
from .publish_route import SINGLY, STORE, PublishRoutes, Route
from .queue import Queue
from .remainder import EnoughForNow, effort_of
from .special import apply_special_properties
from .transaction import Transaction

if TYPE_CHECKING:
    from .channel import Channel
    from .exchange import Exchange

_GUESSES = 3
"""How often in a row to guess in vain that the next message is framed just as this one."""


class Publisher:
    """The publishing side of a channel."""

    __slots__ = (
        "_append",
        "_channel",
        "_inline_max",
        "_number",
        "_vhost",
        "assembly",
        "confirms",
        "confirms_due",
        "last_queues",
        "routes",
        "transaction",
    )

    def __init__(self, channel: "Channel"):
        self._channel = channel
        self._number = channel.number
        self._vhost = channel.connection.vhost
        self.routes = PublishRoutes(channel)
        self.assembly: ContentAssembly | None = None
        """The content of a publish that does not come in one piece, while it is not complete."""
        connection = channel.connection
        journal = connection.broker.journal
        self._append = _no_journal if journal is None else journal.append_messages
        self._inline_max = min(
            connection.payload_max + OVERHEAD_BYTES,
            connection.broker.configuration.max_message_bytes,
        )
        self.confirms: Confirms | None = None
        self.confirms_due = False
        self.transaction: Transaction | None = None
        self.last_queues: tuple[Queue, ...] = ()
        """Where the last message went: what back-pressure looks at."""

    # --- whole messages in one go -------------------------------------------------------------

    def receive(self, data: bytes, at: int) -> int:
        """Take the complete messages of this channel that stand at `at`; return the offset behind.

        The offset given comes back while the first message is incomplete. On an error, and with
        EnoughForNow, the receiver's `position` tells where to go on.
        """
        connection = self._channel.connection
        connection.receiver.method = BASIC_PUBLISH
        if connection.broker.alarms:
            connection.block()
        known, number = self.routes.current().get, self._number
        last_head = len(data) - METHOD_HEAD.size
        while at <= last_head and self.assembly is None:
            kind, channel, size, method = METHOD_HEAD.unpack_from(data, at)
            if method != BASIC_PUBLISH or channel != number or kind != METHOD:
                break
            frame = data[at : at + size + OVERHEAD_BYTES]
            route = known(frame) or self._resolve(data, at, at + size + OVERHEAD_BYTES)
            if route is None:
                return at if self.assembly is None else at + len(frame)
            start, at = at, self._receive_run(route, frame, data, at)
            if at == start:
                break
        return at

    def _receive_run(self, route: Route, frame: bytes, data: bytes, at: int) -> int:
        """Take the messages from `at` on that begin with the same publish frame."""
        broker, payload_max = self._channel.connection.broker, self._channel.connection.payload_max
        kinds, handling = broker.property_kinds, route.handling
        unpack_content, unpack_body = CONTENT_FRAME_HEAD.unpack_from, HEAD.unpack_from
        number, inline_max = self._number, self._inline_max
        frame_bytes, end = len(frame), len(data)
        last_header = end - CONTENT_FRAME_HEAD.size
        contents: list[bytes] = []
        sizes: list[int] = []
        asked = TRANSIENT
        singly = handling[asked] == SINGLY
        guesses = _GUESSES
        start = at
        try:
            while data.startswith(frame, at):
                header_at = at + frame_bytes
                if header_at > last_header:
                    return self._irregular(data, at, header_at)
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
                    return self._irregular(data, at, header_at)
                kind = kinds[data[header_at + 19 : body_at - 1]]
                if kind != asked:
                    self._enqueue(route, asked, contents, sizes)
                    asked = kind
                    singly = handling[kind] == SINGLY
                content = data[header_at:behind]
                if singly:
                    at = behind
                    self._publish_singly(route, asked, content, body_bytes, behind)
                    continue
                contents.append(content)
                sizes.append(body_bytes)
                if guesses:
                    # Often the next ones differ in nothing but the body.
                    guesses -= 1
                    alike = data[at : min(body_at + HEAD.size, behind)]
                    whole_bytes = behind - at
                    while data.startswith(alike, behind):
                        at, behind = behind, behind + whole_bytes
                        if behind > end or data[behind - 1] != END:
                            behind = at
                            break
                        contents.append(data[at + frame_bytes : behind])
                        sizes.append(body_bytes)
                        guesses = _GUESSES
                at = behind
        finally:
            self._enqueue(route, asked, contents, sizes)
            broker.memory.published_bytes += at - start
        return at

    def _enqueue(self, route: Route, asked: int, contents: list[bytes], sizes: list[int]) -> None:
        """Make messages of contents and the sizes of their bodies, which are used up, and put them
        into the queues of their route; they count as published.
        """
        self.last_queues = route.queues
        if not contents:
            return
        count, content_bytes = len(contents), len(contents[0])
        broker = self._channel.connection.broker
        is_stored = route.handling[asked] == STORE
        first_stored = self._append(route.owners, route.address, contents) if is_stored else 0
        batch = list(
            map(
                Message,
                islice(broker.message_ids, count),
                repeat(route.address),
                contents,
                repeat(self._number),
                sizes,
                repeat(asked == PERSISTENT),
                range(first_stored, first_stored + count) if is_stored else repeat(0),
            )
        )
        contents.clear()
        sizes.clear()
        for queue in route.queues:
            queue.ready.extend(batch)
            queue.seen(content_bytes)
            if not queue.dirty:
                queue.mark_dirty(queue)
        if self.confirms is not None:
            self._confirm(count, stored=is_stored)

    def _publish_singly(
        self, route: Route, asked: int, content: bytes, body_bytes: int, position: int
    ) -> None:
        """Publish a message that wants more than enqueuing. Raises EnoughForNow."""
        connection = self._channel.connection
        connection.receiver.position = position
        message = Message(
            connection.broker.next_message_id(),
            route.address,
            content,
            self._number,
            body_bytes,
            asked == PERSISTENT,
        )
        accepted = self._publish(route, message, asked)
        if self.confirms is not None:
            self._confirm(1, stored=message.stored != 0, accepted=accepted)
        if connection.receiver.effort_left <= 0:
            raise EnoughForNow

    def _irregular(self, data: bytes, at: int, header_at: int) -> int:
        """Where to go on when no whole message stands at `at`: there, if all that lacks is more
        bytes.

        Else the content is taken frame by frame, from the header on.
        """
        payload_max = self._channel.connection.payload_max
        if may_become_whole(data, header_at, self._number, payload_max, self._inline_max):
            return at
        self._assemble(data[at:header_at])
        return header_at

    def _assemble(self, publish: bytes) -> None:
        """Take the content of a publish frame by frame from now on."""
        max_bytes = self._channel.connection.broker.configuration.max_message_bytes
        self.assembly = ContentAssembly(publish, self._number, max_bytes)

    def _resolve(self, data: bytes, at: int, behind: int) -> Route | None:
        """The route for the publish frame at `at`; None while it is incomplete, or if it is to be
        refused: as in RabbitMQ not before its content has come. Raises EnoughForNow.
        """
        connection = self._channel.connection
        if connection.receiver.effort_left <= 0:
            connection.receiver.position = at
            raise EnoughForNow
        check_head(METHOD, self._number, behind - at - OVERHEAD_BYTES, connection.payload_max)
        if behind > len(data):
            return None
        connection.receiver.position = behind
        frame = data[at:behind]
        if frame[-1] != END:
            raise bad_end(METHOD, frame[HEAD.size : -1], frame[-1])
        try:
            route = self.routes.look_up(frame)
        except (SoftError, NotSupported):
            self._assemble(frame)
            return None
        connection.receiver.effort_left -= route.effort
        return route

    # --- frame by frame -----------------------------------------------------------------------

    def receive_frame(self, kind: int, payload: bytes) -> None:
        """Take one frame of a message that does not come in one piece."""
        assembly = self.assembly
        assert assembly is not None
        self._channel.connection.receiver.method = BASIC_PUBLISH
        content = assembly.receive(kind, payload)
        if content is None:
            return
        self.assembly = None
        self._channel.connection.broker.memory.published_bytes += len(content)
        routes = self.routes
        route = routes.current().get(assembly.publish) or routes.look_up(assembly.publish)
        asked = self._channel.connection.broker.property_kinds[assembly.properties]
        message = Message(
            self._channel.connection.broker.next_message_id(),
            route.address,
            content,
            self._number,
            assembly.body_bytes,
            asked == PERSISTENT,
        )
        accepted = self._publish(route, message, asked)
        self.last_queues = route.queues
        if self.confirms is not None:
            self._confirm(1, stored=message.stored != 0, accepted=accepted)

    # --- everything that is not just enqueuing ------------------------------------------------

    def _publish(self, route: Route, message: Message, asked: int) -> bool:
        """Route and enqueue one message, minding all that it asks for; False if a queue refused
        it.
        """
        keys = [route.routing_key]
        if asked == SPECIAL:
            copies = apply_special_properties(self._channel, message)
            self._check_copies(route.exchange, copies)
            keys += copies
        queues, effort = route.queues, route.effort
        if route.per_message or len(keys) > 1:
            queues = tuple(self._vhost.route(route.exchange, keys, message) or ())
            effort = effort_of(queues)
        self._channel.connection.receiver.effort_left -= effort
        if self._vhost.firehose is not None:
            self._vhost.firehose.published(self._channel, keys, message, queues)
        if self.transaction is not None:
            self.transaction.publish(message, self._reply(message, queues), route.mandatory)
            return True
        return self.deliver(message, queues, route.mandatory)

    def _reply(self, message: Message, queues: tuple[Queue, ...]) -> tuple[Queue, ...]:
        """Hand direct replies over that do not wait for the commit; the queues that do."""
        replied_to = self.routes.replied_to(queues)
        if replied_to:
            broker = self._channel.connection.broker
            broker.intake.put(message.copied(broker.next_message_id()), replied_to)
        return tuple(queue for queue in queues if queue not in replied_to)

    def _check_copies(self, exchange: "Exchange", keys: list[str]) -> None:
        """Ask for topic permissions for the keys of CC and BCC, as RabbitMQ does from 4.0 on."""
        connection = self._channel.connection
        if exchange.type == "topic" and connection.broker.rules.topic_permissions_cover_copies:
            for key in keys:
                connection.permissions.check_topic(Right.WRITE, exchange.name, key)

    def deliver(self, message: Message, queues: tuple[Queue, ...], mandatory: bool) -> bool:
        """Enqueue a message, or return it to the client if that was asked for and it leads to no
        queue; False if a queue refused it.
        """
        if mandatory and self.routes.come_back(queues):
            connection = self._channel.connection
            head = return_frame(self._number, NO_ROUTE, b"NO_ROUTE", message.address)
            connection.send(head + message.content_for(self._number, connection.payload_max))
        return self._channel.connection.broker.intake.put(message, queues)

    # --- confirms -----------------------------------------------------------------------------

    def _confirm(self, published: int, *, stored: bool, accepted: bool = True) -> None:
        """Count publishes, to be confirmed at the end of the turn or once they are on disk."""
        assert self.confirms is not None
        broker = self._channel.connection.broker
        position = broker.position if stored else 0
        self.confirms.add(published, position)
        if not accepted:
            self.confirms.refuse_last()
        if stored:
            broker.when_durable(position, self.send_confirms_due)
        elif not self.confirms_due:
            self.confirms_due = True
            broker.confirming.append(self)

    def send_confirms_due(self) -> None:
        """Acknowledge what is done. A bug in that closes the connection: it would wait for ever."""
        try:
            self._send_confirms()
        except Exception as error:
            self._channel.connection.fault(error)

    def _send_confirms(self) -> None:
        self.confirms_due = False
        if self.confirms is not None:
            connection = self._channel.connection
            connection.send(self.confirms.frames(self._number, connection.broker.durable))

    def close(self) -> None:
        """Confirm what is done; nothing more will be."""
        self.routes.forget()
        try:
            self._send_confirms()
        finally:
            self.confirms = None


def _no_journal(owners: tuple[int, ...], beginning: bytes, blobs: Sequence[bytes]) -> int:
    raise AssertionError("nothing is stored without a journal")

"""A connection: bytes in, bytes out, and everything in between that is not one channel's business.

Strategy. `receive` takes what a socket gave and handles every complete frame in it. Once the
connection is open, whole messages and runs of acknowledgements are handed to their channel straight
from the buffer; all other frames are cut out and decoded one by one. What is to be sent collects in
`output`, which the edge sends at the end of the turn. This is the one place where errors become
channel.close or connection.close.
"""

import logging
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from ..amqp.basic import BASIC_ACK, BASIC_PUBLISH
from ..amqp.errors import (
    AMQPError,
    ChannelFault,
    FrameError,
    HardError,
    InternalError,
    LoginRefused,
    NotAllowed,
    SoftError,
    UnexpectedFrame,
)
from ..amqp.fields import Table
from ..amqp.frames import (
    FRAME_MIN_BYTES,
    HEARTBEAT,
    METHOD,
    METHOD_HEAD,
    PROTOCOL_HEADER,
    method_frame,
    read_frame,
)
from ..amqp.methods import (
    ChannelClose,
    ChannelCloseOk,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionUnblocked,
    ConnectionUpdateSecret,
    ConnectionUpdateSecretOk,
    Method,
    decode,
    method_ids,
)
from . import commands
from .channel import Channel
from .handshake import ACCEPTED_HEADERS, Handshake, HandshakeFailed
from .heartbeats import Heartbeats
from .log import fields
from .queue import Queue
from .timers import Timer

if TYPE_CHECKING:
    from .broker import Broker
    from .consumer import Consumer
    from .users import Permissions, User
    from .vhost import VirtualHost

log = logging.getLogger("leveret.connection")

HANDSHAKE_PAYLOAD_MAX = 2 * FRAME_MIN_BYTES
CLOSE_TIMEOUT_S = 30.0
"""How long a client may take to answer connection.close, or to hang up after
connection.close-ok.
"""


class Transport(Protocol):
    """What carries a connection's bytes."""

    def flush(self) -> None:
        """Send the connection's output as far as possible at once; then hang up if it is
        `finished`.
        """


class State(Enum):
    """Where a connection is in its life."""

    HEADER = "waiting for the protocol header"
    HANDSHAKE = "opening"
    OPEN = "open"
    CLOSING = "close sent, waiting for close-ok"
    CLOSED = "closed"


class Connection:
    """The session of one client."""

    def __init__(
        self, broker: "Broker", transport: Transport, name: str, *, from_loopback: bool = True
    ):
        """`name` is `peer -> local`, as logs and listings show it."""
        self.broker = broker
        self.name = name
        self.from_loopback = from_loopback
        self.transport = transport
        self.state = State.HEADER
        self.client_properties: Table = {}
        self.user: User
        self.vhost: VirtualHost
        self.permissions: Permissions
        self.channels: dict[int, Channel] = {}
        self.exclusive_queues: dict[Queue, None] = {}
        self.channel_max = 0
        self.payload_max = HANDSHAKE_PAYLOAD_MAX
        self.position = 0
        """Where in the received data the frame after the current one starts."""
        self.method = 0
        """Class and method id, as one number, of what is being handled."""
        self.number = 0
        """The channel number of what is being handled."""
        self.output: list[bytes] = []
        self.output_bytes = 0
        self.touched = False
        self.finished = False
        """Nothing more will be sent or read: hang up."""
        self.held = b""
        """A reply that waits for the disk; nothing more is taken from the client meanwhile."""
        self.blocked = False
        """An alarm holds, and it has published meanwhile: it is not read from."""
        self.stalled: list[Consumer] = []
        """Consumers that wait until there is room in the output."""
        self.heartbeats: Heartbeats | None = None
        self._closing_channels: set[int] = set()
        self._rest = b""
        self._handshake: Handshake | None = Handshake(self)
        self._deadline: Timer = self._within(
            broker.configuration.connection.handshake_timeout_s, "the handshake took too long"
        )
        broker.connections.add(self)
        log.info("accepted", extra=fields(connection=name))

    # --- output -------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Add bytes to the output."""
        if data:
            self.output.append(data)
            self.spent(len(data))

    def spent(self, count: int) -> None:
        """Note that about so many bytes were added to the output."""
        self.output_bytes += count
        if not self.touched:
            self.touched = True
            self.broker.touched.append(self)

    def hold(self, reply: bytes, position: int) -> None:
        """Keep a reply back, and whatever the client sends after it, until the journal is durable
        up to `position`.
        """
        self.held = reply
        self.broker.when_durable(position, self._go_on)

    def _go_on(self) -> None:
        reply, self.held = self.held, b""
        if self.state is State.OPEN:
            self.send(reply)
            self.receive(b"")

    def drained(self) -> None:
        """The output has been sent: consumers that waited for room can go on."""
        if self.heartbeats is not None:
            self.heartbeats.sent = True
        if self.stalled:
            stalled, self.stalled = self.stalled, []
            for consumer in stalled:
                consumer.queue.wake(consumer)

    # --- input --------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Handle every complete frame in what has come; keep the rest for the next time."""
        if self.heartbeats is not None:
            self.heartbeats.heard = True
        if self._rest:
            data = self._rest + data
        if self.held:
            self._rest = data
            return
        self.position = 0
        while not self.finished:
            try:
                if self._receive(data):
                    break
            except SoftError as error:
                self._close_channel(error)
            except HardError as error:
                self.close(error)
            except HandshakeFailed as failure:
                self._drop_later(str(failure))
            except Exception:
                log.exception("internal error", extra=fields(connection=self.name))
                self.close(InternalError("internal error"))
        self._rest = data[self.position :] if self.position < len(data) else b""

    def congested(self) -> bool:
        """Whether it publishes faster than the consumers of its queues take, and should slow down.

        One that consumes too is never slowed down: its acknowledgements come the same way.
        """
        return any(
            queue.congested
            for channel in self.channels.values()
            if not channel.consumers
            for queue in channel.publisher.last_queues
        )

    def backlog(self) -> int:
        """Messages waiting in the queues it last published to."""
        return sum(
            queue.message_count
            for channel in self.channels.values()
            for queue in channel.publisher.last_queues
        )

    @property
    def lacks_bytes(self) -> int:
        """How much of an incomplete frame is being held: a large one wants larger reads."""
        return len(self._rest)

    def _receive(self, data: bytes) -> bool:
        """Handle frames from `position` on; False if it must be called again, in a new state."""
        match self.state:
            case State.OPEN:
                return self._receive_open(data)
            case State.HEADER:
                return self._receive_header(data)
            case State.CLOSED:
                self.position = len(data)
                return True
            case _:
                return self._receive_control(data)

    def _receive_header(self, data: bytes) -> bool:
        header = data[:8]
        if len(header) < 8 and PROTOCOL_HEADER.startswith(header):
            return True
        if header not in ACCEPTED_HEADERS:
            if len(header) < 8 and any(known.startswith(header) for known in ACCEPTED_HEADERS):
                return True
            log.warning(
                "not an AMQP 0-9-1 client",
                extra=fields(connection=self.name, sent=repr(header), hint=_hint(header)),
            )
            self.send(PROTOCOL_HEADER)
            self.state = State.CLOSED
            self.finish()
            return True
        self.position = 8
        self.state = State.HANDSHAKE
        assert self._handshake is not None
        self._handshake.start()
        return False

    def _receive_control(self, data: bytes) -> bool:
        """The handshake, and what a closing client still sends: only methods on channel 0
        matter.
        """
        handshake = self._handshake
        while True:
            try:
                framed = read_frame(data, self.position, self.payload_max)
            except HardError:
                if self.state is State.CLOSING:
                    self.position = len(data)
                    return True
                raise
            if framed is None:
                return True
            kind, channel, payload, self.position = framed
            if self.state is State.CLOSING:
                self._receive_closing(kind, channel, payload)
            elif kind == METHOD and channel == 0:
                self.method = int.from_bytes(payload[:4])
                assert handshake is not None
                if handshake.receive(decode(payload)):
                    self._opened()
                    return False
            elif kind != HEARTBEAT:
                raise HandshakeFailed("unexpected frame in the handshake")

    def _receive_open(self, data: bytes) -> bool:
        at, last_head = self.position, len(data) - METHOD_HEAD.size
        channels = self.channels
        while True:
            if at <= last_head:
                kind, number, _, method = METHOD_HEAD.unpack_from(data, at)
                channel = channels.get(number)
                if channel is not None and kind == METHOD and not channel.publisher.assembling:
                    start, self.number = at, number
                    if method == BASIC_PUBLISH:
                        at = channel.publisher.receive(data, at)
                        if at == start:
                            break
                    elif method == BASIC_ACK:
                        at = channel.receive_acks(data, at)
                    if at != start:
                        self.position = at
                        continue
            framed = read_frame(data, at, self.payload_max)
            if framed is None:
                break
            kind, number, payload, at = framed
            self.position = at
            self._receive_frame(kind, number, payload)
            if self.held or self.state is not State.OPEN:
                return bool(self.held)
        self.position = at
        return True

    def _receive_frame(self, kind: int, number: int, payload: bytes) -> None:
        self.number = number
        self.method = int.from_bytes(payload[:4]) if kind == METHOD else 0
        if kind == HEARTBEAT:
            return
        if number == 0:
            self._receive_connection_method(kind, payload)
            return
        channel = self.channels.get(number)
        if channel is None:
            self._receive_without_channel(kind, number, payload)
        elif channel.publisher.assembling:
            channel.publisher.receive_frame(kind, payload)
        elif kind != METHOD:
            raise UnexpectedFrame("expected method frame, got non method frame instead", at=(0, 0))
        else:
            self._receive_channel_method(channel, decode(payload))

    def _receive_channel_method(self, channel: Channel, call: Method) -> None:
        match call:
            case ChannelOpen():
                raise ChannelFault("second 'channel.open' seen")
            case ChannelClose():
                self._forget_channel(channel)
                channel.send(ChannelCloseOk())
            case _:
                commands.run(channel, call)

    def _receive_without_channel(self, kind: int, number: int, payload: bytes) -> None:
        """A frame for a channel that is not open, or that leveret has closed and the client not
        yet.
        """
        if number in self._closing_channels:
            if kind == METHOD:
                self._receive_closing_channel(number, payload)
            return
        if kind != METHOD:
            raise ChannelFault("expected 'channel.open'", at=(0, 0))
        if not isinstance(decode(payload), ChannelOpen):
            raise ChannelFault("expected 'channel.open'")
        if len(self.channels) >= self.channel_max:
            raise NotAllowed(
                f"number of channels opened ({len(self.channels)}) has reached the negotiated"
                f" channel_max ({self.channel_max})",
                at=(0, 0),
            )
        channel = self.channels[number] = Channel(self, number)
        channel.send(ChannelOpenOk())

    def _receive_closing_channel(self, number: int, payload: bytes) -> None:
        match decode(payload):
            case ChannelCloseOk():
                self._closing_channels.discard(number)
            case ChannelClose():
                self.send(method_frame(number, ChannelCloseOk()))
            case ChannelOpen():
                raise ChannelFault("second 'channel.open' seen")
            case _:
                pass

    def _receive_connection_method(self, kind: int, payload: bytes) -> None:
        if kind != METHOD:
            raise UnexpectedFrame("expected method frame, got non method frame instead", at=(0, 0))
        match decode(payload):
            case ConnectionClose() as close:
                self._client_closed(close)
            case ConnectionUpdateSecret():
                self.send(method_frame(0, ConnectionUpdateSecretOk()))
            case _:
                raise ChannelFault("unexpected method in connection state running")

    def _receive_closing(self, kind: int, channel: int, payload: bytes) -> None:
        if kind != METHOD or channel != 0 or len(payload) < 4:
            return
        ids = (int.from_bytes(payload[:2]), int.from_bytes(payload[2:4]))
        if ids == method_ids(ConnectionClose):
            self.send(method_frame(0, ConnectionCloseOk()))
        elif ids == method_ids(ConnectionCloseOk):
            self.state = State.CLOSED
            self.finish()

    def block(self) -> None:
        """It publishes during an alarm: stop reading from it, and say so if it wants to know."""
        if self.blocked:
            return
        self.blocked = True
        if self.capable("connection.blocked"):
            self.send(method_frame(0, ConnectionBlocked(self.broker.alarms.reason)))

    def unblock(self) -> None:
        """All alarms are over."""
        if not self.blocked:
            return
        self.held = b""
        """A reply that waits for the disk; nothing more is taken from the client meanwhile."""
        self.blocked = False
        if self.heartbeats is not None:
            self.heartbeats.heard = True
        if self.state is State.OPEN and self.capable("connection.blocked"):
            self.send(method_frame(0, ConnectionUnblocked()))

    # --- life ---------------------------------------------------------------------------------

    def capable(self, capability: str) -> bool:
        """Whether the client has said that it understands a capability."""
        capabilities = self.client_properties.get("capabilities")
        if capabilities is None or not isinstance(capabilities.value, dict):
            return False
        field = capabilities.value.get(capability)
        return field is not None and field.value is True

    def start_heartbeats(self, interval_s: int) -> None:
        """Begin to send and expect heartbeats; 0 turns them off."""
        self.heartbeats = Heartbeats(self, interval_s)

    def _opened(self) -> None:
        self._deadline.cancel()
        self.state = State.OPEN
        log.info(
            "opened",
            extra=fields(
                connection=self.name,
                user=self.user.name,
                vhost=self.vhost.name,
                client_name=self._client_name(),
            ),
        )

    def _client_name(self) -> str | None:
        field = self.client_properties.get("connection_name")
        return field.text if field is not None and isinstance(field.value, bytes) else None

    def log_refused_login(self, user: str, why: str) -> None:
        """Tell the operator what the client is not told."""
        log.warning("login refused", extra=fields(connection=self.name, user=user, reason=why))

    def _close_channel(self, error: SoftError) -> None:
        """Close the channel that was being served when the error came up."""
        number = self.number
        class_id, method_id = error.at or (self.method >> 16, self.method & 0xFFFF)
        log.warning(
            "channel closed",
            extra=fields(connection=self.name, channel=number, reason=error.reply_text),
        )
        channel = self.channels.get(number)
        if channel is not None:
            self._forget_channel(channel)
        self._closing_channels.add(number)
        close = ChannelClose(error.code, error.reply_text, class_id, method_id)
        self.send(method_frame(number, close))

    def _forget_channel(self, channel: Channel) -> None:
        del self.channels[channel.number]
        channel.close()
        del channel.publisher

    def close(self, error: AMQPError) -> None:
        """Close the connection because of an error, and wait for the client's answer."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        log.warning("closed", extra=fields(connection=self.name, reason=error.reply_text))
        class_id, method_id = error.at or (self.method >> 16, self.method & 0xFFFF)
        self._release()
        self.send(
            method_frame(0, ConnectionClose(error.code, error.reply_text, class_id, method_id))
        )
        self.state = State.CLOSING
        delay_s = CLOSE_TIMEOUT_S
        if isinstance(error, LoginRefused | FrameError):
            delay_s = self.broker.configuration.connection.failed_login_delay_s
        self._deadline.cancel()
        self._deadline = self._within(delay_s, "no answer to connection.close")

    def shut(self, error: AMQPError) -> None:
        """Close the connection from outside; one that is not open yet is dropped without a word."""
        if self.state is State.OPEN:
            self.close(error)
        elif self.state is not State.CLOSING:
            self.lost(error.explanation)

    def _client_closed(self, close: ConnectionClose) -> None:
        log.info(
            "closed by client",
            extra=fields(connection=self.name, code=close.reply_code, text=close.reply_text),
        )
        self._release()
        self.send(method_frame(0, ConnectionCloseOk()))
        self.state = State.CLOSED
        self._deadline = self._within(CLOSE_TIMEOUT_S, "the client has not hung up")

    def _drop_later(self, why: str) -> None:
        """A failed handshake: no answer, and the socket goes after a pause."""
        log.warning("handshake failed", extra=fields(connection=self.name, reason=why))
        self.state = State.CLOSED
        self._deadline.cancel()
        delay_s = self.broker.configuration.connection.failed_login_delay_s
        self._deadline = self._within(delay_s, "")

    def _within(self, delay_s: float, why: str) -> Timer:
        return self.broker.timers.at(self.broker.timers.now + delay_s, lambda: self.lost(why))

    def lost(self, why: str) -> None:
        """The client is gone or has to go: free all it held. Hanging up is the edge's part."""
        if self.state not in (State.CLOSING, State.CLOSED):
            log.warning("lost", extra=fields(connection=self.name, reason=why))
        self._release()
        self.state = State.CLOSED
        self.finish()

    def finish(self) -> None:
        """Hang up at the end of the turn, whether the client takes the output or not.

        What refers back to the connection goes: the garbage collector, which comes rarely, must
        not be needed to free its memory. (The same is why closed channels lose their publisher.)
        """
        self.finished = True
        self.heartbeats = self._handshake = None
        self.broker.connections.discard(self)
        self._deadline.cancel()
        self.spent(0)

    def _release(self) -> None:
        """Close the channels, then delete the connection's own queues (before any close-ok is
        sent).
        """
        for channel in list(self.channels.values()):
            self._forget_channel(channel)
        self._closing_channels.clear()
        for queue in list(self.exclusive_queues):
            self.vhost.delete_queue(queue)
        self.stalled.clear()
        if self.heartbeats is not None:
            self.heartbeats.stop()


def _hint(header: bytes) -> str:
    """What a wrong protocol header most likely is."""
    if header.startswith(b"\x16\x03"):
        return "this is TLS; the port speaks plain AMQP"
    if header[:4] in (b"GET ", b"POST", b"PUT ", b"HEAD"):
        return "this is HTTP; the port speaks AMQP"
    if header.startswith(b"AMQP"):
        return "another version of AMQP; leveret speaks 0-9-1"
    return "leveret speaks AMQP 0-9-1"

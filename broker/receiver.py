"""What a client sends, from bytes to calls: the protocol header, the handshake, frames, methods.

Strategy. Every complete frame in what came is handled at once. Once the connection is open, whole
messages and runs of acknowledgements are handed to their channel straight from the buffer; all
other frames are cut out and decoded one by one. Errors are raised here and below; the connection
decides what they mean.
"""

import logging
from enum import Enum
from typing import TYPE_CHECKING

from ..amqp.basic import BASIC_ACK, BASIC_PUBLISH
from ..amqp.connection_methods import (
    ChannelClose,
    ChannelCloseOk,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionUpdateSecret,
    ConnectionUpdateSecretOk,
)
from ..amqp.errors import ChannelFault, HardError, NotAllowed, UnexpectedFrame
from ..amqp.frames import (
    HEAD,
    HEARTBEAT,
    METHOD,
    METHOD_HEAD,
    OVERHEAD_BYTES,
    PROTOCOL_HEADER,
    method_frame,
    read_frame,
    unexpected_frame,
)
from ..amqp.method_codec import decode
from ..amqp.method_ids import METHOD_IDS, Method
from . import commands
from .channel import Channel
from .connection_limits import check_channel_limit
from .handshake import ACCEPTED_HEADERS, Handshake, HandshakeFailed
from .log import fields
from .logins import Verification
from .remainder import METHOD_EFFORT, EnoughForNow, Remainder

if TYPE_CHECKING:
    from .connection import Connection

log = logging.getLogger("leveret.connection")

LARGE_BYTES = 1 << 18
"""With more than this, what has come is not joined as a whole to the rest of what came before."""


class State(Enum):
    """Where a connection is in its life."""

    HEADER = "waiting for the protocol header"
    HANDSHAKE = "opening"
    OPEN = "open"
    CLOSING = "close sent, waiting for close-ok"
    LEAVING = "close-ok sent, waiting for the client to hang up"
    CLOSED = "closed"


class Receiver:
    """The input of one connection, and what of it is being handled.

    The connection is passed along rather than kept: the two would hold each other in memory.
    """

    __slots__ = ("_handshake", "_rest", "effort_left", "method", "number", "position")

    def __init__(self) -> None:
        self._handshake: Handshake | None = None
        self._rest = b""
        self.position = 0
        """Where in the received data the frame after the current one starts."""
        self.method = 0
        """Class and method id, as one number, of what is being handled."""
        self.number = 0
        """The channel number of what is being handled."""
        self.effort_left = 0
        """How much more is done of what has come before others have their turn."""

    @property
    def method_ids(self) -> tuple[int, int]:
        """(class id, method id) of what is being handled."""
        return self.method >> 16, self.method & 0xFFFF

    @property
    def kept_bytes(self) -> int:
        """How much of what has come is kept until more comes."""
        return len(self._rest)

    def end(self) -> None:
        """The connection is finished: let go of what refers back to it."""
        self._handshake = None

    def receive(self, connection: "Connection", data: bytes) -> None:
        """Handle every complete frame in what has come; keep the rest for the next time."""
        if connection.verification is not None:
            self._rest += data
            return
        rest = self._rest
        if rest and not connection.waiting and len(rest) + len(data) > LARGE_BYTES:
            missing = _missing_bytes(rest)
            if missing <= len(data):
                self._handle(connection, rest + data[:missing], 0)
                if not self._rest and not connection.waiting:
                    self._handle(connection, data, missing)
                    return
                data = data[missing:]
        data = self._rest + data
        if connection.waiting:
            self._rest = data
        else:
            self._handle(connection, data, 0)

    def _handle(self, connection: "Connection", data: bytes, at: int) -> None:
        """Handle the frames from `at` on; what is left over is the rest to come back to."""
        self.position = at
        self.effort_left = connection.broker.turn_bounds.effort
        while not connection.finished:
            try:
                if self._receive(connection, data):
                    break
            except EnoughForNow:
                break
            except Exception as error:
                connection.fail(error)
                if connection.waiting:
                    break
        self._rest = data[self.position :] if self.position < len(data) else b""
        if self._rest and self.effort_left <= 0 and not connection.waiting:
            Remainder(connection)

    def _receive(self, connection: "Connection", data: bytes) -> bool:
        """Handle frames from `position` on; False if it must be called again, in a new state."""
        match connection.state:
            case State.OPEN:
                return self._receive_open(connection, data)
            case State.HEADER:
                return self._receive_header(connection, data)
            case State.HANDSHAKE:
                return self._receive_handshake(connection, data)
            case State.CLOSING | State.LEAVING:
                return self._receive_closing(connection, data)
            case State.CLOSED:
                self.position = len(data)
                return True

    # --- before and after the connection is open ----------------------------------------------

    def _receive_header(self, connection: "Connection", data: bytes) -> bool:
        header = data[:8]
        if len(header) < 8 and any(known.startswith(header) for known in ACCEPTED_HEADERS):
            return True
        if header not in ACCEPTED_HEADERS:
            log.warning(
                "not an AMQP 0-9-1 client",
                extra=fields(connection=connection.name, sent=repr(header), hint=_hint(header)),
            )
            connection.send(PROTOCOL_HEADER)
            connection.state = State.CLOSED
            connection.finish()
            return True
        self.position = 8
        connection.state = State.HANDSHAKE
        self._handshake = Handshake(connection)
        self._handshake.start()
        return False

    def _receive_handshake(self, connection: "Connection", data: bytes) -> bool:
        handshake = self._handshake
        assert handshake is not None
        while True:
            framed = read_frame(data, self.position, connection.payload_max)
            if framed is None:
                return True
            kind, channel, payload, self.position = framed
            if kind == METHOD and channel == 0:
                self.method = int.from_bytes(payload[:4])
                if handshake.receive(decode(payload)):
                    self._handshake = None
                    connection.opened()
                    return False
                if connection.verification is not None:
                    return True
            elif kind != HEARTBEAT:
                raise HandshakeFailed("unexpected frame in the handshake")

    def verified(
        self, connection: "Connection", verification: Verification, accepted: bool | None
    ) -> None:
        """Go on with the handshake after a password has been checked."""
        if connection.state is State.HANDSHAKE and self._handshake is not None:
            try:
                self._handshake.verified(verification, accepted)
            except Exception as error:
                connection.fail(error)
        self.receive(connection, b"")

    def _receive_closing(self, connection: "Connection", data: bytes) -> bool:
        """After connection.close, whoever sent it: nothing matters any more but close, which gets
        its answer every time, and close-ok.
        """
        while connection.state is not State.CLOSED:
            try:
                framed = read_frame(data, self.position, connection.payload_max)
            except HardError:
                self.position = len(data)
                return True
            if framed is None:
                return True
            kind, channel, payload, self.position = framed
            if kind != METHOD or channel != 0 or len(payload) < 4:
                continue
            ids = (int.from_bytes(payload[:2]), int.from_bytes(payload[2:4]))
            if ids == METHOD_IDS[ConnectionClose]:
                connection.send(method_frame(0, ConnectionCloseOk()))
            elif ids == METHOD_IDS[ConnectionCloseOk]:
                connection.state = State.CLOSED
                connection.finish()
        return False

    # --- an open connection -------------------------------------------------------------------

    def _receive_open(self, connection: "Connection", data: bytes) -> bool:
        channels, payload_max = connection.channels, connection.payload_max
        at, last_head = self.position, len(data) - METHOD_HEAD.size
        while True:
            if at <= last_head:
                kind, number, _, method = METHOD_HEAD.unpack_from(data, at)
                channel = channels.get(number)
                if channel is not None and kind == METHOD and channel.publisher.assembly is None:
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
            framed = read_frame(data, at, payload_max)
            if framed is None:
                break
            kind, number, payload, at = framed
            self.position = at
            self._receive_frame(connection, kind, number, payload)
            enough = self.effort_left <= 0 or connection.waiting or connection.is_full
            if enough or connection.state is not State.OPEN:
                return connection.state is State.OPEN
        self.position = at
        return True

    def _receive_frame(
        self, connection: "Connection", kind: int, number: int, payload: bytes
    ) -> None:
        self.number = number
        if kind == METHOD:
            self.method = int.from_bytes(payload[:4])
            self.effort_left -= METHOD_EFFORT
        else:
            self.method = 0
        if kind == HEARTBEAT:
            return
        if number == 0:
            self._receive_connection_method(connection, kind, payload)
            return
        channel = connection.channels.get(number)
        if channel is None:
            self._receive_without_channel(connection, kind, number, payload)
        elif channel.publisher.assembly is not None:
            channel.publisher.receive_frame(kind, payload)
        elif kind != METHOD:
            raise UnexpectedFrame("expected method frame, got non method frame instead", at=(0, 0))
        else:
            self._receive_channel_method(connection, channel, decode(payload))

    def _receive_channel_method(
        self, connection: "Connection", channel: Channel, call: Method
    ) -> None:
        match call:
            case ChannelOpen():
                raise ChannelFault("second 'channel.open' seen")
            case ChannelClose():
                connection.forget_channel(channel)
                channel.send(ChannelCloseOk())
            case _:
                commands.run(channel, call)

    def _receive_without_channel(
        self, connection: "Connection", kind: int, number: int, payload: bytes
    ) -> None:
        """A frame for a channel that is not open, or that leveret has closed and the client not
        yet.
        """
        closing = connection.closing_channels.get(number)
        if closing is not None:
            self._receive_closing_channel(connection, number, closing.receive(kind, payload))
            return
        if kind != METHOD:
            raise UnexpectedFrame("expected method frame, got non method frame instead", at=(0, 0))
        if not isinstance(decode(payload), ChannelOpen):
            raise ChannelFault("expected 'channel.open'")
        if len(connection.channels) >= connection.channel_max:
            raise NotAllowed(
                f"number of channels opened ({len(connection.channels)}) has reached the"
                f" negotiated channel_max ({connection.channel_max})",
                at=(0, 0),
            )
        check_channel_limit(connection.broker, connection.user)
        channel = connection.channels[number] = Channel(connection, number)
        channel.send(ChannelOpenOk())

    def _receive_closing_channel(
        self, connection: "Connection", number: int, call: Method | None
    ) -> None:
        match call:
            case ChannelCloseOk():
                del connection.closing_channels[number]
            case ChannelClose():
                connection.send(method_frame(number, ChannelCloseOk()))
            case ChannelOpen():
                raise ChannelFault("second 'channel.open' seen")
            case _:
                pass

    def _receive_connection_method(
        self, connection: "Connection", kind: int, payload: bytes
    ) -> None:
        if kind != METHOD:
            raise unexpected_frame(kind, payload)
        match decode(payload):
            case ConnectionClose() as close:
                connection.client_closed(close)
            case ConnectionUpdateSecret():
                connection.send(method_frame(0, ConnectionUpdateSecretOk()))
            case _:
                raise ChannelFault("unexpected method in connection state running")


def _missing_bytes(rest: bytes) -> int:
    """How many bytes complete the frame that `rest` ends in the middle of."""
    at = 0
    while at + HEAD.size <= len(rest):
        at += HEAD.unpack_from(rest, at)[2] + OVERHEAD_BYTES
    return max(at - len(rest), 0)


def _hint(header: bytes) -> str:
    """What a wrong protocol header most likely is."""
    if header.startswith(b"\x16\x03"):
        return "this is TLS; the port speaks plain AMQP"
    if header[:4] in (b"GET ", b"POST", b"PUT ", b"HEAD"):
        return "this is HTTP; the port speaks AMQP"
    if header.startswith(b"AMQP"):
        return "another version of AMQP; leveret speaks 0-9-1"
    return "leveret speaks AMQP 0-9-1"

"""An AMQP client on a bare socket: it sends whatever a test wants, when the test wants it.

Built on leveret's own codec, which has tests of its own. One client belongs to one task at a time.
"""

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

import trio

from leveret.amqp.basic import BASIC_CONTENT, CONTENT_FRAME_HEAD
from leveret.amqp.connection_methods import (
    ChannelOpen,
    ChannelOpenOk,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionStart,
    ConnectionStartOk,
    ConnectionTune,
    ConnectionTuneOk,
)
from leveret.amqp.fields import table_of
from leveret.amqp.frames import (
    BODY,
    HEADER,
    METHOD,
    OVERHEAD_BYTES,
    PROTOCOL_HEADER,
    frame,
    method_frame,
    read_frame,
)
from leveret.amqp.method_codec import decode
from leveret.amqp.method_ids import Method
from leveret.amqp.methods import (
    BasicConsume,
    BasicConsumeOk,
    BasicDeliver,
    BasicPublish,
    BasicQos,
    BasicQosOk,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
)

CHANNEL_MAX = 2047
FRAME_MAX_BYTES = 131_072
READ_BYTES = 1 << 18

_NO_PROPERTIES = b"\0\0"
_Answer = TypeVar("_Answer", bound=tuple[object, ...])


class Frame(NamedTuple):
    kind: int
    channel: int
    payload: bytes


class Delivery(NamedTuple):
    delivery_tag: int
    redelivered: bool
    routing_key: str
    body: bytes


class HungUp(Exception):
    """The broker closed the socket where a frame was expected."""


class RawClient:
    """One socket. `sock` may be used directly, as long as nothing is read past this class."""

    def __init__(self, sock: trio.socket.SocketType):
        self.sock = sock
        self._data = b""

    # --- out ----------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Send all of it, waiting while the socket is full."""
        view = memoryview(data)
        while view:
            view = view[await self.sock.send(view) :]

    async def call(self, channel: int, method: Method, answer: type[_Answer]) -> _Answer:
        """Send a method; its answer, which must come next."""
        await self.send(method_frame(channel, method))
        return await self.expect(answer)

    # --- in -----------------------------------------------------------------------------------

    async def receive(self) -> Frame:
        """The next frame. Raises HungUp, or OSError after a reset."""
        while True:
            framed = read_frame(self._data, 0, FRAME_MAX_BYTES)
            if framed is not None:
                kind, channel, payload, behind = framed
                self._data = self._data[behind:]
                return Frame(kind, channel, payload)
            more = await self.sock.recv(READ_BYTES)
            if not more:
                raise HungUp
            self._data += more

    async def receive_method(self) -> Method:
        """The method in the next frame."""
        received = await self.receive()
        assert received.kind == METHOD, received
        return decode(received.payload)

    async def expect(self, kind: type[_Answer]) -> _Answer:
        """The next frame, which must carry such a method."""
        method = await self.receive_method()
        assert isinstance(method, kind), method
        return method

    async def delivery(self) -> Delivery:
        """The next message, which must come next."""
        return await self._delivered(await self.expect(BasicDeliver))

    async def delivery_or_close(self) -> Delivery | ConnectionClose:
        """The next message, or the broker's closing the connection."""
        method = await self.receive_method()
        if isinstance(method, BasicDeliver):
            return await self._delivered(method)
        assert isinstance(method, ConnectionClose), method
        return method

    async def _delivered(self, deliver: BasicDeliver) -> Delivery:
        body = await self.content()
        return Delivery(deliver.delivery_tag, deliver.redelivered, deliver.routing_key, body)

    async def content(self) -> bytes:
        """The body of the message whose method has come."""
        header = await self.receive()
        assert header.kind == HEADER, header
        (left,) = struct.unpack_from(">Q", header.payload, 4)
        parts: list[bytes] = []
        while left:
            part = await self.receive()
            assert part.kind == BODY, part
            parts.append(part.payload)
            left -= len(part.payload)
        return b"".join(parts)

    async def read_to_end(self) -> bytes:
        """Everything up to the broker's hanging up, by FIN or RST."""
        parts, self._data = [self._data], b""
        try:
            while more := await self.sock.recv(READ_BYTES):
                parts.append(more)
        except ConnectionResetError:
            pass
        return b"".join(parts)

    # --- conversations ------------------------------------------------------------------------

    async def log_in(self, *, heartbeat_s: int = 0) -> None:
        """From the protocol header to connection.open-ok, as guest, without waiting in between."""
        capabilities = {"authentication_failure_close": True, "connection.blocked": True}
        properties = table_of({"capabilities": capabilities})
        start_ok = ConnectionStartOk(properties, "PLAIN", b"\0guest\0guest", "en_US")
        tune_ok = ConnectionTuneOk(CHANNEL_MAX, FRAME_MAX_BYTES, heartbeat_s)
        methods = (start_ok, tune_ok, ConnectionOpen("/", "", False))
        await self.send(PROTOCOL_HEADER + b"".join(method_frame(0, each) for each in methods))
        for answer in (ConnectionStart, ConnectionTune, ConnectionOpenOk):
            await self.expect(answer)

    async def open_channel(self, number: int = 1) -> None:
        await self.call(number, ChannelOpen(), ChannelOpenOk)

    async def declare(
        self, queue: str, *, durable: bool = False, exclusive: bool = False
    ) -> QueueDeclareOk:
        declare = QueueDeclare(0, queue, False, durable, exclusive, False, False, {})
        return await self.call(1, declare, QueueDeclareOk)

    async def delete(self, queue: str) -> None:
        await self.call(1, QueueDelete(0, queue, False, False, False), QueueDeleteOk)

    async def message_count(self, queue: str) -> int:
        passive = QueueDeclare(0, queue, True, False, False, False, False, {})
        return (await self.call(1, passive, QueueDeclareOk)).message_count

    async def consume(self, queue: str, *, no_ack: bool = True, prefetch: int = 0) -> None:
        if prefetch:
            await self.call(1, BasicQos(0, prefetch, False), BasicQosOk)
        consume = BasicConsume(0, queue, "", False, no_ack, False, False, {})
        await self.call(1, consume, BasicConsumeOk)

    async def close(self) -> None:
        """Close politely, skipping whatever else still comes, and hang up."""
        await self.send(method_frame(0, ConnectionClose(200, "bye", 0, 0)))
        close_ok = method_frame(0, ConnectionCloseOk())
        while frame(*await self.receive()) != close_ok:
            pass
        self.sock.close()

    def reset(self) -> None:
        """Hang up with an RST, as a crashed machine or a firewall does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def message(
    routing_key: str,
    body: bytes,
    *,
    exchange: str = "",
    channel: int = 1,
    mandatory: bool = False,
    frame_max_bytes: int = FRAME_MAX_BYTES,
) -> bytes:
    """The frames of one publish without properties."""
    most = frame_max_bytes - OVERHEAD_BYTES
    return b"".join(
        [
            method_frame(channel, BasicPublish(0, exchange, routing_key, mandatory, False)),
            announcement(len(body), channel),
            *(frame(BODY, channel, body[at : at + most]) for at in range(0, len(body), most)),
        ]
    )


def announcement(body_bytes: int, channel: int = 1) -> bytes:
    """A content header frame without properties, with or without that body to follow."""
    size = CONTENT_FRAME_HEAD.size - 7 + len(_NO_PROPERTIES)
    head = CONTENT_FRAME_HEAD.pack(HEADER, channel, size, BASIC_CONTENT, body_bytes)
    return head + _NO_PROPERTIES + b"\xce"


@asynccontextmanager
async def connected(
    port: int, *, receive_buffer_bytes: int | None = None
) -> AsyncIterator[RawClient]:
    """A connected socket on which nothing was said yet; closed without a word at the end.

    A small receive buffer lets the broker's socket fill up sooner.
    """
    with trio.socket.socket() as sock:
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await sock.connect(("127.0.0.1", port))
        yield RawClient(sock)


@asynccontextmanager
async def logged_in(
    port: int, *, heartbeat_s: int = 0, receive_buffer_bytes: int | None = None
) -> AsyncIterator[RawClient]:
    """A client with channel 1 open; its socket is closed without a word at the end."""
    async with connected(port, receive_buffer_bytes=receive_buffer_bytes) as client:
        await client.log_in(heartbeat_s=heartbeat_s)
        await client.open_channel()
        yield client


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the broker is about to do; the caller limits the time."""
    while not condition():  # noqa: ASYNC110 - no event tells of it
        await trio.sleep(0.001)

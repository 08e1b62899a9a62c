"""A server and clients without sockets, tasks and a clock: they drive the core with bytes.

Clients encode what they send, and decode what they get, with pamqp, which knows nothing of leveret.
Only what pamqp refuses to encode (other field types, odd names) is sent as one of leveret's own
methods.
"""

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple, TypeAlias, TypeVar

import pamqp.frame
from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Queue
from pamqp.header import ContentHeader, ProtocolHeader
from pamqp.heartbeat import Heartbeat

from leveret.amqp.connection_methods import AccessRequestOk
from leveret.amqp.frames import OVERHEAD_BYTES, method_frame
from leveret.amqp.method_codec import decode
from leveret.broker.broker import Broker
from leveret.broker.configuration import Configuration
from leveret.broker.connection import Connection
from leveret.broker.turn_bounds import TurnBounds

PROTOCOL_HEADER = b"AMQP\0\0\x09\1"
ACCESS_REQUEST_OK = b"\0\x1e\0\x0b"
"""The one method that pamqp does not know."""

Sendable: TypeAlias = Frame | ContentHeader | ContentBody | Heartbeat | tuple[Any, ...]
Kind = TypeVar("Kind")


class Received(NamedTuple):
    """What a server sent: a method, with its content if it has one; or a heartbeat or header."""

    channel: int
    call: Any
    properties: Basic.Properties = Basic.Properties()
    body: bytes = b""

    @property
    def headers(self) -> Any:
        return self.properties.headers


class FakeServer:
    """A broker, driven as the server drives it. Time stands still except in `advance`."""

    def __init__(
        self, configuration: Configuration | None = None, turn_bounds: TurnBounds | None = None
    ):
        unique, drawn = count(1), count()
        self.broker = Broker(
            configuration or Configuration(),
            lambda: f"{next(unique):022}",
            random_below=lambda end: next(drawn) % end,
            turn_bounds=turn_bounds or TurnBounds(),
        )

    def accept(self, *, from_loopback: bool = True) -> "FakeClient":
        """A client that has connected and sent nothing yet."""
        return FakeClient(self, from_loopback=from_loopback)

    def connect(
        self,
        user: str = "guest",
        password: str = "guest",
        vhost: str = "/",
        *,
        channel_max: int = 2047,
        frame_max: int = 131_072,
        heartbeat: int = 0,
        capabilities: tuple[str, ...] = ("authentication_failure_close", "consumer_cancel_notify"),
    ) -> "FakeClient":
        """A client with an open connection and channel 1 open on it."""
        client = self.accept()
        client.feed(PROTOCOL_HEADER)
        client.expect(commands.Connection.Start, 0)
        client.send(start_ok(user, password, capabilities), channel=0)
        client.expect(commands.Connection.Tune, 0)
        client.send(commands.Connection.TuneOk(channel_max, frame_max, heartbeat), channel=0)
        client.send(commands.Connection.Open(vhost), channel=0)
        client.expect(commands.Connection.OpenOk, 0)
        client.payload_max = frame_max - OVERHEAD_BYTES
        client.open_channel(1)
        return client

    def end_turn(self) -> None:
        """Finish a turn, and give further ones as long as the broker asks for them, except for
        what it may page out later just as well.
        """
        broker = self.broker
        while True:
            self.one_turn()
            if broker.dirty or broker.touched:
                continue
            if not broker.wants_turn or broker.memory.again:
                return

    def one_turn(self) -> None:
        """Finish one turn."""
        self.broker.finish_turn()
        for connection in self.broker.take_touched():
            connection.transport.flush()

    def advance(self, seconds: float) -> None:
        """Let time pass, with a turn for every deadline on the way."""
        timers = self.broker.timers
        end = timers.now + seconds
        while (due := timers.next_deadline()) is not None and due <= end:
            timers.now = due
            timers.run()
            self.end_turn()
        timers.now = end


class FakeClient:
    """One connection's client, and the transport of the connection. Every input is a turn.

    While it is not `reading`, everything that the server sends stays there.
    """

    def __init__(
        self, server: FakeServer, *, from_loopback: bool = True, name: str = "client -> broker"
    ):
        self.server = server
        self.reading = True
        self.hung_up = False
        """Whether the server has hung up."""
        self.wire = bytearray()
        """All bytes that came."""
        self.payload_max = 131_064
        self._undecoded = b""
        self._received: deque[Received] = deque()
        self.connection = Connection(server.broker, self, name, from_loopback=from_loopback)

    # --- the transport ------------------------------------------------------------------------

    def flush(self) -> None:
        """Take the connection's output as the socket of a client that reads does; hang up on it if
        the connection is finished.
        """
        connection = self.connection
        connection.touched = False
        if self.reading and connection.output:
            self._decode(b"".join(connection.output))
            connection.output.clear()
            connection.output_bytes = 0
            connection.drained()
        if connection.finished and not self.hung_up:
            self.hung_up = True
            connection.lost("")

    def read_again(self) -> None:
        """Read what has been waiting, and all that comes from now on."""
        self.reading = True
        self.flush()
        self.server.end_turn()

    def disconnect(self) -> None:
        """Close the socket without a word."""
        self.connection.lost("the client closed the TCP connection")
        self.server.end_turn()

    def _decode(self, data: bytes) -> None:
        self.wire += data
        data = self._undecoded + data
        while data:
            if data[7:11] == ACCESS_REQUEST_OK:
                used, channel, call = 14, int.from_bytes(data[1:3]), decode(data[7:13])
            else:
                used, channel, call = pamqp.frame.unmarshal(data)
            if isinstance(call, Basic.Deliver | Basic.GetOk | Basic.Return):
                received, used = _content(data, used, channel, call)
                self._received.append(received)
            else:
                assert isinstance(call, Frame | Heartbeat | ProtocolHeader | AccessRequestOk), call
                self._received.append(Received(channel, call))
            data = data[used:]

    # --- what it sends ------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Send bytes."""
        self.connection.receive(data)
        self.server.end_turn()
        verification = self.connection.verification
        if verification is not None:
            self.connection.verified(verification.find_out())
            self.server.end_turn()

    def send(self, *calls: Sendable, channel: int = 1) -> None:
        """Send methods (or other frames) in one go."""
        self.feed(encoded(*calls, channel=channel))

    def request(self, call: Sendable, answer: type[Kind], *, channel: int = 1) -> Kind:
        """Send a method and take its answer."""
        self.send(call, channel=channel)
        return self.expect(answer, channel)

    def publish(self, body: bytes = b"", routing_key: str = "", **options: Any) -> None:
        """Publish one message; `message` says what there is to choose."""
        self.feed(message(body, routing_key, **{"payload_max": self.payload_max, **options}))

    def open_channel(self, number: int) -> None:
        """Open a channel."""
        self.request(Channel.Open(), Channel.OpenOk, channel=number)

    def declare(self, queue: str = "q", *, channel: int = 1, **options: Any) -> Queue.DeclareOk:
        """Declare a queue."""
        return self.request(Queue.Declare(queue=queue, **options), Queue.DeclareOk, channel=channel)

    def ready_in(self, queue: str, *, channel: int = 1) -> int:
        """How many messages are ready in a queue."""
        ready = self.declare(queue, channel=channel, passive=True).message_count
        assert ready is not None
        return ready

    def bind(self, queue: str, exchange: str, routing_key: str = "", **arguments: Any) -> None:
        """Bind a queue on channel 1."""
        self.send(
            Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key, arguments=arguments)
        )
        self.expect(Queue.BindOk)

    def consume(self, queue: str = "q", tag: str = "c", *, channel: int = 1, **options: Any) -> str:
        """Start a consumer; return its tag."""
        call = Basic.Consume(queue=queue, consumer_tag=tag, **options)
        started = self.request(call, Basic.ConsumeOk, channel=channel).consumer_tag
        assert started is not None
        return started

    def get(self, queue: str = "q", *, channel: int = 1, no_ack: bool = False) -> Received:
        """Get a message; there must be one."""
        self.send(Basic.Get(queue=queue, no_ack=no_ack), channel=channel)
        return self.expect_content(Basic.GetOk, channel)

    def get_nothing(self, queue: str = "q", *, channel: int = 1) -> None:
        """Find a queue without ready messages."""
        self.request(Basic.Get(queue=queue), Basic.GetEmpty, channel=channel)

    # --- what it has got ----------------------------------------------------------------------

    def received(self) -> list[Received]:
        """Everything not looked at yet."""
        received = list(self._received)
        self._received.clear()
        return received

    def expect(self, kind: type[Kind], channel: int = 1) -> Kind:
        """The next thing received, which must be of a kind and on a channel."""
        return self.expect_content(kind, channel).call

    def expect_content(self, kind: type[Any], channel: int = 1) -> Received:
        """The same, with properties and body."""
        assert self._received, f"nothing received, not even {kind.__name__}"
        received = self._received.popleft()
        assert isinstance(received.call, kind), shown(received)
        assert received.channel == channel, shown(received)
        return received

    def deliveries(self, channel: int = 1) -> list[Received]:
        """Everything not looked at yet, which must be deliveries on a channel."""
        return [self.expect_content(Basic.Deliver, channel) for _ in list(self._received)]

    def bodies(self, channel: int = 1) -> list[bytes]:
        """The bodies of those deliveries."""
        return [delivery.body for delivery in self.deliveries(channel)]

    def expect_channel_closed(
        self, code: int, text: str, at: tuple[int, int], channel: int = 1, *, answer: bool = True
    ) -> None:
        """The server has closed the channel. Answers, so that the number is free again."""
        close = self.expect(Channel.Close, channel)
        assert (close.reply_code, close.reply_text) == (code, text)
        assert (close.class_id, close.method_id) == at
        if answer:
            self.send(Channel.CloseOk(), channel=channel)

    def expect_connection_closed(self, code: int, text: str, at: tuple[int, int]) -> None:
        """The server has closed the connection. Answers, and sees it hang up."""
        close = self.expect(commands.Connection.Close, 0)
        assert (close.reply_code, close.reply_text) == (code, text)
        assert (close.class_id, close.method_id) == at
        assert not self.received()
        self.send(commands.Connection.CloseOk(), channel=0)
        assert self.hung_up


def encoded(*calls: Sendable, channel: int = 1) -> bytes:
    """Methods and other frames as bytes."""
    return b"".join(
        method_frame(channel, call)
        if isinstance(call, tuple)
        else pamqp.frame.marshal(call, channel)
        for call in calls
    )


def message(
    body: bytes = b"",
    routing_key: str = "",
    *,
    exchange: str = "",
    mandatory: bool = False,
    immediate: bool = False,
    channel: int = 1,
    payload_max: int = 131_064,
    **properties: Any,
) -> bytes:
    """The frames of one publish."""
    return encoded(
        Basic.Publish(
            exchange=exchange, routing_key=routing_key, mandatory=mandatory, immediate=immediate
        ),
        ContentHeader(body_size=len(body), properties=Basic.Properties(**properties)),
        *(ContentBody(piece) for piece in _pieces(body, payload_max)),
        channel=channel,
    )


def start_ok(
    user: str = "guest",
    password: str = "guest",
    capabilities: tuple[str, ...] = (),
    **options: Any,
) -> commands.Connection.StartOk:
    """connection.start-ok with a PLAIN response."""
    return commands.Connection.StartOk(
        **{
            "client_properties": {"capabilities": dict.fromkeys(capabilities, True)},
            "mechanism": "PLAIN",
            "response": f"\0{user}\0{password}",
            "locale": "en_US",
            **options,
        }
    )


def shown(received: Received) -> str:
    """What was received, in a form that says what it is when an assertion fails."""
    fields = dict(received.call) if isinstance(received.call, Frame) else {}
    return f"channel {received.channel}: {received.call.name} {fields} {received.body[:80]!r}"


def _pieces(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def _content(data: bytes, at: int, channel: int, call: Frame) -> tuple[Received, int]:
    used, of, header = pamqp.frame.unmarshal(data[at:])
    assert isinstance(header, ContentHeader)
    assert of == channel
    at += used
    body = b""
    while len(body) < header.body_size:
        used, of, piece = pamqp.frame.unmarshal(data[at:])
        assert isinstance(piece, ContentBody)
        assert of == channel
        assert piece.value
        body += piece.value
        at += used
    assert len(body) == header.body_size
    return Received(channel, call, header.properties, body), at


def refused_open(server: FakeServer, user: str, password: str, vhost: str) -> FakeClient:
    """A client that has asked for a vhost and is about to hear that it can't have it."""
    client = server.accept()
    client.feed(PROTOCOL_HEADER)
    client.expect(commands.Connection.Start, 0)
    client.send(start_ok(user, password, ("authentication_failure_close",)), channel=0)
    client.expect(commands.Connection.Tune, 0)
    client.send(
        commands.Connection.TuneOk(2047, 131_072, 0), commands.Connection.Open(vhost), channel=0
    )
    return client

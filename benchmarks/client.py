"""A plain AMQP connection with one channel.

Setting up is blocking: send a method, wait for its answer. `go_nonblocking` then hands the socket
to a workload, which moves bytes with `send_some`, `write` and `receive_into`.
"""

import socket
from collections.abc import Mapping
from struct import pack, unpack_from
from types import TracebackType
from typing import NamedTuple, Self

import wire
from wire import Method

CHANNEL = 1

Arguments = Mapping[str, str | int]
NO_ARGUMENTS: Arguments = {}


class BrokerError(Exception):
    """The broker closed the channel or the connection, or sent what no workload expects."""


class Address(NamedTuple):
    host: str
    port: int
    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"


class Connection:
    """An open connection with channel 1 open; `timeout_s` limits each blocking step."""

    def __init__(self, address: Address, timeout_s: float = 30.0) -> None:
        self.socket = socket.create_connection(address[:2], timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unsent = bytearray()
        self.full = False
        self._timeout_s = timeout_s
        try:
            self._handshake(address)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.socket.close()

    def _handshake(self, address: Address) -> None:
        self.socket.sendall(wire.PROTOCOL_HEADER)
        self._expect(Method.CONNECTION_START)
        product = wire.short_string("product") + b"S" + wire.long_string(b"leveret benchmarks")
        secret = f"\0{address.user}\0{address.password}".encode()
        start_ok = (
            wire.long_string(product)
            + wire.short_string("PLAIN")
            + wire.long_string(secret)
            + wire.short_string("en_US")
        )
        tune = self._call(0, Method.CONNECTION_START_OK, start_ok, Method.CONNECTION_TUNE)
        channel_max, self.frame_max = unpack_from(">HI", tune)
        no_heartbeat = pack(">HIH", channel_max, self.frame_max, 0)
        self.socket.sendall(wire.method(0, Method.CONNECTION_TUNE_OK, no_heartbeat))
        vhost = wire.short_string(address.vhost) + b"\0\0"
        self._call(0, Method.CONNECTION_OPEN, vhost, Method.CONNECTION_OPEN_OK)
        self.call(Method.CHANNEL_OPEN, b"\0", Method.CHANNEL_OPEN_OK)

    # Blocking

    def read_frame(self) -> wire.Frame:
        """The next frame; BrokerError when it closes the channel or the connection."""
        head = self.read_exactly(wire.frame_head.size)
        kind, channel, size = wire.frame_head.unpack(head)
        rest = self.read_exactly(size + 1)
        reason = wire.close_reason(head + rest)
        if reason is not None:
            raise BrokerError(reason)
        return wire.Frame(kind, channel, rest[:-1])

    def read_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise BrokerError("the broker dropped the connection")
            data += part
        return bytes(data)

    def _expect(self, answer: Method) -> bytes:
        payload = self.read_frame().payload
        (identifier,) = unpack_from(">I", payload)
        if identifier != answer:
            raise BrokerError(
                f"expected {answer.name}, got {identifier >> 16}.{identifier & 65535}"
            )
        return payload[4:]

    def _call(self, channel: int, request: Method, arguments: bytes, answer: Method) -> bytes:
        self.socket.sendall(wire.method(channel, request, arguments))
        return self._expect(answer)

    def call(self, request: Method, arguments: bytes, answer: Method) -> bytes:
        """Sends a method on the channel; the arguments of the answer, which must be next."""
        return self._call(CHANNEL, request, arguments, answer)

    def declare_queue(
        self,
        name: str,
        *,
        durable: bool = False,
        exclusive: bool = False,
        passive: bool = False,
        options: Arguments = NO_ARGUMENTS,
    ) -> int:
        """Declares a queue and returns how many ready messages it holds."""
        bits = passive | durable << 1 | exclusive << 2
        arguments = b"\0\0" + wire.short_string(name) + bytes((bits,)) + wire.table(options)
        answer = self.call(Method.QUEUE_DECLARE, arguments, Method.QUEUE_DECLARE_OK)
        (messages,) = unpack_from(">I", answer, 1 + answer[0])
        return messages

    def delete_queue(self, name: str) -> None:
        arguments = b"\0\0" + wire.short_string(name) + b"\0"
        self.call(Method.QUEUE_DELETE, arguments, Method.QUEUE_DELETE_OK)

    def declare_exchange(self, name: str, kind: str) -> None:
        arguments = b"\0\0" + wire.short_string(name) + wire.short_string(kind) + bytes(5)
        self.call(Method.EXCHANGE_DECLARE, arguments, Method.EXCHANGE_DECLARE_OK)

    def delete_exchange(self, name: str) -> None:
        arguments = b"\0\0" + wire.short_string(name) + b"\0"
        self.call(Method.EXCHANGE_DELETE, arguments, Method.EXCHANGE_DELETE_OK)

    def bind(
        self, queue: str, exchange: str, routing_key: str, options: Arguments = NO_ARGUMENTS
    ) -> None:
        names = b"".join(map(wire.short_string, (queue, exchange, routing_key)))
        arguments = b"\0\0" + names + b"\0" + wire.table(options)
        self.call(Method.QUEUE_BIND, arguments, Method.QUEUE_BIND_OK)

    def consume(self, queue: str, consumer_tag: str, *, prefetch: int = 0) -> None:
        """Starts a consumer: with manual acknowledgements if `prefetch` is given, else without."""
        if prefetch:
            self.call(Method.BASIC_QOS, pack(">IHB", 0, prefetch, 0), Method.BASIC_QOS_OK)
        no_ack = b"\0" if prefetch else b"\2"
        names = wire.short_string(queue) + wire.short_string(consumer_tag)
        arguments = b"\0\0" + names + no_ack + wire.long_string(b"")
        self.call(Method.BASIC_CONSUME, arguments, Method.BASIC_CONSUME_OK)

    def select_confirms(self) -> None:
        self.call(Method.CONFIRM_SELECT, b"\0", Method.CONFIRM_SELECT_OK)

    def close(self) -> None:
        """Closes politely: what was published before has reached its queues when this returns."""
        self.go_blocking()
        nothing_wrong = b"\0\xc8" + wire.short_string("") + bytes(4)
        self.socket.sendall(wire.method(0, Method.CONNECTION_CLOSE, nothing_wrong))
        closed = pack(">I", Method.CONNECTION_CLOSE_OK)
        while self.read_frame().payload[:4] != closed:
            pass
        self.socket.close()

    # Nonblocking

    def go_nonblocking(self, gather_bytes: int = 1) -> None:
        """`gather_bytes`: do not report the socket readable before so much has arrived."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, gather_bytes)
        self.socket.setblocking(False)

    def go_blocking(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self.socket.settimeout(self._timeout_s)

    def send_some(self, data: memoryview) -> int:
        """Sends what the socket takes; sets `full` when it takes nothing."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            self.full = True
            return 0

    def write(self, data: bytes) -> None:
        """Sends everything, now or when `flush` is called."""
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        """Call when the socket has become writable."""
        self.full = False
        while self.unsent and not self.full:
            with memoryview(self.unsent) as view:
                sent = self.send_some(view)
            del self.unsent[:sent]

    def receive_into(self, buffer: memoryview) -> int:
        """How many bytes arrived; 0 when there are none at the moment."""
        try:
            size = self.socket.recv_into(buffer)
        except BlockingIOError:
            return 0
        if not size:
            raise BrokerError("the broker dropped the connection")
        return size

    def fail_on_input(self) -> None:
        """For connections on which nothing should arrive: raises what the broker complains of."""
        buffer = bytearray(4096)
        size = self.receive_into(memoryview(buffer))
        if size:
            data = bytes(buffer[:size])
            raise BrokerError(wire.close_reason(data) or f"unexpected {data[:64].hex(' ')}")

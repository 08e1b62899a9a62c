"""A TCP socket's side of a connection.

It is read in turns that `Sockets` begins; there is a task only while the client must not be read
from, and one while its socket is full.
"""

import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from .congestion import is_congested, waiting_messages
from .connection import Connection
from .logins import Verification

if TYPE_CHECKING:
    from .server import Server

log = logging.getLogger("leveret.transport")

Payload = TypeVar("Payload")

READ_BYTES = 1 << 17
LARGE_READ_BYTES = 1 << 20
LARGE_REST_BYTES = 1 << 12
"""Who leaves so much of an incomplete message sends large ones: they are read many at a time."""
JOINED_BYTES = 1 << 14
"""Chunks of at least this size on average are sent as they are rather than joined first."""
GATHERED_CHUNKS = 512
PAUSE_S = 0.001
PAUSES_MAX = 20
_LOOPBACK = ("127.", "::1", "::ffff:127.")


class SocketTransport:
    """Carries one connection over a non-blocking socket."""

    def __init__(self, server: "Server", sock: socket.socket):
        self._server = server
        self._sock = sock
        self._read_bytes = READ_BYTES
        self._is_watched = False
        self._waiting = trio.CancelScope()
        self._is_ending = False
        self._unsent = memoryview(b"")
        self._written = trio.Event()
        self._why = ""
        peer, local = sock.getpeername(), sock.getsockname()
        self.connection = Connection(
            server.broker,
            self,
            f"{_shown(peer)} -> {_shown(local)}",
            from_loopback=str(peer[0]).startswith(_LOOPBACK),
        )

    def start(self) -> None:
        """Begin to read; hang up if the system cannot watch one more socket."""
        try:
            self._server.sockets.watch(self._sock, self._read)
            self._is_watched = True
        except OSError as error:
            self.hang_up(f"cannot be read from: {error}")

    def _stop_reading(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._server.sockets.leave(self._sock)

    def _read(self) -> bool:
        """Feed the connection what has come; whether there may be more at once."""
        if not self._is_watched:
            return False
        size = self._read_bytes
        try:
            data = self._sock.recv(size)
        except BlockingIOError:
            return False
        except OSError as error:
            self.hang_up(str(error))
            return False
        if not data:
            self.hang_up("the client closed the TCP connection")
            return False
        try:
            self._receive(data)
        except Exception as error:
            self._server.failed(self.connection, error)
            self.hang_up("internal error")
        return len(data) == size

    def _receive(self, data: bytes) -> None:
        """Have a turn with what has come, and stop reading if there is a reason to."""
        connection, server = self.connection, self._server
        server.begin_turn()
        connection.receive(data)
        server.end_turn()
        if connection.lacks_bytes > LARGE_REST_BYTES:
            self._read_bytes = LARGE_READ_BYTES
        elif len(data) < READ_BYTES:
            self._read_bytes = READ_BYTES
        if self._is_watched and (
            connection.verification is not None or self._must_wait() or is_congested(connection)
        ):
            self._stop_reading()
            self._waiting = trio.CancelScope()
            server.nursery.start_soon(self._wait_to_read)

    async def _wait_to_read(self) -> None:
        """Read again when there is no reason any more not to."""
        connection = self.connection
        try:
            with self._waiting:
                if connection.verification is not None:
                    await self._verify(connection.verification)
                if self._must_wait():
                    await self._wait()
                if is_congested(connection):
                    await self._pause()
        except Exception as error:
            self._server.failed(connection, error)
            self.hang_up("internal error")
        if not self._is_ending:
            self.start()

    def hang_up(self, why: str) -> None:
        """Read no more; the connection ends, in a turn of its own, when this one is over."""
        self._stop_reading()
        self._waiting.cancel()
        self._why = self._why or why
        if not self._is_ending:
            self._is_ending = True
            self._server.nursery.start_soon(self._end_in_a_task)

    async def _end_in_a_task(self) -> None:
        self.end()

    def end(self) -> None:
        """Free what the connection holds, and close the socket. Not within a turn."""
        if self._sock.fileno() < 0:
            return
        self._stop_reading()
        self._is_ending = True
        server = self._server
        server.begin_turn()
        try:
            self.connection.lost(self._why)
        except Exception as error:
            server.failed(self.connection, error)
        finally:
            self._unsent = memoryview(b"")  # a writer that starts only now must not wait
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
        server.end_turn()
        self.connection.transport = _Closed()
        server.hung_up(self)

    async def _verify(self, verification: Verification) -> None:
        """Have a password checked in a thread when it is its turn."""
        if not verification.has_begun:
            its_turn = trio.Event()
            verification.on_turn = its_turn.set
            await its_turn.wait()
        if self.connection.verification is not verification:
            return  # there were too many
        async with self._server.password_checks:
            accepted = verification.known_answer() or await trio.to_thread.run_sync(
                verification.find_out
            )
        self._server.begin_turn()
        self.connection.verified(accepted)
        self._server.end_turn()

    def _must_wait(self) -> bool:
        """Whether nothing must be read now: an alarm holds, something must be on disk or settled
        first, the disk is too far behind, or the client does not take what it asked for.
        """
        connection = self.connection
        return not connection.finished and (
            connection.blocked
            or connection.waiting > 0
            or connection.is_full
            or self._server.disk_is_behind
        )

    async def _wait(self) -> None:
        """Not read until there is no reason for it any more."""
        self.connection.paused = True
        while self._must_wait():
            if self.connection.is_full:
                await self._written.wait()
            else:
                await self._server.may_go_on()
        self.connection.paused = False

    async def _pause(self) -> None:
        """Let consumers catch up. Bounded: those that have stopped taking must not stop a
        publisher.
        """
        for _ in range(PAUSES_MAX):
            before = waiting_messages(self.connection)
            await trio.sleep(PAUSE_S)
            if not is_congested(self.connection) or waiting_messages(self.connection) >= before:
                return

    def flush(self) -> None:
        """Send what the connection has to say, as far as the socket takes it at once; the writer
        does the rest, unless the connection is finished.
        """
        connection = self.connection
        connection.touched = False
        if not self._unsent:
            try:
                self._send_output()
            except OSError as error:
                self._fail(str(error))
                return
            except Exception as error:
                self._server.failed(connection, error)
                self._fail("internal error")
                return
            if self._unsent and not connection.finished:
                self._written = trio.Event()
                self._server.nursery.start_soon(self._write)
        if connection.finished:
            self.hang_up("")
        elif connection.paused and not self._must_wait():
            self._server.let_go_on()

    def _send_output(self) -> None:
        """Hand the connection's output to the socket; what it does not take is `_unsent`."""
        connection = self.connection
        chunks = connection.output
        if not chunks:
            return
        if len(chunks) <= GATHERED_CHUNKS and connection.output_bytes >= JOINED_BYTES * len(chunks):
            sent = self._sent(self._sock.sendmsg, chunks)
            if sent < sum(map(len, chunks)):
                self._unsent = memoryview(b"".join(chunks))[sent:]
        else:
            data = b"".join(chunks)
            sent = self._sent(self._sock.send, data)
            if sent < len(data):
                self._unsent = memoryview(data)[sent:]
        chunks.clear()
        connection.output_bytes = len(self._unsent)
        if not self._unsent:
            self.connection.drained()

    def _sent(self, send: Callable[[Payload], int], payload: Payload) -> int:
        try:
            return send(payload)
        except BlockingIOError:
            return 0

    async def _write(self) -> None:
        """Send the rest as the socket takes it, then go on with what has come up meanwhile."""
        try:
            while self._unsent:
                await trio.lowlevel.wait_writable(self._sock)
                sent = self._sent(self._sock.send, self._unsent)
                self._unsent = self._unsent[sent:]
                self.connection.output_bytes -= sent
                if not self._unsent:
                    self.connection.drained()
                    self._send_output()
        except (OSError, trio.ClosedResourceError) as error:
            self._fail(str(error))
        except Exception as error:
            self._server.failed(self.connection, error)
            self._fail("internal error")
        finally:
            self._written.set()
            self._server.put_off()

    def _fail(self, why: str) -> None:
        """Nothing can be sent any more: hang up."""
        self._unsent = memoryview(b"")
        self.hang_up(why)


class _Closed:
    """Takes a transport's place at the end, since otherwise it and its connection would hold each
    other until the garbage collector comes.
    """

    def flush(self) -> None:
        """There is no socket any more."""


def _shown(address: tuple[object, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"

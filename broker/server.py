"""The edge: listeners, one task per connection, timers, and the end of a broker's life.

All waiting is here and in `transport`. A turn begins with `begin_turn`, which tells the core the
time, and ends with `end_turn`, which lets the core finish and then sends what the touched
connections have to say.
"""

import errno
import gc
import logging
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable

import trio

from ..amqp.errors import ConnectionForced
from .broker import Broker
from .configuration import Configuration
from .log import fields
from .transport import SocketTransport

log = logging.getLogger("leveret.server")

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ACCEPT_PAUSE_S = 0.1


async def serve(configuration: Configuration, *, ready: Callable[[str, int], None]) -> None:
    """Run a broker until SIGTERM or SIGINT, then close its connections and return.

    A second signal ends the wait for their answers. `ready` is called with host and port once
    clients can connect. Raises OSError if it can't listen.
    """
    listen = configuration.listen
    listeners = await trio.open_tcp_listeners(listen.port, host=listen.host)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            server = Server(configuration, nursery)
            server.start(listeners)
            _tune_garbage_collection()
            ready(listen.host, listeners[0].socket.getsockname()[1])
            async for number in signals:
                log.info("stopping", extra=fields(signal=signal.Signals(number).name))
                break
            for listener in listeners:
                await listener.aclose()
            nursery.start_soon(_wait_no_longer, signals, nursery.cancel_scope)
            await server.close_connections()
            nursery.cancel_scope.cancel()


async def _wait_no_longer(signals: AsyncIterator[int], stopping: trio.CancelScope) -> None:
    async for number in signals:
        log.warning("stopping at once", extra=fields(signal=signal.Signals(number).name))
        stopping.cancel()


def _tune_garbage_collection() -> None:
    """Spare the collector what lives for ever, and have it look less often than for short
    scripts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


class Server:
    """A broker core and the tasks that drive it."""

    def __init__(self, configuration: Configuration, nursery: trio.Nursery):
        self.nursery = nursery
        self._configuration = configuration
        self.broker = Broker(configuration, lambda: secrets.token_urlsafe(16))
        self.broker.timers.on_earlier = self._timer_set
        self._sleep = trio.CancelScope()
        self._work = trio.Event()
        self._gone = trio.Event()

    def start(self, listeners: Iterable[trio.SocketListener]) -> None:
        """Start the tasks that take connections and keep the broker going."""
        for listener in listeners:
            self.nursery.start_soon(self.accept, listener.socket)
        self.nursery.start_soon(self.run_timers)
        self.nursery.start_soon(self.pump)

    # --- turns --------------------------------------------------------------------------------

    def begin_turn(self) -> None:
        """Tell the core what time it is."""
        self.broker.timers.now = trio.current_time()

    def end_turn(self) -> None:
        """Finish the turn and send."""
        broker = self.broker
        broker.finish_turn()
        for connection in broker.take_touched():
            connection.transport.flush()
        if broker.dirty or broker.touched:
            self._work.set()

    def wake(self) -> None:
        """Have a turn soon: consumers can go on."""
        self._work.set()

    async def pump(self) -> None:
        """Give turns to queues that could not be emptied in one, letting readers in between."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            self.begin_turn()
            self.end_turn()
            await trio.lowlevel.checkpoint()

    async def run_timers(self) -> None:
        """Sleep to the next deadline, run what is due, and again."""
        while True:
            with trio.CancelScope() as self._sleep:
                deadline = self.broker.timers.next_deadline()
                if deadline is not None:
                    self._sleep.deadline = deadline
                await trio.sleep_forever()
            self.begin_turn()
            self.broker.timers.run()
            self.end_turn()

    def _timer_set(self, due: float) -> None:
        self._sleep.deadline = min(self._sleep.deadline, due)

    # --- connections --------------------------------------------------------------------------

    async def accept(self, listener: trio.socket.SocketType) -> None:
        """Take new connections until the listener is closed."""
        while True:
            try:
                accepted, _ = await listener.accept()
            except (trio.ClosedResourceError, ConnectionAbortedError):
                if listener.fileno() < 0:
                    return
                continue
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    if listener.fileno() < 0:
                        return
                    raise
                log.error(
                    "cannot accept connections; raise the limit of open files",
                    extra=fields(error=str(error)),
                )
                await trio.sleep(_ACCEPT_PAUSE_S)
                continue
            self.nursery.start_soon(self._serve, accepted)

    async def _serve(self, accepted: trio.socket.SocketType) -> None:
        sock = socket.socket(fileno=accepted.detach())
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.begin_turn()
            transport = SocketTransport(self, sock)
        except OSError:  # it has hung up already
            sock.close()
            return
        try:
            await transport.serve()
        except Exception:
            log.exception("internal error", extra=fields(connection=transport.connection.name))
        if not self.broker.connections:
            self._gone.set()

    async def close_connections(self) -> None:
        """Tell every client that the broker stops, and wait for them a bounded time."""
        self.begin_turn()
        error = ConnectionForced(
            "broker forced connection closure with reason 'shutdown'", at=(0, 0)
        )
        self._gone = trio.Event()
        for connection in list(self.broker.connections):
            connection.shut(error)
        self.end_turn()
        if self.broker.connections:
            with trio.move_on_after(self._configuration.shutdown_timeout_s):
                await self._gone.wait()

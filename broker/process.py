"""A broker as a process: it reads its journal, listens, and stops when it is told to.

Part of the edge: signals, listening sockets and the garbage collector are its business, what goes
on meanwhile is the server's.
"""

import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterable

import trio

from ..storage.journal import Journal
from ..storage.opening import Recovered
from .configuration import Configuration
from .data import open_data
from .log import fields
from .server import Server

log = logging.getLogger("leveret.server")


async def serve(configuration: Configuration, *, ready: Callable[[str, int], None]) -> None:
    """Run a broker until SIGTERM or SIGINT, then close its connections and return.

    A second signal ends the wait for their answers. `ready` is called with host and port once
    clients can connect. Raises OSError if it can't listen, JournalError, and ConfigurationError if
    the definitions can't be loaded.
    """
    listen = configuration.listen
    # First, for a journal may take long to read: an address in use is known at once.
    listeners = await open_listeners(listen.host, listen.port)
    journal: Journal | None = None
    recovered: Recovered | None = None
    server = None
    try:
        journal, recovered = open_data(configuration.storage)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                server = Server(configuration, nursery, journal, recovered)
                if server.load_definitions():
                    server.start(listeners)
                    _tune_garbage_collection()
                    ready(listen.host, listeners[0].socket.getsockname()[1])
                    await _stop_at_signal(server, listeners, signals)
                nursery.cancel_scope.cancel()
        if server.failure is not None:
            raise server.failure
    finally:
        for listener in listeners:
            listener.socket.close()
        if server is not None:
            server.close_journal()
        elif journal is not None:
            assert recovered is not None
            journal.close(clean=recovered.clean)


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on all of a host's addresses, on one port; 0 takes a free one. Raises OSError."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    if port == 0 and len(listeners) > 1:  # each has one of its own, and only one is announced
        port = listeners[0].socket.getsockname()[1]
        for listener in listeners:
            listener.socket.close()
        listeners = await trio.open_tcp_listeners(port, host=host)
    return listeners


async def _stop_at_signal(
    server: Server, listeners: Iterable[trio.SocketListener], signals: AsyncIterator[int]
) -> None:
    async for number in signals:
        log.info("stopping", extra=fields(signal=signal.Signals(number).name))
        break
    for listener in listeners:
        await listener.aclose()
    server.nursery.start_soon(_wait_no_longer, signals, server.nursery.cancel_scope)
    await server.close_connections()


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

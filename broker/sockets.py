"""The sockets of all clients, read by one task.

Strategy. Waking a task of Trio and having it wait again costs more than a small message does, so
the sockets are watched by a selector (epoll, kqueue), and Trio waits for the selector only: one
task wakes for all that has come in, and takes it socket by socket.
"""

import selectors
import socket
from collections.abc import Callable

import trio

READS_AT_ONCE = 16
"""After so many sockets have been read, everything else gets its turn."""


class Sockets:
    """Calls back for every watched socket that has something to read."""

    __slots__ = ("_selector",)

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, sock: socket.socket, on_readable: Callable[[], bool]) -> None:
        """Call `on_readable` whenever there is something to read, until `leave`.

        It must read once, and tells whether there may well be more. It may be called in vain, also
        once after `leave`.
        """
        self._selector.register(sock, selectors.EVENT_READ, on_readable)

    def leave(self, sock: socket.socket) -> None:
        """Do not watch it any more. It must not be closed before."""
        self._selector.unregister(sock)

    async def run(self) -> None:
        """Watch, until it is cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._selector)
            while await self._read_all():
                await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Give the selector back, when nothing is watched any more."""
        trio.lowlevel.notify_closing(self._selector)
        self._selector.close()

    async def _read_all(self) -> bool:
        """Read from every socket that is ready; whether there may be more at once."""
        more = False
        for number, (key, _) in enumerate(self._selector.select(0), 1):
            more |= key.data()
            if number % READS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return more

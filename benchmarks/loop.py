"""Waiting for sockets to become readable or writable."""

import select
import time
from collections.abc import Callable

from client import BrokerError, Connection

STALL_S = 30.0
TURN_MS = 20


class Loop:
    """Waits for the sockets of nonblocking connections and calls what reads them."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, tuple[Connection, Callable[[], object]]] = {}
        self._waiting_to_write: set[int] = set()

    def add(self, connection: Connection, on_readable: Callable[[], object]) -> None:
        descriptor = connection.socket.fileno()
        self._readers[descriptor] = (connection, on_readable)
        self._poll.register(descriptor, select.POLLIN)

    def turn(self, timeout_ms: int = TURN_MS) -> None:
        """Waits once; after a silence reads everywhere: less may be there than it waits for."""
        for descriptor, (connection, _) in self._readers.items():
            if connection.full != (descriptor in self._waiting_to_write):
                self._waiting_to_write ^= {descriptor}
                write = select.POLLOUT if connection.full else 0
                self._poll.modify(descriptor, select.POLLIN | write)
        events = self._poll.poll(timeout_ms)
        for descriptor, event in events:
            connection, on_readable = self._readers[descriptor]
            if event & select.POLLOUT:
                connection.flush()
            if event & ~select.POLLOUT:
                on_readable()
        if not events:
            for _, on_readable in self._readers.values():
                on_readable()

    def run(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.turn()

    def run_until(self, done: Callable[[], bool], progress: Callable[[], int]) -> None:
        """Turns until `done`; BrokerError when `progress` stands still for long before that."""
        reached, deadline = progress(), time.perf_counter() + STALL_S
        while not done():
            self.turn()
            if progress() != reached:
                reached, deadline = progress(), time.perf_counter() + STALL_S
            elif time.perf_counter() > deadline:
                raise BrokerError(f"nothing arrives any more; {reached} did")

"""leveret's edge in the test's own process, on a real socket, with a view of its insides."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from leveret.broker.broker import Broker
from leveret.broker.configuration import Configuration
from leveret.broker.connection import Connection
from leveret.broker.server import Server
from leveret.storage.opening import open_journal
from memory_disk import MemoryDisk
from raw_client import RawClient, logged_in, message, until

PATIENCE_S = 20.0
"""What a busy machine may need for an answer before a test fails."""


class RunningServer:
    """A server that listens on `port`."""

    def __init__(self, server: Server, listeners: list[trio.SocketListener]):
        self.server = server
        self.listeners = listeners
        self.port: int = listeners[0].socket.getsockname()[1]

    @property
    def broker(self) -> Broker:
        return self.server.broker

    def connection_of(self, client: RawClient) -> Connection:
        """The broker's side of a client that is still connected."""
        host, port = client.sock.getsockname()
        (found,) = [
            connection
            for connection in self.broker.connections
            if connection.name.startswith(f"{host}:{port} ->")
        ]
        return found

    def ready(self, queue: str) -> int:
        """How many messages a queue holds."""
        return self.broker.vhosts["/"].queues[queue].message_count

    def tasks(self) -> int:
        """How many tasks the server runs at the moment."""
        return len(self.server.nursery.child_tasks)


@asynccontextmanager
async def running_server(
    configuration: Configuration | None = None, disk: MemoryDisk | None = None
) -> AsyncIterator[RunningServer]:
    """A server on a port of its own, cancelled at the end; with a journal if it gets a disk."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    journal, recovered = (None, None) if disk is None else open_journal(disk)
    server = None
    try:
        async with trio.open_nursery() as nursery:
            server = Server(configuration or Configuration(), nursery, journal, recovered)
            server.start(listeners)
            yield RunningServer(server, listeners)
            nursery.cancel_scope.cancel()
    finally:
        for listener in listeners:
            listener.socket.close()
        if server is not None:
            server.close_journal()


class Bystander:
    """A well-behaved client that publishes to itself, one message after the other, all the time.

    `trips` counts the messages that came back, `worst_s` is the longest that one took.
    """

    def __init__(self) -> None:
        self.trips = 0
        self.worst_s = 0.0

    async def run(self, client: RawClient) -> None:
        await client.declare("bystander", exclusive=True)
        await client.consume("bystander")
        while True:
            body = b"%d" % self.trips
            began = trio.current_time()
            await client.send(message("bystander", body))
            assert (await client.delivery()).body == body
            self.worst_s = max(self.worst_s, trio.current_time() - began)
            self.trips += 1
            await trio.sleep(0.001)

    async def is_served(self) -> None:
        """Wait for some more round trips."""
        enough = self.trips + 3
        with trio.fail_after(PATIENCE_S):
            await until(lambda: self.trips >= enough)


@asynccontextmanager
async def unharmed_server(
    configuration: Configuration | None = None,
) -> AsyncIterator[tuple[RunningServer, Bystander]]:
    """A server that must serve a bystander all along, and have nothing left of others at the end.

    Nothing are: connections, tasks, timers, queues, file descriptors.
    """
    async with running_server(configuration) as running:
        idle = running.tasks()
        bystander = Bystander()
        descriptors = open_descriptors()
        async with logged_in(running.port) as client, trio.open_nursery() as nursery:
            nursery.start_soon(bystander.run, client)
            await bystander.is_served()
            yield running, bystander
            await bystander.is_served()
            nursery.cancel_scope.cancel()
        broker = running.broker
        with trio.fail_after(PATIENCE_S):
            # Fewer, if the collector has closed what other tests had left open.
            await until(lambda: open_descriptors() <= descriptors)
            await until(lambda: not broker.connections and running.tasks() == idle)
        assert broker.timers.next_deadline() is None
        assert not broker.vhosts["/"].queues
        assert not broker.touched
        assert not broker.dirty


def open_descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))

"""One task reads all sockets."""

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from leveret.broker.sockets import READS_AT_ONCE, Sockets
from raw_client import connected, logged_in
from running_server import PATIENCE_S, running_server

pytestmark = pytest.mark.trio


class Reader:
    """Reads a few bytes at a time from its end of a pair of sockets, until it is told to leave."""

    def __init__(self, sockets: Sockets, read_bytes: int = 100):
        self.ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self._theirs = theirs
        self._sockets = sockets
        self._read_bytes = read_bytes
        self.read: list[bytes] = []
        self.has_read = trio.Event()
        sockets.watch(theirs, self._on_readable)

    def _on_readable(self) -> bool:
        data = self._theirs.recv(self._read_bytes)
        self.read.append(data)
        self.has_read.set()
        return len(data) == self._read_bytes

    def leave(self) -> None:
        self._sockets.leave(self._theirs)

    def close(self) -> None:
        self.ours.close()
        self._theirs.close()


@asynccontextmanager
async def watching(count: int, read_bytes: int = 100) -> AsyncIterator[list[Reader]]:
    sockets = Sockets()
    readers = [Reader(sockets, read_bytes) for _ in range(count)]
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sockets.run)
            yield readers
            nursery.cancel_scope.cancel()
    sockets.close()
    for reader in readers:
        reader.close()


async def test_whoever_has_something_to_read_is_told() -> None:
    async with watching(3) as (first, second, third):
        second.ours.send(b"two")
        await second.has_read.wait()
        first.ours.send(b"one")
        await first.has_read.wait()
    assert (first.read, second.read, third.read) == ([b"one"], [b"two"], [])


async def test_what_is_left_unread_is_told_again() -> None:
    async with watching(1, read_bytes=2) as (reader,):
        reader.ours.send(b"abcde")
        while b"".join(reader.read) != b"abcde":
            await trio.lowlevel.checkpoint()
    assert reader.read == [b"ab", b"cd", b"e"]


async def test_a_socket_that_has_been_left_is_not_told_any_more() -> None:
    async with watching(2) as (left, other):
        left.leave()
        left.ours.send(b"unheard")
        other.ours.send(b"heard")
        await other.has_read.wait()
    assert left.read == []


async def test_other_tasks_run_between_many_sockets() -> None:
    async with watching(4 * READS_AT_ONCE) as readers:
        for reader in readers:
            reader.ours.send(b"x")
        turns = 0
        while not all(reader.read for reader in readers):
            turns += 1
            await trio.lowlevel.checkpoint()
    assert turns >= 4


async def test_a_client_that_is_connected_and_idle_needs_no_task_of_its_own() -> None:
    async with running_server() as running:
        before = running.tasks()
        async with logged_in(running.port), logged_in(running.port):
            assert len(running.broker.connections) == 2
            assert running.tasks() == before


async def test_a_client_that_cannot_be_watched_is_hung_up_on_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def out_of_watches(self: Sockets, sock: socket.socket, on_readable: object) -> None:
        raise OSError(errno.ENOSPC, "no space left for watches")

    async with running_server() as running, logged_in(running.port) as other:
        with monkeypatch.context() as patched:
            patched.setattr(Sockets, "watch", out_of_watches)
            async with connected(running.port) as client:
                assert await client.read_to_end() == b""
        assert len(running.broker.connections) == 1
        await other.declare("q")

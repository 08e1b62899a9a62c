"""Errors of accept(2): none of them ends the listening."""

import errno
import logging

import pytest
import trio
from trio.testing import MockClock

from leveret.amqp.connection_methods import ConnectionStart, ConnectionStartOk, ConnectionTune
from leveret.amqp.frames import PROTOCOL_HEADER, method_frame
from leveret.broker.administration import Administration
from leveret.broker.logins import CHECKS_AT_ONCE
from leveret.broker.passwords import PasswordHash
from raw_client import RawClient, connected
from running_server import PATIENCE_S, RunningServer, running_server

pytestmark = pytest.mark.trio


@pytest.fixture
def real_io_clock() -> MockClock:
    """Jumps to the next deadline once nothing has come through the sockets for a moment."""
    return MockClock(autojump_threshold=0.05)


class FailingListener:
    """Fails so many times, then has one client, then is closed."""

    def __init__(self, client: trio.socket.SocketType, *errors: int):
        self._client = client
        self._errors = list(errors)
        self._served = False

    async def accept(self) -> tuple[trio.socket.SocketType, object]:
        await trio.lowlevel.checkpoint()
        if self._errors:
            number = self._errors.pop(0)
            raise OSError(number, errno.errorcode[number])
        if self._served:
            raise trio.ClosedResourceError
        self._served = True
        return self._client, ("127.0.0.1", 1)

    def fileno(self) -> int:
        return -1 if self._served else 0


async def accept(running: RunningServer, *errors: int) -> None:
    """Have a client accepted after these errors, by a listener that closes then."""
    ours, theirs = await connected_pair()
    with ours:
        listener = FailingListener(theirs, *errors)
        await running.server.accept(listener)  # pyright: ignore[reportArgumentType] - a fake
        client = RawClient(ours)
        await client.send(PROTOCOL_HEADER)
        await client.expect(ConnectionStart)


async def connected_pair() -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
    """Two ends of a TCP connection."""
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = trio.socket.socket()
        await ours.connect(listener.getsockname())
        theirs, _ = await listener.accept()
    return ours, theirs


async def test_who_comes_while_the_broker_stops_does_not_hold_it_up() -> None:
    async with running_server() as running:
        await running.server.close_connections()
        async with connected(running.port) as client:
            with trio.fail_after(8):  # sooner than the handshake's time is over
                assert await client.read_to_end() == b""


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EMFILE, errno.ENETDOWN, errno.EPERM])
async def test_clients_are_accepted_after_an_error(number: int, real_io_clock: MockClock) -> None:
    async with running_server() as running:
        with trio.fail_after(PATIENCE_S):
            await accept(running, number, number, number)


async def test_a_lack_of_descriptors_is_logged_once_and_so_is_its_end(
    real_io_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "leveret.server")
    async with running_server() as running:
        with trio.fail_after(PATIENCE_S):
            await accept(running, *[errno.EMFILE] * 50)
    messages = [each.message for each in caplog.records if each.name == "leveret.server"]
    assert messages == [
        "cannot accept connections; raise the limit of open files",
        "accepting connections again",
    ]


async def test_a_crowd_of_clients_of_one_user_is_let_in_by_few_checks() -> None:
    async with running_server() as running:
        Administration(running.broker).set_user("crowd", "pw")
        checks, find_out = list[bytes](), PasswordHash.accepts

        def counted(password_hash: PasswordHash, password: bytes) -> bool:
            checks.append(password)
            return find_out(password_hash, password)

        with (
            pytest.MonkeyPatch.context() as patched,
            trio.fail_after(PATIENCE_S),
        ):
            patched.setattr(PasswordHash, "accepts", counted)
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(expect_tune, running.port)
        assert len(checks) <= CHECKS_AT_ONCE


async def expect_tune(port: int) -> None:
    """Log in as the user `crowd`."""
    async with connected(port) as client:
        await client.send(PROTOCOL_HEADER)
        await client.expect(ConnectionStart)
        start_ok = ConnectionStartOk({}, "PLAIN", b"\0crowd\0pw", "en_US")
        await client.send(method_frame(0, start_ok))
        await client.expect(ConnectionTune)

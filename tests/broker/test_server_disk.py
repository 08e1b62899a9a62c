"""The edge and the disk: alarms, replies that wait, starts that fail, messages that are lost."""

import errno
import logging
import socket
from typing import Any, NoReturn

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from durable_server import DurableServer
from fake_client import message as published
from leveret.amqp.connection_methods import ConnectionBlocked, ConnectionUnblocked
from leveret.amqp.frames import METHOD, method_frame
from leveret.amqp.method_codec import decode
from leveret.amqp.method_ids import Method
from leveret.amqp.methods import BasicAck, BasicGet, QueueDeclare, QueueDeclareOk
from leveret.broker import process
from leveret.broker import server as server_module
from leveret.broker.alarms import Alarm
from leveret.broker.configuration import Configuration, Listen, Storage
from leveret.broker.process import serve
from leveret.storage.errors import JournalError
from leveret.storage.opening import open_journal
from memory_disk import MemoryDisk
from raw_client import RawClient, logged_in, message, until
from running_server import PATIENCE_S, RunningServer, running_server

pytestmark = pytest.mark.trio

HEARTBEAT_S = 10
ROOMY_BYTES = 1 << 40
DURABLE = QueueDeclare(0, "durable", False, True, False, False, False, {})


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def clock() -> MockClock:
    """Goes as fast as the real one, and jumps when the test says so."""
    return MockClock(rate=1.0)


@pytest.fixture
def low_disk(disk: MemoryDisk) -> MemoryDisk:
    """A disk that has less free space than the broker asks for, and room all the same."""
    disk.capacity_bytes = Configuration().storage.disk_free_limit_bytes - 1
    return disk


def make_room(running: RunningServer, disk: MemoryDisk) -> None:
    """Let there be space, and the broker find out at once."""
    disk.capacity_bytes = ROOMY_BYTES
    running.server.begin_turn()
    running.broker.alarms.set(Alarm.DISK, False)
    running.server.end_turn()


async def alarm_in(running: RunningServer) -> None:
    with trio.fail_after(PATIENCE_S):
        await until(lambda: bool(running.broker.alarms))


async def next_method(client: RawClient) -> Method:
    """The next method, whatever heartbeats come before it."""
    with trio.fail_after(PATIENCE_S):
        while True:
            received = await client.receive()
            if received.kind == METHOD:
                return decode(received.payload)


async def let_pass(clock: MockClock, seconds: float) -> None:
    """Let time pass, with a look at every timer on the way."""
    for _ in range(int(seconds / 2)):
        clock.jump(2)
        await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()


# --- alarms -----------------------------------------------------------------------------------


async def test_a_blocked_publisher_is_not_read_from_while_others_acknowledge_and_declare(
    low_disk: MemoryDisk,
) -> None:
    more = 20
    async with (
        running_server(disk=low_disk) as running,
        logged_in(running.port) as publisher,
        logged_in(running.port) as consumer,
        logged_in(running.port) as other,
    ):
        await alarm_in(running)
        with trio.fail_after(PATIENCE_S):
            await consumer.declare("work", durable=True)
            await consumer.consume("work", no_ack=False)
            await publisher.send(message("work", b"first"))
            assert await publisher.expect(ConnectionBlocked) == ConnectionBlocked("low on disk")
            delivery = await consumer.delivery()
            assert delivery.body == b"first"
            for number in range(more):
                await publisher.send(message("work", b"more"))
                await other.declare(f"durable-{number}", durable=True)
            await consumer.send(method_frame(1, BasicAck(delivery.delivery_tag, multiple=False)))
            unsettled = running.connection_of(consumer).channels[1].unsettled
            await until(lambda: not unsettled.deliveries)
            assert unsettled.last_tag == 1
            assert running.ready("work") == 0
            make_room(running, low_disk)
            await publisher.expect(ConnectionUnblocked)
            for _ in range(more):
                assert (await consumer.delivery()).body == b"more"


async def test_an_alarm_is_looked_after_from_when_it_is_raised_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "WATCH_S", 3600)
    settings = Configuration(storage=Storage(in_memory=True, memory_budget_bytes=100_000))
    async with (
        running_server(settings) as running,
        logged_in(running.port) as publisher,
        logged_in(running.port) as consumer,
    ):
        with trio.fail_after(PATIENCE_S):
            await consumer.declare("work")
            while not running.connection_of(publisher).blocked:
                await publisher.send(message("work", bytes(20_000)))
            await publisher.expect(ConnectionBlocked)
            await consumer.consume("work", no_ack=True)
            await publisher.expect(ConnectionUnblocked)


async def test_a_connection_that_publishes_nothing_is_not_blocked(low_disk: MemoryDisk) -> None:
    async with running_server(disk=low_disk) as running, logged_in(running.port) as client:
        await alarm_in(running)
        with trio.fail_after(PATIENCE_S):
            await client.declare("work", durable=True)
            assert await client.message_count("work") == 0
        assert not running.connection_of(client).blocked


async def test_a_blocked_publisher_may_hang_up(low_disk: MemoryDisk) -> None:
    async with running_server(disk=low_disk) as running:
        await alarm_in(running)
        async with logged_in(running.port) as publisher:
            await publisher.send(message("nowhere", b""))
            with trio.fail_after(PATIENCE_S):
                await publisher.expect(ConnectionBlocked)
        make_room(running, low_disk)
        with trio.fail_after(PATIENCE_S):
            await until(lambda: not running.broker.connections)


# --- heartbeats of those that are not read from -----------------------------------------------


async def test_a_blocked_publisher_is_not_missed_until_it_is_read_from_again(
    low_disk: MemoryDisk, clock: MockClock
) -> None:
    async with (
        running_server(disk=low_disk) as running,
        logged_in(running.port, heartbeat_s=HEARTBEAT_S) as publisher,
    ):
        await alarm_in(running)
        await publisher.send(message("nowhere", b""))
        assert isinstance(await next_method(publisher), ConnectionBlocked)
        await let_pass(clock, 10 * HEARTBEAT_S)
        assert running.broker.connections
        make_room(running, low_disk)
        assert isinstance(await next_method(publisher), ConnectionUnblocked)
        await let_pass(clock, 4 * HEARTBEAT_S)
        assert not running.broker.connections


async def test_a_connection_whose_reply_waits_for_the_disk_is_not_missed(
    disk: MemoryDisk, clock: MockClock
) -> None:
    async with (
        running_server(disk=disk) as running,
        logged_in(running.port, heartbeat_s=HEARTBEAT_S) as client,
    ):
        disk.capacity_bytes = disk.used_bytes
        connection = running.connection_of(client)
        await client.send(method_frame(1, DURABLE))
        with trio.fail_after(PATIENCE_S):
            await until(lambda: connection.waiting > 0)
        await let_pass(clock, 10 * HEARTBEAT_S)
        assert connection in running.broker.connections
        disk.capacity_bytes = ROOMY_BYTES
        await let_pass(clock, 2)
        assert isinstance(await next_method(client), QueueDeclareOk)
        await let_pass(clock, 4 * HEARTBEAT_S)
        assert not running.broker.connections


# --- the journal at both ends of a broker's life ----------------------------------------------


def use_journal_on(disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let brokers that start keep their data there."""
    monkeypatch.setattr(process, "open_data", lambda storage: open_journal(disk))
    # That would outlast the test.
    monkeypatch.setattr(process, "_tune_garbage_collection", lambda: None)


@pytest.mark.parametrize("clean", [True, False])
async def test_a_start_that_fails_leaves_the_stop_before_it_as_clean_as_it_was(
    clean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = DurableServer()
    client = server.connect()
    client.declare("q", durable=True)
    client.feed(b"".join(published(body, "q", delivery_mode=2) for body in (b"0", b"1")))
    assert client.get().body == b"0"
    if clean:
        client.disconnect()
        server.broker.note_deliveries()
        server.journal.close()
    disk = server.disk if clean else server.disk.crash(lambda choices: 0)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    host, port = listeners[0].socket.getsockname()
    use_journal_on(disk, monkeypatch)
    async with listeners[0]:
        with pytest.raises(OSError, match="in use"):
            await serve(Configuration(listen=Listen(host, port)), ready=lambda host, port: None)
    client = DurableServer(disk).connect()
    flags = [client.get(no_ack=True).call.redelivered for _ in range(2)]
    assert flags == [True, not clean]


async def test_a_message_that_cannot_be_read_back_stops_the_broker_without_an_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    count = 10
    server = DurableServer()
    client = server.connect()
    client.declare("q", durable=True)
    client.feed(published(b"m", "q", delivery_mode=2) * count)
    disk = server.disk.crash(lambda choices: 0)
    use_journal_on(disk, monkeypatch)
    get = method_frame(1, BasicGet(0, "q", no_ack=False))
    ports: list[int] = []

    def fail_to_read(operation: str, name: str) -> None:
        if operation == "read":
            raise OSError(errno.EIO, "bad sector")

    async def get_one() -> None:
        await until(lambda: bool(ports))
        async with logged_in(ports[0]) as client:
            disk.fault = fail_to_read  # of the next message, which is looked at as soon as one goes
            await client.send(get)
            assert await client.read_to_end() == b""

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(get_one)
            with pytest.raises(JournalError, match="bad sector"):
                await serve(
                    Configuration(listen=Listen("127.0.0.1", 0)),
                    ready=lambda host, port: ports.append(port),
                )
    disk.fault = None
    assert [each.levelno for each in caplog.records].count(logging.CRITICAL) == 1
    assert DurableServer(disk).connect().ready_in("q") == count


async def test_an_address_in_use_is_found_before_the_journal_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unread(storage: object) -> NoReturn:
        raise AssertionError("read the journal")

    monkeypatch.setattr(process, "open_data", unread)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    host, port = listeners[0].socket.getsockname()
    async with listeners[0]:
        with pytest.raises(OSError, match="in use"):
            await serve(Configuration(listen=Listen(host, port)), ready=lambda host, port: None)


class _TwoAddresses(trio.abc.HostnameResolver):
    """Every name stands for two addresses of this machine."""

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (address, port)) for address in ("127.0.0.1", "127.0.0.2")]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> NoReturn:
        raise AssertionError("nobody asks for names")


async def test_a_free_port_is_the_same_on_all_addresses_of_the_host() -> None:
    trio.socket.set_custom_hostname_resolver(_TwoAddresses())
    listeners = await process.open_listeners("two", 0)
    assert len(listeners) == 2
    try:
        ports = {listener.socket.getsockname()[1] for listener in listeners}
        assert len(ports) == 1
        assert ports != {0}
    finally:
        for listener in listeners:
            await listener.aclose()


async def test_many_declarations_sent_ahead_are_all_answered_on_a_quick_disk(
    disk: MemoryDisk,
) -> None:
    known, many = 100, 500
    async with running_server(disk=disk) as running, logged_in(running.port) as client:
        with trio.fail_after(PATIENCE_S):
            for number in range(known):  # so that it knows how quick the disk is
                await client.declare(f"known-{number}", durable=True)
            declarations = [
                QueueDeclare(0, f"q-{number}", False, True, False, False, False, {})
                for number in range(many)
            ]
            await client.send(b"".join(method_frame(1, each) for each in declarations))
            for _ in range(many):
                assert isinstance(await next_method(client), QueueDeclareOk)

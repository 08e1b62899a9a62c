"""Clients that don't know the protocol, or know it too well: they harm nobody and leave nothing."""

import random
import struct
import tracemalloc

import pytest
import trio
from trio.testing import MockClock

from leveret.amqp.connection_methods import (
    ChannelClose,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionClose,
    ConnectionStart,
)
from leveret.amqp.fields import Table
from leveret.amqp.frames import BODY, HEAD, HEADER, METHOD, PROTOCOL_HEADER, frame, method_frame
from leveret.amqp.method_codec import encode
from leveret.amqp.methods import BasicPublish, QueueDeclare
from leveret.broker.configuration import Configuration
from leveret.broker.configuration import Connection as Limits
from leveret.broker.connection import CLOSE_TIMEOUT_S
from raw_client import (
    RawClient,
    announcement,
    connected,
    logged_in,
    message,
    until,
)
from running_server import PATIENCE_S, running_server, unharmed_server

pytestmark = pytest.mark.trio

HANDSHAKE_S = 10.0
IMPATIENT = Configuration(connection=Limits(failed_login_delay_s=0.05))
"""For the refusals that RabbitMQ, and so leveret, delays."""

GARBAGE = random.Random(1).randbytes(100_000)
PUBLISH = method_frame(1, BasicPublish(0, "", "work", False, False))


@pytest.fixture
def real_io_clock() -> MockClock:
    """Jumps to the next deadline once nothing has come through the sockets for a moment."""
    return MockClock(autojump_threshold=0.05)


# --- garbage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        GARBAGE,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + GARBAGE[:501],
        b"AMQP\x03\x01\x00\x00",
    ],
    ids=["noise", "HTTP", "TLS", "AMQP 1.0"],
)
async def test_whoever_does_not_speak_the_protocol_is_told_which_and_hung_up_on(
    sent: bytes,
) -> None:
    async with unharmed_server() as (running, _), connected(running.port) as client:
        await client.send(sent)
        with trio.fail_after(PATIENCE_S):
            answer = await client.read_to_end()
        # A reset, for input that was never read, may overtake the answer.
        assert answer in (PROTOCOL_HEADER, b"")


@pytest.mark.parametrize("seed", range(5))
async def test_noise_after_the_handshake_closes_the_connection(seed: int) -> None:
    noise = random.Random(seed).randbytes(200_000)
    async with unharmed_server(IMPATIENT) as (running, _), logged_in(running.port) as client:
        with trio.fail_after(PATIENCE_S):
            await client.send(noise)
            assert (await client.expect(ConnectionClose)).reply_code == 501
            assert await client.read_to_end() == b""


@pytest.mark.parametrize("seed", range(5))
async def test_frames_full_of_noise_close_the_connection(seed: int) -> None:
    source = random.Random(seed)
    kinds = (METHOD, METHOD, METHOD, HEADER, BODY)
    async with unharmed_server(IMPATIENT) as (running, _), logged_in(running.port) as client:
        noise = [
            frame(source.choice(kinds), source.randrange(2), source.randbytes(source.randrange(99)))
            for _ in range(1000)
        ]
        with trio.fail_after(PATIENCE_S):
            await client.send(b"".join(noise))
            while not isinstance(close := await client.receive_method(), ConnectionClose):
                pass
            assert close.reply_code in (501, 503, 504, 505)
            await client.close()


async def test_noise_in_the_handshake_is_hung_up_on_in_time(real_io_clock: MockClock) -> None:
    async with running_server() as running, connected(running.port) as client:
        began = trio.current_time()
        await client.send(PROTOCOL_HEADER)
        await client.expect(ConnectionStart)
        await client.send(frame(METHOD, 0, GARBAGE[:100]) * 10)
        await client.read_to_end()
        assert trio.current_time() - began <= CLOSE_TIMEOUT_S


# --- silence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"AMQP", PROTOCOL_HEADER])
async def test_a_handshake_must_come_to_an_end_in_time(
    sent: bytes, real_io_clock: MockClock
) -> None:
    async with running_server() as running, connected(running.port) as client:
        began = trio.current_time()
        await client.send(sent)
        await client.read_to_end()
        assert HANDSHAKE_S <= trio.current_time() - began < HANDSHAKE_S + 1


async def test_a_handshake_gets_no_more_time_by_trickling(real_io_clock: MockClock) -> None:
    async with running_server() as running, connected(running.port) as client:
        began = trio.current_time()
        trickle = PROTOCOL_HEADER + HEAD.pack(METHOD, 0, 1000) + bytes(1000)

        async def send() -> None:
            for byte in trickle:
                await trio.sleep(3)
                try:
                    await client.send(bytes((byte,)))
                except OSError:
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await client.read_to_end()
            assert trio.current_time() - began < HANDSHAKE_S + 1
            nursery.cancel_scope.cancel()


async def test_bytes_may_come_one_by_one() -> None:
    async with unharmed_server() as (running, bystander), logged_in(running.port) as client:
        await client.declare("work", exclusive=True)
        await client.consume("work")
        with trio.fail_after(PATIENCE_S):
            for byte in message("work", b"slow but sound"):
                await client.send(bytes((byte,)))
            assert (await client.delivery()).body == b"slow but sound"
        await bystander.is_served()


# --- vanishing --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("sent", [b"", PROTOCOL_HEADER[:5], PROTOCOL_HEADER])
async def test_vanishing_in_the_handshake_leaves_nothing(sent: bytes, how: str) -> None:
    async with unharmed_server() as (running, _):
        for _ in range(10):
            async with connected(running.port) as client:
                await client.send(sent)
                if how == "reset":
                    client.reset()


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize(
    "left_out",
    [1, 100, 1000, 1009, len(message("work", bytes(1000))) - 3],
    ids=["end", "body", "header", "header end", "method"],
)
async def test_vanishing_in_the_middle_of_a_message_leaves_nothing(left_out: int, how: str) -> None:
    whole = message("work", bytes(1000))
    async with unharmed_server() as (running, _):
        for _ in range(5):
            async with logged_in(running.port) as client:
                await client.declare("work", exclusive=True)
                await client.consume("work", no_ack=False)
                await client.send(whole + whole[:-left_out])
                await client.delivery()
                if how == "reset":
                    client.reset()


async def test_vanishing_with_every_channel_open_leaves_nothing() -> None:
    async with unharmed_server() as (running, bystander), logged_in(running.port) as client:
        channels = range(2, 2048)
        await client.send(b"".join(method_frame(each, ChannelOpen()) for each in channels))
        for _ in channels:
            await client.expect(ChannelOpenOk)
        await bystander.is_served()
        client.reset()


@pytest.mark.slow
async def test_thousands_of_visits_leave_nothing() -> None:
    async with unharmed_server() as (running, bystander):

        async def visit(number: int) -> None:
            async with connected(running.port) as client:
                await client.send(PROTOCOL_HEADER[: number % 9])
                if number % 2:
                    client.reset()

        for start in range(0, 3000, 100):
            async with trio.open_nursery() as nursery:
                for number in range(start, start + 100):
                    nursery.start_soon(visit, number)
        await bystander.is_served()


@pytest.mark.slow
async def test_hundreds_of_logins_at_once_leave_nothing() -> None:
    async with unharmed_server() as (running, bystander):
        arrived = 0
        leave = trio.Event()

        async def visit(number: int) -> None:
            nonlocal arrived
            async with logged_in(running.port, heartbeat_s=60) as client:
                await client.declare(f"own-{number}", exclusive=True)
                await client.consume(f"own-{number}")
                arrived += 1
                await leave.wait()

        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(visit, number)
            with trio.fail_after(PATIENCE_S):
                await until(lambda: arrived == 300)
            await bystander.is_served()
            leave.set()


# --- bombs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (HEAD.pack(METHOD, 1, 0xFFFFFFFF), 501),
        (HEAD.pack(METHOD, 1, 131_073), 501),
        (PUBLISH + HEAD.pack(BODY, 1, 1 << 24), 501),
        (PUBLISH + announcement(1 << 63), 501),
        (PUBLISH + announcement(536_870_913), 501),
    ],
    ids=["4 GiB frame", "too large frame", "16 MiB body frame", "8 EiB body", "512 MiB body"],
)
async def test_what_is_announced_too_large_is_refused_before_it_comes(
    sent: bytes, code: int
) -> None:
    async with unharmed_server(IMPATIENT) as (running, _), logged_in(running.port) as client:
        await client.send(sent)
        with trio.fail_after(PATIENCE_S):
            assert (await client.expect(ConnectionClose)).reply_code == code
            await client.read_to_end()


async def test_a_message_larger_than_configured_closes_its_channel_only() -> None:
    async with unharmed_server() as (running, _), logged_in(running.port) as client:
        await client.send(PUBLISH + announcement(134_217_729))
        with trio.fail_after(PATIENCE_S):
            assert (await client.expect(ChannelClose)).reply_code == 406
            await client.open_channel(2)


async def test_an_announced_body_takes_no_memory_before_it_comes() -> None:
    async with unharmed_server() as (running, bystander), logged_in(running.port) as client:
        tracemalloc.start()
        try:
            for number in range(2, 200):
                await client.open_channel(number)
                publish = method_frame(number, BasicPublish(0, "", "work", False, False))
                await client.send(publish + announcement(134_217_728, number))
            await bystander.is_served()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 << 20


@pytest.mark.parametrize("opening", [True, False], ids=["at login", "later"])
async def test_deeply_nested_tables_are_refused(opening: bool) -> None:
    level, most = b"\x01aF", 1000 if opening else 15_000
    table = b"".join(level + struct.pack(">I", 7 * depth) for depth in range(most, -1, -1))
    table = struct.pack(">I", len(table)) + table
    async with unharmed_server(IMPATIENT) as (running, _):
        if opening:
            async with connected(running.port) as client:
                await client.send(PROTOCOL_HEADER)
                await client.expect(ConnectionStart)
                await client.send(frame(METHOD, 0, struct.pack(">HH", 10, 11) + table))
                await is_refused(client)
        else:
            async with logged_in(running.port) as client:
                empty: Table = {}
                declare = encode(QueueDeclare(0, "work", False, False, False, False, False, empty))
                await client.send(frame(METHOD, 1, declare[:-4] + table))
                await is_refused(client)


async def is_refused(client: RawClient) -> None:
    with trio.fail_after(PATIENCE_S):
        assert (await client.expect(ConnectionClose)).reply_code == 501
        await client.read_to_end()

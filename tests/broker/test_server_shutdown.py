"""The end of a broker's life, as its clients and whoever stops it see it."""

import signal
import time
from pathlib import Path

import pytest
import trio

from broker_process import broker_process
from leveret.amqp.connection_methods import ConnectionClose, ConnectionCloseOk, ConnectionStart
from leveret.amqp.frames import PROTOCOL_HEADER, method_frame
from raw_client import Delivery, RawClient, connected, logged_in, message
from running_server import PATIENCE_S

pytestmark = [pytest.mark.trio, pytest.mark.slow]

SMALL_BUFFER = 4096
SHUTDOWN = ConnectionClose(
    320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'", 0, 0
)


@pytest.fixture
def patient(tmp_path: Path) -> tuple[str, ...]:
    """Flags for a broker that waits longer for its clients than any test."""
    return with_timeout(tmp_path, 600)


@pytest.fixture
def impatient(tmp_path: Path) -> tuple[str, ...]:
    """Flags for a broker that waits for its clients for half a second."""
    return with_timeout(tmp_path, 0.5)


def with_timeout(directory: Path, timeout_s: float) -> tuple[str, ...]:
    file = directory / "leveret.toml"
    file.write_text(f"shutdown_timeout_s = {timeout_s}\n")
    return ("--config", str(file))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_every_client_is_told_and_the_broker_goes_when_they_have_answered(
    stop: signal.Signals, patient: tuple[str, ...]
) -> None:
    with trio.fail_after(PATIENCE_S):
        async with (
            broker_process(*patient) as broker,
            logged_in(broker.port) as first,
            logged_in(broker.port) as second,
            connected(broker.port) as opening,
            connected(broker.port) as silent,
        ):
            await opening.send(PROTOCOL_HEADER)
            await opening.expect(ConnectionStart)
            broker.send_signal(stop)
            for client in (first, second):
                assert await client.expect(ConnectionClose) == SHUTDOWN
            for client in (opening, silent):
                assert await client.read_to_end() == b""
            with pytest.raises(ConnectionRefusedError):
                async with connected(broker.port):
                    pass
            for client in (first, second):
                await client.send(method_frame(0, ConnectionCloseOk()))
                assert await client.read_to_end() == b""
            assert await broker.wait() == 0


async def test_what_was_on_its_way_to_a_slow_client_comes_before_the_close(
    patient: tuple[str, ...],
) -> None:
    bodies = [b"%d" % number + bytes(50_000) for number in range(100)]
    with trio.fail_after(PATIENCE_S):
        async with (
            broker_process(*patient) as broker,
            logged_in(broker.port, receive_buffer_bytes=SMALL_BUFFER) as client,
        ):
            await client.declare("work")
            for body in bodies:
                await client.send(message("work", body))
            # Asked for only now, so that nothing but the close stands behind the deliveries.
            await client.consume("work")
            broker.send_signal(signal.SIGTERM)
            received = 0
            while isinstance(arrived := await client.delivery_or_close(), Delivery):
                assert arrived.body == bodies[received]
                received += 1
            assert received > 10
            assert arrived == SHUTDOWN
            await client.send(method_frame(0, ConnectionCloseOk()))
            assert await broker.wait() == 0


async def test_clients_that_neither_answer_nor_read_hold_it_up_only_so_long(
    impatient: tuple[str, ...],
) -> None:
    with trio.fail_after(PATIENCE_S):
        async with (
            broker_process(*impatient) as broker,
            logged_in(broker.port) as mute,
            logged_in(broker.port, receive_buffer_bytes=SMALL_BUFFER) as stalled,
        ):
            await mute.declare("work")
            await stalled.consume("work")
            for _ in range(200):
                await mute.send(message("work", bytes(100_000)))
            began_s = time.perf_counter()
            broker.send_signal(signal.SIGTERM)
            assert await mute.expect(ConnectionClose) == SHUTDOWN
            assert await broker.wait() == 0
            assert time.perf_counter() - began_s >= 0.5


async def test_clients_that_keep_publishing_hold_it_up_only_so_long(
    impatient: tuple[str, ...],
) -> None:
    flood = message("work", bytes(1000)) * 100

    async def publish(client: RawClient) -> None:
        while True:
            try:
                await client.send(flood)
            except OSError:
                return

    with trio.fail_after(PATIENCE_S):
        async with (
            broker_process(*impatient) as broker,
            logged_in(broker.port) as publisher,
            logged_in(broker.port) as consumer,
            trio.open_nursery() as nursery,
        ):
            await publisher.declare("work")
            nursery.start_soon(publish, publisher)
            await consumer.consume("work")
            await consumer.delivery()
            broker.send_signal(signal.SIGTERM)
            assert await broker.wait() == 0


async def test_a_second_signal_ends_the_wait_for_clients(patient: tuple[str, ...]) -> None:
    with trio.fail_after(PATIENCE_S):
        async with broker_process(*patient) as broker, logged_in(broker.port) as client:
            broker.send_signal(signal.SIGTERM)
            assert await client.expect(ConnectionClose) == SHUTDOWN
            broker.send_signal(signal.SIGTERM)
            assert await broker.wait() == 0

"""Many clients and busy ones: everybody is served, and what one costs is bounded."""

import resource
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import trio

from broker_process import broker_process
from leveret.amqp.connection_methods import ConnectionStart
from leveret.amqp.frames import PROTOCOL_HEADER
from raw_client import RawClient, connected, logged_in, message, until
from running_server import PATIENCE_S, Bystander

pytestmark = [pytest.mark.trio, pytest.mark.slow]

FLOOD = message("flooded", bytes(100)) * 1000
FLOODS = 150
FAIR_S = 1.0
"""The longest that a round trip may take beside a flood: many times what it does take."""

OPEN_FILES_MAX = 64
IDLE_CONNECTIONS = 1000
IDLE_MAX_BYTES = 60_000_000


async def read(client: RawClient, pause_s: float) -> None:
    """Read without looking, at full speed or with pauses."""
    while True:
        assert await client.sock.recv(1 << 16)
        await trio.sleep(pause_s)


@pytest.mark.parametrize("pause_s", [None, 0, 0.05], ids=["no", "a fast", "a slow"])
async def test_a_flood_to_a_queue_with_such_a_consumer_starves_nobody(
    pause_s: float | None,
) -> None:
    bystander = Bystander()
    with trio.fail_after(3 * PATIENCE_S):
        async with (
            broker_process("--in-memory") as broker,
            logged_in(broker.port) as first,
            logged_in(broker.port) as publisher,
            logged_in(broker.port) as consumer,
            trio.open_nursery() as nursery,
        ):
            await publisher.declare("flooded")
            if pause_s is not None:
                await consumer.consume("flooded")
                nursery.start_soon(read, consumer, pause_s)
            nursery.start_soon(bystander.run, first)
            await bystander.is_served()
            served = bystander.trips
            for _ in range(FLOODS):
                await publisher.send(FLOOD)
            assert bystander.trips > served
            await bystander.is_served()
            assert bystander.worst_s < FAIR_S
            nursery.cancel_scope.cancel()


async def test_a_backlog_on_many_queues_starves_nobody() -> None:
    bystander = Bystander()
    with trio.fail_after(3 * PATIENCE_S):
        async with (
            broker_process("--in-memory") as broker,
            logged_in(broker.port) as first,
            trio.open_nursery() as nursery,
            AsyncExitStack() as stack,
        ):
            consumers: list[RawClient] = []
            for number in range(50):
                consumers.append(await stack.enter_async_context(logged_in(broker.port)))
                await consumers[-1].declare(f"queue-{number}")
                await consumers[-1].send(message(f"queue-{number}", bytes(100)) * 2000)
            nursery.start_soon(bystander.run, first)
            await bystander.is_served()
            for number, consumer in enumerate(consumers):
                await consumer.consume(f"queue-{number}")
                nursery.start_soon(read, consumer, 0)
            await bystander.is_served()
            assert bystander.worst_s < FAIR_S
            nursery.cancel_scope.cancel()


async def test_a_broker_out_of_file_descriptors_serves_whom_it_has_and_later_the_others() -> None:
    bystander = Bystander()
    with trio.fail_after(PATIENCE_S):
        async with (
            broker_process("--in-memory", open_files_max=OPEN_FILES_MAX) as broker,
            logged_in(broker.port) as first,
            trio.open_nursery() as nursery,
            AsyncExitStack() as stack,
        ):
            nursery.start_soon(bystander.run, first)
            clients = [
                await stack.enter_async_context(connected(broker.port))
                for _ in range(2 * OPEN_FILES_MAX)
            ]
            for client in clients:
                await client.send(PROTOCOL_HEADER)
            await clients[0].expect(ConnectionStart)
            await bystander.is_served()
            await until(lambda: broker.open_descriptors == OPEN_FILES_MAX)
            for client in clients[:-1]:
                client.sock.close()
            await clients[-1].expect(ConnectionStart)
            nursery.cancel_scope.cancel()


@pytest.fixture
def _enough_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE_CONNECTIONS + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"no more than {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_enough_descriptors")
async def test_a_thousand_idle_connections_take_little_memory() -> None:
    with trio.fail_after(3 * PATIENCE_S):
        async with broker_process("--in-memory") as broker, AsyncExitStack() as stack:

            async def arrive() -> None:
                await stack.enter_async_context(logged_in(broker.port, heartbeat_s=60))

            for _ in range(10):
                await arrive()
            before = broker.rss_bytes
            for _ in range(IDLE_CONNECTIONS):
                await arrive()
            assert broker.rss_bytes - before < IDLE_MAX_BYTES

"""What is left of a connection when it is over: nothing, at once.

The garbage collector is off in here. It comes so rarely in a running broker that whatever only it
could free would pile up.
"""

import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio

from leveret.amqp.connection_methods import ChannelClose, ChannelCloseOk, ConnectionClose
from leveret.amqp.frames import METHOD, PROTOCOL_HEADER, frame, method_frame
from leveret.amqp.methods import (
    BasicAck,
    BasicGet,
    BasicGetOk,
    BasicPublish,
    ConfirmSelect,
    ConfirmSelectOk,
    ExchangeDeclare,
    ExchangeDeclareOk,
    QueueBind,
    QueueBindOk,
    QueueDeclare,
    TxSelect,
    TxSelectOk,
)
from leveret.broker.configuration import Configuration
from leveret.broker.configuration import Connection as Limits
from leveret.broker.timers import Timer
from raw_client import RawClient, announcement, connected, logged_in, message, until
from running_server import PATIENCE_S, RunningServer, running_server

pytestmark = pytest.mark.trio

IMPATIENT = Configuration(connection=Limits(failed_login_delay_s=0.01))


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def objects() -> Counter[str]:
    """How many of the broker's objects there are, by type.

    Cancelled timers are left out: they stay until they would have been due.
    """
    return Counter(
        type(each).__qualname__
        for each in gc.get_objects()
        if type(each).__module__.startswith("leveret.broker") and not isinstance(each, Timer)
    )


# --- visits -----------------------------------------------------------------------------------


async def work(client: RawClient) -> None:
    """A bit of everything, left unfinished."""
    await client.declare("own", exclusive=True)
    for exchange, kind in (("amq.direct", ""), ("amq.topic", "#"), ("amq.headers", "x")):
        await client.call(1, QueueBind(0, "own", exchange, kind, False, {}), QueueBindOk)
    declare = ExchangeDeclare(0, "gone", "topic", False, False, True, False, False, {})
    await client.call(1, declare, ExchangeDeclareOk)
    await client.call(1, QueueBind(0, "own", "gone", "a.*.#", False, {}), QueueBindOk)
    await client.send(message("own", b"unsettled") + message("a.b", b"also", exchange="gone"))
    await client.consume("own", no_ack=False, prefetch=1)
    await client.delivery()
    await client.open_channel(2)
    await client.call(2, ConfirmSelect(False), ConfirmSelectOk)
    await client.open_channel(3)
    await client.call(3, TxSelect(), TxSelectOk)
    await client.send(message("own", b"uncommitted", channel=3))
    await client.send(message("own", b"ready", channel=2))
    await client.expect(BasicAck)


async def close(running: RunningServer) -> None:
    async with logged_in(running.port, heartbeat_s=60) as client:
        await work(client)
        await client.close()


async def vanish(running: RunningServer) -> None:
    async with logged_in(running.port, heartbeat_s=60) as client:
        await work(client)


async def vanish_in_the_middle_of_a_message(running: RunningServer) -> None:
    async with logged_in(running.port) as client:
        publish = method_frame(1, BasicPublish(0, "", "own", False, False))
        await client.send(publish + announcement(1000) + frame(METHOD, 1, bytes(100))[:50])


async def close_a_channel(running: RunningServer) -> None:
    async with logged_in(running.port) as client:
        await work(client)
        await client.call(2, ChannelClose(200, "", 0, 0), ChannelCloseOk)
        await client.call(1, ChannelClose(200, "", 0, 0), ChannelCloseOk)


async def commit_a_channel_error(running: RunningServer) -> None:
    async with logged_in(running.port) as client:
        passive = QueueDeclare(0, "missing", True, False, False, False, False, {})
        await client.call(1, passive, ChannelClose)


async def commit_a_connection_error(running: RunningServer) -> None:
    async with logged_in(running.port, heartbeat_s=60) as client:
        await work(client)
        await client.send(bytes(8))
        while not isinstance(await client.receive_method(), ConnectionClose):
            pass


async def fail_the_handshake(running: RunningServer) -> None:
    async with connected(running.port) as client:
        await client.send(PROTOCOL_HEADER + method_frame(0, ConfirmSelect(False)))
        await client.read_to_end()


async def speak_something_else(running: RunningServer) -> None:
    async with connected(running.port) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        await client.read_to_end()


async def stop_reading(running: RunningServer) -> None:
    async with logged_in(running.port, receive_buffer_bytes=4096) as client:
        await client.declare("own", exclusive=True)
        await client.send(message("own", bytes(10_000_000)))
        await client.call(1, BasicGet(0, "own", False), BasicGetOk)
        client.reset()


async def expect_replies(running: RunningServer) -> None:
    async with logged_in(running.port) as client:
        await client.consume("amq.rabbitmq.reply-to")


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize(
    "visit",
    [
        close,
        vanish,
        vanish_in_the_middle_of_a_message,
        close_a_channel,
        commit_a_channel_error,
        commit_a_connection_error,
        fail_the_handshake,
        speak_something_else,
        stop_reading,
        expect_replies,
    ],
)
async def test_nothing_is_left_of(visit: Callable[[RunningServer], Awaitable[None]]) -> None:
    async with running_server(IMPATIENT) as running:
        idle = running.tasks()

        async def visit_and_leave() -> Counter[str]:
            await visit(running)
            await until(lambda: not running.broker.connections and running.tasks() == idle)
            return objects()

        with trio.fail_after(PATIENCE_S):
            before = await visit_and_leave()
            await visit_and_leave()
            assert await visit_and_leave() == before

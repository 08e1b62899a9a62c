"""aio-pika and a broker that is killed or stopped, and started again: its robust connection goes on
where it was, and finds what was confirmed.
"""

import asyncio
from collections.abc import Callable

import aio_pika
from leveret_process import LeveretProcess
from restarting import needs_leveret, own_broker, restart

__all__ = ["own_broker", "restart"]  # fixtures

pytestmark = needs_leveret

DEADLINE_S = 15


def persistent(body: bytes) -> aio_pika.Message:
    return aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)


async def test_confirmed_messages_are_consumed_after_a_restart(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    connection = await aio_pika.connect(own_broker.url)
    channel = await connection.channel()
    exchange = await channel.declare_exchange("orders", "fanout", durable=True)
    queue = await channel.declare_queue("all", durable=True)
    await queue.bind(exchange)
    publishes = (exchange.publish(persistent(b"%d" % n), "") for n in range(500))
    await asyncio.gather(*publishes)
    await asyncio.to_thread(restart)
    async with await aio_pika.connect(own_broker.url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue("all", ensure=True)
        got = []
        async with queue.iterator(timeout=DEADLINE_S) as messages:
            async for message in messages:
                await message.ack()
                got.append(int(message.body))
                if len(got) == 500:
                    break
        assert got == list(range(500))


async def test_acknowledged_messages_do_not_come_back_after_a_restart(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    connection = await aio_pika.connect(own_broker.url)
    channel = await connection.channel()
    queue = await channel.declare_queue("q", durable=True)
    publish = channel.default_exchange.publish
    await asyncio.gather(*(publish(persistent(b"%d" % n), "q") for n in range(20)))
    for _ in range(10):
        message = await queue.get()
        await message.ack()
    # Confirmed, and therefore on disk with all that came before it.
    await publish(persistent(b"20"), "q")
    await asyncio.to_thread(restart)
    async with await aio_pika.connect(own_broker.url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue("q")
        got = []
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            got.append(int(message.body))
        assert got == list(range(10, 21))

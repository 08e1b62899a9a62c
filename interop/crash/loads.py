"""Clients that publish, consume and acknowledge until the broker is gone, and tell the ledger."""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine

import aio_pika
import pika

from .ledger import Ledger, Name

PERSISTENT = pika.BasicProperties(delivery_mode=2)
MARKS = "crash-marks"
"""A queue for messages whose confirm tells that everything before them is on disk."""
WINDOW = 200


def body_of(name: Name, size: int) -> bytes:
    return f"{name[0]} {name[1]} ".encode().ljust(size, b".")


def name_of(body: bytes) -> Name:
    publisher, number, _ = body.split(b" ", 2)
    return publisher.decode(), int(number)


def pika_publisher(url: str, ledger: Ledger, seed: int, gone: threading.Event) -> None:
    """One confirmed message after the other."""
    chance = random.Random(seed)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    while True:
        name = ledger.next_name("pika")
        body = body_of(name, chance.choice((20, 1000)))
        channel.basic_publish("", ledger.queue, body, PERSISTENT)
        ledger.confirm(name)


def pika_transactions(url: str, ledger: Ledger, seed: int, gone: threading.Event) -> None:
    """Messages in transactions: what is committed counts as confirmed."""
    chance = random.Random(seed)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.tx_select()
    while True:
        names = [ledger.next_name("tx") for _ in range(chance.randrange(1, 20))]
        for name in names:
            channel.basic_publish("", ledger.queue, body_of(name, 100), PERSISTENT)
        channel.tx_commit()
        for name in names:
            ledger.confirm(name)


def pika_consumer(url: str, ledger: Ledger, seed: int, gone: threading.Event) -> None:
    """Take and acknowledge, in groups or singly, and find out at times what is on disk."""
    chance = random.Random(seed)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=50)
    unsettled: list[Name] = []
    unmarked: list[Name] = []
    for method, _, body in channel.consume(ledger.queue, inactivity_timeout=0.05):
        if method is None:
            continue
        name = name_of(body)
        ledger.deliver(name, method.redelivered)
        unsettled.append(name)
        if len(unsettled) < chance.randrange(1, 20):
            continue
        for each in unsettled:
            ledger.acknowledge(each)
        channel.basic_ack(method.delivery_tag, multiple=True)
        unmarked += unsettled
        unsettled.clear()
        if chance.random() < 0.1:
            # Stops the consumer's generator for a round trip: the mark goes the acks' way.
            channel.basic_publish("", MARKS, b"mark", PERSISTENT)
            ledger.settle(unmarked)
            unmarked.clear()


async def _until(gone: threading.Event, load: Coroutine[None, None, None]) -> None:
    """Run a load, and no longer than the broker: aio-pika may wait for it for ever."""
    task = asyncio.ensure_future(load)
    while not task.done() and not gone.is_set():
        await asyncio.wait([task], timeout=0.05)
    task.cancel()
    await task


def aio_publisher(url: str, ledger: Ledger, seed: int, gone: threading.Event) -> None:
    """Many messages on their way at once, of all sizes."""
    asyncio.run(_until(gone, _aio_publish(url, ledger, random.Random(seed))))


async def _aio_publish(url: str, ledger: Ledger, chance: random.Random) -> None:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    sizes = (20, 200, 20_000, 100_000)

    async def publish(name: Name) -> None:
        message = aio_pika.Message(
            body_of(name, chance.choice(sizes)), delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        await channel.default_exchange.publish(message, ledger.queue)
        ledger.confirm(name)

    while True:
        names = [ledger.next_name("aio") for _ in range(chance.randrange(1, WINDOW))]
        done = await asyncio.gather(*map(publish, names), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error


def aio_consumer(url: str, ledger: Ledger, seed: int, gone: threading.Event) -> None:
    """Take and acknowledge one by one."""
    asyncio.run(_until(gone, _aio_consume(url, ledger, random.Random(seed))))


async def _aio_consume(url: str, ledger: Ledger, chance: random.Random) -> None:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=100)
    queue = await channel.get_queue(ledger.queue, ensure=False)
    unmarked: list[Name] = []
    arrived: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
    await queue.consume(arrived.put)
    while True:
        message = await arrived.get()
        name = name_of(message.body)
        ledger.deliver(name, bool(message.redelivered))
        ledger.acknowledge(name)
        await message.ack()
        unmarked.append(name)
        if chance.random() < 0.02:
            mark = aio_pika.Message(b"mark", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(mark, MARKS)
            ledger.settle(unmarked)
            unmarked.clear()


Load = Callable[[str, Ledger, int, threading.Event], None]
"""Called with the broker's URL, the ledger of a queue, a seed, and what is set when the broker is
killed.
"""

LOADS: dict[str, tuple[Load, ...]] = {
    "crash-pika": (pika_publisher, pika_transactions, pika_consumer),
    "crash-aio": (aio_publisher, aio_consumer),
}
"""For each queue those who work on it."""

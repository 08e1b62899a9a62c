"""aio-pika's `connect_robust`: everything is declared again after the connection was cut."""

import asyncio

import aio_pika
import pytest
from aio_pika import ExchangeType, Message

DEADLINE_S = 10


@pytest.fixture
async def connection(proxy_url):
    """A robust connection through `proxy`, that tries again soon."""
    async with await aio_pika.connect_robust(proxy_url, reconnect_interval=0.1) as connection:
        yield connection


@pytest.fixture
async def channel(connection):
    return await connection.channel()


@pytest.fixture
async def reconnected(connection):
    """An event that is set when `connection` has been restored."""
    event = asyncio.Event()
    connection.reconnect_callbacks.add(lambda _: event.set())
    return event


async def test_message_is_published_and_consumed(channel, unique):
    queue = await channel.declare_queue(unique("queue"), exclusive=True)
    await channel.default_exchange.publish(Message(b"hello"), queue.name)
    assert (await queue.get(no_ack=True)).body == b"hello"


async def test_topology_and_consumers_are_restored(proxy, channel, unique, reconnected):
    received = asyncio.Queue()
    exchange = await channel.declare_exchange(unique("topic"), ExchangeType.TOPIC, auto_delete=True)
    queue = await channel.declare_queue(unique("queue"), exclusive=True)
    await queue.bind(exchange, "a.#")
    await queue.consume(received.put, no_ack=True)
    await exchange.publish(Message(b"before"), "a.b")
    async with asyncio.timeout(DEADLINE_S):
        assert (await received.get()).body == b"before"
        proxy.cut()
        await reconnected.wait()
        await exchange.publish(Message(b"after"), "a.b")
        assert (await received.get()).body == b"after"
    assert proxy.connections_accepted == 2


async def test_unacked_messages_come_again_after_the_cut(proxy, channel, unique):
    received = asyncio.Queue()
    queue = await channel.declare_queue(unique("queue"))
    await queue.consume(received.put)
    for body in (b"1", b"2"):
        await channel.default_exchange.publish(Message(body), queue.name)
    async with asyncio.timeout(DEADLINE_S):
        first = [await received.get() for _ in range(2)]
        proxy.cut()
        again = [await received.get() for _ in range(2)]
    assert [message.body for message in first] == [message.body for message in again]
    assert [message.redelivered for message in first] == [False, False]
    assert [message.redelivered for message in again] == [True, True]
    for message in again:
        await message.ack()


async def test_prefetch_holds_after_the_cut(proxy, channel, unique, reconnected):
    received = asyncio.Queue()
    await channel.set_qos(prefetch_count=1)
    queue = await channel.declare_queue(unique("queue"))
    async with asyncio.timeout(DEADLINE_S):
        proxy.cut()
        await reconnected.wait()
        for body in (b"1", b"2"):
            await channel.default_exchange.publish(Message(body), queue.name)
        await queue.consume(received.put)
        message = await received.get()
        assert (await queue.declare()).message_count == 1
        await message.ack()
        assert (await received.get()).body == b"2"


async def test_iterator_goes_on_after_the_cut(proxy, channel, unique, reconnected):
    queue = await channel.declare_queue(unique("queue"))
    await channel.default_exchange.publish(Message(b"before"), queue.name)
    async with asyncio.timeout(DEADLINE_S), queue.iterator(no_ack=True) as messages:
        assert (await anext(messages)).body == b"before"
        proxy.cut()
        waiting = asyncio.create_task(anext(messages))
        await reconnected.wait()
        await channel.default_exchange.publish(Message(b"after"), queue.name)
        assert (await waiting).body == b"after"


async def test_client_tries_until_the_broker_can_be_reached(proxy, channel, unique, reconnected):
    queue = await channel.declare_queue(unique("queue"), exclusive=True)
    proxy.refuse()
    proxy.cut()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.to_thread(proxy.wait_for_connections, 4, DEADLINE_S)
        assert not reconnected.is_set()
        proxy.accept()
        await reconnected.wait()
        await channel.default_exchange.publish(Message(b"at last"), queue.name)
        assert (await queue.get(no_ack=True)).body == b"at last"


async def test_connection_survives_being_cut_again_and_again(proxy, channel, unique, reconnected):
    queue = await channel.declare_queue(unique("queue"))
    async with asyncio.timeout(2 * DEADLINE_S):
        for number in range(5):
            reconnected.clear()
            proxy.cut()
            await reconnected.wait()
            await channel.default_exchange.publish(Message(b"%d" % number), queue.name)
    bodies = [(await queue.get(no_ack=True)).body for _ in range(5)]
    assert bodies == [b"0", b"1", b"2", b"3", b"4"]


async def test_consumer_starts_again_when_its_queue_was_deleted(broker, channel, unique):
    received = asyncio.Queue()
    queue = await channel.declare_queue(unique("queue"))
    await queue.consume(received.put, no_ack=True)
    async with asyncio.timeout(DEADLINE_S), await aio_pika.connect(broker.url) as other:
        deleting = await other.channel()
        await deleting.queue_delete(queue.name)
        # Declared again by the client, on being told of the cancelled consumer.
        while (await queue.declare()).consumer_count == 0:
            pass
        await deleting.default_exchange.publish(Message(b"again"), queue.name)
        assert (await received.get()).body == b"again"


async def test_channel_reopens_after_an_error(channel, unique):
    reopened = asyncio.Event()
    channel.reopen_callbacks.add(lambda _: reopened.set())
    queue = await channel.declare_queue(unique("queue"), exclusive=True)
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.get_queue(unique("missing"))
    async with asyncio.timeout(DEADLINE_S):
        await reopened.wait()
        await channel.default_exchange.publish(Message(b"hello"), queue.name)
        assert (await queue.get(no_ack=True)).body == b"hello"

"""x-delayed-message with aio-pika; skipped where the broker does not have the exchange type."""

import asyncio

import aio_pika
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.exceptions import AMQPConnectionError
from aiormq.exceptions import AMQPError

DEADLINE_S = 10


async def test_messages_come_in_the_order_of_their_delays(broker, unique):
    connection = await aio_pika.connect(broker.url)
    channel = await connection.channel()
    try:
        exchange = await channel.declare_exchange(
            unique("delayed"),
            ExchangeType.X_DELAYED_MESSAGE,
            durable=True,
            arguments={"x-delayed-type": "fanout"},
        )
    except (AMQPError, AMQPConnectionError) as error:
        if "exchange type" not in str(error):
            raise
        pytest.skip("not run: the broker has no exchange type x-delayed-message")
    queue = await channel.declare_queue(unique("queue"), durable=True)
    await queue.bind(exchange)
    for delay_ms in (300, 100, 200):
        message = Message(
            b"%d" % delay_ms,
            headers={"x-delay": delay_ms},
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        await exchange.publish(message, "", mandatory=False)
    came = []
    async with asyncio.timeout(DEADLINE_S), queue.iterator(no_ack=True) as messages:
        async for message in messages:
            came.append((message.body, message.headers["x-delay"]))
            if len(came) == 3:
                break
    assert came == [(b"100", -100), (b"200", -200), (b"300", -300)]
    await connection.close()

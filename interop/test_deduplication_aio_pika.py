"""x-message-deduplication with aio-pika, with values and messages on disk; skipped where the
broker does not have it.
"""

import aio_pika
import pytest
from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import AMQPConnectionError, DeliveryError
from aiormq.exceptions import AMQPError

KIND = "x-message-deduplication"


def message(value: str) -> Message:
    return Message(
        value.encode(),
        headers={"x-deduplication-header": value},
        delivery_mode=DeliveryMode.PERSISTENT,
    )


async def test_an_exchange_and_a_queue_drop_duplicates(broker, unique):
    connection = await aio_pika.connect(broker.url)
    channel = await connection.channel()
    try:
        exchange = await channel.declare_exchange(
            unique("deduplicating"),
            KIND,
            durable=True,
            arguments={"x-cache-size": 10, "x-cache-persistence": "disk"},
        )
    except (AMQPError, AMQPConnectionError) as error:
        if "exchange type" not in str(error):
            raise
        pytest.skip(f"not run: the broker has no exchange type {KIND}")
    queue = await channel.declare_queue(unique("queue"), durable=True, arguments={KIND: True})
    await queue.bind(exchange)
    for value in ("a", "b", "a"):
        await exchange.publish(message(value), "", mandatory=False)
    with pytest.raises(DeliveryError):
        await channel.default_exchange.publish(message("a"), queue.name)
    assert [(await queue.get(no_ack=True)).body for _ in range(2)] == [b"a", b"b"]
    await channel.default_exchange.publish(message("a"), queue.name)
    assert (await queue.get(no_ack=True)).body == b"a"
    await connection.close()

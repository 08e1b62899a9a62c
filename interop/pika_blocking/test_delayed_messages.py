"""x-delayed-message, of RabbitMQ's plugin rabbitmq_delayed_message_exchange.

Skipped where the broker does not have it.
"""

import pytest
from pika import BasicProperties
from pika.exceptions import ConnectionClosedByBroker, UnroutableError

DELAY_MS = 200


@pytest.fixture
def delayed(connect, channel, queue, unique):
    """An x-delayed-message exchange that routes as a direct one, `queue` bound to it by "k"."""
    exchange = unique("delayed")
    arguments = {"x-delayed-type": "direct"}
    try:
        connect().channel().exchange_declare(exchange, "x-delayed-message", arguments=arguments)
    except ConnectionClosedByBroker as error:
        if "exchange type 'x-delayed-message'" not in error.reply_text:
            raise
        pytest.skip("not run: the broker has no exchange type x-delayed-message")
    channel.queue_bind(queue, exchange, "k")
    return exchange


def publish(channel, exchange, body, delay_ms=None, **options):
    headers = {} if delay_ms is None else {"x-delay": delay_ms}
    properties = BasicProperties(headers=headers, delivery_mode=2)
    channel.basic_publish(exchange, "k", body, properties, **options)


def test_delayed_message_comes_behind_one_that_is_not(channel, queue, delayed):
    channel.confirm_delivery()
    publish(channel, delayed, b"late", DELAY_MS)
    publish(channel, delayed, b"now")
    came = []
    for _, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=10):
        assert body is not None
        came.append((body, properties.headers))
        if len(came) == 2:
            break
    channel.cancel()
    assert came == [(b"now", {}), (b"late", {"x-delay": -DELAY_MS})]


def test_mandatory_delayed_message_is_returned(channel, queue, delayed):
    channel.confirm_delivery()
    with pytest.raises(UnroutableError):
        publish(channel, delayed, b"late", DELAY_MS, mandatory=True)
    for _, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=10):
        assert body == b"late"
        break
    channel.cancel()

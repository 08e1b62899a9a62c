"""x-message-deduplication, the exchange and the queue argument of the plugin
rabbitmq-message-deduplication.

Skipped where the broker does not have it.
"""

import time

import pytest
from pika import BasicProperties
from pika.exceptions import ConnectionClosedByBroker, NackError

KIND = "x-message-deduplication"


@pytest.fixture
def exchange(connect, channel, queue, unique):
    """An exchange that deduplicates, `queue` bound to it; made by a connection of its own."""
    name = unique("deduplicating")
    arguments = {"x-cache-size": 100, "x-cache-ttl": 60_000}
    try:
        connect().channel().exchange_declare(name, KIND, arguments=arguments)
    except ConnectionClosedByBroker as error:
        if f"exchange type '{KIND}'" not in error.reply_text:
            raise
        pytest.skip(f"not run: the broker has no exchange type {KIND}")
    channel.queue_bind(queue, name)
    return name


@pytest.fixture
def deduplicating(channel, exchange):
    """A queue that deduplicates; the broker has the plugin, for it has the exchange."""
    return channel.queue_declare("", exclusive=True, arguments={KIND: True}).method.queue


def publish(channel, exchange, routing_key, *values, **headers):
    for value in values:
        properties = BasicProperties(headers={"x-deduplication-header": value, **headers})
        channel.basic_publish(exchange, routing_key, str(value), properties)


def test_exchange_passes_each_value_on_but_once(channel, queue, exchange, empty):
    publish(channel, exchange, "", "a", "b", "a", 1, "1", 1)
    assert empty(channel, queue) == [b"a", b"b", b"1", b"1"]
    publish(channel, exchange, "", "a")
    assert empty(channel, queue) == []


def test_exchange_confirms_duplicates(channel, queue, exchange, empty):
    channel.confirm_delivery()
    publish(channel, exchange, "", "a", "a")
    assert empty(channel, queue) == [b"a"]


def test_exchange_forgets_a_value_after_the_messages_time(channel, queue, exchange, empty):
    publish(channel, exchange, "", "a", "a", **{"x-cache-ttl": 100})
    time.sleep(0.3)
    publish(channel, exchange, "", "a")
    assert empty(channel, queue) == [b"a", b"a"]


def test_queue_holds_a_value_but_once(channel, deduplicating, empty):
    publish(channel, "", deduplicating, "a", "b", "a", None, None)
    channel.basic_publish("", deduplicating, b"without")
    channel.basic_publish("", deduplicating, b"without")
    assert empty(channel, deduplicating) == [b"a", b"b", b"None", b"without", b"without"]


def test_queue_takes_a_value_again_when_it_is_acknowledged(channel, deduplicating, empty):
    publish(channel, "", deduplicating, "a")
    method, _, _ = channel.basic_get(deduplicating)
    publish(channel, "", deduplicating, "a")
    assert channel.basic_get(deduplicating)[0] is None
    channel.basic_ack(method.delivery_tag)
    publish(channel, "", deduplicating, "a")
    assert empty(channel, deduplicating) == [b"a"]


def test_queue_nacks_duplicates(channel, deduplicating):
    channel.confirm_delivery()
    publish(channel, "", deduplicating, "a")
    with pytest.raises(NackError):
        publish(channel, "", deduplicating, "a")


def test_queue_takes_a_value_again_when_it_was_dropped(channel, exchange, empty):
    arguments = {KIND: True, "x-max-length": 1}
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    publish(channel, "", queue, "a", "b", "a")
    assert empty(channel, queue) == [b"a"]


def test_value_counts_as_seen_though_its_transaction_was_rolled_back(
    channel, queue, exchange, empty
):
    channel.tx_select()
    publish(channel, exchange, "", "a")
    channel.tx_rollback()
    publish(channel, exchange, "", "a", "b")
    channel.tx_commit()
    assert empty(channel, queue) == [b"b"]

"""AMQPStorm: one thread reads the socket, the others wait for it."""

import threading
import time
from itertools import islice

import amqpstorm
import pytest

DEADLINE_S = 10


@pytest.fixture
def connect(broker):
    """Opens connections, with AMQPStorm's parameters as keywords, and closes them afterwards."""
    opened = []

    def open_one(**parameters):
        given = {
            "hostname": broker.host,
            "port": broker.port,
            "username": broker.user,
            "password": broker.password,
            "virtual_host": broker.vhost,
            "timeout": DEADLINE_S,
        } | parameters
        opened.append(amqpstorm.Connection(**given))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def channel(connection):
    return connection.channel(rpc_timeout=DEADLINE_S)


@pytest.fixture
def queue(channel):
    return channel.queue.declare(exclusive=True)["queue"]


@pytest.fixture
def filled_queue(channel, queue):
    """`queue` with five messages in it: "0" to "4"."""
    for number in range(5):
        channel.basic.publish(str(number), queue)
    channel.queue.declare(queue, passive=True)
    return queue


def test_connection_and_channel_open_and_close(connect):
    connection = connect()
    channel = connection.channel()
    assert connection.is_open
    assert channel.is_open
    channel.close()
    connection.close()
    assert connection.is_closed
    assert channel.is_closed


def test_server_introduces_itself(connection):
    assert connection.server_properties["product"] == "RabbitMQ"
    assert connection.server_properties["capabilities"]["publisher_confirms"] is True
    assert (connection.max_allowed_channels, connection.max_frame_size) == (2047, 131072)


def test_wrong_password_is_refused_with_403(connect):
    with pytest.raises(amqpstorm.AMQPConnectionError, match="ACCESS_REFUSED") as error:
        connect(password="wrong")
    assert error.value.error_code == 403


def test_unknown_vhost_is_refused_with_530(connect):
    with pytest.raises(amqpstorm.AMQPConnectionError, match="vhost nowhere not found") as error:
        connect(virtual_host="nowhere")
    assert error.value.error_code == 530


def test_message_with_properties_is_published_and_got(broker, channel, queue):
    properties = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "headers": {"number": 1, "list": ["a", None, 2.5], "table": {"inner": True}},
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "correlation",
        "reply_to": "somewhere",
        "message_id": "message",
        "message_type": "type",
        "user_id": broker.user,
        "app_id": "interop",
    }
    amqpstorm.Message.create(channel, "grüße", dict(properties)).publish(queue)
    message = channel.basic.get(queue, no_ack=True)
    received = {name: value for name, value in message.properties.items() if value}
    timestamp = received.pop("timestamp", None)
    assert message.body == "grüße"
    assert received == properties
    assert timestamp is None or timestamp.year >= 2024
    assert message.method["routing_key"] == queue


def test_get_from_an_empty_queue_gives_none(channel, queue):
    assert channel.basic.get(queue) is None


def test_body_of_4_megabytes_arrives(channel, queue):
    body = bytes(range(256)) * (4 * 4096)
    channel.basic.publish(body, queue)
    assert channel.basic.get(queue, no_ack=True, auto_decode=False).body == body


def test_consumer_gets_messages_in_order_and_acks_them(connection, channel, filled_queue):
    consuming = connection.channel()
    consuming.basic.qos(2)
    tag = consuming.basic.consume(queue=filled_queue)
    bodies = []
    for message in islice(consuming.build_inbound_messages(), 5):
        bodies.append(message.body)
        message.ack()
    consuming.basic.cancel(tag)
    consuming.close()
    assert bodies == ["0", "1", "2", "3", "4"]
    assert channel.basic.get(filled_queue) is None


def test_callbacks_run_until_consuming_is_stopped(channel, filled_queue):
    bodies = []

    def on_message(message):
        bodies.append(message.body)
        message.ack()
        if len(bodies) == 5:
            channel.stop_consuming()

    channel.basic.consume(on_message, filled_queue)
    channel.start_consuming()
    assert bodies == ["0", "1", "2", "3", "4"]


def test_requeued_messages_keep_their_order(channel, filled_queue):
    for _ in range(3):
        channel.basic.get(filled_queue)
    channel.basic.reject(1, requeue=True)
    channel.basic.nack(3, multiple=True, requeue=True)
    messages = [channel.basic.get(filled_queue) for _ in range(5)]
    assert [message.body for message in messages] == ["0", "1", "2", "3", "4"]
    assert [message.redelivered for message in messages] == [True, True, True, False, False]


def test_rejected_message_is_dropped(channel, filled_queue):
    channel.basic.get(filled_queue).reject(requeue=False)
    assert channel.basic.get(filled_queue, no_ack=True).body == "1"


def test_recover_requeues_everything_unacked(channel, filled_queue):
    channel.basic.get(filled_queue)
    channel.basic.recover(requeue=True)
    message = channel.basic.get(filled_queue)
    assert (message.body, message.redelivered) == ("0", True)


def test_confirmed_publish_is_true_once_confirmed(channel, queue):
    channel.confirm_deliveries()
    assert all(channel.basic.publish("body", queue) for _ in range(10))
    assert channel.queue.declare(queue, passive=True)["message_count"] == 10


def test_unroutable_mandatory_message_raises_312(channel, unique):
    channel.confirm_deliveries()
    with pytest.raises(amqpstorm.AMQPMessageError, match="NO_ROUTE") as error:
        channel.basic.publish("body", unique("nowhere"), mandatory=True)
    assert error.value.error_code == 312


def test_exchanges_are_bound_and_unbound(channel, queue, unique):
    source, destination = unique("source"), unique("destination")
    channel.exchange.declare(source, "topic")
    channel.exchange.declare(destination, "headers")
    channel.exchange.bind(destination, source, "a.*")
    channel.queue.bind(queue, destination, arguments={"x-match": "any", "n": 1, "m": 2})
    properties = {"headers": {"m": 2}}
    channel.basic.publish("through both", "a.b", source, properties)
    assert channel.basic.get(queue, no_ack=True).body == "through both"
    channel.exchange.unbind(destination, source, "a.*")
    channel.basic.publish("no", "a.b", source, properties)
    assert channel.basic.get(queue) is None


def test_purge_and_delete_count_messages(channel, filled_queue):
    assert channel.queue.purge(filled_queue)["message_count"] == 5
    channel.basic.publish("body", filled_queue)
    assert channel.queue.delete(filled_queue)["message_count"] == 1


def test_transaction_commits_and_rolls_back(connection, channel, queue):
    reader = connection.channel()
    with channel.tx:
        channel.basic.publish("committed", queue)
        assert reader.basic.get(queue) is None
    assert reader.basic.get(queue, no_ack=True).body == "committed"
    channel.tx.select()
    channel.basic.publish("discarded", queue)
    channel.tx.rollback()
    assert reader.basic.get(queue) is None


@pytest.mark.parametrize(
    ("operation", "code", "text"),
    [
        (
            lambda channel: channel.queue.declare("missing", passive=True),
            404,
            "NOT_FOUND - no queue 'missing' in vhost '/'",
        ),
        (
            lambda channel: channel.exchange.declare("amq.mine"),
            403,
            "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
        ),
        (
            lambda channel: channel.exchange.declare("amq.direct", "fanout", durable=True),
            406,
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.direct' "
            "in vhost '/': received 'fanout' but current is 'direct'",
        ),
        (
            lambda channel: channel.tx.commit(),
            406,
            "PRECONDITION_FAILED - channel is not transactional",
        ),
    ],
    ids=["missing", "reserved", "other type", "no transaction"],
)
def test_soft_error_closes_the_channel_which_can_be_opened_again(channel, operation, code, text):
    with pytest.raises(amqpstorm.AMQPChannelError) as error:
        operation(channel)
    assert error.value.error_code == code
    assert str(error.value).endswith(f"was closed by remote server: {text}")
    channel.open()
    assert channel.queue.declare(exclusive=True)["queue"]


def test_exclusive_queue_of_another_connection_is_locked(connect, channel, unique):
    queue = unique("exclusive")
    channel.queue.declare(queue, exclusive=True)
    with pytest.raises(amqpstorm.AMQPChannelError, match="RESOURCE_LOCKED") as error:
        connect().channel().basic.get(queue)
    assert error.value.error_code == 405


def test_hard_error_closes_the_connection(connect):
    connection = connect()
    with pytest.raises(amqpstorm.AMQPConnectionError) as error:
        connection.channel().basic.qos(prefetch_size=10)
    assert error.value.error_code == 540
    assert "NOT_IMPLEMENTED - prefetch_size!=0 (10)" in str(error.value)
    assert connection.is_closed


def test_consumer_is_cancelled_when_its_queue_is_deleted(connection, channel, queue):
    consuming = connection.channel()
    consuming.basic.consume(queue=queue, consumer_tag="tag")
    channel.queue.delete(queue)
    deadline = time.monotonic() + DEADLINE_S
    while consuming.consumer_tags and time.monotonic() < deadline:
        list(consuming.build_inbound_messages(break_on_empty=True))
    assert consuming.consumer_tags == []


def test_threads_share_a_connection_with_a_channel_each(connection, queue):
    def publish():
        with connection.channel() as channel:
            channel.confirm_deliveries()
            for _ in range(20):
                channel.basic.publish("body", queue)

    threads = [threading.Thread(target=publish) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    with connection.channel() as channel:
        assert channel.queue.declare(queue, passive=True)["message_count"] == 200


def test_idle_connection_stays_open_by_heartbeats(connect):
    connection = connect(heartbeat=1)
    time.sleep(3.5)
    assert connection.channel().is_open

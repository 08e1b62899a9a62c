"""py-amqp, the client below kombu and Celery, used directly."""

import datetime
import decimal
import time

import amqp
import pytest

DEADLINE_S = 10


@pytest.fixture
def connect(broker):
    """Opens connections, with py-amqp's parameters as keywords, and closes those still open."""
    opened = []

    def open_one(**parameters):
        given = {
            "host": f"{broker.host}:{broker.port}",
            "userid": broker.user,
            "password": broker.password,
            "virtual_host": broker.vhost,
        } | parameters
        connection = amqp.Connection(**given)
        opened.append(connection)
        connection.connect()
        return connection

    yield open_one
    for connection in opened:
        if connection.connected:
            connection.close()


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def channel(connection):
    return connection.channel()


@pytest.fixture
def queue(channel):
    return channel.queue_declare(exclusive=True, auto_delete=False).queue


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_login_succeeds_with_every_mechanism(connect, mechanism):
    assert connect(login_method=mechanism).connected


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_wrong_password_is_refused_with_403(connect, mechanism):
    with pytest.raises(amqp.AccessRefused) as error:
        connect(login_method=mechanism, password="not the password")
    assert error.value.reply_code == 403
    assert error.value.reply_text == (
        f"ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. "
        "For details see the broker logfile."
    )


def test_unknown_vhost_is_refused_with_530(connect):
    with pytest.raises(amqp.NotAllowed) as error:
        connect(virtual_host="nowhere")
    assert error.value.reply_text == "NOT_ALLOWED - vhost nowhere not found"
    assert error.value.method_sig == (10, 40)


def test_server_introduces_itself_as_rabbitmq(connection):
    properties = connection.server_properties
    assert properties["product"] == "RabbitMQ"
    assert properties["version"].startswith("3.")
    assert (connection.version_major, connection.version_minor) == (0, 9)
    assert set(connection.mechanisms) >= {b"PLAIN", b"AMQPLAIN"}
    assert connection.locales == ["en_US"]


def test_message_with_properties_is_published_and_got(broker, channel, queue):
    headers = {
        "yes": True,
        "int": 7,
        "long": 2**40,
        "float": 2.5,
        "decimal": decimal.Decimal("3.14"),
        "text": "grüße",
        "moment": datetime.datetime(2024, 2, 29, 12, 30, 15),
        "nothing": None,
        "list": [1, "two", {"three": True}],
        "table": {"inner": ["deep"]},
    }
    properties = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "application_headers": headers,
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "correlation",
        "reply_to": "somewhere",
        "message_id": "message",
        "timestamp": 1709210000,
        "type": "type",
        "user_id": broker.user,
        "app_id": "interop",
        "cluster_id": "cluster",
    }
    channel.basic_publish(amqp.Message("body", **properties), routing_key=queue)
    message = channel.basic_get(queue, no_ack=True)
    assert message.body == "body"
    assert message.properties == properties
    assert (message.delivery_info["exchange"], message.delivery_info["routing_key"]) == ("", queue)


def test_get_from_an_empty_queue_gives_none(channel, queue):
    assert channel.basic_get(queue) is None


def test_body_of_4_megabytes_arrives(channel, queue):
    body = bytes(range(256)) * (4 * 4096)
    channel.basic_publish(amqp.Message(body), routing_key=queue)
    assert channel.basic_get(queue, no_ack=True).body == body


def test_consumer_gets_messages_in_order_within_its_prefetch(connection, channel, queue):
    received = []
    channel.basic_qos(0, 2, False)
    channel.basic_consume(queue, callback=received.append)
    for number in range(4):
        channel.basic_publish(amqp.Message(str(number)), routing_key=queue)
    while len(received) < 2:
        connection.drain_events(timeout=DEADLINE_S)
    assert channel.queue_declare(queue, passive=True).message_count == 2
    channel.basic_ack(2, multiple=True)
    while len(received) < 4:
        connection.drain_events(timeout=DEADLINE_S)
    assert [message.body for message in received] == ["0", "1", "2", "3"]
    assert [message.delivery_tag for message in received] == [1, 2, 3, 4]


def test_requeued_message_comes_back_first_and_redelivered(channel, queue):
    for number in range(2):
        channel.basic_publish(amqp.Message(str(number)), routing_key=queue)
    channel.basic_reject(channel.basic_get(queue).delivery_tag, requeue=True)
    again = [channel.basic_get(queue) for _ in range(2)]
    assert [message.body for message in again] == ["0", "1"]
    assert [message.delivery_info["redelivered"] for message in again] == [True, False]


def test_recover_requeues_everything_unacked(channel, queue):
    channel.basic_publish(amqp.Message("body"), routing_key=queue)
    channel.basic_get(queue)
    channel.basic_recover(requeue=True)
    assert channel.basic_get(queue).delivery_info["redelivered"]


def test_confirmed_publish_returns_after_the_ack(channel, queue):
    for _ in range(3):
        channel.basic_publish_confirm(
            amqp.Message("body"), routing_key=queue, confirm_timeout=DEADLINE_S
        )
    assert channel.queue_declare(queue, passive=True).message_count == 3


def test_unroutable_mandatory_message_is_returned(channel, unique):
    returned = []
    channel.events["basic_return"].add(lambda *arguments: returned.append(arguments))
    channel.basic_publish_confirm(
        amqp.Message("body"), routing_key=unique("nowhere"), mandatory=True
    )
    [(error, exchange, _, message)] = returned
    assert (error.reply_code, error.reply_text, exchange) == (312, "NO_ROUTE", "")
    assert message.body == "body"


def test_exchanges_are_bound_and_unbound(channel, queue, unique):
    source, destination = unique("source"), unique("destination")
    channel.exchange_declare(source, "direct", auto_delete=False)
    channel.exchange_declare(destination, "fanout")
    channel.exchange_bind(destination, source, "key")
    channel.queue_bind(queue, destination)
    channel.basic_publish(amqp.Message("through both"), source, "key")
    assert channel.basic_get(queue, no_ack=True).body == "through both"
    channel.exchange_unbind(destination, source, "key")
    channel.basic_publish(amqp.Message("no"), source, "key")
    assert channel.basic_get(queue) is None


def test_purge_and_delete_count_messages(channel, queue):
    for _ in range(3):
        channel.basic_publish(amqp.Message("body"), routing_key=queue)
    assert channel.queue_purge(queue) == 3
    channel.basic_publish(amqp.Message("body"), routing_key=queue)
    assert channel.queue_delete(queue) == 1


def test_transaction_commits_and_rolls_back(channel, queue):
    channel.tx_select()
    channel.basic_publish(amqp.Message("discarded"), routing_key=queue)
    channel.tx_rollback()
    channel.basic_publish(amqp.Message("committed"), routing_key=queue)
    channel.tx_commit()
    assert channel.basic_get(queue, no_ack=True).body == "committed"
    assert channel.basic_get(queue) is None


@pytest.mark.parametrize(
    ("operation", "error", "text", "method"),
    [
        (
            lambda channel: channel.queue_declare("no queue", passive=True),
            amqp.NotFound,
            "NOT_FOUND - no queue 'no queue' in vhost '/'",
            (50, 10),
        ),
        (
            lambda channel: channel.exchange_declare("no exchange", "direct", passive=True),
            amqp.NotFound,
            "NOT_FOUND - no exchange 'no exchange' in vhost '/'",
            (40, 10),
        ),
        (
            lambda channel: channel.exchange_delete("amq.topic"),
            amqp.AccessRefused,
            "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed",
            (40, 20),
        ),
        (
            lambda channel: channel.tx_commit(),
            amqp.PreconditionFailed,
            "PRECONDITION_FAILED - channel is not transactional",
            (90, 20),
        ),
        (
            lambda channel: channel.exchange_declare("amq.topic", "direct", durable=True),
            amqp.PreconditionFailed,
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.topic' in vhost '/': "
            "received 'direct' but current is 'topic'",
            (40, 10),
        ),
    ],
    ids=["no queue", "no exchange", "system exchange", "no transaction", "other type"],
)
def test_soft_error_closes_the_channel_only(connection, operation, error, text, method):
    with pytest.raises(error) as closed:
        operation(connection.channel())
    assert (closed.value.reply_text, closed.value.method_sig) == (text, method)
    assert connection.channel().queue_declare(exclusive=True).queue


@pytest.mark.parametrize(
    ("operation", "error", "text", "method"),
    [
        (
            lambda channel: channel.flow(False),
            amqp.AMQPNotImplementedError,
            "NOT_IMPLEMENTED - active=false",
            (20, 20),
        ),
        (
            lambda channel: channel.basic_qos(10, 0, False),
            amqp.AMQPNotImplementedError,
            "NOT_IMPLEMENTED - prefetch_size!=0 (10)",
            (60, 10),
        ),
        (
            lambda channel: channel.exchange_declare("any", "x-no-such-type"),
            amqp.InvalidCommand,
            "COMMAND_INVALID - unknown exchange type 'x-no-such-type'",
            (40, 10),
        ),
        (
            lambda channel: [
                channel.basic_consume(
                    channel.queue_declare(exclusive=True).queue, consumer_tag="tag"
                )
                for _ in range(2)
            ],
            amqp.NotAllowed,
            "NOT_ALLOWED - attempt to reuse consumer tag 'tag'",
            (60, 20),
        ),
    ],
    ids=["flow off", "prefetch size", "exchange type", "consumer tag"],
)
def test_hard_error_closes_the_connection(connect, operation, error, text, method):
    connection = connect()
    with pytest.raises(error) as closed:
        operation(connection.channel())
    assert (closed.value.reply_text, closed.value.method_sig) == (text, method)
    assert not connection.connected


def test_consumer_is_told_when_its_queue_is_deleted(connection, channel, queue):
    cancelled = []
    channel.basic_consume(queue, consumer_tag="tag", on_cancel=cancelled.append)
    connection.channel().queue_delete(queue)
    while not cancelled:
        connection.drain_events(timeout=DEADLINE_S)
    assert cancelled == ["tag"]


def test_idle_connection_stays_open_by_heartbeats(connect):
    connection = connect(heartbeat=1)
    end = time.monotonic() + 3.5
    while time.monotonic() < end:
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.3)
        # Sends one when it is time to, and raises when none came for two intervals.
        connection.heartbeat_tick()
    assert connection.channel().is_open

"""What arrives of a message, what comes back, and what closes the channel."""

import datetime
import decimal

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker, UnroutableError

# pika encodes no floats.
RICH_HEADERS = {
    "true": True,
    "false": False,
    "small": 7,
    "negative": -1,
    "int": 2**31 - 1,
    "long": 2**40,
    "lowest long": -(2**63),
    "decimal": decimal.Decimal("3.14"),
    "text": "grüße, мир, 世界",
    "long text": "x" * 70_000,
    "bytes": b"\x00\xff\x80",
    "moment": datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.UTC),
    "nothing": None,
    "empty": "",
    "list": [1, "two", ["three", None], {"four": True}],
    "empty list": [],
    "table": {"inner": {"innermost": [{"deep": "yes"}]}, "number": 5},
    "empty table": {},
}


def test_properties_arrive_as_they_were_sent(broker, channel, queue):
    # All but `expiration`, which also asks for message expiry; it comes alone, below.
    sent = BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers=RICH_HEADERS,
        delivery_mode=2,
        priority=7,
        correlation_id="correlation",
        reply_to="somewhere",
        message_id="message",
        timestamp=1709210000,
        type="type",
        user_id=broker.user,
        app_id="interop",
        cluster_id="cluster",
    )
    channel.basic_publish("", queue, "body", sent)
    _, received, _ = channel.basic_get(queue)
    assert received.headers == sent.headers
    assert vars(received) == vars(sent)


def test_message_without_properties_arrives_without(channel, queue):
    channel.basic_publish("", queue, "body", BasicProperties())
    assert vars(channel.basic_get(queue)[1]) == vars(BasicProperties())


@pytest.mark.parametrize("name", sorted(vars(BasicProperties(headers={}))))
def test_single_property_arrives_alone(broker, channel, queue, name):
    values = {
        "headers": {"only": "header"},
        "delivery_mode": 1,
        "priority": 0,
        "timestamp": 0,
        "user_id": broker.user,
        "expiration": "600000",
    }
    sent = BasicProperties(**{name: values.get(name, "value")})
    channel.basic_publish("", queue, "body", sent)
    assert vars(channel.basic_get(queue)[1]) == vars(sent)


def test_empty_body_arrives(channel, queue):
    channel.basic_publish("", queue, b"")
    assert channel.basic_get(queue)[2] == b""


def test_body_of_8_megabytes_arrives_by_get_and_by_consume(channel, queue, take):
    body = bytes(range(256)) * (8 * 4096)
    for _ in range(2):
        channel.basic_publish("", queue, body)
    assert channel.basic_get(queue, auto_ack=True)[2] == body
    assert take(channel, queue, 1)[0][2] == body


def test_thousand_messages_keep_their_order(channel, queue, take):
    for number in range(1000):
        channel.basic_publish("", queue, str(number))
    bodies = [body for _, _, body in take(channel, queue, 1000)]
    assert bodies == [b"%d" % number for number in range(1000)]


def test_publishing_to_a_missing_exchange_closes_the_channel(channel, unique):
    missing = unique("missing")
    channel.basic_publish(missing, "key", "body")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare("", exclusive=True)
    assert closed.value.args == (404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'")


@pytest.mark.parametrize(
    ("properties", "explanation"),
    [
        (
            BasicProperties(user_id="somebody"),
            "user_id property set to 'somebody' but authenticated user was 'guest'",
        ),
        (
            BasicProperties(user_id="somebody", expiration="abc", headers={"CC": "text"}),
            "user_id property set to 'somebody' but authenticated user was 'guest'",
        ),
        (
            BasicProperties(expiration="abc", headers={"CC": "text"}),
            "invalid expiration 'abc': no_integer",
        ),
        (BasicProperties(expiration=""), "invalid expiration '': no_integer"),
        (BasicProperties(expiration="-1"), "invalid expiration '-1': {value_negative,-1}"),
        (BasicProperties(expiration="5x"), "invalid expiration '5x': {leftover_string,\"x\"}"),
        (
            BasicProperties(headers={"CC": "text"}),
            'invalid message: {unacceptable_type_in_header,"CC",longstr}',
        ),
    ],
    ids=[
        "user id",
        "user id first",
        "expiration word",
        "expiration empty",
        "expiration negative",
        "expiration rest",
        "CC no list",
    ],
)
def test_message_with_a_bad_property_is_refused(channel, queue, properties, explanation):
    channel.basic_publish("", queue, "body", properties)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.args == (406, f"PRECONDITION_FAILED - {explanation}")


def test_mandatory_message_without_a_queue_is_returned_whole(connection, channel, unique):
    returned = []
    channel.add_on_return_callback(lambda _, *message: returned.append(message))
    properties = BasicProperties(message_id="returned", headers={"kept": [1, 2]})
    exchange = unique("exchange")
    channel.exchange_declare(exchange)
    channel.basic_publish(exchange, "nowhere", "body", properties, mandatory=True)
    channel.exchange_declare(exchange, passive=True)
    connection.process_data_events()
    [(method, received, body)] = returned
    assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
    assert (method.exchange, method.routing_key) == (exchange, "nowhere")
    assert (vars(received), body) == (vars(properties), b"body")


def test_mandatory_message_with_a_queue_is_not_returned(connection, channel, queue):
    returned = []
    channel.add_on_return_callback(lambda *message: returned.append(message))
    channel.basic_publish("", queue, "body", mandatory=True)
    assert channel.basic_get(queue)[2] == b"body"
    connection.process_data_events()
    assert returned == []


def test_mandatory_message_taken_by_an_alternate_exchange_is_not_returned(
    connection, channel, queue, unique
):
    returned = []
    channel.add_on_return_callback(lambda *message: returned.append(message))
    alternate, exchange = unique("alternate"), unique("exchange")
    channel.exchange_declare(alternate, "fanout")
    channel.exchange_declare(exchange, arguments={"alternate-exchange": alternate})
    channel.queue_bind(queue, alternate)
    channel.basic_publish(exchange, "nowhere", "body", mandatory=True)
    assert channel.basic_get(queue)[2] == b"body"
    connection.process_data_events()
    assert returned == []


def test_confirmed_message_is_in_the_queue_for_every_connection(connect, channel, unique):
    queue = channel.queue_declare(unique("confirmed")).method.queue
    channel.confirm_delivery()
    for number in range(10):
        channel.basic_publish("", queue, str(number))
    other = connect().channel()
    assert other.queue_declare(queue, passive=True).method.message_count == 10


def test_persistent_message_to_a_durable_queue_is_confirmed(channel, unique):
    queue = channel.queue_declare(unique("durable"), durable=True).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", queue, "body", BasicProperties(delivery_mode=2), mandatory=True)
    assert channel.basic_get(queue)[2] == b"body"


def test_unroutable_message_is_confirmed_and_if_mandatory_returned_first(channel, unique):
    channel.confirm_delivery()
    channel.basic_publish("amq.direct", unique("nowhere"), "body")
    with pytest.raises(UnroutableError) as unroutable:
        channel.basic_publish("amq.direct", unique("nowhere"), "body", mandatory=True)
    [returned] = unroutable.value.messages
    assert (returned.method.reply_code, returned.body) == (312, b"body")
    channel.basic_publish("amq.direct", unique("nowhere"), "body")


def test_missing_exchange_in_confirm_mode_closes_the_channel(channel, unique):
    missing = unique("missing")
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_publish(missing, "key", "body")
    assert closed.value.args == (404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'")

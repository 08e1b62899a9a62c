"""x-message-ttl, expiration, x-expires: when messages, and queues, go by themselves."""

import time

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

PATIENCE_S = 5


def ready(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def wait_until_empty(channel, queue):
    deadline = time.monotonic() + PATIENCE_S
    while ready(channel, queue):
        assert time.monotonic() < deadline, "the messages do not expire"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _confirmed(channel):
    """What has been published has arrived: RabbitMQ may count a queue before that."""
    channel.confirm_delivery()


@pytest.fixture
def short_lived(channel):
    """A queue whose messages live for 400 ms."""
    arguments = {"x-message-ttl": 400}
    return channel.queue_declare("", exclusive=True, arguments=arguments).method.queue


def test_messages_expire_by_the_queues_ttl(channel, short_lived):
    channel.basic_publish("", short_lived, "x")
    assert ready(channel, short_lived) == 1
    wait_until_empty(channel, short_lived)


def test_messages_expire_by_their_own_expiration(channel, queue):
    channel.basic_publish("", queue, "x", pika.BasicProperties(expiration="400"))
    assert ready(channel, queue) == 1
    wait_until_empty(channel, queue)


def test_message_expires_only_at_the_head(channel, queue):
    channel.basic_publish("", queue, "long")
    channel.basic_publish("", queue, "short", pika.BasicProperties(expiration="50"))
    time.sleep(0.2)
    assert ready(channel, queue) == 2
    assert channel.basic_get(queue, auto_ack=True)[2] == b"long"
    assert channel.basic_get(queue) == (None, None, None)


def test_ttl_of_zero_delivers_to_a_waiting_consumer_only(connection, channel, queue):
    properties = pika.BasicProperties(expiration="0")
    channel.basic_publish("", queue, "missed", properties)
    assert ready(channel, queue) == 0
    received = []
    channel.basic_consume(queue, lambda *delivery: received.append(delivery[3]), auto_ack=True)
    channel.basic_publish("", queue, "in time", properties)
    connection.process_data_events(1)
    assert received == [b"in time"]


@pytest.mark.parametrize("own_ms", ["100", "60000", None])
def test_shorter_of_the_queues_ttl_and_the_expiration_counts(channel, short_lived, own_ms):
    channel.basic_publish("", short_lived, "x", pika.BasicProperties(expiration=own_ms))
    time.sleep(0.2)
    assert ready(channel, short_lived) == int(own_ms != "100")
    wait_until_empty(channel, short_lived)


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_expiration_is_not_taken_along_by_a_dead_letter(channel, queue, unique, queue_type):
    arguments = {
        "x-queue-type": queue_type,
        "x-message-ttl": 60_000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
    }
    source = unique("expiring")
    channel.queue_declare(source, durable=True, arguments=arguments)
    channel.basic_publish("", source, "x", pika.BasicProperties(expiration="50"))
    deadline = time.monotonic() + PATIENCE_S
    while not ready(channel, queue):
        assert time.monotonic() < deadline, "no dead letter"
        time.sleep(0.02)
    time.sleep(0.1)
    properties = channel.basic_get(queue, auto_ack=True)[1]
    assert properties.expiration is None
    (death,) = properties.headers["x-death"]
    assert (death["reason"], death["original-expiration"]) == ("expired", "50")


def test_overdue_message_dies_when_it_comes_back(channel, short_lived):
    channel.basic_publish("", short_lived, "x")
    tag = channel.basic_get(short_lived)[0].delivery_tag
    time.sleep(0.6)
    channel.basic_nack(tag, requeue=True)
    assert ready(channel, short_lived) == 0


def test_expiration_must_be_a_number(channel, queue):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_publish("", queue, "x", pika.BasicProperties(expiration="soon"))
    assert closed.value.args == (
        406,
        "PRECONDITION_FAILED - invalid expiration 'soon': no_integer",
    )


def exists(connection, queue):
    """True if the queue is there; asking does not renew its lease."""
    channel = connection.channel()
    try:
        channel.queue_bind(queue, "amq.fanout")
        channel.close()
    except ChannelClosedByBroker:
        return False
    return True


def wait_until_gone(connection, queue):
    deadline = time.monotonic() + PATIENCE_S
    while exists(connection, queue):
        assert time.monotonic() < deadline, "the queue does not expire"
        time.sleep(0.05)


def test_unused_queue_expires_with_its_messages(connection, channel, unique):
    queue = unique("leased")
    channel.queue_declare(queue, arguments={"x-expires": 300})
    channel.basic_publish("", queue, "x", mandatory=True)
    wait_until_gone(connection, queue)
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish("", queue, "x", mandatory=True)


def test_queue_with_a_consumer_does_not_expire_until_that_is_cancelled(connection, channel, unique):
    queue = unique("leased")
    channel.queue_declare(queue, arguments={"x-expires": 200})
    tag = channel.basic_consume(queue, lambda *_: None)
    connection.sleep(0.5)
    assert exists(connection, queue)
    channel.basic_cancel(tag)
    wait_until_gone(connection, queue)


def test_lease_must_be_positive(channel, unique):
    with pytest.raises(ChannelClosedByBroker) as raised:
        channel.queue_declare(unique("leased"), arguments={"x-expires": 0})
    assert raised.value.reply_code == 406

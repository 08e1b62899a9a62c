"""pika's SelectConnection: callbacks, requests in flight, and methods that ask for no answer."""

import pika
import pytest
from pika.adapters.select_connection import IOLoop

DEADLINE_S = 10


@pytest.fixture
def ioloop():
    return IOLoop()


@pytest.fixture
def until(ioloop):
    """until(start): runs the loop until the callback that start is given is called.

    Gives the arguments of that call.
    """

    def run(start):
        calls, expired = [], []

        def done(*arguments):
            calls.append(arguments)
            ioloop.stop()

        def expire():
            expired.append(True)
            ioloop.stop()

        timer = ioloop.call_later(DEADLINE_S, expire)
        start(done)
        while not calls and not expired:
            ioloop.start()
        ioloop.remove_timeout(timer)
        assert calls, f"no callback within {DEADLINE_S} s"
        return calls[0]

    return run


@pytest.fixture
def connect(broker, ioloop, until):
    """Opens connections, with pika's parameters as keywords, and closes those still open."""
    opened = []

    def open_one(**parameters):
        given = {
            "host": broker.host,
            "port": broker.port,
            "virtual_host": broker.vhost,
            "credentials": pika.PlainCredentials(broker.user, broker.password),
        } | parameters
        connection, *failure = until(
            lambda done: pika.SelectConnection(
                pika.ConnectionParameters(**given),
                on_open_callback=done,
                on_open_error_callback=done,
                custom_ioloop=ioloop,
            )
        )
        if failure:
            raise failure[0]
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        if connection.is_open:
            connection.close()
            until(connection.add_on_close_callback)


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def channel(connection, until):
    [channel] = until(lambda done: connection.channel(on_open_callback=done))
    return channel


@pytest.fixture
def queue(channel, until):
    [declared] = until(lambda done: channel.queue_declare("", exclusive=True, callback=done))
    return declared.method.queue


def test_unknown_vhost_fails_the_open_with_530(connect):
    with pytest.raises(pika.exceptions.AMQPConnectionError, match="530"):
        connect(virtual_host="no such vhost")


def test_message_is_published_and_consumed(channel, queue, until):
    channel.basic_publish("", queue, "hello")
    _, delivery, _, body = until(
        lambda done: channel.basic_consume(queue, lambda *message: done(*message))
    )
    assert (body, delivery.delivery_tag, delivery.redelivered) == (b"hello", 1, False)
    channel.basic_ack(delivery.delivery_tag)


def test_get_finds_a_message_or_nothing(channel, queue, until):
    channel.basic_publish("", queue, "hello")
    _, _, _, body = until(lambda done: channel.basic_get(queue, done, auto_ack=True))
    assert body == b"hello"

    def get_nothing(done):
        channel.add_callback(done, [pika.spec.Basic.GetEmpty])
        channel.basic_get(queue, done)

    [answer] = until(get_nothing)
    assert isinstance(answer.method, pika.spec.Basic.GetEmpty)


def test_hundred_requests_in_flight_are_answered_in_order(channel, unique, until):
    names = [unique("flight") for _ in range(100)]
    answered = []

    def declare_all(done):
        def on_declared(frame):
            answered.append(frame.method.queue)
            if len(answered) == len(names):
                done()

        for name in names:
            channel.queue_declare(name, exclusive=True, callback=on_declared)

    until(declare_all)
    assert answered == names


def test_methods_without_an_answer_are_carried_out(channel, unique, until):
    exchange, queue = unique("exchange"), unique("queue")
    # Without a callback pika sends the methods with nowait.
    channel.exchange_declare(exchange, "fanout")
    channel.queue_declare(queue, exclusive=True)
    channel.queue_bind(queue, exchange)
    channel.basic_publish(exchange, "", "through both")
    _, _, _, body = until(lambda done: channel.basic_get(queue, done, auto_ack=True))
    assert body == b"through both"
    channel.queue_purge(queue)
    channel.queue_delete(queue)
    channel.exchange_delete(exchange)
    channel.queue_declare(queue, passive=True, callback=lambda _: None)
    _, reason = until(channel.add_on_close_callback)
    assert (reason.reply_code, channel.is_closed) == (404, True)


def test_method_without_an_answer_still_fails_the_channel(channel, unique, until):
    missing = unique("missing")
    channel.queue_bind(missing, "amq.direct")
    _, reason = until(channel.add_on_close_callback)
    assert reason.args == (404, f"NOT_FOUND - no queue '{missing}' in vhost '/'")


def test_channel_number_can_be_opened_again_after_an_error(connection, channel, unique, until):
    channel.basic_publish(unique("missing"), "key", "body")
    _, reason = until(channel.add_on_close_callback)
    assert reason.reply_code == 404
    [reopened] = until(
        lambda done: connection.channel(channel.channel_number, on_open_callback=done)
    )
    [declared] = until(lambda done: reopened.queue_declare("", exclusive=True, callback=done))
    assert declared.method.queue


def test_unknown_exchange_type_closes_the_connection(connection, channel, unique, until):
    channel.exchange_declare(unique("exchange"), "x-no-such-type", callback=lambda _: None)
    _, reason = until(connection.add_on_close_callback)
    assert reason.args == (503, "COMMAND_INVALID - unknown exchange type 'x-no-such-type'")


def test_thousand_messages_in_flight_are_all_confirmed(channel, queue, until):
    unconfirmed = set(range(1, 1001))

    def publish_all(done):
        def on_confirmed(frame):
            assert isinstance(frame.method, pika.spec.Basic.Ack)
            tag = frame.method.delivery_tag
            covered = {each for each in unconfirmed if each <= tag}
            unconfirmed.difference_update(covered if frame.method.multiple else {tag})
            if not unconfirmed:
                done()

        channel.confirm_delivery(on_confirmed, callback=lambda _: None)
        for number in range(1000):
            channel.basic_publish("", queue, str(number))

    until(publish_all)
    [declared] = until(lambda done: channel.queue_declare(queue, passive=True, callback=done))
    assert declared.method.message_count == 1000


def test_unroutable_message_is_returned_before_it_is_confirmed(channel, unique, until):
    events = []
    channel.add_on_return_callback(lambda *message: events.append("returned"))

    def publish(done):
        def on_confirmed(frame):
            events.append("confirmed")
            done(frame)

        channel.confirm_delivery(on_confirmed, callback=lambda _: None)
        channel.basic_publish("amq.direct", unique("nowhere"), "body", mandatory=True)

    [frame] = until(publish)
    assert isinstance(frame.method, pika.spec.Basic.Ack)
    assert frame.method.delivery_tag == 1
    assert events == ["returned", "confirmed"]


def test_cancelled_consumer_gets_nothing_more(channel, queue, until):
    received = []

    def consume(done):
        def on_message(channel, delivery, properties, body):
            received.append(body)
            if len(received) == 3:
                done()

        channel.basic_qos(prefetch_count=3, callback=lambda _: None)
        for number in range(5):
            channel.basic_publish("", queue, str(number))
        channel.basic_consume(queue, on_message, consumer_tag="tag")

    until(consume)
    [cancelled] = until(lambda done: channel.basic_cancel("tag", callback=done))
    assert cancelled.method.consumer_tag == "tag"
    channel.basic_ack(3, multiple=True)
    [declared] = until(lambda done: channel.queue_declare(queue, passive=True, callback=done))
    assert (declared.method.message_count, declared.method.consumer_count) == (2, 0)
    assert received == [b"0", b"1", b"2"]


def test_consumer_is_told_when_its_queue_is_deleted(channel, queue, until):
    until(
        lambda done: channel.basic_consume(
            queue, lambda *_: None, consumer_tag="tag", callback=done
        )
    )

    def delete(done):
        channel.add_on_cancel_callback(done)
        channel.queue_delete(queue)

    [cancelled] = until(delete)
    assert cancelled.method.consumer_tag == "tag"


def test_prefetch_holds_back_what_is_not_acked(channel, queue, until):
    received = []

    def consume(done):
        def on_message(channel, delivery, properties, body):
            received.append(body)
            # Checked on the way: never more than two unacknowledged.
            if len(received) % 2 == 0:
                assert len(received) - 2 == on_message.acked
                channel.basic_ack(delivery.delivery_tag, multiple=True)
                on_message.acked = len(received)
            if len(received) == 100:
                done()

        on_message.acked = 0
        channel.basic_qos(prefetch_count=2, callback=lambda _: None)
        for number in range(100):
            channel.basic_publish("", queue, str(number))
        channel.basic_consume(queue, on_message)

    until(consume)
    assert received == [b"%d" % number for number in range(100)]


def test_transaction_is_committed(channel, queue, until):
    until(channel.tx_select)
    channel.basic_publish("", queue, "committed")
    until(channel.tx_commit)
    _, _, _, body = until(lambda done: channel.basic_get(queue, done, auto_ack=True))
    assert body == b"committed"


def test_body_of_4_megabytes_arrives(channel, queue, until):
    sent = bytes(range(256)) * (4 * 4096)
    channel.basic_publish("", queue, sent)
    _, _, _, body = until(lambda done: channel.basic_get(queue, done, auto_ack=True))
    assert body == sent


def test_idle_connection_stays_open_by_heartbeats(connect, ioloop, until):
    connection = connect(heartbeat=1)
    until(lambda done: ioloop.call_later(3.5, done))
    assert connection.is_open
    [channel] = until(lambda done: connection.channel(on_open_callback=done))
    assert channel.is_open


def test_lost_connection_is_reported(connect, proxy, until):
    connection = connect(host=proxy.host, port=proxy.port)

    def lose(done):
        connection.add_on_close_callback(done)
        proxy.cut()

    _, reason = until(lose)
    assert isinstance(reason, pika.exceptions.StreamLostError)

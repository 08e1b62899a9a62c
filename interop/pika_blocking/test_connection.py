"""Opening, negotiating, keeping and losing connections and channels."""

import pika
import pytest
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAuthenticationError,
)


def test_connection_opens_and_closes(connect):
    connection = connect()
    assert connection.is_open
    connection.close()
    assert connection.is_closed


def test_server_offers_the_capabilities_that_pika_asks_for(connection):
    assert connection.publisher_confirms_supported
    assert connection.exchange_exchange_bindings_supported
    assert connection.basic_nack_supported
    assert connection.consumer_cancel_notify_supported


def test_wrong_password_is_refused_with_403(broker, connect):
    with pytest.raises(ProbableAuthenticationError, match="403") as refusal:
        connect(credentials=pika.PlainCredentials(broker.user, "not the password"))
    assert (
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
        "For details see the broker logfile." in str(refusal.value)
    )


def test_unknown_user_is_refused_with_403(connect):
    with pytest.raises(ProbableAuthenticationError, match="403"):
        connect(credentials=pika.PlainCredentials("nobody at all", "guest"))


def test_unknown_vhost_is_refused_with_530(connect):
    with pytest.raises(AMQPConnectionError, match="530") as refusal:
        connect(virtual_host="no such vhost")
    assert "NOT_ALLOWED - vhost no such vhost not found" in str(refusal.value)


def test_channel_gets_the_number_the_client_chose(connection):
    assert connection.channel(channel_number=42).channel_number == 42


def test_closed_channel_number_can_be_opened_again(connection):
    for _ in range(3):
        channel = connection.channel(channel_number=7)
        channel.queue_declare("", exclusive=True)
        channel.close()


def test_300_channels_work_side_by_side(connection, queue):
    channels = [connection.channel() for _ in range(300)]
    for channel in channels:
        channel.basic_publish("", queue, str(channel.channel_number))
        assert channel.basic_get(queue, auto_ack=True)[2] == b"%d" % channel.channel_number


def test_more_channels_than_negotiated_close_the_connection_with_530(connect):
    connection = connect(channel_max=3)
    for number in (1, 2, 9):
        connection.channel(channel_number=number)
    with pytest.raises(ConnectionClosedByBroker) as closed:
        connection.channel(channel_number=3)
    assert closed.value.args == (
        530,
        "NOT_ALLOWED - number of channels opened (3) has reached the negotiated channel_max (3)",
    )


def test_channel_number_is_usable_again_after_an_error(connection):
    for _ in range(3):
        channel = connection.channel(channel_number=5)
        with pytest.raises(ChannelClosedByBroker):
            channel.queue_declare("there is no such queue", passive=True)
        assert channel.is_closed


def test_error_on_one_channel_leaves_the_others_alone(connection, channel, filled_queue, take):
    unlucky = connection.channel()
    with pytest.raises(ChannelClosedByBroker):
        unlucky.exchange_declare("there is no such exchange", passive=True)
    assert [body for _, _, body in take(channel, filled_queue, 2)] == [b"0", b"1"]


def test_secret_can_be_updated(broker, connection):
    connection.update_secret(broker.password, "rotated")
    assert connection.channel().is_open


def test_channel_flow_can_be_switched_on(channel):
    assert channel.flow(True)


def test_channel_flow_cannot_be_switched_off(channel):
    with pytest.raises(ConnectionClosedByBroker) as closed:
        channel.flow(False)
    assert closed.value.args == (540, "NOT_IMPLEMENTED - active=false")


def test_bodies_around_the_smallest_frame_size_arrive_whole(connect):
    channel = connect(frame_max=4096).channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    for size in (0, 1, 4087, 4088, 4089, 2 * 4088, 100_000):
        body = bytes(index % 251 for index in range(size))
        channel.basic_publish("", queue, body)
        assert channel.basic_get(queue, auto_ack=True)[2] == body


def test_large_message_is_cut_anew_for_a_consumer_with_smaller_frames(connect, channel):
    receiver = connect(frame_max=4096).channel()
    queue = receiver.queue_declare("", exclusive=True).method.queue
    body = bytes(1_000_003)
    channel.confirm_delivery()
    channel.basic_publish("", queue, body)
    assert receiver.basic_get(queue, auto_ack=True)[2] == body


def test_closing_a_channel_requeues_its_unacked_messages_in_order(
    connection, channel, filled_queue, take
):
    closing = connection.channel()
    for _ in range(3):
        closing.basic_get(filled_queue)
    closing.close()
    deliveries = take(channel, filled_queue, 5)
    assert [body for _, _, body in deliveries] == [b"0", b"1", b"2", b"3", b"4"]
    redelivered = [delivery.redelivered for delivery, _, _ in deliveries]
    assert redelivered == [True, True, True, False, False]


def test_closing_a_connection_requeues_its_unacked_messages(connect, channel, unique):
    queue = channel.queue_declare(unique("closing")).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", queue, "back again")
    closing = connect()
    assert closing.channel().basic_get(queue)[2] == b"back again"
    closing.close()
    got, _, body = channel.basic_get(queue)
    assert (body, got.redelivered) == (b"back again", True)


def test_connection_lost_without_a_close_requeues_its_unacked_messages_in_order(
    connect, channel, unique, take, proxy
):
    queue = channel.queue_declare(unique("lost")).method.queue
    for number in range(3):
        channel.basic_publish("", queue, str(number))
    lost = connect(host=proxy.host, port=proxy.port)
    assert [body for _, _, body in take(lost.channel(), queue, 3)] == [b"0", b"1", b"2"]
    proxy.cut()
    deliveries = take(channel, queue, 3)
    assert [body for _, _, body in deliveries] == [b"0", b"1", b"2"]
    assert all(delivery.redelivered for delivery, _, _ in deliveries)
    with pytest.raises(AMQPConnectionError):
        lost.channel()


def test_idle_connection_stays_open_by_heartbeats(connect):
    connection = connect(heartbeat=1)
    connection.process_data_events(time_limit=3.5)
    assert connection.channel().is_open


def test_client_that_sends_no_heartbeats_is_dropped_and_its_message_requeued(
    connect, channel, unique, take
):
    queue = channel.queue_declare(unique("heartbeats")).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", queue, "survives")
    silent = connect(heartbeat=1)
    assert silent.channel().basic_get(queue)[2] == b"survives"
    # Nothing runs the loop of `silent`, so it sends none: dropped after two to three intervals.
    [(delivery, _, body)] = take(channel, queue, 1)
    assert (body, delivery.redelivered) == (b"survives", True)
    with pytest.raises(AMQPConnectionError):
        silent.process_data_events(time_limit=10)

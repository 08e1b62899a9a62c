"""tx: publishes and acknowledgements that wait for the commit; and how it excludes confirms."""

import pytest
from pika.exceptions import ChannelClosedByBroker


def test_published_messages_appear_at_the_commit(connection, channel, queue, empty):
    reader = connection.channel()
    channel.tx_select()
    channel.basic_publish("", queue, "1")
    channel.basic_publish("", queue, "2")
    assert empty(reader, queue) == []
    channel.tx_commit()
    assert empty(reader, queue) == [b"1", b"2"]


def test_rolled_back_messages_never_appear(connection, channel, queue, empty):
    channel.tx_select()
    channel.basic_publish("", queue, "discarded")
    channel.tx_rollback()
    channel.basic_publish("", queue, "kept")
    channel.tx_commit()
    assert empty(connection.channel(), queue) == [b"kept"]


def test_acks_take_effect_at_the_commit(connection, channel, filled_queue, take):
    transacted = connection.channel()
    transacted.tx_select()
    for _ in range(2):
        transacted.basic_ack(transacted.basic_get(filled_queue)[0].delivery_tag)
    transacted.tx_commit()
    transacted.basic_ack(transacted.basic_get(filled_queue)[0].delivery_tag)
    transacted.close()
    # Sorted, as RabbitMQ may requeue the message of the uncommitted ack after close-ok.
    bodies = sorted(body for _, _, body in take(channel, filled_queue, 3))
    assert bodies == [b"2", b"3", b"4"]


def test_rollback_makes_acked_messages_unacked_again(connection, channel, filled_queue, empty):
    transacted = connection.channel()
    transacted.tx_select()
    tag = transacted.basic_get(filled_queue)[0].delivery_tag
    transacted.basic_ack(tag)
    transacted.tx_rollback()
    transacted.basic_ack(tag)
    transacted.tx_commit()
    transacted.close()
    assert empty(channel, filled_queue) == [b"1", b"2", b"3", b"4"]


def test_nack_requeues_at_the_commit(connection, channel, filled_queue):
    transacted = connection.channel()
    transacted.tx_select()
    transacted.basic_nack(transacted.basic_get(filled_queue)[0].delivery_tag)
    assert channel.basic_get(filled_queue)[2] == b"1"
    transacted.tx_commit()
    assert channel.basic_get(filled_queue)[2] == b"0"


def test_mandatory_messages_are_returned_at_the_commit(connection, channel, unique):
    returned = []
    channel.add_on_return_callback(lambda *message: returned.append(message[3]))
    channel.tx_select()
    channel.basic_publish("amq.direct", unique("nowhere"), "body", mandatory=True)
    channel.exchange_declare("amq.direct", passive=True)
    connection.process_data_events()
    assert returned == []
    channel.tx_commit()
    connection.process_data_events()
    assert returned == [b"body"]


def test_missing_exchange_closes_the_channel_before_the_commit(channel, unique):
    missing = unique("missing")
    channel.tx_select()
    channel.basic_publish(missing, "key", "body")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare("amq.direct", passive=True)
    assert closed.value.args == (404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'")


def test_selecting_twice_is_allowed(channel):
    channel.tx_select()
    channel.tx_select()
    channel.tx_commit()


@pytest.mark.parametrize("method", ["tx_commit", "tx_rollback"])
def test_ending_a_transaction_that_was_not_selected_is_refused(channel, method):
    with pytest.raises(ChannelClosedByBroker) as closed:
        getattr(channel, method)()
    assert closed.value.args == (406, "PRECONDITION_FAILED - channel is not transactional")


def test_transactional_channel_cannot_confirm(channel):
    channel.tx_select()
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.confirm_delivery()
    assert closed.value.args == (
        406,
        "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
    )


def test_confirming_channel_cannot_be_transactional(channel):
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.tx_select()
    assert closed.value.args == (
        406,
        "PRECONDITION_FAILED - cannot switch from confirm to tx mode",
    )

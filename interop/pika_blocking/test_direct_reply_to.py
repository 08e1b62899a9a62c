"""RPC over the pseudo-queue amq.rabbitmq.reply-to."""

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker, UnroutableError

DEADLINE_S = 10
REPLY_TO = "amq.rabbitmq.reply-to"


def test_reply_comes_to_the_channel_that_asked(connect, channel, queue):
    answers = []
    channel.basic_consume(REPLY_TO, lambda *reply: answers.append(reply), auto_ack=True)
    question = BasicProperties(reply_to=REPLY_TO, correlation_id="42")
    channel.basic_publish("", queue, "question", question)
    _, received, _ = channel.basic_get(queue)
    assert received.reply_to.startswith(f"{REPLY_TO}.")

    replier = connect().channel()
    assert replier.queue_declare(received.reply_to, passive=True).method.consumer_count == 1
    answer = BasicProperties(correlation_id=received.correlation_id)
    replier.basic_publish("", received.reply_to, "answer", answer)

    while not answers:
        channel.connection.process_data_events(time_limit=DEADLINE_S)
    [(_, delivery, properties, body)] = answers
    assert (body, properties.correlation_id) == (b"answer", "42")
    assert (delivery.exchange, delivery.routing_key) == ("", received.reply_to)
    assert not delivery.redelivered


def test_reply_does_not_wait_for_a_commit(connect, channel, queue):
    answers = []
    channel.basic_consume(REPLY_TO, lambda *reply: answers.append(reply[3]), auto_ack=True)
    channel.basic_publish("", queue, "question", BasicProperties(reply_to=REPLY_TO))
    replier = connect().channel()
    replier.tx_select()
    replier.basic_publish("", channel.basic_get(queue)[1].reply_to, "answer")
    while not answers:
        channel.connection.process_data_events(time_limit=DEADLINE_S)
    replier.tx_rollback()
    assert answers == [b"answer"]


def test_reply_address_dies_with_its_channel(connection, channel, queue):
    asking = connection.channel()
    asking.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True)
    asking.basic_publish("", queue, "question", BasicProperties(reply_to=REPLY_TO))
    asking.close()
    reply_to = channel.basic_get(queue)[1].reply_to
    channel.basic_publish("", reply_to, "nobody hears it")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(reply_to, passive=True)
    assert closed.value.reply_code == 404


def test_reply_consumer_must_auto_ack(channel):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_consume(REPLY_TO, lambda *_: None)
    assert closed.value.args == (406, "PRECONDITION_FAILED - reply consumer cannot acknowledge")


def test_channel_has_one_reply_consumer(channel):
    channel.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True)
    assert closed.value.args == (406, "PRECONDITION_FAILED - reply consumer already set")


def test_cancelled_reply_consumer_can_be_set_again(channel):
    for _ in range(2):
        tag = channel.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True)
        channel.basic_cancel(tag)


def test_asking_without_a_reply_consumer_is_refused(channel, queue):
    channel.basic_publish("", queue, "question", BasicProperties(reply_to=REPLY_TO))
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.args == (
        406,
        "PRECONDITION_FAILED - fast reply consumer does not exist",
    )


def test_reply_comes_through_any_exchange_but_only_the_default_one_leads_back(
    connection, channel, queue
):
    answers, returned = [], []
    channel.basic_consume(REPLY_TO, lambda *reply: answers.append(reply[3]), auto_ack=True)
    channel.queue_bind(queue, "amq.topic", "ask.#")
    channel.basic_publish("amq.topic", "ask.me", "?", BasicProperties(reply_to=REPLY_TO))
    address = channel.basic_get(queue)[1].reply_to
    replier = connection.channel()
    replier.add_on_return_callback(lambda *message: returned.append(message[3]))
    replier.basic_publish("amq.direct", address, "astray", mandatory=True)
    replier.basic_publish("", address, "answer")
    while not (answers and returned):
        connection.process_data_events(time_limit=DEADLINE_S)
    assert (answers, returned) == ([b"answer"], [b"astray"])


def test_mandatory_reply_to_nobody_is_returned(channel, queue):
    channel.confirm_delivery()
    with pytest.raises(UnroutableError):
        channel.basic_publish("", f"{REPLY_TO}.nobody", "answer", mandatory=True)

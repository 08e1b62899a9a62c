"""What is refused of the arguments of queues and consumers, besides their types."""

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker

QUORUM = {"x-queue-type": "quorum"}
TEN_YEARS_MS = 315_360_000_000


def refusal(of):
    """The error with which the broker closes a channel."""
    with pytest.raises(ChannelClosedByBroker) as closed:
        of()
    return closed.value.args


@pytest.mark.parametrize("name", ["x-message-ttl", "x-expires"])
def test_nothing_lives_longer_than_ten_years(channel, unique, name):
    queue = unique("queue")
    channel.queue_declare(queue, exclusive=True, arguments={name: TEN_YEARS_MS})
    other = unique("other")
    arguments = {name: TEN_YEARS_MS + 1}
    assert refusal(lambda: channel.queue_declare(other, arguments=arguments)) == (
        406,
        f"PRECONDITION_FAILED - invalid arg '{name}' for queue '{other}' in vhost '/': "
        "{value_too_large,315360000001}",
    )


def test_no_message_lives_longer_than_ten_years(channel, queue):
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"", BasicProperties(expiration=str(TEN_YEARS_MS)))
    late = BasicProperties(expiration=str(TEN_YEARS_MS + 1))
    assert refusal(lambda: channel.basic_publish("", queue, b"", late)) == (
        406,
        "PRECONDITION_FAILED - invalid expiration '315360000001': {value_too_large,315360000001}",
    )


def test_quorum_queue_is_not_declared_again_with_another_delivery_limit(channel, unique):
    queue = unique("queue")
    channel.queue_declare(queue, durable=True, arguments=QUORUM | {"x-delivery-limit": 3})
    arguments = QUORUM | {"x-delivery-limit": 4}
    assert refusal(lambda: channel.queue_declare(queue, durable=True, arguments=arguments)) == (
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue '{queue}' in vhost "
        "'/': received '4' but current is '3'",
    )


def test_exclusive_consumer_and_single_active_consumer_exclude_each_other(channel, unique):
    queue = unique("queue")
    channel.queue_declare(queue, exclusive=True, arguments={"x-single-active-consumer": True})
    assert refusal(lambda: channel.basic_consume(queue, print, exclusive=True)) == (
        403,
        f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use",
    )

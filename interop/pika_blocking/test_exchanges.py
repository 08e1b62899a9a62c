"""Declaring, deleting and binding exchanges: what is refused, with which words."""

import pytest
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

DEFAULT_REFUSED = (403, "ACCESS_REFUSED - operation not permitted on the default exchange")


@pytest.mark.parametrize("exchange_type", ["direct", "fanout", "topic", "headers"])
def test_exchange_of_every_type_can_be_declared_twice_and_deleted(channel, unique, exchange_type):
    exchange = unique(exchange_type)
    for _ in range(2):
        channel.exchange_declare(exchange, exchange_type, durable=True)
    channel.exchange_declare(exchange, passive=True)
    channel.exchange_delete(exchange)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(exchange, passive=True)
    assert closed.value.args == (404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'")


@pytest.mark.parametrize(
    "exchange",
    ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match", "amq.rabbitmq.trace"],
)
def test_predeclared_exchange_exists(channel, exchange):
    channel.exchange_declare(exchange, passive=True)


def test_predeclared_exchange_can_be_declared_as_it_is(channel):
    channel.exchange_declare("amq.topic", "topic", durable=True)


def test_passive_declare_ignores_type_and_flags(channel, unique):
    exchange = unique("exchange")
    channel.exchange_declare(exchange, "fanout")
    channel.exchange_declare(exchange, "topic", passive=True, durable=True)


@pytest.mark.parametrize(
    ("changed", "argument", "received", "current"),
    [
        ({"exchange_type": "fanout"}, "type", "fanout", "direct"),
        ({"durable": True}, "durable", "true", "false"),
        ({"auto_delete": True}, "auto_delete", "true", "false"),
        ({"internal": True}, "internal", "true", "false"),
        ({"durable": True, "exchange_type": "topic"}, "type", "topic", "direct"),
    ],
)
def test_redeclaring_otherwise_is_refused_with_the_first_difference(
    channel, unique, changed, argument, received, current
):
    exchange = unique("exchange")
    channel.exchange_declare(exchange, "direct")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(exchange, **changed)
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange '{exchange}' "
        f"in vhost '/': received '{received}' but current is '{current}'",
    )


def test_redeclaring_with_an_alternate_exchange_is_refused(channel, unique):
    exchange = unique("exchange")
    channel.exchange_declare(exchange)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(exchange, arguments={"alternate-exchange": "other"})
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange '{exchange}' "
        "in vhost '/': received the value 'other' of type 'longstr' but current is none",
    )


def test_unknown_arguments_are_not_compared(channel, unique):
    exchange = unique("exchange")
    channel.exchange_declare(exchange, arguments={"x-colour": "red"})
    channel.exchange_declare(exchange, arguments={"x-colour": "blue"})


def test_unknown_type_closes_the_connection_with_503(channel, unique):
    with pytest.raises(ConnectionClosedByBroker) as closed:
        channel.exchange_declare(unique("exchange"), "x-no-such-type")
    assert closed.value.args == (503, "COMMAND_INVALID - unknown exchange type 'x-no-such-type'")


def test_name_with_the_reserved_prefix_is_refused(channel):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare("amq.mine")
    assert closed.value.args == (
        403,
        "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
    )


def test_predeclared_exchange_cannot_be_deleted(channel):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_delete("amq.direct")
    assert closed.value.args == (
        403,
        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
    )


@pytest.mark.parametrize(
    "operation",
    [
        lambda channel, queue: channel.exchange_declare("", "direct"),
        lambda channel, queue: channel.exchange_delete(""),
        lambda channel, queue: channel.queue_bind(queue, "", "key"),
        lambda channel, queue: channel.queue_unbind(queue, "", "key"),
        lambda channel, queue: channel.exchange_bind("amq.direct", "", "key"),
        lambda channel, queue: channel.exchange_bind("", "amq.direct", "key"),
    ],
    ids=["declare", "delete", "bind", "unbind", "bind as source", "bind as destination"],
)
def test_default_exchange_cannot_be_touched(channel, queue, operation):
    with pytest.raises(ChannelClosedByBroker) as closed:
        operation(channel, queue)
    assert closed.value.args == DEFAULT_REFUSED


def test_deleting_a_missing_exchange_succeeds(channel, unique):
    channel.exchange_delete(unique("missing"))


def test_exchange_with_bindings_is_not_deleted_if_unused(connection, channel, queue, unique):
    exchange = unique("exchange")
    channel.exchange_declare(exchange)
    channel.queue_bind(queue, exchange, "key")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_delete(exchange, if_unused=True)
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - exchange '{exchange}' in vhost '/' in use",
    )
    reopened = connection.channel()
    reopened.queue_unbind(queue, exchange, "key")
    reopened.exchange_delete(exchange, if_unused=True)


def test_internal_exchange_cannot_be_published_to(channel, unique):
    exchange = unique("internal")
    channel.exchange_declare(exchange, internal=True)
    channel.basic_publish(exchange, "key", "no")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare("", exclusive=True)
    assert closed.value.args == (
        403,
        f"ACCESS_REFUSED - cannot publish to internal exchange '{exchange}' in vhost '/'",
    )


def test_auto_delete_exchange_goes_with_its_last_binding(channel, queue, unique):
    exchange = unique("auto-delete")
    channel.exchange_declare(exchange, auto_delete=True)
    channel.queue_bind(queue, exchange, "one")
    channel.queue_bind(queue, exchange, "two")
    channel.queue_unbind(queue, exchange, "one")
    channel.exchange_declare(exchange, passive=True)
    channel.queue_unbind(queue, exchange, "two")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(exchange, passive=True)
    assert closed.value.reply_code == 404


def test_auto_delete_exchange_goes_with_the_queue_it_is_bound_to(channel, queue, unique):
    exchange = unique("auto-delete")
    channel.exchange_declare(exchange, auto_delete=True)
    channel.queue_bind(queue, exchange, "key")
    channel.queue_delete(queue)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(exchange, passive=True)
    assert closed.value.reply_code == 404


def test_auto_delete_exchange_that_was_never_bound_stays(channel, unique):
    exchange = unique("auto-delete")
    channel.exchange_declare(exchange, auto_delete=True)
    channel.exchange_declare(exchange, passive=True)


def test_auto_delete_goes_along_a_chain_of_exchanges(connection, channel, queue, unique):
    first, second = unique("first"), unique("second")
    channel.exchange_declare(first, "fanout", auto_delete=True)
    channel.exchange_declare(second, "fanout", auto_delete=True)
    channel.exchange_bind(second, first)
    channel.queue_bind(queue, second)
    channel.queue_delete(queue)
    for exchange in (first, second):
        with pytest.raises(ChannelClosedByBroker) as closed:
            connection.channel().exchange_declare(exchange, passive=True)
        assert closed.value.reply_code == 404


def test_binding_from_a_missing_exchange_is_refused(channel, unique):
    missing = unique("missing")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_bind("amq.direct", missing)
    assert closed.value.args == (404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'")


def test_unbinding_what_is_not_bound_succeeds(channel, unique):
    channel.exchange_unbind("amq.direct", "amq.fanout", "never bound")
    channel.exchange_unbind(unique("missing"), "amq.fanout", "never bound")

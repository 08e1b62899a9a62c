"""Declaring, binding, purging and deleting queues; who owns them and when they go."""

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker


def locked(queue):
    """The error for a queue that is exclusive to another connection."""
    return (
        405,
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. "
        "It could be originally declared on another connection or the exclusive property value "
        "does not match that of the original declaration.",
    )


def test_server_makes_names_for_queues_without_one(channel):
    names = {channel.queue_declare("", exclusive=True).method.queue for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("amq.gen-") and len(name) == 30 for name in names)


def test_server_made_name_can_be_declared_again_passively_only(channel, queue):
    channel.queue_declare(queue, passive=True)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, exclusive=True)
    assert closed.value.args == (
        403,
        f"ACCESS_REFUSED - queue name '{queue}' contains reserved prefix 'amq.*'",
    )


def test_declaring_again_counts_ready_messages_and_consumers(channel, unique):
    queue = unique("queue")
    assert channel.queue_declare(queue, exclusive=True).method.message_count == 0
    for _ in range(3):
        channel.basic_publish("", queue, "ready")
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, lambda *_: None)
    declared = channel.queue_declare(queue, exclusive=True).method
    assert (declared.message_count, declared.consumer_count) == (2, 1)


def test_passive_declare_of_a_missing_queue_is_refused(channel, unique):
    missing = unique("missing")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(missing, passive=True)
    assert closed.value.args == (404, f"NOT_FOUND - no queue '{missing}' in vhost '/'")


def test_passive_declare_ignores_flags_and_arguments(channel, unique):
    queue = unique("queue")
    channel.queue_declare(queue, auto_delete=True)
    channel.queue_declare(queue, passive=True, durable=True, arguments={"x-colour": "red"})


@pytest.mark.parametrize("flag", ["durable", "auto_delete"])
def test_redeclaring_with_another_flag_is_refused(channel, unique, flag):
    queue = unique("queue")
    channel.queue_declare(queue)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, **{flag: True})
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - inequivalent arg '{flag}' for queue '{queue}' in vhost '/': "
        "received 'true' but current is 'false'",
    )


def test_redeclaring_as_exclusive_is_refused(channel, unique):
    queue = unique("queue")
    channel.queue_declare(queue)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, exclusive=True, durable=True)
    assert closed.value.args == locked(queue)


def test_reply_text_is_cut_to_255_bytes(channel):
    missing = "missing" * 35
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(missing, passive=True)
    whole = f"NOT_FOUND - no queue '{missing}' in vhost '/'"
    assert closed.value.reply_text == whole[:252] + "..."


def test_unknown_arguments_are_not_compared(channel, unique):
    queue = unique("queue")
    channel.queue_declare(queue, arguments={"x-colour": "red"})
    channel.queue_declare(queue, arguments={"x-colour": "blue"})


def test_name_with_the_reserved_prefix_is_refused(channel):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare("amq.mine")
    assert closed.value.args == (
        403,
        "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
    )


@pytest.mark.parametrize(
    "operation",
    [
        lambda channel, queue: channel.queue_declare(queue, exclusive=True),
        lambda channel, queue: channel.queue_declare(queue, passive=True),
        lambda channel, queue: channel.queue_bind(queue, "amq.direct"),
        lambda channel, queue: channel.queue_purge(queue),
        lambda channel, queue: channel.queue_delete(queue),
        lambda channel, queue: channel.basic_get(queue),
        lambda channel, queue: channel.basic_consume(queue, lambda *_: None),
    ],
    ids=["declare", "passive declare", "bind", "purge", "delete", "get", "consume"],
)
def test_exclusive_queue_is_locked_for_other_connections(connect, channel, unique, operation):
    queue = unique("locked")
    channel.queue_declare(queue, exclusive=True)
    with pytest.raises(ChannelClosedByBroker) as closed:
        operation(connect().channel(), queue)
    assert closed.value.args == locked(queue)


def test_exclusive_queue_takes_messages_from_other_connections(connect, channel, queue):
    other = connect().channel()
    other.confirm_delivery()
    other.basic_publish("", queue, "hello", mandatory=True)
    assert channel.basic_get(queue)[2] == b"hello"


def test_exclusive_queue_is_open_to_other_channels_of_its_connection(connection, filled_queue):
    assert connection.channel().basic_get(filled_queue)[2] == b"0"


def test_exclusive_queue_is_gone_once_its_connection_has_closed(connect, channel, unique):
    queue = unique("exclusive")
    owner = connect()
    owner.channel().queue_declare(queue, exclusive=True)
    owner.close()
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.args == (404, f"NOT_FOUND - no queue '{queue}' in vhost '/'")


def test_auto_delete_queue_goes_with_its_last_consumer(channel, unique):
    queue = unique("auto-delete")
    channel.queue_declare(queue, auto_delete=True)
    first = channel.basic_consume(queue, lambda *_: None)
    second = channel.basic_consume(queue, lambda *_: None)
    channel.basic_cancel(first)
    channel.queue_declare(queue, passive=True)
    channel.basic_cancel(second)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.reply_code == 404


def test_auto_delete_queue_goes_when_its_consumers_channel_closes(connection, channel, unique):
    queue = unique("auto-delete")
    channel.queue_declare(queue, auto_delete=True)
    consuming = connection.channel()
    consuming.basic_consume(queue, lambda *_: None)
    consuming.close()
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.reply_code == 404


def test_auto_delete_queue_that_was_only_read_with_get_stays(channel, unique):
    queue = unique("auto-delete")
    channel.queue_declare(queue, auto_delete=True)
    channel.basic_get(queue)
    channel.queue_declare(queue, passive=True)


def test_deleting_a_queue_counts_its_ready_messages(channel, filled_queue):
    channel.basic_get(filled_queue)
    assert channel.queue_delete(filled_queue).method.message_count == 4


def test_deleting_a_missing_queue_succeeds(channel, unique):
    assert channel.queue_delete(unique("missing")).method.message_count == 0


def test_queue_with_messages_is_not_deleted_if_empty(channel, filled_queue):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_delete(filled_queue, if_empty=True)
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - queue '{filled_queue}' in vhost '/' not empty",
    )


def test_queue_with_consumers_is_not_deleted_if_unused(channel, queue):
    channel.basic_consume(queue, lambda *_: None)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_delete(queue, if_unused=True)
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use",
    )


def test_unused_empty_queue_is_deleted_with_both_conditions(channel, queue):
    channel.queue_delete(queue, if_unused=True, if_empty=True)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.reply_code == 404


def test_purge_counts_and_drops_ready_messages_only(channel, filled_queue):
    got, _, _ = channel.basic_get(filled_queue)
    assert channel.queue_purge(filled_queue).method.message_count == 4
    assert channel.basic_get(filled_queue)[0] is None
    channel.basic_nack(got.delivery_tag)
    assert channel.basic_get(filled_queue)[2] == b"0"


def test_purging_a_missing_queue_is_refused(channel, unique):
    missing = unique("missing")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_purge(missing)
    assert closed.value.args == (404, f"NOT_FOUND - no queue '{missing}' in vhost '/'")


def test_binding_a_missing_queue_is_refused(channel, unique):
    missing = unique("missing")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_bind(missing, "amq.direct")
    assert closed.value.args == (404, f"NOT_FOUND - no queue '{missing}' in vhost '/'")


def test_binding_to_a_missing_exchange_is_refused(channel, queue, unique):
    missing = unique("missing")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_bind(queue, missing)
    assert closed.value.args == (404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'")


def test_unbinding_what_is_not_bound_succeeds(channel, queue, unique):
    channel.queue_unbind(queue, "amq.direct", "never bound")
    channel.queue_unbind(unique("missing"), "amq.direct", "never bound")
    channel.queue_unbind(queue, unique("missing"), "never bound")


def test_binding_twice_makes_one_binding(channel, queue, empty):
    for _ in range(2):
        channel.queue_bind(queue, "amq.direct", queue)
    channel.basic_publish("amq.direct", queue, "once")
    assert empty(channel, queue) == [b"once"]
    channel.queue_unbind(queue, "amq.direct", queue)
    channel.basic_publish("amq.direct", queue, "not any more")
    assert empty(channel, queue) == []


def test_unbind_takes_only_the_binding_with_the_same_key_and_arguments(
    channel, queue, unique, empty
):
    exchange = unique("headers")
    channel.exchange_declare(exchange, "headers")
    channel.queue_bind(queue, exchange, "key", arguments={"shape": "round"})
    channel.queue_bind(queue, exchange, "key", arguments={"shape": "flat"})
    channel.queue_unbind(queue, exchange, "key", arguments={"shape": "round"})
    channel.queue_unbind(queue, exchange, "other key", arguments={"shape": "flat"})
    for shape in ("round", "flat"):
        properties = BasicProperties(headers={"shape": shape})
        channel.basic_publish(exchange, "", shape, properties)
    assert empty(channel, queue) == [b"flat"]


def test_empty_name_means_the_queue_declared_last_on_the_channel(channel, empty):
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind("", "amq.direct")
    channel.basic_publish("amq.direct", queue, "the key became the queue's name")
    assert channel.basic_get("")[2] == b"the key became the queue's name"
    channel.basic_publish("", queue, "again")
    assert channel.queue_purge("").method.message_count == 1
    channel.queue_delete("")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.reply_code == 404


def test_empty_name_is_refused_where_no_queue_was_declared(channel):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_get("")
    assert closed.value.args == (404, "NOT_FOUND - no previously declared queue")


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-queue-mode": "lazy"},
        {"x-queue-version": 2},
        {"x-queue-master-locator": "min-masters"},
        {"x-overflow": "reject-publish"},
        {"x-queue-type": "classic"},
    ],
)
def test_arguments_about_storage_make_no_difference(channel, arguments, empty):
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    channel.basic_publish("", queue, "x")
    assert empty(channel, queue) == [b"x"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-queue-leader-locator", 5),
        ("x-dead-letter-strategy", "never"),
        ("x-max-in-memory-length", -1),
        ("x-max-age", "never"),
    ],
)
def test_arguments_of_other_types_are_refused_whatever_their_values(channel, name, value):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare("refused", durable=True, arguments={name: value})
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - invalid arg '{name}' for queue 'refused' in vhost '/'"
        " of queue type rabbit_classic_queue",
    )

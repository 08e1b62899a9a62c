"""The methods of the class basic but publish, as functions of a channel and a method."""

from ..amqp.basic import get_ok_frame
from ..amqp.errors import NotAllowed, NotSupported, PreconditionFailed
from ..amqp.fields import INTEGER_TAGS, Table
from ..amqp.methods import (
    BasicAck,
    BasicCancel,
    BasicCancelOk,
    BasicConsume,
    BasicConsumeOk,
    BasicGet,
    BasicGetEmpty,
    BasicNack,
    BasicQos,
    BasicQosOk,
    BasicRecover,
    BasicRecoverAsync,
    BasicRecoverOk,
    BasicReject,
)
from .channel import Channel
from .consumer import Consumer
from .permissions import Right
from .policy import CLASSIC, STREAM
from .property_kinds import DIRECT_REPLY_TO
from .queue import Queue
from .queue_arguments import check_ack_timeout_argument
from .queue_settings import queue_type
from .rules import Rules
from .settling import is_much, settle_in_turns
from .unsettled import Outcome

_STREAM_ARGUMENTS = ("x-stream-offset", "x-stream-filter", "x-stream-match-unfiltered")
_FAILOVER = "x-cancel-on-ha-failover"
"""Without effect on one node, and not looked at any more where there are no mirrored queues."""


def basic_qos(channel: Channel, call: BasicQos) -> None:
    """basic.qos as RabbitMQ has it (https://www.rabbitmq.com/docs/consumer-prefetch).

    With global the limit is the channel's and holds at once; without, it is for consumers started
    later, and the channel's limit is off. RabbitMQ 4.3 ignores global.
    """
    if call.prefetch_size:
        raise NotSupported(f"prefetch_size!=0 ({call.prefetch_size})")
    if call.global_ and channel.connection.broker.rules.global_qos:
        channel.unsettled.limit = call.prefetch_count
    else:
        channel.prefetch = call.prefetch_count
        channel.unsettled.limit = 0
    channel.wake_consumers()
    channel.send(BasicQosOk())


def basic_consume(channel: Channel, call: BasicConsume) -> None:
    """basic.consume. no_local is ignored, as RabbitMQ does."""
    connection = channel.connection
    if call.queue == DIRECT_REPLY_TO:
        return _consume_replies(channel, call)
    name = channel.queue_name(call.queue)
    connection.permissions.check(Right.READ, "queue", name)
    tag = _new_tag(channel, call.consumer_tag)
    queue = connection.vhost.queue(name, connection)
    check_ack_timeout_argument(
        call.arguments, repr(queue), queue_type(queue.arguments), connection.broker.rules
    )
    _check_consume_arguments(queue, call.arguments, connection.broker.rules)
    if channel.unsettled.limit and not queue.global_qos:
        raise NotSupported(f"{queue!r} does not support global qos")
    consumer = Consumer(
        channel,
        queue,
        tag,
        no_ack=call.no_ack,
        exclusive=call.exclusive,
        prefetch=channel.prefetch,
        arguments=call.arguments,
    )
    queue.add_consumer(consumer)
    if consumer.ack_timeout_ms is not None:
        connection.broker.ack_timeouts.watch(consumer.ack_timeout_ms)
    return _started(channel, consumer, call.nowait)


def _consume_replies(channel: Channel, call: BasicConsume) -> None:
    """Consume from amq.rabbitmq.reply-to (https://www.rabbitmq.com/docs/direct-reply-to).

    Replies reach the channel through a queue that only its name, a secret, leads to.
    """
    if not call.no_ack:
        raise PreconditionFailed("reply consumer cannot acknowledge")
    if channel.reply_queue is not None:
        raise PreconditionFailed("reply consumer already set")
    tag = _new_tag(channel, call.consumer_tag)
    connection = channel.connection
    name = f"{DIRECT_REPLY_TO}.{connection.broker.unique_name()}"
    channel.reply_queue = connection.vhost.add_reply_queue(name)
    consumer = Consumer(channel, channel.reply_queue, tag, no_ack=True)
    channel.reply_queue.add_consumer(consumer)
    _started(channel, consumer, call.nowait)


def _started(channel: Channel, consumer: Consumer, nowait: bool) -> None:
    channel.consumers[consumer.tag] = consumer
    if not nowait:
        channel.send(BasicConsumeOk(consumer.tag))


def _new_tag(channel: Channel, tag: str) -> str:
    if not tag:
        return f"amq.ctag-{channel.connection.broker.unique_name()}"
    if tag in channel.consumers:
        raise NotAllowed(f"attempt to reuse consumer tag '{tag}'")
    return tag


def _check_consume_arguments(queue: Queue, arguments: Table, rules: Rules) -> None:
    kind = queue_type(queue.arguments)
    priority = arguments.get("x-priority")
    if kind != STREAM and priority is not None and priority.tag not in INTEGER_TAGS:
        raise PreconditionFailed(
            f"invalid arg 'x-priority' for {queue!r}:"
            f' "expected integer, got {priority.type_name}"'
        )
    foreign = ("x-priority",) if kind == STREAM else _STREAM_ARGUMENTS
    if rules.mirrored_queues:
        failover = arguments.get(_FAILOVER)
        if kind != CLASSIC:
            foreign = (*foreign, _FAILOVER)
        elif failover is not None and failover.tag != "t":
            raise PreconditionFailed(
                f"invalid arg '{_FAILOVER}' for {queue!r}:"
                f" {{unacceptable_type,{failover.type_name}}}"
            )
    for name in arguments:
        if name in foreign:
            raise PreconditionFailed(
                f"invalid arg '{name}' for {queue!r} of queue type rabbit_{kind}_queue"
            )


def basic_cancel(channel: Channel, call: BasicCancel) -> None:
    """basic.cancel; unsettled deliveries stay, an unknown tag is fine."""
    consumer = channel.consumers.get(call.consumer_tag)
    if consumer is not None:
        channel.cancel(consumer)
    if not call.nowait:
        channel.send(BasicCancelOk(call.consumer_tag))


def basic_get(channel: Channel, call: BasicGet) -> None:
    """basic.get: one message now, or none."""
    connection = channel.connection
    name = channel.queue_name(call.queue)
    connection.permissions.check(Right.READ, "queue", name)
    queue = connection.vhost.queue(name, connection)
    queue.used()
    taken = queue.take()
    if taken is None:
        return channel.send(BasicGetEmpty())
    message, redelivered = taken
    if connection.vhost.firehose is not None:
        connection.vhost.firehose.delivered(channel, queue, message, redelivered)
    if call.no_ack:
        channel.unsettled.last_tag += 1
        tag = channel.unsettled.last_tag
        queue.drop(message)
    else:
        tag = channel.unsettled.add(message, queue)
    head = get_ok_frame(channel.number, tag, redelivered, message.address, queue.message_count)
    return connection.send(head + message.content_for(channel.number, connection.payload_max))


def basic_ack(channel: Channel, call: BasicAck) -> None:
    """basic.ack."""
    _settle(channel, call.delivery_tag, call.multiple, Outcome.ACKNOWLEDGED)


def basic_nack(channel: Channel, call: BasicNack) -> None:
    """basic.nack, RabbitMQ's reject of many."""
    outcome = Outcome.HANDED_BACK if call.requeue else Outcome.REJECTED
    _settle(channel, call.delivery_tag, call.multiple, outcome)


def basic_reject(channel: Channel, call: BasicReject) -> None:
    """basic.reject."""
    outcome = Outcome.RETURNED if call.requeue else Outcome.REJECTED
    _settle(channel, call.delivery_tag, False, outcome)


def _settle(channel: Channel, tag: int, multiple: bool, outcome: Outcome) -> None:
    transaction = channel.publisher.transaction
    if multiple and transaction is None and is_much(channel, len(channel.unsettled.deliveries)):
        return settle_in_turns(channel, channel.unsettled.tags(tag), outcome)
    deliveries = channel.unsettled.take(tag, multiple)
    if transaction is None:
        return channel.settle(list(deliveries.values()), outcome)
    return transaction.settled.add(deliveries, outcome)


def basic_recover(channel: Channel, call: BasicRecover) -> None:
    """basic.recover: every unsettled message goes back to its queue."""
    _recover(channel, call.requeue)
    channel.send(BasicRecoverOk())


def basic_recover_async(channel: Channel, call: BasicRecoverAsync) -> None:
    """basic.recover-async, the same without an answer."""
    _recover(channel, call.requeue)


def _recover(channel: Channel, requeue: bool) -> None:
    if not requeue:
        raise NotSupported("requeue=false")
    settle_in_turns(channel, channel.unsettled.tags(0), Outcome.HANDED_BACK)

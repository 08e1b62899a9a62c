"""The methods of AMQP 0-9-1 and of RabbitMQ's extensions, as declarations; those of connections and
channels as such are in `connection_methods`.

A method is a NamedTuple with its class and method id; its fields stand in wire order and are
annotated with their wire types. `method_codec` works from these declarations alone. The few methods
that come with every message (publish, deliver, ack, …) also have code of their own in `basic.py`;
tests hold both to one answer.

Sources: the AMQP 0-9-1 XML specification; https://www.rabbitmq.com/docs/specification for the
extensions.
"""

from typing import NamedTuple

from .method_ids import method
from .wire_types import Bit, Long, LongLong, Short, ShortStr, Table, Unchecked

# --- exchange ---------------------------------------------------------------------------------


@method(40, 10)
class ExchangeDeclare(NamedTuple):
    ticket: Short
    exchange: ShortStr
    type: ShortStr
    passive: Bit
    durable: Bit
    auto_delete: Bit
    internal: Bit
    nowait: Bit
    arguments: Table


@method(40, 11)
class ExchangeDeclareOk(NamedTuple):
    pass


@method(40, 20)
class ExchangeDelete(NamedTuple):
    ticket: Short
    exchange: ShortStr
    if_unused: Bit
    nowait: Bit


@method(40, 21)
class ExchangeDeleteOk(NamedTuple):
    pass


@method(40, 30)
class ExchangeBind(NamedTuple):
    ticket: Short
    destination: ShortStr
    source: ShortStr
    routing_key: ShortStr
    nowait: Bit
    arguments: Table


@method(40, 31)
class ExchangeBindOk(NamedTuple):
    pass


@method(40, 40)
class ExchangeUnbind(NamedTuple):
    ticket: Short
    destination: ShortStr
    source: ShortStr
    routing_key: ShortStr
    nowait: Bit
    arguments: Table


@method(40, 51)
class ExchangeUnbindOk(NamedTuple):
    pass


# --- queue ------------------------------------------------------------------------------------


@method(50, 10)
class QueueDeclare(NamedTuple):
    ticket: Short
    queue: ShortStr
    passive: Bit
    durable: Bit
    exclusive: Bit
    auto_delete: Bit
    nowait: Bit
    arguments: Table


@method(50, 11)
class QueueDeclareOk(NamedTuple):
    queue: ShortStr
    message_count: Long
    consumer_count: Long


@method(50, 20)
class QueueBind(NamedTuple):
    ticket: Short
    queue: ShortStr
    exchange: ShortStr
    routing_key: ShortStr
    nowait: Bit
    arguments: Table


@method(50, 21)
class QueueBindOk(NamedTuple):
    pass


@method(50, 30)
class QueuePurge(NamedTuple):
    ticket: Short
    queue: ShortStr
    nowait: Bit


@method(50, 31)
class QueuePurgeOk(NamedTuple):
    message_count: Long


@method(50, 40)
class QueueDelete(NamedTuple):
    ticket: Short
    queue: ShortStr
    if_unused: Bit
    if_empty: Bit
    nowait: Bit


@method(50, 41)
class QueueDeleteOk(NamedTuple):
    message_count: Long


@method(50, 50)
class QueueUnbind(NamedTuple):
    ticket: Short
    queue: ShortStr
    exchange: ShortStr
    routing_key: ShortStr
    arguments: Table


@method(50, 51)
class QueueUnbindOk(NamedTuple):
    pass


# --- basic ------------------------------------------------------------------------------------


@method(60, 10)
class BasicQos(NamedTuple):
    prefetch_size: Long
    prefetch_count: Short
    global_: Bit


@method(60, 11)
class BasicQosOk(NamedTuple):
    pass


@method(60, 20)
class BasicConsume(NamedTuple):
    ticket: Short
    queue: ShortStr
    consumer_tag: ShortStr
    no_local: Bit
    no_ack: Bit
    exclusive: Bit
    nowait: Bit
    arguments: Table


@method(60, 21)
class BasicConsumeOk(NamedTuple):
    consumer_tag: ShortStr


@method(60, 30)
class BasicCancel(NamedTuple):
    consumer_tag: ShortStr
    nowait: Bit


@method(60, 31)
class BasicCancelOk(NamedTuple):
    consumer_tag: ShortStr


@method(60, 40)
class BasicPublish(NamedTuple):
    ticket: Short
    exchange: Unchecked
    routing_key: Unchecked
    mandatory: Bit
    immediate: Bit


@method(60, 50)
class BasicReturn(NamedTuple):
    reply_code: Short
    reply_text: ShortStr
    exchange: Unchecked
    routing_key: Unchecked


@method(60, 60)
class BasicDeliver(NamedTuple):
    consumer_tag: ShortStr
    delivery_tag: LongLong
    redelivered: Bit
    exchange: Unchecked
    routing_key: Unchecked


@method(60, 70)
class BasicGet(NamedTuple):
    ticket: Short
    queue: ShortStr
    no_ack: Bit


@method(60, 71)
class BasicGetOk(NamedTuple):
    delivery_tag: LongLong
    redelivered: Bit
    exchange: Unchecked
    routing_key: Unchecked
    message_count: Long


@method(60, 72)
class BasicGetEmpty(NamedTuple):
    cluster_id: ShortStr = ""


@method(60, 80)
class BasicAck(NamedTuple):
    delivery_tag: LongLong
    multiple: Bit


@method(60, 90)
class BasicReject(NamedTuple):
    delivery_tag: LongLong
    requeue: Bit


@method(60, 100)
class BasicRecoverAsync(NamedTuple):
    requeue: Bit


@method(60, 110)
class BasicRecover(NamedTuple):
    requeue: Bit


@method(60, 111)
class BasicRecoverOk(NamedTuple):
    pass


@method(60, 120)
class BasicNack(NamedTuple):
    delivery_tag: LongLong
    multiple: Bit
    requeue: Bit


# --- confirm, tx ------------------------------------------------------------------------------


@method(85, 10)
class ConfirmSelect(NamedTuple):
    nowait: Bit


@method(85, 11)
class ConfirmSelectOk(NamedTuple):
    pass


@method(90, 10)
class TxSelect(NamedTuple):
    pass


@method(90, 11)
class TxSelectOk(NamedTuple):
    pass


@method(90, 20)
class TxCommit(NamedTuple):
    pass


@method(90, 21)
class TxCommitOk(NamedTuple):
    pass


@method(90, 30)
class TxRollback(NamedTuple):
    pass


@method(90, 31)
class TxRollbackOk(NamedTuple):
    pass

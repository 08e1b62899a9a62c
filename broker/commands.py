"""Which function carries out which method on a channel."""

from collections.abc import Callable
from typing import Any

from ..amqp import methods as m
from ..amqp.connection_methods import AccessRequest, AccessRequestOk, ChannelFlow, ChannelFlowOk
from ..amqp.errors import CommandInvalid, NotSupported, PreconditionFailed
from ..amqp.frames import method_frame
from ..amqp.method_ids import Method
from . import consuming, declarations
from .channel import Channel
from .confirms import Confirms
from .transaction import Transaction


def run(channel: Channel, call: Method) -> None:
    """Carry out a method that a client sent on an open channel. Raises what the method's rules
    say.
    """
    handler = _HANDLERS.get(type(call))
    if handler is None:
        raise CommandInvalid("unimplemented method")
    handler(channel, call)


def _channel_flow(channel: Channel, call: ChannelFlow) -> None:
    if not call.active:
        raise NotSupported("active=false")
    channel.send(ChannelFlowOk(active=True))


def _access_request(channel: Channel, call: AccessRequest) -> None:
    channel.send(AccessRequestOk())


def _confirm_select(channel: Channel, call: m.ConfirmSelect) -> None:
    publisher = channel.publisher
    if publisher.transaction is not None:
        raise PreconditionFailed("cannot switch from tx to confirm mode")
    if publisher.confirms is None:
        publisher.confirms = Confirms()
    if not call.nowait:
        channel.send(m.ConfirmSelectOk())


def _tx_select(channel: Channel, call: m.TxSelect) -> None:
    publisher = channel.publisher
    if publisher.confirms is not None:
        raise PreconditionFailed("cannot switch from confirm to tx mode")
    if publisher.transaction is None:
        publisher.transaction = Transaction(channel.connection.broker.memory)
        publisher.routes.take_singly()
    channel.send(m.TxSelectOk())


def _transaction(channel: Channel) -> Transaction:
    transaction = channel.publisher.transaction
    if transaction is None:
        raise PreconditionFailed("channel is not transactional")
    return transaction


def _tx_commit(channel: Channel, call: m.TxCommit) -> None:
    _transaction(channel).commit(channel, lambda complete: _committed(channel, complete))


def _committed(channel: Channel, complete: bool) -> None:
    """Answer when a transaction is on disk, unless its channel has ended meanwhile."""
    connection = channel.connection
    if connection.channels.get(channel.number) is not channel:
        return
    if not complete:
        error = PreconditionFailed("partial tx completion", at=(90, 20))
        connection.close_channel(channel.number, error)
        return
    position = connection.broker.position
    if position > connection.broker.durable:
        connection.hold(method_frame(channel.number, m.TxCommitOk()), position)
    else:
        channel.send(m.TxCommitOk())


def _tx_rollback(channel: Channel, call: m.TxRollback) -> None:
    _transaction(channel).rollback(channel)
    channel.send(m.TxRollbackOk())


_HANDLERS: dict[type[Method], Callable[[Channel, Any], None]] = {
    ChannelFlow: _channel_flow,
    AccessRequest: _access_request,
    m.ExchangeDeclare: declarations.exchange_declare,
    m.ExchangeDelete: declarations.exchange_delete,
    m.ExchangeBind: declarations.exchange_bind,
    m.ExchangeUnbind: declarations.exchange_unbind,
    m.QueueDeclare: declarations.queue_declare,
    m.QueueBind: declarations.queue_bind,
    m.QueueUnbind: declarations.queue_unbind,
    m.QueuePurge: declarations.queue_purge,
    m.QueueDelete: declarations.queue_delete,
    m.BasicQos: consuming.basic_qos,
    m.BasicConsume: consuming.basic_consume,
    m.BasicCancel: consuming.basic_cancel,
    m.BasicGet: consuming.basic_get,
    m.BasicAck: consuming.basic_ack,
    m.BasicNack: consuming.basic_nack,
    m.BasicReject: consuming.basic_reject,
    m.BasicRecover: consuming.basic_recover,
    m.BasicRecoverAsync: consuming.basic_recover_async,
    m.ConfirmSelect: _confirm_select,
    m.TxSelect: _tx_select,
    m.TxCommit: _tx_commit,
    m.TxRollback: _tx_rollback,
}

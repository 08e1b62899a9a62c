"""The methods of the classes exchange and queue, as functions of a channel and a method."""

from collections.abc import Callable

from ..amqp.errors import NotFound
from ..amqp.frames import method_frame
from ..amqp.method_ids import Method
from ..amqp.methods import (
    ExchangeBind,
    ExchangeBindOk,
    ExchangeDeclare,
    ExchangeDeclareOk,
    ExchangeDelete,
    ExchangeDeleteOk,
    ExchangeUnbind,
    ExchangeUnbindOk,
    QueueBind,
    QueueBindOk,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
    QueuePurge,
    QueuePurgeOk,
    QueueUnbind,
    QueueUnbindOk,
)
from .channel import Channel
from .clearing import CLEARED_AT_ONCE
from .deletion import binding_count, delete_for
from .exchange import Exchange
from .permissions import Right
from .property_kinds import DIRECT_REPLY_TO
from .queue import Queue
from .remainder import CLEARED_PER_EFFORT

_WITHOUT_LINE_BREAKS = str.maketrans("", "", "\r\n")


def _name(text: str) -> str:
    """A name as RabbitMQ takes it: without line breaks."""
    return text.translate(_WITHOUT_LINE_BREAKS)


def _answer(channel: Channel, nowait: bool, reply: Method, *, durable: bool = False) -> None:
    """Reply unless that is not wanted; if it is about something durable, once that is on disk."""
    if nowait:
        return
    connection = channel.connection
    position = connection.broker.definitions.position
    if durable and position > connection.broker.durable:
        connection.hold(method_frame(channel.number, reply), position)
    else:
        channel.send(reply)


def _check_passive(channel: Channel, kind: str, name: str) -> None:
    """Whether the user may ask if something is there: always, up to RabbitMQ 4.2."""
    connection = channel.connection
    if connection.broker.rules.passive_declare_needs_permission:
        connection.permissions.check_any(kind, name)


# --- exchange ---------------------------------------------------------------------------------


def exchange_declare(channel: Channel, call: ExchangeDeclare) -> None:
    """exchange.declare, also passive."""
    vhost, permissions = channel.connection.vhost, channel.connection.permissions
    name = _name(call.exchange)
    if not call.passive:
        vhost.check_exchange_type(call.type)
    vhost.check_not_default(name)
    if call.passive:
        _check_passive(channel, "exchange", name)
        exchange = vhost.exchange(name)
    else:
        permissions.check(Right.CONFIGURE, "exchange", name)
        alternate = call.arguments.get("alternate-exchange")
        if name not in vhost.exchanges and alternate is not None and alternate.tag == "S":
            permissions.check(Right.READ, "exchange", name)
            permissions.check(Right.WRITE, "exchange", alternate.text)
        exchange = vhost.declare_exchange(
            name,
            call.type,
            durable=call.durable,
            auto_delete=call.auto_delete,
            internal=call.internal,
            arguments=call.arguments,
        )
    durable = exchange.durable and not call.passive
    _answer(channel, call.nowait, ExchangeDeclareOk(), durable=durable)


def exchange_delete(channel: Channel, call: ExchangeDelete) -> None:
    """exchange.delete."""
    name, vhost = _name(call.exchange), channel.connection.vhost
    vhost.check_not_default(name)
    channel.connection.permissions.check(Right.CONFIGURE, "exchange", name)
    exchange = vhost.exchange_to_delete(name, if_unused=call.if_unused)

    def deleted(_: int) -> None:
        _answer(channel, call.nowait, ExchangeDeleteOk())

    if exchange is None:
        return deleted(0)
    if call.if_unused:
        # At once: what is true now need not be so in later turns.
        _count_unbound(channel, exchange)
        return deleted(vhost.delete(exchange))
    return _delete(channel, exchange, deleted)


def _delete(channel: Channel, thing: Exchange | Queue, then: Callable[[int], None]) -> None:
    """Delete something, in turns if very much is bound to it: the client waits then. `then` is
    called with the number of messages that were in it.
    """
    connection = channel.connection
    _count_unbound(channel, thing)

    def gone(messages: int) -> None:
        if connection.channels.get(channel.number) is channel:
            then(messages)

    delete_for(connection, thing, gone)


def _count_unbound(channel: Channel, thing: Exchange | Queue) -> None:
    """Count the effort of taking away what is bound to something."""
    channel.connection.receiver.effort_left -= binding_count(thing)


def exchange_bind(channel: Channel, call: ExchangeBind) -> None:
    """exchange.bind: messages go on from the source to the destination."""
    vhost = channel.connection.vhost
    destination_name, source_name = _exchange_pair(channel, call)
    source, destination = vhost.exchange(source_name), vhost.exchange(destination_name)
    _check_topic(channel, source, call.routing_key)
    vhost.bind(source, destination, call.routing_key, call.arguments)
    durable = source.durable and destination.durable
    _answer(channel, call.nowait, ExchangeBindOk(), durable=durable)


def exchange_unbind(channel: Channel, call: ExchangeUnbind) -> None:
    """exchange.unbind; what is not there is as good as unbound."""
    vhost = channel.connection.vhost
    destination_name, source_name = _exchange_pair(channel, call)
    destination, source = vhost.exchanges.get(destination_name), vhost.exchanges.get(source_name)
    if source is not None:
        _check_topic(channel, source, call.routing_key)
    if destination is not None and source is not None:
        vhost.unbind(source, destination, call.routing_key, call.arguments)
    _answer(channel, call.nowait, ExchangeUnbindOk())


def _check_topic(channel: Channel, exchange: Exchange, routing_key: str) -> None:
    if exchange.type == "topic":
        permissions = channel.connection.permissions
        permissions.check_topic(Right.READ, exchange.name, routing_key)


def _exchange_pair(channel: Channel, call: ExchangeBind | ExchangeUnbind) -> tuple[str, str]:
    destination, source = _name(call.destination), _name(call.source)
    vhost, permissions = channel.connection.vhost, channel.connection.permissions
    permissions.check(Right.WRITE, "exchange", destination)
    vhost.check_not_default(destination)
    vhost.check_not_default(source)
    permissions.check(Right.READ, "exchange", source)
    return destination, source


# --- queue ------------------------------------------------------------------------------------


def queue_declare(channel: Channel, call: QueueDeclare) -> None:
    """queue.declare, also passive, also of the names that stand for a direct reply-to."""
    connection, vhost = channel.connection, channel.connection.vhost
    name = _name(call.queue)
    if name.startswith(DIRECT_REPLY_TO):
        return _declare_reply_queue(channel, name, call.nowait)
    if call.passive:
        _check_passive(channel, "queue", name)
        queue = vhost.queue(name, connection)
    else:
        generated = not name
        if generated:
            name = f"amq.gen-{connection.broker.unique_name()}"
        connection.permissions.check(Right.CONFIGURE, "queue", name)
        _check_dead_letter_rights(channel, name, call)
        queue = vhost.declare_queue(
            name,
            durable=call.durable and not call.exclusive,
            auto_delete=call.auto_delete,
            owner=connection if call.exclusive else None,
            arguments=call.arguments,
            generated=generated,
        )
        if call.exclusive:
            connection.exclusive_queues[queue] = None
    queue.declared()
    queue.catch_up()
    channel.last_declared_queue = name
    reply = QueueDeclareOk(name, queue.message_count, len(queue.consumers.all))
    durable = queue.durable and not call.passive
    return _answer(channel, call.nowait, reply, durable=durable)


def _check_dead_letter_rights(channel: Channel, name: str, call: QueueDeclare) -> None:
    exchange = call.arguments.get("x-dead-letter-exchange")
    if exchange is None or exchange.tag != "S" or name in channel.connection.vhost.queues:
        return
    permissions = channel.connection.permissions
    permissions.check(Right.READ, "queue", name)
    permissions.check(Right.WRITE, "exchange", exchange.text)


def _declare_reply_queue(channel: Channel, name: str, nowait: bool) -> None:
    """Answer whether somebody waits for replies under that name (semantics of direct reply-to)."""
    vhost = channel.connection.vhost
    if name != DIRECT_REPLY_TO and name not in vhost.reply_queues:
        raise NotFound(f"no queue '{name}' in vhost '{vhost.name}'")
    channel.last_declared_queue = name
    _answer(channel, nowait, QueueDeclareOk(name, 0, 1))


def queue_bind(channel: Channel, call: QueueBind) -> None:
    """queue.bind."""
    vhost, connection = channel.connection.vhost, channel.connection
    name, key, exchange_name = _binding_names(channel, call)
    exchange = vhost.exchange(exchange_name)
    _check_topic(channel, exchange, key)
    queue = vhost.queue(name, connection)
    vhost.bind(exchange, queue, key, call.arguments)
    _answer(channel, call.nowait, QueueBindOk(), durable=exchange.durable and queue.durable)


def queue_unbind(channel: Channel, call: QueueUnbind) -> None:
    """queue.unbind; what is not there is as good as unbound."""
    vhost = channel.connection.vhost
    name, key, exchange_name = _binding_names(channel, call)
    queue, exchange = vhost.queues.get(name), vhost.exchanges.get(exchange_name)
    if exchange is not None:
        _check_topic(channel, exchange, key)
    if queue is not None and exchange is not None and exchange.has(queue, key, call.arguments):
        vhost.unbind(exchange, vhost.queue(name, channel.connection), key, call.arguments)
    _answer(channel, False, QueueUnbindOk())


def _binding_names(channel: Channel, call: QueueBind | QueueUnbind) -> tuple[str, str, str]:
    """Queue, routing key and exchange; with neither queue nor key given, both are the last
    declared queue.
    """
    permissions = channel.connection.permissions
    name = channel.queue_name(_name(call.queue))
    key = call.routing_key if call.queue or call.routing_key else name
    exchange = _name(call.exchange)
    permissions.check(Right.WRITE, "queue", name)
    channel.connection.vhost.check_not_default(exchange)
    permissions.check(Right.READ, "exchange", exchange)
    return name, key, exchange


def queue_purge(channel: Channel, call: QueuePurge) -> None:
    """queue.purge: drop what is ready; what is delivered and unsettled stays."""
    name = channel.queue_name(call.queue)
    channel.connection.permissions.check(Right.READ, "queue", name)
    queue = channel.connection.vhost.queue(name, channel.connection)
    queue.check_purge()
    count = queue.purge()
    _count_cleared(channel, count)
    _answer(channel, call.nowait, QueuePurgeOk(count))


def _count_cleared(channel: Channel, messages: int) -> None:
    """Count the effort of having put an end to messages, as far as that is not left to others."""
    effort = min(messages, CLEARED_AT_ONCE) // CLEARED_PER_EFFORT
    channel.connection.receiver.effort_left -= effort


def queue_delete(channel: Channel, call: QueueDelete) -> None:
    """queue.delete; one that is not there counts as deleted."""
    connection, vhost = channel.connection, channel.connection.vhost
    name = channel.queue_name(_name(call.queue))
    connection.permissions.check(Right.CONFIGURE, "queue", name)
    if name not in vhost.queues:
        return _answer(channel, call.nowait, QueueDeleteOk(0))
    queue = vhost.queue(name, connection)

    def deleted(messages: int) -> None:
        _count_cleared(channel, messages)
        _answer(channel, call.nowait, QueueDeleteOk(messages))

    if call.if_unused or call.if_empty:
        # At once: what is true now need not be so in later turns.
        _count_unbound(channel, queue)
        return deleted(vhost.delete_queue(queue, if_unused=call.if_unused, if_empty=call.if_empty))
    return _delete(channel, queue, deleted)

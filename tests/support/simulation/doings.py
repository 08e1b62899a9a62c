"""What clients do: the actions of a story as commands, for the broker and for the model."""

from datetime import UTC, datetime
from typing import Any

from pamqp.commands import Basic, Channel, Exchange, Queue, Tx

from .exchanges import EXCHANGES, binding_arguments, binding_key, routing_key
from .messages import compose
from .queues import QUEUES, is_grave, traits_of
from .reply_doings import ReplyDoings
from .things import MChannel, Outcome

_QUEUE_NAMES = tuple(QUEUES)
_TIMES = tuple(datetime.fromtimestamp(second, UTC) for second in (0, 1, 2))
_OFFSETS = (None, "first", "last", "next", "1s", *_TIMES)
_FILTERS = ((), ("red",), ("red", "blue"), ("blue", None))
"""Where consumers of streams begin, and what they want."""


class Doings(ReplyDoings):
    """One method for each action of a client."""

    def disconnect(self, client: int) -> None:
        self._conversation.disconnect(client)

    def _queue_name(self, client: int, queue: int) -> str:
        name = _QUEUE_NAMES[queue]
        return f"x{client}" if name == "x" else name

    def _need_queue(self, client: int, channel: int, queue: int) -> None:
        if self._queue_name(client, queue) not in self._stage.model.queues:
            self.declare_queue(client, channel, queue, nowait=0, more=1)

    def _would_meet(self, name: str, *others: str) -> bool:
        """Whether there are, or may soon be, consumers of a special queue, or others of these
        commands on it, and something else has yet to be done.

        Such a queue delivers in the middle of a turn before it is looked into, which no client can
        see from outside. It is left to the unit tests. So are consumers of those that refuse
        messages, for every publish looks into them.
        """
        if not traits_of(name).is_special:
            return False
        known = self._stage.model.queues.get(name)
        if known is not None and known.consumers and not self._is_quiet:
            return True
        return bool({"consume", *others} & {each for _, each in self._coming(name)})

    @property
    def _is_quiet(self) -> bool:
        """Whether all that was sent has been dealt with, and nothing else is to be sent with it."""
        busy = any(it.outbox or it.pending for it in self._stage.clients.values())
        return not busy and not self._stage.world.broker.put_off

    def _coming(self, name: str) -> set[tuple[int, str]]:
        """The commands on a queue that are still to be carried out, and whose they are."""
        return {
            (client, command.name)
            for client, it in self._stage.clients.items()
            for command in (*it.outbox, *it.pending)
            if command.options.get("queue") == name
        }

    def _has_limits_of_consumers_only(self, client: int, channel: int) -> bool:
        """A quorum queue is not consumed from on a channel with a limit of its own."""
        it = self._conversation.ready(client, channel)
        if it is None:
            return False
        known = it.model.channels.get(channel)
        return (known is None or not known.limit) and not any(
            command.channel == channel and command.options.get("all_of_it")
            for command in (*it.outbox, *it.pending)
        )

    def _with(self, what: str, client: int, channel: int) -> tuple[int, MChannel] | None:
        """A channel that has something unsettled, or consumers: this one, else the first."""
        found = [
            (number, known)
            for number, it in self._stage.clients.items()
            for known in it.model.channels.values()
            if getattr(known, what) and not known.closing
        ]
        for number, known in found:
            if (number, known.number) == (client, channel):
                return number, known
        return found[0] if found else None

    def declare_queue(self, client: int, channel: int, queue: int, nowait: int, more: int) -> None:
        name = self._queue_name(client, queue)
        if self._would_meet(name):
            return
        traits = traits_of(name)
        self._send(
            client,
            channel,
            more,
            "declare_queue",
            {"queue": name, "nowait": bool(nowait)},
            Queue.Declare(
                queue=name,
                durable=traits.durable,
                exclusive=traits.exclusive,
                auto_delete=traits.auto_delete,
                arguments=traits.arguments,
                nowait=bool(nowait),
            ),
        )

    def delete_queue(
        self, client: int, channel: int, queue: int, if_empty: int, nowait: int, more: int
    ) -> None:
        name = self._queue_name(client, queue)
        if self._would_meet(name):
            return
        if traits_of(name).stream and self._coming(name):
            return  # where it began when they came nobody could tell
        if_empty = if_empty and not traits_of(name).quorum  # it knows no conditions
        options = {"queue": name, "if_empty": bool(if_empty), "nowait": bool(nowait)}
        self._send(client, channel, more, "delete_queue", options, Queue.Delete(**options))

    def purge(self, client: int, channel: int, queue: int, more: int) -> None:
        name = self._queue_name(client, queue)
        if traits_of(name).stream or self._would_meet(name):
            return
        self._send(client, channel, more, "purge", {"queue": name}, Queue.Purge(queue=name))

    def _binding(self, client: int, exchange: int, queue: int, key: int) -> dict[str, str]:
        return {
            "queue": self._queue_name(client, queue),
            "exchange": list(EXCHANGES)[exchange],
            "key": binding_key(list(EXCHANGES)[exchange], key, _QUEUE_NAMES[key]),
        }

    def bind(
        self,
        client: int,
        channel: int,
        exchange: int,
        queue: int,
        key: int,
        nowait: int,
        blind: int,
        more: int,
    ) -> None:
        if not blind:
            self._need_exchange(client, channel, exchange)
            self._need_queue(client, channel, queue)
        binding = self._binding(client, exchange, queue, key)
        bind = Queue.Bind(
            queue=binding["queue"],
            exchange=binding["exchange"],
            routing_key=binding["key"],
            arguments=binding_arguments(binding["exchange"], binding["key"]),
            nowait=bool(nowait),
        )
        self._send(client, channel, more, "bind", binding | {"nowait": bool(nowait)}, bind)

    def unbind(
        self, client: int, channel: int, exchange: int, queue: int, key: int, more: int
    ) -> None:
        options = self._binding(client, exchange, queue, key)
        unbind = Queue.Unbind(
            queue=options["queue"],
            exchange=options["exchange"],
            routing_key=options["key"],
            arguments=binding_arguments(options["exchange"], options["key"]),
        )
        self._send(client, channel, more, "unbind", options, unbind)

    def unbind_one(self, client: int, channel: int, exchange: int, pick: int, more: int) -> None:
        """Undo one of the bindings of an exchange, if it is no other client's."""
        model, name, own = self._stage.model, list(EXCHANGES)[exchange], f"x{client}"
        found = [
            (destination, key)
            for source, destination, key in model.bindings
            if source == name and (destination[0] != "x" or destination == own)
        ]
        if not found:
            return
        destination, key = found[pick % len(found)]
        arguments = binding_arguments(name, key)
        if destination in EXCHANGES:
            options = {"exchange": name, "to": destination, "key": key}
            unlink = Exchange.Unbind(
                destination=destination, source=name, routing_key=key, arguments=arguments
            )
            self._send(client, channel, more, "unlink", options, unlink)
        else:
            options = {"queue": destination, "exchange": name, "key": key}
            unbind = Queue.Unbind(0, destination, name, key, arguments)
            self._send(client, channel, more, "unbind", options, unbind)

    def publish(
        self,
        client: int,
        channel: int,
        exchange: int,
        queue: int,
        persistent: int,
        mandatory: int,
        count: int,
        blind: int,
        more: int,
        **how: int,
    ) -> None:
        """`persistent` 2 stands for every other message being so; `how` is for `compose`."""
        if not blind:
            if exchange >= 0:
                self._need_exchange(client, channel, exchange)
            self._need_queue(client, channel, queue)
        name = "" if exchange < 0 else list(EXCHANGES)[exchange]
        key = self._queue_name(client, queue)
        if name:
            key = routing_key(name, queue, _QUEUE_NAMES[queue])
        for nth in range(count):
            sent, wire = compose(
                self._next_body(),
                name,
                key,
                channel=channel,
                mandatory=bool(mandatory),
                persistent=bool(persistent == 1 or (persistent == 2 and nth % 2)),
                **how,
            )
            options = {"exchange": name, "sent": sent, "mandatory": bool(mandatory)}
            self._send(client, channel, int(more or nth < count - 1), "publish", options, wire)

    def commit(self, client: int, channel: int, commit: int, more: int) -> None:
        it = self._stage.clients.get(client)
        if it is None or channel not in it.model.channels:
            return
        if it.model.channels[channel].mode != "tx":
            return
        name, call = ("commit", Tx.Commit()) if commit else ("rollback", Tx.Rollback())
        self._send(client, channel, more, name, {}, call)

    def settle(
        self,
        client: int,
        channel: int,
        how: int,
        pick: int,
        multiple: int,
        requeue: int,
        twice: int,
        more: int,
    ) -> None:
        """`multiple` 2 stands for all that is outstanding."""
        if (found := self._with("unsettled", client, channel)) is None:
            return
        client, known = found
        tags = list(known.unsettled)
        tag = 0 if multiple == 2 and how != 2 else tags[pick % len(tags)]
        several = bool(multiple) and how != 2
        back = Outcome.HANDED_BACK if how == 1 else Outcome.REQUEUED
        outcome = back if requeue else Outcome.REJECTED
        match how:
            case 0:
                call, outcome = Basic.Ack(tag, several), Outcome.ACKNOWLEDGED
            case 1:
                call = Basic.Nack(tag, several, bool(requeue))
            case _:
                call = Basic.Reject(tag, bool(requeue))
        options = {"tag": tag, "multiple": several, "outcome": outcome}
        self._send(client, known.number, more, "settle", options, *[call] * (1 + twice))

    def get(
        self, client: int, channel: int, queue: int, no_ack: int, blind: int, more: int
    ) -> None:
        if not blind:
            self._need_queue(client, channel, queue)
        name = self._queue_name(client, queue)
        known = self._stage.model.queues.get(name)
        is_in_order = known is None or known.stays_in_order
        traits = traits_of(name)
        if traits.stream or self._would_meet(name) or not is_in_order:
            return
        if traits.retry_type:  # in which order it is may change while the client waits
            more = 0
            it = self._conversation.ready(client, channel)
            if it is None or it.fake.connection.waiting or it.fake.connection.blocked:
                return
        options = {"queue": name, "no_ack": bool(no_ack)}
        self._send(client, channel, more, "get", options, Basic.Get(**options))

    def consume(
        self,
        client: int,
        channel: int,
        queue: int,
        no_ack: int,
        priority: int,
        exclusive: int,
        blind: int,
        more: int,
        timeout: int = 0,
    ) -> None:
        if not blind:
            self._need_queue(client, channel, queue)
        name, tag = self._queue_name(client, queue), f"c{self._next_tag()}"
        if traits_of(name).stream or traits_of(name).refuses or traits_of(name).may_refuse:
            return
        if self._would_meet(name, "get", "purge", "delete_queue"):
            return
        if traits_of(name).quorum and not self._has_limits_of_consumers_only(client, channel):
            return
        if no_ack and traits_of(name).looks_at_values and is_grave(name):
            return  # a dead letter may be a duplicate, unless it comes late: nobody can tell
        declares = [other for other, what in self._coming(name) if what == "declare_queue"]
        if traits_of(name).is_special and any(other != client for other in declares):
            return
        how = {"no_ack": bool(no_ack), "exclusive": bool(exclusive)}
        options = {"queue": name, "tag": tag, "priority": priority, **how}
        arguments: dict[str, Any] = {"x-priority": priority} if priority else {}
        if timeout and (traits_of(name).ack_timeout_ms or traits_of(name).hurries):
            options["ack_timeout_ms"] = arguments["x-consumer-timeout"] = timeout
        consume = Basic.Consume(queue=name, consumer_tag=tag, arguments=arguments, **how)
        self._send(client, channel, more, "consume", options, consume)

    def read(
        self,
        client: int,
        channel: int,
        queue: int,
        offset: int,
        prefetch: int,
        blind: int,
        more: int,
        filters: int = 0,
    ) -> None:
        """Consume from a stream; `offset` 100 and more stand for words and times."""
        name, tag = self._queue_name(client, queue), f"c{self._next_tag()}"
        if not traits_of(name).stream:
            return
        if not blind:
            self._need_queue(client, channel, queue)
        if not self._has_limits_of_consumers_only(client, channel):
            return
        if prefetch >= 0:
            self.qos(client, channel, count=prefetch, all_of_it=0, more=1)
        asked = offset if offset < 100 else _OFFSETS[offset - 100]
        wanted = _FILTERS[filters]
        options = {"queue": name, "tag": tag, "offset": asked, "filters": wanted}
        arguments: dict[str, Any] = {} if asked is None else {"x-stream-offset": asked}
        if wanted:
            arguments["x-stream-filter"] = [value for value in wanted if value is not None]
            arguments["x-stream-match-unfiltered"] = None in wanted
        consume = Basic.Consume(queue=name, consumer_tag=tag, arguments=arguments)
        self._send(client, channel, more, "read", options, consume)

    def cancel(self, client: int, channel: int, pick: int, more: int) -> None:
        if (found := self._with("consumers", client, channel)) is None:
            return
        client, known = found
        tag = list(known.consumers)[pick % len(known.consumers)]
        cancel = Basic.Cancel(consumer_tag=tag)
        self._send(client, known.number, more, "cancel", {"tag": tag}, cancel)

    def qos(self, client: int, channel: int, count: int, all_of_it: int, more: int) -> None:
        options = {"count": count, "all_of_it": bool(all_of_it)}
        qos = Basic.Qos(prefetch_count=count, global_=bool(all_of_it))
        self._send(client, channel, more, "qos", options, qos)

    def recover(self, client: int, channel: int, more: int) -> None:
        self._send(client, channel, more, "recover", {}, Basic.Recover(requeue=True))

    def close_channel(self, client: int, channel: int, more: int) -> None:
        it = self._conversation.ready(client, channel)
        if it is not None:
            self._send(client, channel, more, "close", {}, Channel.Close(0, "", 0, 0))
            it.may_send.discard(channel)

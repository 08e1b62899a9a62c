"""What clients' commands do to a model, and what clients must get for them."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from pamqp.commands import Basic, Channel, Confirm, Exchange, Queue, Tx

from . import arrivals, delays, routing, serving, streams, two_to_one
from .committing import Committing
from .exchanges import EXCHANGES
from .model import Model
from .queues import traits_of
from .things import (
    BindingKey,
    Delivery,
    Expected,
    MChannel,
    MConsumer,
    MQueue,
    Outcome,
    Refused,
    Sent,
)


class Commands:
    """Carries commands out in a model, as they were carried out by the broker."""

    def __init__(self, model: Model):
        self._model = model

    def carry_out(self, channel: MChannel, name: str, options: dict[str, Any]) -> list[Expected]:
        """Do what a command asks for and return what the client must get. Raises Refused."""
        return getattr(self, f"_do_{name}")(channel, **options)

    def _look_into(self, queue: MQueue) -> None:
        """Somebody sees what is in a queue at this moment."""
        arrivals.take_early(self._model, queue)
        self._model.tidy(queue)

    def _use(self, queue: MQueue) -> None:
        queue.used_ms = self._model.now_ms
        self._look_into(queue)

    def _do_select(self, channel: MChannel, mode: str) -> list[Expected]:
        channel.mode = mode
        return [Expected(Confirm.SelectOk if mode == "confirm" else Tx.SelectOk)]

    def _do_declare_queue(self, channel: MChannel, queue: str, nowait: bool) -> list[Expected]:
        model = self._model
        found = model.queues.get(queue)
        if found is None:
            traits = traits_of(queue)
            owner = channel.client if traits.exclusive else None
            found = model.add_queue(queue, traits, owner)
        self._use(found)
        values = {"queue": queue, "consumer_count": len(found.consumers)}
        if not streams.retains(found, self._model.policies):
            values["message_count"] = len(found.ready)
        batch = found.defined_in if found.durable else 0
        return _answer(nowait, Expected(Queue.DeclareOk, values, batch=batch))

    def _do_delete_queue(
        self, channel: MChannel, queue: str, if_empty: bool, nowait: bool
    ) -> list[Expected]:
        count_ = 0
        if queue in self._model.queues:
            found = self._model.queues[queue]
            if found.traits.stream:
                self._model.remove_queue(found)
            else:
                self._look_into(found)
                if if_empty and found.ready:
                    raise Refused(406)
                count_ = self._model.remove_queue(found)
        values = {"message_count": count_}
        return _answer(nowait, Expected(Queue.DeleteOk, values))

    def _do_purge(self, channel: MChannel, queue: str) -> list[Expected]:
        found = self._model.find(queue)
        self._look_into(found)
        purged = self._model.purge(found)
        return _answer(False, Expected(Queue.PurgeOk, {"message_count": purged}))

    def _do_declare_exchange(self, channel: MChannel, exchange: str) -> list[Expected]:
        batch = 0
        if EXCHANGES[exchange].durable:
            if exchange not in self._model.exchanges:
                self._model.note(("exchange", exchange), True)
            batch = self._model.batch_of(("exchange", exchange))
        if delays.is_delayed(exchange) and exchange not in self._model.exchanges:
            self._model.add_queue(exchange, delays.LINE, None)
        self._model.exchanges.add(exchange)
        return _answer(False, Expected(Exchange.DeclareOk, batch=batch))

    def _do_delete_exchange(self, channel: MChannel, exchange: str) -> list[Expected]:
        if exchange in self._model.exchanges:
            self._model.remove_exchange(exchange)
        return _answer(False, Expected(Exchange.DeleteOk))

    def _do_bind(
        self, channel: MChannel, queue: str, exchange: str, key: str, nowait: bool
    ) -> list[Expected]:
        self._model.check_exchange(exchange)
        self._model.find(queue)
        batch = self._bind((exchange, queue, key))
        return _answer(nowait, Expected(Queue.BindOk, batch=batch))

    def _bind(self, binding: BindingKey) -> int:
        """The batch that has a binding that must be there now, 0 for none."""
        model = self._model
        batch = 0
        is_new = binding not in model.bindings
        if model.is_durable(binding):
            if is_new:
                model.note(("binding", *binding), True)
            batch = model.batch_of(("binding", *binding))
        if is_new:
            model.bindings[binding] = None
            routing.replay(model, binding[0], binding[1])
        return batch

    def _do_link(self, channel: MChannel, to: str, exchange: str, key: str) -> list[Expected]:
        self._model.check_exchange(exchange)
        self._model.check_exchange(to)
        return _answer(False, Expected(Exchange.BindOk, batch=self._bind((exchange, to, key))))

    def _do_unlink(self, channel: MChannel, to: str, exchange: str, key: str) -> list[Expected]:
        self._model.unbind((exchange, to, key))
        return _answer(False, Expected(Exchange.UnbindOk))

    def _do_unbind(
        self, channel: MChannel, queue: str, exchange: str, key: str
    ) -> list[Expected]:  # fmt: skip
        self._model.unbind((exchange, queue, key))
        return _answer(False, Expected(Queue.UnbindOk))

    def _do_publish(
        self, channel: MChannel, exchange: str, sent: Sent, mandatory: bool
    ) -> list[Expected]:
        self._model.check_exchange(exchange)
        if sent.asks:
            sent = replace(sent, reply_to=self._model.replies.address_of(channel))
        line = delays.line_for(self._model, exchange, sent)
        queues = line or routing.route(self._model, exchange, sent)
        names = [queue.name for queue in queues if queue.traits is not delays.LINE]
        self._model.firehose.published(channel, exchange, sent, names)
        if channel.mode == "tx":
            replied_to = [queue for queue in queues if queue in self._model.replies.queues]
            self._model.put(sent, replied_to)
            waiting = [queue for queue in queues if queue not in replied_to]
            channel.tx_published.append((sent, waiting, mandatory))
            return []
        put = self._model.put(sent, queues)
        if channel.mode == "confirm":
            channel.confirms.append(self._model.batch if put.on_disk else 0)
            if put.refused:
                channel.refused.add(len(channel.confirms))
        if mandatory and not delays.are_reached(queues):
            return [Expected(Basic.Return, {"reply_code": 312}, sent)]
        return []

    def _do_commit(self, channel: MChannel) -> list[Expected]:
        committing = Committing(self._model, channel)
        if not committing.is_much:
            committing.carry_out()
            return committing.answer()
        self._model.turns.commit(channel, committing.go_on)
        channel.client.owed = channel, committing.answer
        return []

    def _do_rollback(self, channel: MChannel) -> list[Expected]:
        self._model.rollback(channel)
        return [Expected(Tx.RollbackOk)]

    def _do_qos(self, channel: MChannel, count: int, all_of_it: bool) -> list[Expected]:
        if all_of_it:
            channel.limit = count
        else:
            channel.prefetch, channel.limit = count, 0
        return [Expected(Basic.QosOk)]

    def _do_consume(
        self,
        channel: MChannel,
        queue: str,
        tag: str,
        no_ack: bool,
        priority: int = 0,
        exclusive: bool = False,
        ack_timeout_ms: int | None = None,
    ) -> list[Expected]:
        found = self._model.find(queue)
        if serving.is_taken(found, exclusive=exclusive):
            raise Refused(403)
        self._use(found)
        consumer = MConsumer(
            tag,
            channel,
            found,
            no_ack,
            0 if no_ack else channel.prefetch,
            priority,
            exclusive,
            stands_by=found.traits.single_active,
            ack_timeout_ms=ack_timeout_ms,
        )
        found.consumers.append(consumer)
        channel.consumers[tag] = consumer
        serving.elect(found)
        return [Expected(Basic.ConsumeOk, {"consumer_tag": tag})]

    def _do_read(
        self,
        channel: MChannel,
        queue: str,
        tag: str,
        offset: str | int | datetime | None,
        filters: tuple[str | None, ...],
    ) -> list[Expected]:
        found = self._model.find(queue)
        if not channel.prefetch:
            raise Refused(406)
        start = streams.start_offset(found, offset, self._model.now_ms)
        answer = self._do_consume(channel, queue, tag, no_ack=False)
        channel.consumers[tag].position = start
        channel.consumers[tag].filters = filters
        return answer

    def _do_consume_replies(self, channel: MChannel, tag: str, no_ack: bool) -> list[Expected]:
        self._model.replies.begin(channel, tag, no_ack=no_ack)
        return [Expected(Basic.ConsumeOk, {"consumer_tag": tag})]

    def _do_ask_after(self, channel: MChannel, address: str) -> list[Expected]:
        if not self._model.replies.reached_by((address,)):
            raise Refused(404)
        values = {"queue": address, "message_count": 0, "consumer_count": 1}
        return [Expected(Queue.DeclareOk, values)]

    def _do_cancel(self, channel: MChannel, tag: str) -> list[Expected]:
        if tag in channel.consumers:
            self._model.cancel(channel.consumers[tag])
        return [Expected(Basic.CancelOk, {"consumer_tag": tag})]

    def _do_get(self, channel: MChannel, queue: str, no_ack: bool) -> list[Expected]:
        found = self._model.find(queue)
        self._use(found)
        if found.traits.quorum and found.traits.single_active:
            raise Refused(405)
        entry = two_to_one.first(found)
        if entry is None or found.returning:
            return [Expected(Basic.GetEmpty)]
        two_to_one.leave(found, entry)
        self._model.give(channel, found, entry)
        self._look_into(found)
        channel.last_tag += 1
        if no_ack:
            self._model.be_done(found, entry)
        else:
            channel.unsettled[channel.last_tag] = Delivery(entry, found, None, self._model.now_ms)
        values = {
            "delivery_tag": channel.last_tag,
            "redelivered": entry.redelivered,
            "message_count": len(found.ready),
        }
        counted = entry if found.traits.quorum else None
        return [Expected(Basic.GetOk, values, entry.sent, counted=counted)]

    def _do_settle(
        self, channel: MChannel, tag: int, multiple: bool, outcome: Outcome
    ) -> list[Expected]:
        if multiple and tag == 0:
            tags = list(channel.unsettled)
        elif tag not in channel.unsettled:
            raise Refused(406)
        else:
            tags = [each for each in channel.unsettled if each == tag or (multiple and each < tag)]
        turns = self._model.turns
        if multiple and channel.mode != "tx" and len(channel.unsettled) > turns.at_once:
            turns.settle(channel, tags, outcome)
            return []
        deliveries = {each: channel.unsettled.pop(each) for each in tags}
        if channel.mode == "tx":
            channel.tx_settled.append((deliveries, outcome))
        else:
            self._model.settle(deliveries.values(), outcome)
        return []

    def _do_recover(self, channel: MChannel) -> list[Expected]:
        self._model.turns.settle(channel, channel.unsettled, Outcome.HANDED_BACK)
        return [Expected(Basic.RecoverOk)]

    def _do_close(self, channel: MChannel) -> list[Expected]:
        self._model.close_channel(channel)
        del channel.client.channels[channel.number]
        return [Expected(Channel.CloseOk)]


def _answer(nowait: bool, expected: Expected) -> list[Expected]:
    expected.may_wait = True
    return [] if nowait else [expected]

"""What a broker must do, in the plainest way: lists and dicts, no thought of speed.

The model carries out each command as it was carried out by the broker, and says what the client
must get for it.
"""

from bisect import insort
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from pamqp.commands import Basic, Channel, Confirm, Exchange, Queue, Tx

from .things import (
    EXCHANGES,
    MAX_PRIORITIES,
    BindingKey,
    Commit,
    Delivery,
    Entry,
    Expected,
    MChannel,
    MClient,
    MConsumer,
    MQueue,
    Refused,
)


class Model:
    """All that the broker holds. `batch` is the one that takes what happens now."""

    def __init__(self) -> None:
        self.batch = 1
        self.queues: dict[str, MQueue] = {}
        self.incarnations: list[MQueue] = []
        self.exchanges: set[str] = set()
        self.bindings: set[BindingKey] = set()
        self.policies: set[str] = set()
        self.facts: dict[tuple[str, ...], list[tuple[int, bool]]] = {}
        """Of what is durable, beside queues: since which batch it was there, or not."""
        self.commits: list[Commit] = []
        self.cancels: list[tuple[MChannel, str]] = []
        """Consumers whose clients must be told that their queue is gone."""
        self.next_place = count(1).__next__
        self.queue_number: Callable[[str], int] = lambda name: 0

    # --- topology -----------------------------------------------------------------------------

    def _note(self, key: tuple[str, ...], present: bool) -> None:
        self.facts.setdefault(key, []).append((self.batch, present))

    def _batch_of(self, key: tuple[str, ...]) -> int:
        history = self.facts.get(key)
        return history[-1][0] if history else 0

    def find(self, name: str) -> MQueue:
        if name not in self.queues:
            raise Refused(404)
        return self.queues[name]

    def _check_exchange(self, name: str) -> None:
        if name and name not in self.exchanges:
            raise Refused(404)

    def route(self, exchange: str, key: str) -> list[MQueue]:
        if not exchange:
            return [self.queues[key]] if key in self.queues else []
        fanout = EXCHANGES[exchange][0] == "fanout"
        names = {
            queue for source, queue, bound in self.bindings
            if source == exchange and (fanout or bound == key)
        }  # fmt: skip
        strays = exchange == "direct" and "stray" in self.policies and "fanout" in self.exchanges
        if not names and strays:
            return self.route("fanout", key)
        return [self.queues[name] for name in sorted(names)]

    def change_policy(self, name: str, *, present: bool) -> None:
        """A policy has been set or deleted."""
        if (name in self.policies) == present:
            return
        self._note(("policy", name), present)
        (self.policies.add if present else self.policies.discard)(name)

    def _unbind(self, key: BindingKey) -> None:
        if key not in self.bindings:
            return
        self.bindings.discard(key)
        if self._is_durable(key):
            self._note(("binding", *key), False)
        exchange = key[0]
        if EXCHANGES[exchange][2] and not any(b[0] == exchange for b in self.bindings):
            self._remove_exchange(exchange)

    def _is_durable(self, key: BindingKey) -> bool:
        return EXCHANGES[key[0]][1] and self.queues[key[1]].durable

    def _remove_exchange(self, name: str) -> None:
        self.exchanges.discard(name)
        if EXCHANGES[name][1]:
            self._note(("exchange", name), False)
        for key in [key for key in self.bindings if key[0] == name]:
            self.bindings.discard(key)
            if self._is_durable(key):
                self._note(("binding", *key), False)

    def remove_queue(self, queue: MQueue) -> int:
        ready = len(queue.ready)
        self._purge(queue)
        queue.deleted_in = self.batch
        for key in [key for key in self.bindings if key[1] == queue.name]:
            self._unbind(key)
        del self.queues[queue.name]
        for consumer in list(queue.consumers):
            del consumer.channel.consumers[consumer.tag]
            self.cancels.append((consumer.channel, consumer.tag))
        queue.consumers.clear()
        return ready

    def _purge(self, queue: MQueue) -> int:
        purged, queue.ready = queue.ready, []
        for entry in purged:
            entry.settled_in = self.batch
        return len(purged)

    # --- messages -----------------------------------------------------------------------------

    def _enqueue(
        self,
        body: int,
        persistent: bool,
        priority: int,
        queues: Iterable[MQueue],
        commit: Commit | None = None,
    ) -> bool:
        """Whether the disk is to have it."""
        on_disk = False
        for queue in queues:
            entry = Entry(
                body,
                self.next_place(),
                persistent,
                self.batch,
                min(priority, queue.max_priority),
                published_by=commit,
            )
            insort(queue.ready, entry)
            if persistent and queue.durable:
                on_disk = True
                queue.stored.append(entry)
                if commit is not None:
                    commit.published.append((queue, entry))
        return on_disk

    def _settle(
        self, deliveries: Iterable[Delivery], requeue: bool, commit: Commit | None = None
    ) -> bool:
        on_disk = False
        for delivery in deliveries:
            entry, queue = delivery.entry, delivery.queue
            if requeue and not queue.deleted:
                entry.redelivered = True
                insort(queue.ready, entry)
            elif entry.settled_in is None:
                entry.settled_in = self.batch
                entry.settled_by = commit
                if entry.persistent and queue.durable and not queue.deleted:
                    on_disk = True
                    if commit is not None:
                        commit.settled.append((queue, entry))
            if delivery.consumer is not None:
                delivery.consumer.unsettled -= 1
                delivery.consumer.channel.consumed -= 1
        return on_disk

    def deliver(self, channel: MChannel, consumer: MConsumer, entry: Entry) -> None:
        """An entry, taken out of its queue's ready ones, has gone to a consumer."""
        channel.last_tag += 1
        if consumer.no_ack:
            entry.settled_in = self.batch
            return
        channel.unsettled[channel.last_tag] = Delivery(entry, consumer.queue, consumer)
        consumer.unsettled += 1
        channel.consumed += 1

    # --- channels and connections -------------------------------------------------------------

    def close_channel(self, channel: MChannel) -> None:
        for consumer in list(channel.consumers.values()):
            self._cancel(consumer)
        self._rollback(channel)
        self._settle(channel.unsettled.values(), requeue=True)
        channel.unsettled.clear()
        channel.mode = ""

    def lose(self, client: MClient) -> None:
        """A connection is gone."""
        for channel in list(client.channels.values()):
            if not channel.closing:
                self.close_channel(channel)
        client.channels.clear()
        for queue in [queue for queue in self.queues.values() if queue.owner is client]:
            self.remove_queue(queue)

    def _cancel(self, consumer: MConsumer) -> None:
        del consumer.channel.consumers[consumer.tag]
        queue = consumer.queue
        queue.consumers.remove(consumer)
        if queue.auto_delete and not queue.consumers:
            self.remove_queue(queue)

    def _rollback(self, channel: MChannel) -> None:
        channel.tx_published.clear()
        for deliveries, _ in channel.tx_settled:
            channel.unsettled.update(deliveries)
        channel.unsettled = dict(sorted(channel.unsettled.items()))
        channel.tx_settled.clear()

    # --- commands -----------------------------------------------------------------------------

    def carry_out(self, channel: MChannel, name: str, options: dict[str, Any]) -> list[Expected]:
        """Do what a command asks for and return what the client must get. Raises Refused."""
        return getattr(self, f"_do_{name}")(channel, **options)

    def _do_select(self, channel: MChannel, mode: str) -> list[Expected]:
        channel.mode = mode
        return [Expected(Confirm.SelectOk if mode == "confirm" else Tx.SelectOk)]

    def _do_declare_queue(
        self, channel: MChannel, queue: str, kind: str, nowait: bool
    ) -> list[Expected]:
        found = self.queues.get(queue)
        if found is None:
            durable = kind in ("durable", "auto-delete", "priority")
            number = self.queue_number(queue)
            for other in self.incarnations:
                if other.number == number:
                    other.number = 0  # it came and went before anybody looked
            found = self.queues[queue] = MQueue(
                queue,
                number,
                durable,
                kind == "auto-delete",
                channel.client if kind == "exclusive" else None,
                self.batch,
                max_priority=MAX_PRIORITIES.get(queue, 0),
            )
            self.incarnations.append(found)
        values = {
            "queue": queue,
            "message_count": len(found.ready),
            "consumer_count": len(found.consumers),
        }
        batch = found.defined_in if found.durable else 0
        return _answer(nowait, Expected(Queue.DeclareOk, values, batch=batch))

    def _do_delete_queue(
        self, channel: MChannel, queue: str, if_empty: bool, nowait: bool
    ) -> list[Expected]:
        count_ = 0
        if queue in self.queues:
            found = self.queues[queue]
            if if_empty and found.ready:
                raise Refused(406)
            count_ = self.remove_queue(found)
        values = {"message_count": count_}
        return _answer(nowait, Expected(Queue.DeleteOk, values))

    def _do_purge(self, channel: MChannel, queue: str) -> list[Expected]:
        purged = self._purge(self.find(queue))
        return _answer(False, Expected(Queue.PurgeOk, {"message_count": purged}))

    def _do_declare_exchange(self, channel: MChannel, exchange: str) -> list[Expected]:
        batch = 0
        if EXCHANGES[exchange][1]:
            if exchange not in self.exchanges:
                self._note(("exchange", exchange), True)
            batch = self._batch_of(("exchange", exchange))
        self.exchanges.add(exchange)
        return _answer(False, Expected(Exchange.DeclareOk, batch=batch))

    def _do_delete_exchange(self, channel: MChannel, exchange: str) -> list[Expected]:
        if exchange in self.exchanges:
            self._remove_exchange(exchange)
        return _answer(False, Expected(Exchange.DeleteOk))

    def _do_bind(
        self, channel: MChannel, queue: str, exchange: str, key: str, nowait: bool
    ) -> list[Expected]:
        self._check_exchange(exchange)
        self.find(queue)
        binding = (exchange, queue, key)
        batch = 0
        if self._is_durable(binding):
            if binding not in self.bindings:
                self._note(("binding", *binding), True)
            batch = self._batch_of(("binding", *binding))
        self.bindings.add(binding)
        return _answer(nowait, Expected(Queue.BindOk, batch=batch))

    def _do_unbind(
        self, channel: MChannel, queue: str, exchange: str, key: str
    ) -> list[Expected]:  # fmt: skip
        binding = (exchange, queue, key)
        if binding in self.bindings:
            self._unbind(binding)
        return _answer(False, Expected(Queue.UnbindOk))

    def _do_publish(
        self,
        channel: MChannel,
        exchange: str,
        key: str,
        body: int,
        persistent: bool,
        priority: int,
        mandatory: bool,
    ) -> list[Expected]:
        self._check_exchange(exchange)
        queues = self.route(exchange, key)
        if channel.mode == "tx":
            channel.tx_published.append((body, persistent, priority, queues, mandatory))
            return []
        on_disk = self._enqueue(body, persistent, priority, queues)
        if channel.mode == "confirm":
            channel.confirms.append(self.batch if on_disk else 0)
        if mandatory and not queues:
            return [Expected(Basic.Return, {"reply_code": 312}, body)]
        return []

    def _do_commit(self, channel: MChannel) -> list[Expected]:
        returns: list[Expected] = []
        commit = Commit(self.batch)
        on_disk = False
        for body, persistent, priority, queues, mandatory in channel.tx_published:
            live = [queue for queue in queues if not queue.deleted]
            on_disk |= self._enqueue(body, persistent, priority, live, commit)
            if mandatory and not live:
                returns.append(Expected(Basic.Return, {"reply_code": 312}, body))
        for deliveries, requeue in channel.tx_settled:
            on_disk |= self._settle(deliveries.values(), requeue, commit)
        channel.tx_published.clear()
        channel.tx_settled.clear()
        commit.batch = self.batch if on_disk else 0
        self.commits.append(commit)
        return [*returns, Expected(Tx.CommitOk, batch=commit.batch, may_wait=True)]

    def _do_rollback(self, channel: MChannel) -> list[Expected]:
        self._rollback(channel)
        return [Expected(Tx.RollbackOk)]

    def _do_qos(self, channel: MChannel, count: int, all_of_it: bool) -> list[Expected]:
        if all_of_it:
            channel.limit = count
        else:
            channel.prefetch, channel.limit = count, 0
        return [Expected(Basic.QosOk)]

    def _do_consume(
        self, channel: MChannel, queue: str, tag: str, no_ack: bool
    ) -> list[Expected]:  # fmt: skip
        found = self.find(queue)
        consumer = MConsumer(tag, channel, found, no_ack, 0 if no_ack else channel.prefetch)
        found.consumers.append(consumer)
        channel.consumers[tag] = consumer
        return [Expected(Basic.ConsumeOk, {"consumer_tag": tag})]

    def _do_cancel(self, channel: MChannel, tag: str) -> list[Expected]:
        if tag in channel.consumers:
            self._cancel(channel.consumers[tag])
        return [Expected(Basic.CancelOk, {"consumer_tag": tag})]

    def _do_get(self, channel: MChannel, queue: str, no_ack: bool) -> list[Expected]:
        found = self.find(queue)
        if not found.ready:
            return [Expected(Basic.GetEmpty)]
        entry = found.ready.pop(0)
        channel.last_tag += 1
        if no_ack:
            entry.settled_in = self.batch
        else:
            channel.unsettled[channel.last_tag] = Delivery(entry, found, None)
        values = {
            "delivery_tag": channel.last_tag,
            "redelivered": entry.redelivered,
            "message_count": len(found.ready),
        }
        return [Expected(Basic.GetOk, values, entry.body)]

    def _do_settle(
        self, channel: MChannel, how: str, tag: int, multiple: bool, requeue: bool
    ) -> list[Expected]:
        if multiple and tag == 0:
            tags = list(channel.unsettled)
        elif tag not in channel.unsettled:
            raise Refused(406)
        else:
            tags = [each for each in channel.unsettled if each == tag or (multiple and each < tag)]
        deliveries = {each: channel.unsettled.pop(each) for each in tags}
        if channel.mode == "tx":
            channel.tx_settled.append((deliveries, requeue))
        else:
            self._settle(deliveries.values(), requeue)
        return []

    def _do_recover(self, channel: MChannel) -> list[Expected]:
        deliveries, channel.unsettled = channel.unsettled, {}
        self._settle(deliveries.values(), requeue=True)
        return [Expected(Basic.RecoverOk)]

    def _do_close(self, channel: MChannel) -> list[Expected]:
        self.close_channel(channel)
        del channel.client.channels[channel.number]
        return [Expected(Channel.CloseOk)]


def _answer(nowait: bool, expected: Expected) -> list[Expected]:
    expected.may_wait = True
    return [] if nowait else [expected]

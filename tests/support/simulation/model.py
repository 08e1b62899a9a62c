"""What a broker must hold, in the plainest way: lists and dicts, no thought of speed.

`commands` says what clients' commands do to it, `expiry` and its neighbours what happens by itself.
"""

from bisect import insort
from collections.abc import Callable, Iterable
from itertools import count
from math import inf

from fake_client import Received
from leveret.broker.rules import DEFAULT_VERSION, EmulatedVersion

from . import (
    arrivals,
    deduplication,
    expiry,
    limits,
    policies,
    queue_values,
    quorum,
    retries,
    routing,
    serving,
    streams,
    two_to_one,
)
from .dead_letters import Burial, Reason, letter_of, may_enter
from .exchanges import EXCHANGES, Basis
from .firehose import Firehose
from .queues import REJECT_PUBLISH_DLX, Traits
from .replies import Replies
from .spreading import Spread
from .things import (
    COME_BACK,
    BindingKey,
    Commit,
    Delivery,
    Entry,
    MChannel,
    MClient,
    MConsumer,
    MQueue,
    Outcome,
    Put,
    Refused,
    Return,
    Sent,
)
from .turns import Turns

ALL_AT_ONCE = 1 << 30
TRACING = ("tracing",)


class Model:
    """All that the broker holds. `batch` is the one that takes what happens now; it is `now_ms`."""

    def __init__(
        self, at_once: int = ALL_AT_ONCE, emulate: EmulatedVersion = DEFAULT_VERSION
    ) -> None:
        self.emulate: EmulatedVersion = emulate
        self.turns = Turns(at_once, self.settle)
        self.batch = 1
        self.now_ms = 0
        self.queues: dict[str, MQueue] = {}
        self.incarnations: list[MQueue] = []
        self.exchanges: set[str] = set()
        self.bindings: dict[BindingKey, None] = {}
        """In the order in which they came."""
        self.histories: dict[str, list[Sent]] = {}
        """What exchanges remember of what has passed."""
        self.seen: dict[str, deduplication.Seen] = {}
        """Which values of that exchanges remember."""
        self.spread = Spread()
        """Where exchanges that choose have led messages."""
        self.replies = Replies()
        self.firehose = Firehose()
        self.policies: set[str] = set()
        self.facts: dict[tuple[str, ...], list[tuple[int, bool]]] = {}
        """Of what is durable, beside queues: since which batch it was there, or not."""
        self.commits: list[Commit] = []
        self.burials: list[Burial] = []
        self._dying: list[Burial] = []
        self.cancels: list[tuple[MChannel, str]] = []
        """Consumers whose clients must be told that their queue is gone."""
        self.next_place = count(1).__next__
        self.arrivals: list[tuple[MClient, Received]] | None = None
        """What consumers have been sent in this step and what is not taken account of yet, None if
        that is not known or does not matter any more.
        """
        self.queue_number: Callable[[str], int] = lambda name: 0
        self.choice_of: Callable[[list[BindingKey], Basis, object], str | None] = lambda *_: None
        self.first_offset: Callable[[MQueue], int] = lambda stream: 0

    # --- topology -----------------------------------------------------------------------------

    def note(self, key: tuple[str, ...], present: bool) -> None:
        self.facts.setdefault(key, []).append((self.batch, present))

    def batch_of(self, key: tuple[str, ...]) -> int:
        history = self.facts.get(key)
        return history[-1][0] if history else 0

    def find(self, name: str) -> MQueue:
        if name not in self.queues:
            raise Refused(404)
        return self.queues[name]

    def check_exchange(self, name: str) -> None:
        if name and name not in self.exchanges:
            raise Refused(404)

    def change_policy(self, name: str, *, present: bool) -> None:
        """A policy has been set or deleted."""
        if (name in self.policies) == present:
            return
        self.note((policies.POLICIES[name].kind, name), present)
        (self.policies.add if present else self.policies.discard)(name)
        self.follow_policies()

    def trace(self, *, on: bool) -> None:
        """The firehose has been switched on or off."""
        if on != self.firehose.on:
            self.note(TRACING, on)
            self.firehose.on = on

    def follow_policies(self) -> None:
        """Have queues do what policies set for them now."""
        for queue in self.queues.values():
            traits = policies.in_force(queue.name, queue.declared, self.policies)
            if traits != queue.traits:
                if traits.deduplicates != queue.traits.deduplicates:
                    queue.values.clear()
                queue.traits = traits
                queue.used_ms = self.now_ms

    def add_queue(self, name: str, traits: Traits, owner: MClient | None) -> MQueue:
        """There is a new queue."""
        number = self.queue_number(name)
        traits = quorum.with_default_limit(traits, self.emulate)
        for other in self.incarnations:
            if other.number == number:
                other.number = 0  # it came and went before anybody looked
        added = MQueue(name, number, traits, owner, self.batch, self.now_ms)
        added.takes_turns = traits.quorum and self.emulate == "4.0"
        added.traits = policies.in_force(name, traits, self.policies)
        self.queues[name] = added
        self.incarnations.append(added)
        return added

    def unbind(self, key: BindingKey) -> None:
        if key not in self.bindings:
            return
        self._drop_binding(key)
        exchange = key[0]
        if EXCHANGES[exchange].auto_delete and not any(b[0] == exchange for b in self.bindings):
            self.remove_exchange(exchange)

    def is_durable(self, key: BindingKey) -> bool:
        source, destination, _ = key
        if destination in EXCHANGES:
            return EXCHANGES[source].durable and EXCHANGES[destination].durable
        return EXCHANGES[source].durable and self.queues[destination].durable

    def remove_exchange(self, name: str) -> None:
        self.exchanges.discard(name)
        if name in self.queues:
            self.remove_queue(self.queues[name])
        if EXCHANGES[name].durable:
            self.note(("exchange", name), False)
        self.histories.pop(name, None)
        deduplication.end(self, name)
        for key in [key for key in self.bindings if key[0] == name]:
            self._drop_binding(key)
        for key in [key for key in self.bindings if key[1] == name]:
            self.unbind(key)

    def _drop_binding(self, key: BindingKey) -> None:
        del self.bindings[key]
        if self.is_durable(key):
            self.note(("binding", *key), False)

    def remove_queue(self, queue: MQueue) -> int:
        ready = len(queue.ready)
        self.purge(queue)
        queue.deleted_in = self.batch
        for key in [key for key in self.bindings if key[1] == queue.name]:
            self.unbind(key)
        del self.queues[queue.name]
        for consumer in list(queue.consumers):
            del consumer.channel.consumers[consumer.tag]
            self.cancels.append((consumer.channel, consumer.tag))
        queue.consumers.clear()
        return ready

    def purge(self, queue: MQueue) -> int:
        purged, queue.ready = queue.ready, []
        for entry in purged + queue.waiting:
            entry.settled_in = self.batch
        queue.waiting = []
        queue.values.clear()
        return len(purged)

    # --- messages -----------------------------------------------------------------------------

    def put(self, sent: Sent, queues: Iterable[MQueue], commit: Commit | None = None) -> Put:
        """A message comes to its queues, one of which may refuse it."""
        queues = list(queues)
        roomy = [queue for queue in queues if limits.has_room(queue, sent)]
        taking = [queue for queue in roomy if not self._is_duplicate(queue, sent)]
        for queue in queues:
            if queue not in roomy and queue.traits.overflow == REJECT_PUBLISH_DLX:
                self._dying.append(Burial(queue, sent, Reason.MAXLEN, None))
        entries = [(queue, self._enqueue(queue, sent, commit)) for queue in taking]
        on_disk = any(queue.keeps(sent) for queue in taking)
        return Put(entries, on_disk, len(taking) < len(queues))

    def _is_duplicate(self, queue: MQueue, sent: Sent) -> bool:
        if not queue_values.has(queue, sent, self.now_ms):
            return False
        arrivals.take_early(self, queue)
        self.tidy(queue)
        return queue_values.has(queue, sent, self.now_ms)

    def _enqueue(self, queue: MQueue, sent: Sent, commit: Commit | None) -> Entry:
        place = self.next_place()
        entry = Entry(
            sent,
            place,
            self.batch,
            min(sent.priority, queue.traits.max_priority),
            expiry.expires_ms(queue.traits, sent, self.now_ms),
            came_ms=self.now_ms,
            stands=place,
            published_by=commit,
        )
        if queue.traits.stream:
            streams.put(queue, entry)
        insort(queue.ready, entry)
        queue_values.hold(queue, entry)
        if queue.keeps(sent):
            queue.stored.append(entry)
            if commit is not None:
                commit.published.append((queue, entry))
        return entry

    def settle(
        self, deliveries: Iterable[Delivery], outcome: Outcome, commit: Commit | None = None
    ) -> bool:
        """Whether the disk is to know."""
        on_disk = False
        for delivery in deliveries:
            entry, queue = delivery.entry, delivery.queue
            if delivery.consumer is not None:
                delivery.consumer.unsettled -= 1
                delivery.consumer.channel.consumed -= 1
            if queue.traits.stream:
                continue
            if outcome in COME_BACK and not queue.deleted:
                self._return(queue, entry, outcome)
            elif entry.settled_in is None:
                entry.settled_by = commit
                self._end(queue, entry, outcome)
                if queue.keeps(entry.sent) and not queue.deleted:
                    on_disk = True
                    if commit is not None:
                        commit.settled.append((queue, entry))
        return on_disk

    def _return(self, queue: MQueue, entry: Entry, outcome: Outcome) -> None:
        entry.redelivered = True
        if queue.traits.counts_returns:
            quorum.count_return(entry)
        if quorum.is_too_often(queue, entry):
            self._die(queue, entry, Reason.DELIVERY_LIMIT)
            return
        if retries.must_wait(queue, entry, outcome, self.now_ms):
            entry.returned.append(Return(self.batch, None))
            return
        if queue.traits.quorum:
            asked = outcome is not Outcome.ABANDONED
            quorum.put_in_place(queue, entry, self.next_place(), self.batch, asked=asked)
        elif queue.traits.counts_returns:
            entry.returned.append(Return(self.batch, None))
        self.ready_again(queue, entry)

    def ready_again(self, queue: MQueue, entry: Entry) -> None:
        """What came back stands in its place."""
        insort(queue.ready, entry)
        queue_values.hold(queue, entry)
        self._trim(queue, limits.GIVE_WAY_TO_ONE)

    def _end(self, queue: MQueue, entry: Entry, outcome: Outcome) -> None:
        if outcome is Outcome.REJECTED:
            self._die(queue, entry, Reason.REJECTED)
        else:
            self.be_done(queue, entry)

    def be_done(self, queue: MQueue, entry: Entry) -> None:
        """A message will not come back."""
        entry.settled_in = self.batch
        queue_values.free(queue, entry)

    def offer(self, queue: MQueue) -> Entry | None:
        """The message that a consumer gets next, if that is known."""
        while (entry := two_to_one.first(queue)) and expiry.is_too_late(entry, self.now_ms):
            two_to_one.leave(queue, entry)
            self._die(queue, entry, Reason.EXPIRED)
        return entry

    def tidy(self, queue: MQueue) -> list[Entry]:
        """Be done with the messages that must not stay in a queue; those that have expired."""
        if queue.returning:
            return []
        expired = self._expire(queue)
        self._trim(queue)
        return expired + self._expire(queue)

    def _expire(self, queue: MQueue) -> list[Entry]:
        expired: list[Entry] = []
        while (entry := two_to_one.first(queue)) and expiry.is_over(entry, self.now_ms):
            two_to_one.leave(queue, entry)
            expired.append(entry)
            self._die(queue, entry, Reason.EXPIRED)
        return expired

    def _trim(self, queue: MQueue, most: float = inf) -> None:
        while most > 0 and limits.must_give_way(queue) and (entry := two_to_one.first(queue)):
            most -= 1
            two_to_one.leave(queue, entry)
            self._die(queue, entry, Reason.MAXLEN)

    def _die(self, queue: MQueue, entry: Entry, reason: Reason) -> None:
        self.be_done(queue, entry)
        if queue.traits.dead_letter_exchange is not None and not queue.deleted:
            self._dying.append(Burial(queue, entry.sent, reason, entry))

    def bury(self, commit: Commit | None = None) -> bool:
        """Publish dead letters of what has died; False if nothing has."""
        some = bool(self._dying)
        while self._dying:
            burial = self._dying.pop(0)
            letter, exchange = letter_of(burial), burial.queue.traits.dead_letter_exchange
            queues = []
            if exchange == "" or exchange in self.exchanges:
                queues = routing.route(self, exchange, letter)
            queues = [queue for queue in queues if may_enter(letter, queue, burial.reason)]
            burial.letters = self.put(letter, queues, commit).entries
            self.burials.append(burial)
        return some

    def drop_unused_queues(self) -> None:
        """Delete the queues that nobody has used for too long."""
        for queue in list(self.queues.values()):
            if expiry.is_unused(queue, self.now_ms):
                self.remove_queue(queue)

    def give(self, channel: MChannel, queue: MQueue, entry: Entry) -> None:
        """A client is given a message: that is told, unless it is a reply."""
        if queue.name in self.queues:
            self.firehose.given(channel, queue.name, entry.sent, redelivered=entry.redelivered)

    def deliver(self, channel: MChannel, consumer: MConsumer, entry: Entry) -> None:
        """An entry, taken out of its queue's ready ones, has gone to a consumer."""
        channel.last_tag += 1
        self.give(channel, consumer.queue, entry)
        if consumer.no_ack:
            self.be_done(consumer.queue, entry)
            return
        channel.unsettled[channel.last_tag] = Delivery(entry, consumer.queue, consumer, self.now_ms)
        consumer.unsettled += 1
        channel.consumed += 1

    # --- channels and connections -------------------------------------------------------------

    def close_channel(self, channel: MChannel) -> None:
        for consumer in list(channel.consumers.values()):
            self.cancel(consumer)
        self.rollback(channel)
        self.turns.settle(channel, channel.unsettled, Outcome.ABANDONED)
        channel.mode = ""

    def lose(self, client: MClient) -> None:
        """A connection is gone."""
        for channel in list(client.channels.values()):
            if not channel.closing:
                self.close_channel(channel)
        client.channels.clear()
        for queue in [queue for queue in self.queues.values() if queue.owner is client]:
            self.remove_queue(queue)

    def cancel(self, consumer: MConsumer) -> None:
        arrivals.take_before_end(self, consumer)
        del consumer.channel.consumers[consumer.tag]
        queue = consumer.queue
        queue.consumers.remove(consumer)
        if self.replies.end(consumer):
            return
        serving.elect(queue)
        queue.used_ms = self.now_ms
        if queue.traits.auto_delete and not queue.consumers:
            self.remove_queue(queue)

    def rollback(self, channel: MChannel) -> None:
        channel.tx_published.clear()
        for deliveries, _ in channel.tx_settled:
            channel.unsettled |= deliveries
        in_order = sorted(channel.unsettled.items())
        channel.unsettled.clear()
        channel.unsettled.update(in_order)
        channel.tx_settled.clear()

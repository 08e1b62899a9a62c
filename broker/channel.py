"""A channel: one client's independent line of work on a connection."""

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING
from weakref import WeakSet

from ..amqp.basic import BASIC_ACK, SETTLE, SETTLE_BYTES, SETTLE_PAYLOAD_BYTES
from ..amqp.errors import NotFound, PreconditionFailed
from ..amqp.frames import END, METHOD, method_frame
from ..amqp.method_ids import Method
from ..amqp.methods import BasicCancel
from .consumer import Consumer
from .death import Reason
from .deletion import delete_for
from .faults import do_all
from .publisher import Publisher
from .queue import Queue
from .settling import Settling, settle_in_turns
from .unsettled import Delivery, Outcome, Unsettled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .connection import Connection


class Channel:
    """An open channel. What it publishes and what it has not settled are objects of their own."""

    __slots__ = (
        "_former",
        "_woken_first",
        "connection",
        "consumers",
        "last_declared_queue",
        "number",
        "prefetch",
        "publisher",
        "reply_queue",
        "settling",
        "unsettled",
    )

    def __init__(self, connection: "Connection", number: int):
        self.connection = connection
        self.number = number
        self.settling: Settling | None = None
        """The work of settling very much, while there is any."""
        self.consumers: dict[str, Consumer] = {}
        self._former: WeakSet[Consumer] | None = None
        """Consumers that were cancelled, as long as there are deliveries of theirs."""
        self.unsettled = Unsettled()
        self.publisher = Publisher(self)
        self.prefetch = 0
        """What consumers started from now on get as their own limit."""
        self.last_declared_queue: str | None = None
        self._woken_first = 0
        self.reply_queue: Queue | None = None
        """Where replies to `amq.rabbitmq.reply-to` arrive, while it is consumed from."""

    def send(self, call: Method) -> None:
        """Send a method to the client."""
        self.connection.send_in_order(method_frame(self.number, call))

    def queue_name(self, name: str) -> str:
        """A queue's name as a method gives it: the empty one stands for the queue declared last.

        Raises NotFound if there is none.
        """
        if name:
            return name
        if self.last_declared_queue is None:
            raise NotFound("no previously declared queue")
        return self.last_declared_queue

    # --- settling -----------------------------------------------------------------------------

    def outstanding(self) -> "Iterator[tuple[Queue, int]]":
        """How many deliveries of which queues it is not done with, those settled in a transaction
        included; a queue may come several times.
        """
        for consumer in chain(self.consumers.values(), self._former or ()):
            yield consumer.queue, consumer.unsettled
        yield from self.unsettled.got.items()

    def receive_acks(self, data: bytes, at: int) -> int:
        """Take the run of single basic.ack frames of this channel that stands at `at`.

        Returns the offset behind it, or the one given if none stands there whole.
        """
        if self.publisher.transaction is not None:
            return at
        head = (METHOD, self.number, SETTLE_PAYLOAD_BYTES, BASIC_ACK)
        take, settled = self.unsettled.deliveries.pop, list[Delivery]()
        last = len(data) - SETTLE_BYTES
        try:
            while at <= last:
                kind, channel, size, method, tag, bits, end = SETTLE.unpack_from(data, at)
                if (kind, channel, size, method) != head or bits or end != END:
                    break
                delivery = take(tag, None)
                if delivery is None:
                    self.connection.receiver.method = BASIC_ACK
                    self.connection.receiver.position = at + SETTLE_BYTES
                    raise PreconditionFailed(f"unknown delivery tag {tag}")
                settled.append(delivery)
                at += SETTLE_BYTES
        finally:
            self.settle(settled, Outcome.ACKNOWLEDGED)
        return at

    def settle(self, deliveries: list[Delivery], outcome: Outcome) -> None:
        """Be done with deliveries, or put them back in their queues; their consumers get credit
        back.
        """
        if outcome is Outcome.ACKNOWLEDGED:
            self._acknowledge(deliveries)
        elif outcome is not Outcome.REJECTED:
            failed = outcome in (Outcome.RETURNED, Outcome.ABANDONED)
            asked = outcome in (Outcome.RETURNED, Outcome.HANDED_BACK)
            for message, queue, _ in deliveries:
                queue.requeue(message, failed=failed, asked=asked)
        else:
            for message, queue, _ in deliveries:
                queue.discard(message, Reason.REJECTED)
        self.unsettled.release(deliveries)
        if self.unsettled.limit:
            self.wake_consumers()

    def _acknowledge(self, deliveries: list[Delivery]) -> None:
        stored: dict[Queue, list[int]] = {}
        for message, queue, _ in deliveries:
            if message.stored:
                stored.setdefault(queue, []).append(message.stored)
        for queue, ids in stored.items():
            queue.settle_many(ids)
        if self.unsettled.reports:
            for message, queue, _ in deliveries:
                queue.gone(message)

    def wake_consumers(self) -> None:
        """Let every consumer of the channel try again: the channel's limit has room, or has
        changed. Another one comes first each time, or the first would take all the room there is.
        """
        consumers = list(self.consumers.values())
        self._woken_first += 1
        first = self._woken_first % max(len(consumers), 1)
        for consumer in consumers[first:] + consumers[:first]:
            consumer.queue.consumers.wake(consumer)

    # --- consumers and the end ----------------------------------------------------------------

    def cancel(self, consumer: Consumer) -> None:
        """Stop a consumer; an auto-delete queue goes with its last one."""
        self._forget(consumer)
        queue = consumer.queue
        queue.remove_consumer(consumer)
        if queue is self.reply_queue:
            self.reply_queue = None
            self.connection.vhost.remove_reply_queue(queue)
        elif queue.auto_delete and not queue.consumers.all and not queue.deleted:
            delete_for(self.connection, queue)

    def cancelled_by_broker(self, consumer: Consumer) -> None:
        """The consumer's queue is gone, or does not serve it any more: forget it, and tell a client
        that wants to know.
        """
        self._forget(consumer)
        self.tell_cancelled(consumer.tag)

    def _forget(self, consumer: Consumer) -> None:
        del self.consumers[consumer.tag]
        if consumer.unsettled:
            self._former = self._former or WeakSet()
            self._former.add(consumer)

    def tell_cancelled(self, tag: str) -> None:
        """Tell a client that wants to know that a consumer of its is no more."""
        if self.connection.client.capable("consumer_cancel_notify"):
            self.connection.broker.later(lambda: self._send_cancel(tag))

    def _send_cancel(self, tag: str) -> None:
        if self.connection.channels.get(self.number) is self:
            self.connection.send_in_order(method_frame(self.number, BasicCancel(tag, nowait=True)))

    def close(self) -> None:
        """Stop everything: what is due is confirmed, consumers go, unsettled messages return."""
        do_all(
            self.publisher.close,
            *(partial(self.cancel, consumer) for consumer in self.consumers.values()),
            self._let_go,
        )

    def _let_go(self) -> None:
        """Give back what it has not settled."""
        if self.publisher.transaction is not None:
            self.publisher.transaction.rollback(self)
        settle_in_turns(self, self.unsettled.tags(0), Outcome.ABANDONED)

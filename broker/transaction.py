"""tx: publishes and settlements held back until tx.commit, or dropped by tx.rollback."""

from typing import TYPE_CHECKING, TypeAlias

from .message import Message
from .queue import Queue
from .unsettled import Delivery, Outcome

if TYPE_CHECKING:
    from .channel import Channel

Settlement: TypeAlias = tuple[dict[int, Delivery], Outcome]
"""Deliveries by their tags, and what becomes of them."""


class Transaction:
    """What one channel has done since tx.select or the last commit or rollback."""

    __slots__ = ("_published", "_settled")

    def __init__(self) -> None:
        self._published: list[tuple[Message, tuple[Queue, ...], bool]] = []
        self._settled: list[Settlement] = []

    def publish(self, message: Message, queues: tuple[Queue, ...], mandatory: bool) -> None:
        """Hold a routed message back."""
        self._published.append((message, queues, mandatory))

    def settle(self, deliveries: dict[int, Delivery], outcome: Outcome) -> None:
        """Hold an ack, nack or reject back."""
        self._settled.append((deliveries, outcome))

    def commit(self, channel: "Channel") -> bool:
        """Carry everything out: first the publishes, then the settlements; on disk all or
        nothing. False if a queue refused a message.
        """
        complete = True
        published, self._published = self._published, []
        settled, self._settled = self._settled, []
        broker = channel.connection.broker
        with broker.definitions.together():
            for message, queues, mandatory in published:
                message.id = broker.next_message_id()
                live = tuple(queue for queue in queues if not queue.deleted)
                complete &= channel.publisher.deliver(message, live, mandatory)
            for deliveries, outcome in settled:
                channel.settle(list(deliveries.values()), outcome)
            broker.do_postponed()  # dead letters belong to the commit
        return complete

    def rollback(self, channel: "Channel") -> None:
        """Forget the publishes; what was settled is outstanding again, not redelivered."""
        self._published.clear()
        settled, self._settled = self._settled, []
        for deliveries, _ in settled:
            channel.unsettled.put_back(deliveries)

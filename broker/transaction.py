"""tx: publishes and settlements held back until tx.commit, or dropped by tx.rollback."""

from typing import TYPE_CHECKING

from ..amqp.errors import PreconditionFailed
from .message import Message
from .queue import Queue
from .uncommitted import Uncommitted
from .unsettled import Delivery

if TYPE_CHECKING:
    from .channel import Channel
    from .memory import MemoryBudget


class Transaction:
    """What one channel has done since tx.select or the last commit or rollback.

    What it has published is held in memory; all transactions together may hold as much as `memory`
    allows. What it has `settled` counts in the memory budget.
    """

    __slots__ = ("_held_bytes", "_memory", "_published", "settled")

    def __init__(self, memory: "MemoryBudget") -> None:
        self._memory = memory
        self._held_bytes = 0
        self._published: list[tuple[Message, tuple[Queue, ...], bool]] = []
        self.settled = Uncommitted()

    def publish(self, message: Message, queues: tuple[Queue, ...], mandatory: bool) -> None:
        """Hold a routed message back. Raises PreconditionFailed if too much is held already."""
        held_bytes = message.memory_bytes
        if not self._memory.hold_for_transaction(held_bytes):
            raise PreconditionFailed(
                "uncommitted transactions hold more than"
                f" {self._memory.transactions_max_bytes} bytes; commit more often"
            )
        self._held_bytes += held_bytes
        self._published.append((message, queues, mandatory))

    def commit(self, channel: "Channel") -> bool:
        """Carry everything out: first the publishes, then the settlements; on disk all or
        nothing. False if a queue refused a message.
        """
        complete = True
        published, self._published = self._published, []
        settled = self.settled.take()
        self._let_go()
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
        self._let_go()
        settled: dict[int, Delivery] = {}
        for deliveries, _ in self.settled.take():
            settled |= deliveries
        if settled:
            channel.unsettled.put_back(settled)

    def _let_go(self) -> None:
        self._memory.transaction_bytes -= self._held_bytes
        self._held_bytes = 0

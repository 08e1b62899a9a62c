"""tx: publishes and settlements held back until tx.commit, or dropped by tx.rollback."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..amqp.errors import PreconditionFailed
from .commit import Commit, Publish
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
        self._published: list[Publish] = []
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

    def commit(self, channel: "Channel", then: Callable[[bool], None]) -> None:
        """Carry everything out, then make that call: with False if a queue refused a message. The
        client waits if there is much to do.
        """
        published, self._published = self._published, []
        settled = self._take_settled()

        def done(complete: bool) -> None:
            self._let_go()
            then(complete)

        commit = Commit(channel, published, settled, done)
        if commit.is_much:
            channel.connection.wait()
            channel.connection.broker.commits.add(commit)
        else:
            commit.carry_out()

    def rollback(self, channel: "Channel") -> None:
        """Forget the publishes; what was settled is outstanding again, not redelivered."""
        self._published.clear()
        self._let_go()
        settled: dict[int, Delivery] = {}
        for deliveries, _ in self._take_settled().settlements:
            settled |= deliveries
        if settled:
            channel.unsettled.put_back(settled)

    def _take_settled(self) -> Uncommitted:
        settled, self.settled = self.settled, Uncommitted()
        return settled

    def _let_go(self) -> None:
        self._memory.transaction_bytes -= self._held_bytes
        self._held_bytes = 0

"""What messages may take in memory, and what happens when they take more.

Messages are counted by number and by the mean size of those seen lately, which costs the hot path
nothing; those that are delivered and not acknowledged by their sizes. Past the budget the longest
queues are paged out: all but their first messages are kept on disk only; and so are the contents of
deliveries that wait for their acknowledgement. If that does not help, because there is no journal
or because what remains of them is too much, the memory alarm is raised.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .alarms import Alarm
from .held_deliveries import HeldDeliveries
from .queue import Queue
from .uncommitted import Uncommitted

if TYPE_CHECKING:
    from .broker import Broker
    from .exchange import Holding
    from .store import JournalStore
    from .vhost import VirtualHost

_PAGED_OUT_TO = 0.7
_ALARM_AT = 4 / 3
_TRANSACTIONS_MIN_BYTES = 16 << 20
_NEEDS_DISK = (Queue, HeldDeliveries, Uncommitted)
_AT_ONCE = 4
"""How many queues are paged out in one turn."""


class MemoryBudget:
    """The budget of one broker, in bytes; 0 for none.

    It is looked at after every sixteenth of the budget that comes in, from clients or from `store`.
    """

    def __init__(self, broker: "Broker", store: "JournalStore | None"):
        self._broker = broker
        self._store = store
        self._checked_at = 0
        self.again = False
        """Whether there is more to page out than was done at once."""
        self.budget_bytes = 0
        self.published_bytes = 0
        """Bytes of messages published since the broker started."""
        self.transaction_bytes = 0
        """What open transactions hold."""

    @property
    def is_due(self) -> bool:
        """Whether so much has come in that it is time to look."""
        return self.again or self._came_in_bytes - self._checked_at > self.budget_bytes >> 4 > 0

    @property
    def _came_in_bytes(self) -> int:
        """Bytes of all messages that were published or read back from disk."""
        return self.published_bytes + (0 if self._store is None else self._store.loaded_bytes)

    @property
    def transactions_max_bytes(self) -> int:
        """How much all open transactions may hold together: they can't be paged out, and blocking
        their publishers would keep them from committing.
        """
        return max(self.budget_bytes >> 2, _TRANSACTIONS_MIN_BYTES) if self.budget_bytes else 0

    def hold_for_transaction(self, size_bytes: int) -> bool:
        """Count a message that waits for a tx.commit; False if that would be too much."""
        if 0 < self.transactions_max_bytes < self.transaction_bytes + size_bytes:
            return False
        self.transaction_bytes += size_bytes
        return True

    def look(self) -> None:
        """Page out and raise or clear the alarm, as memory asks for."""
        self._checked_at = self._came_in_bytes
        again, self.again = self.again, False
        broker = self._broker
        holding = [*self._holding()]
        used = sum(each.memory_bytes for each in holding)
        limit = self.budget_bytes
        most = limit * _PAGED_OUT_TO if again else limit
        if broker.journal is not None:
            limit = int(limit * _ALARM_AT)
        else:  # exchanges can forget without a disk
            holding = [each for each in holding if not isinstance(each, _NEEDS_DISK)]
        if 0 < most < used:
            gone = self._page_out(holding, used)
            used -= gone
            self.again = gone > 0 and used > self.budget_bytes * _PAGED_OUT_TO
        broker.alarms.set(Alarm.MEMORY, 0 < limit < used)

    def _page_out(self, holding: "list[Holding]", used: int) -> int:
        """Page out of what holds most until little enough is left, but not for long; return how
        much went.
        """
        gone = shorter = 0
        for each in sorted(holding, key=lambda each: each.memory_bytes, reverse=True):
            if shorter == _AT_ONCE or used - gone <= self.budget_bytes * _PAGED_OUT_TO:
                break
            before = each.memory_bytes
            if not _is_returning(each):
                each.page_out()
            gone += before - each.memory_bytes
            shorter += each.memory_bytes < before
        return gone

    def _holding(self) -> "Iterator[Holding]":
        """All that has messages in memory."""
        for vhost in self._broker.vhosts.values():
            yield from _holding(vhost)
        for connection in self._broker.connections:
            for channel in connection.channels.values():
                yield channel.unsettled.held
                if channel.publisher.transaction is not None:
                    yield channel.publisher.transaction.settled
        yield from self._broker.commits.holding()
        for settling in self._broker.settlings:
            if settling.left_behind is not None:
                yield settling.left_behind


def _is_returning(holding: "Holding") -> bool:
    """Whether this is a queue to which many messages are on their way back. They would come to
    stand before those that are paged out meanwhile.
    """
    features = holding.features if isinstance(holding, Queue) else None
    return features is not None and features.returning > 0


def _holding(vhost: "VirtualHost") -> "Iterator[Holding]":
    """All of a vhost that has messages in memory."""
    for queue in vhost.queues.values():
        yield queue
        if queue.retries is not None:
            yield queue.retries
        if queue.features is not None and queue.features.deduplication is not None:
            yield queue.features.deduplication
    for exchange in vhost.exchanges.values():
        yield from exchange.holds

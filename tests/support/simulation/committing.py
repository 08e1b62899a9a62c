"""Transactions: the oracle for tx.commit, in one turn or several.

First what was published comes to its queues, then what was settled is; dead letters of that belong
to it. All of it survives a crash or nothing.
"""

from collections import deque
from collections.abc import Iterable

from pamqp.commands import Basic, Tx

from . import delays
from .model import Model
from .things import Commit, Delivery, Expected, MChannel, Outcome, Refused
from .turns import Order


class Committing:
    """The transaction of a channel, taken from it, being carried out in a model."""

    def __init__(self, model: Model, channel: MChannel):
        self._model = model
        self._client = channel.client
        self._published = deque(channel.tx_published)
        self._orders = deque(_orders(channel.tx_settled))
        self._begun: Order | None = None
        self._commit = Commit(model.batch)
        self._on_disk = self._refused = False
        channel.tx_published.clear()
        channel.tx_settled.clear()
        model.commits.append(self._commit)

    @property
    def is_much(self) -> bool:
        """Whether it takes several turns."""
        settled = sum(len(order.tags) for order in self._orders)
        return max(len(self._published), settled) > self._model.turns.at_once

    def carry_out(self) -> None:
        """Do all of it."""
        while self.go_on():
            pass

    def go_on(self) -> bool:
        """Do what is done in a turn; whether there is more."""
        at_once = self._model.turns.at_once
        for _ in range(min(at_once, len(self._published))):
            self._publish()
        left = 0 if self._published else at_once
        while left > 0 and self._orders:
            left -= self._settle(at_once)
        self._model.bury(self._commit)
        self._commit.batch = self._model.batch if self._on_disk else 0
        return bool(self._published or self._orders)

    def _publish(self) -> None:
        sent, queues, mandatory = self._published.popleft()
        live = [queue for queue in queues if not queue.deleted]
        put = self._model.put(sent, live, self._commit)
        self._on_disk, self._refused = self._on_disk or put.on_disk, self._refused or put.refused
        if mandatory and not delays.are_reached(live):
            self._client.due.append(Expected(Basic.Return, {"reply_code": 312}, sent))

    def _settle(self, at_once: int) -> int:
        """Settle some of what is next; how many."""
        order = self._orders[0]
        count = len(order.tags)
        if order is not self._begun:
            self._begun = order
            order.begin(at_once)

        def settle(deliveries: Iterable[Delivery], outcome: Outcome) -> bool:
            on_disk = self._model.settle(deliveries, outcome, self._commit)
            self._on_disk = self._on_disk or on_disk
            return on_disk

        if not order.go_on(at_once, settle):
            self._orders.popleft()
        return count - len(order.tags)

    def answer(self) -> list[Expected]:
        """What the client must get when all is done. Raises Refused."""
        due = self._client.take_due()
        if self._refused:
            raise Refused(406, due)
        return [*due, Expected(Tx.CommitOk, batch=self._commit.batch, may_wait=True)]


def _orders(settled: list[tuple[dict[int, Delivery], Outcome]]) -> list[Order]:
    """What is settled in the same way, one after the other, is one order."""
    orders: list[Order] = []
    for deliveries, outcome in settled:
        if not orders or orders[-1].outcome is not outcome:
            orders.append(Order({}, deque(), outcome))
        orders[-1].deliveries.update(deliveries)
        orders[-1].tags.extend(deliveries)
    return orders

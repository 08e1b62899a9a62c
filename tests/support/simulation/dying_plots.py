"""What is worth doing in a row with queues whose messages become dead letters."""

from random import Random

from .actions import PLAINLY, Actions
from .exchanges import EXCHANGES
from .queues import QUEUES


class DyingPlots(Actions):
    """Makes up several actions that belong together."""

    def __init__(self, chance: Random, cast: list[int], exchanges: list[int]):
        super().__init__(chance, cast, exchanges)
        self._burying = self._those_that("lets_die")
        self._copying_letters = self._those_that("keeps_keys")

    def _bury(self) -> None:
        """Messages die, and the power fails while that is written."""
        queue, on = self.chance.choice(self._burying), self._without_transactions()
        self._publish(queue, persistent=1, count=self.chance.choice((2, 5, 12)), size=300)
        self._write_all()
        if self.chance.random() < 0.5:
            self._add("qos", **on, count=0, all_of_it=0, more=0)
            self._add("consume", **on, **PLAINLY, queue=queue, blind=0, more=0)
        else:
            for _ in range(self.chance.choice((1, 2, 4))):
                self._add("get", **on, queue=queue, no_ack=0, blind=0, more=0)
        self._write_all()
        how = {"how": 1, "requeue": 0, "twice": 0}
        self._add("settle", **on, **how, pick=0, multiple=2, more=0)
        self._lose_power()

    def _bury_copies(self) -> None:
        """Messages with copies die, mostly after the broker has forgotten who sent them."""
        queue, on = self.chance.choice(self._copying_letters), self._without_transactions()
        name = QUEUES[list(QUEUES)[queue]].dead_letter_exchange or ""
        to = list(QUEUES).index(self.chance.choice(EXCHANGES[name].only_to))
        where = {"exchange": list(EXCHANGES).index(name), "queue": to, "key": to}
        self._on_existing("bind", **where, nowait=0)
        copies = {"cc": self.chance.choice((-1, to)), "bcc": self.chance.choice((-1, to, to))}
        self._publish(queue, persistent=1, expiration=-1, **copies)
        self._write_all()
        self.chance.choice((self._write, self._restart, self._restart, self._crash))()
        self._add("get", **on, queue=queue, no_ack=0, blind=0, more=0)
        self._add("settle", **on, how=1, requeue=0, twice=0, pick=0, multiple=2, more=0)

    def _bury_in_transaction(self) -> None:
        """Messages die by a transaction that publishes others, and the power fails meanwhile."""
        client, channel = self.chance.choice(((0, 2), (1, 1)))
        on, queue = {"client": client, "channel": channel}, self.chance.choice(self._burying)
        self._publish(queue, persistent=1, count=self.chance.choice((2, 5)), size=300)
        self._write_all()
        for _ in range(self.chance.choice((1, 2, 4))):
            self._add("get", **on, queue=queue, no_ack=0, blind=0, more=0)
        for _ in range(self.chance.choice((0, 1, 3))):
            self._publish(**on, persistent=1, size=300, more=0)
        how = {"how": 1, "requeue": 0, "twice": 0}
        self._add("settle", **on, **how, pick=0, multiple=2, more=0)
        self._add("commit", **on, commit=1, more=0)
        self._lose_power()

    def _die_again(self) -> None:
        """Messages die, and so do the dead letters, in one queue after the other."""
        queue, on = self.chance.choice(self._burying), self._without_transactions()
        self._publish(queue, exchange=-1, count=self.chance.choice((1, 2, 5)), size=8)
        for _ in range(self.chance.choice((3, 5, 8))):
            for _ in range(self.chance.choice((1, 2))):
                self._add("get", **on, queue=queue, no_ack=0, blind=0, more=0)
                self._add("settle", **on, how=1, requeue=0, twice=0, pick=9, multiple=0, more=0)
            if self.chance.random() < 0.4:
                self.chance.choice((self._wait, self._wait, self._restart))()
            to = QUEUES[list(QUEUES)[queue]].dead_letter_key
            queue = list(QUEUES).index(to) if to else queue

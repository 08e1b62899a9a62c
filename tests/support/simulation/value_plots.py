"""What is worth doing in a row where messages are compared by their values."""

from random import Random

from .exchanges import EXCHANGES
from .plots import Plots

_NOW = {"blind": 0, "more": 0}


class ValuePlots(Plots):
    """Makes up several actions that belong together, of this sort as well."""

    def __init__(self, chance: Random, cast: list[int], exchanges: list[int]):
        super().__init__(chance, cast, exchanges)
        self._once = [each for each in exchanges if list(EXCHANGES.values())[each].values_most > 0]

    def _come_again(self) -> None:
        """Values come again to a queue that holds each but once, after their messages left it in
        some way or other, or did not.
        """
        queue, on = self.chance.choice(self._holding_once), self._without_transactions()
        new = {"count": 1, "size": 8, "persistent": self.chance.choice((0, 1, 1))}
        value = self._below(4)
        if self.chance.random() < 0.4:  # something to stand behind
            self._publish(queue, value=-1, expiration=-1, **new)
        for _ in range(self.chance.choice((2, 3, 5))):
            self._publish(queue, value=value, expiration=self._expiration(), **new, **on)
            if self.chance.random() < 0.3:
                self._publish(queue, value=self._below(4), **new)
            if self.chance.random() < 0.4:
                self.chance.choice((self._outlive, self._come_between))(queue, on)
            for _ in range(self.chance.choice((0, 1, 1, 2))):
                self._leave(queue, on)

    def _expiration(self) -> int:
        return self.chance.choice((-1, 30, 120))

    def _outlive(self, queue: int, on: dict[str, int]) -> None:
        """A message may still be there, with a client or behind another one, when its time is up;
        or just before that.
        """
        if self.chance.random() < 0.5:
            self._add("get", **on, queue=queue, no_ack=0, **_NOW)
        if self.chance.random() < 0.3:
            self._write_all()
            self.chance.choice((self._restart, self._crash))()
        for milliseconds in self.chance.choice(((30,), (120,), (29, 1), (119, 1), (60, 60))):
            self._add("wait", milliseconds=milliseconds)
            self._publish(queue, value=self._below(4), count=1, size=8)

    def _come_between(self, queue: int, on: dict[str, int]) -> None:
        """A value comes while its message is out that the queue has forgotten, or whose time is up,
        and comes again when that is done with, or is back.
        """
        new = {"value": self._below(4), "count": 1, "size": 8, "persistent": 1, **on}
        self._add("purge", **on, queue=queue, more=0)
        self._publish(queue, expiration=self._expiration(), **new)
        self._add("get", **on, queue=queue, no_ack=0, **_NOW)
        if self.chance.random() < 0.7:
            self._add("purge", **on, queue=queue, more=0)
        self._add("wait", milliseconds=self.chance.choice((1, 30, 120)))
        self._publish(queue, expiration=self._expiration(), **new)
        how = {"how": self._below(2), "requeue": 1, "twice": 0, "pick": 0, "multiple": 0}
        self._add("settle", **on, **how, more=0)
        for _ in range(2):
            self._publish(queue, **new)
            self._add("get", **on, queue=queue, no_ack=1, **_NOW)
        self._publish(queue, **new)

    def _leave(self, queue: int, on: dict[str, int]) -> None:
        """Something happens by which a message may leave its queue."""
        how = {"how": self._below(3), "requeue": self._below(2), "twice": 0, "pick": 0}
        match self._below(9):
            case 0 | 1 | 2:
                self._add("get", **on, queue=queue, no_ack=self._below(2), **_NOW)
            case 3 | 4:
                self._add("settle", **on, **how, multiple=self.chance.choice((0, 2)), more=0)
            case 5:
                self._add("purge", **on, queue=queue, more=0)
            case 6:
                self._add("wait", milliseconds=self.chance.choice((1, 10, 60, 120)))
            case 7:
                self._write_all()
                self.chance.choice((self._restart, self._crash))()
            case _:
                self.chance.choice((self._consume, self._policy))()

    def _repeat(self) -> None:
        """Values come again, at once or later, to an exchange that passes each on but once."""
        exchange, queue = self.chance.choice(self._once), self._queue()
        self._on_existing("bind", exchange=exchange, queue=queue, key=queue, nowait=0)
        for _ in range(self.chance.choice((2, 4, 6))):
            on = self._without_transactions()
            for left in reversed(range(self.chance.choice((1, 1, 3, 6)))):
                how = {"value": self._below(self._values), "count": 1, "persistent": 1, "size": 8}
                self._publish(queue, exchange, **how, **on, more=int(left > 0))
            if self.chance.random() < 0.5:
                self.chance.choice(
                    (
                        self._wait,
                        self._restart,
                        self._write_all,
                        self._write,
                        self._policy,
                        self._crash,
                        self._lose_power,
                    )
                )()

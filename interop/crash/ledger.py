"""The account of what was sent, confirmed, delivered and acknowledged, and what follows from it."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field

Name = tuple[str, int]
"""A message: who published it, and as which one, counted from 0."""


class BrokenPromise(AssertionError):
    """The broker has not kept one. The text says which."""


@dataclass
class Ledger:
    """One queue's account. Everything may be called from any thread.

    A life is the time from one start of the broker to its end.
    """

    queue: str
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    confirmed: set[Name] = field(default_factory=set)
    delivered: dict[Name, int] = field(default_factory=dict)
    """To the life in which it came last."""
    acknowledged: set[Name] = field(default_factory=set)
    """An ack was sent: it may be gone."""
    settled: set[Name] = field(default_factory=set)
    """An ack was sent, and something sent after it was confirmed: it must be gone."""
    life: int = 0
    redelivered: int = 0
    problems: list[str] = field(default_factory=list)
    _last: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin_life(self) -> None:
        with self._lock:
            self.life += 1
            self._last.clear()

    def next_name(self, publisher: str) -> Name:
        """The name of the message that a publisher sends now."""
        with self._lock:
            self.sent[publisher] += 1
            return publisher, self.sent[publisher] - 1

    def confirm(self, name: Name) -> None:
        with self._lock:
            self.confirmed.add(name)

    def deliver(self, name: Name, redelivered: bool) -> None:
        """A message came, to the only consumer of the queue."""
        publisher, number = name
        with self._lock:
            if number >= self.sent[publisher]:
                self.problems.append(f"{name} came and was never sent")
            if name in self.settled:
                self.problems.append(f"{name} came again after its ack was on disk")
            if self._last.get(publisher, -1) >= number:
                self.problems.append(f"{name} came after {self._last[publisher]}: order")
            before = self.delivered.get(name)
            if before is not None and not redelivered:
                self.problems.append(f"{name} came again, not flagged redelivered")
            if before == self.life:
                self.problems.append(f"{name} came twice without a restart")
            self._last[publisher] = number
            self.delivered[name] = self.life
            self.redelivered += before is not None

    def acknowledge(self, name: Name) -> None:
        """Call it before the ack is sent."""
        with self._lock:
            self.acknowledged.add(name)

    def settle(self, names: list[Name]) -> None:
        with self._lock:
            self.settled.update(names)

    def complain(self, problem: str) -> None:
        with self._lock:
            self.problems.append(problem)

    def check(self) -> None:
        """Raise BrokenPromise if something was wrong so far."""
        with self._lock:
            if self.problems:
                raise BrokenPromise(f"{self.queue}: {'; '.join(self.problems[:5])}")

    def check_rest(self, rest: list[Name]) -> None:
        """`rest` is what the queue still had in the end. Raise BrokenPromise for what is lost."""
        missing = self.confirmed - self.acknowledged - set(rest)
        if missing:
            first = sorted(missing)[:5]
            raise BrokenPromise(f"{self.queue}: {len(missing)} confirmed are lost: {first}")
        self.check()

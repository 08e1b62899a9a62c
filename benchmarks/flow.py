"""Publishers and consumers, joined by a window of messages under way."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consume import Consumer
from loop import Loop
from measure import Interval, Latencies, Usage
from publish import Publisher
from target import Target


@dataclass
class Flow:
    """Publishers that keep at most `window` messages on their way to the consumers.

    `arrived` says how many messages have come out of the broker, as seen from the consumers;
    `complete` says whether everything published has.
    """

    publishers: Sequence[Publisher]
    consumers: Sequence[Consumer]
    window: int
    arrived: Callable[[], int]
    complete: Callable[[], bool]
    latencies: Latencies = field(default_factory=Latencies)
    loop: Loop = field(default_factory=Loop)

    def __post_init__(self) -> None:
        for publisher in self.publishers:
            self.loop.add(publisher.connection, publisher.receive)
        for consumer in self.consumers:
            self.loop.add(consumer.connection, self._reader(consumer))

    def _reader(self, consumer: Consumer) -> Callable[[], None]:
        def read() -> None:
            stamp = consumer.receive()
            if stamp is not None:
                publisher, index = stamp
                sent_s = self.publishers[publisher].sent_at(index)
                self.latencies.record(time.perf_counter() - sent_s)

        return read

    @property
    def begun(self) -> int:
        return sum(publisher.begun for publisher in self.publishers)

    def publish(self, limit: int | None = None) -> None:
        """Fills the window, or sends until `limit` messages are out in all."""
        begun = self.begun
        room = self.arrived() + self.window - begun
        if limit is not None:
            room = min(room, limit - begun)
        share = -(-room // len(self.publishers))
        if share > 0:
            for publisher in self.publishers:
                if not publisher.connection.full:
                    publisher.send(publisher.begun + share)

    def run(self, seconds: float, limit: int | None = None) -> None:
        """Publishes and consumes for so long, or until `limit` messages are out in all."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and (limit is None or self.begun < limit):
            self.publish(limit)
            self.loop.turn()

    def measure(self, target: Target, limit: int | None = None) -> tuple[Usage, int]:
        """Warms up and measures: what was used, and how many messages arrived meanwhile.

        With a limit, that many messages are enough, and a quarter of it to warm up.
        The latencies are then those of that time, too.
        """
        self.run(target.warmup_s, None if limit is None else limit // 4)
        self.latencies.clear()
        for publisher in self.publishers:
            publisher.confirm_latencies.clear()
        before = self.arrived()
        interval = Interval(target.processes)
        self.run(target.seconds, None if limit is None else self.begun + limit)
        return interval.stop(), self.arrived() - before

    def finish(self) -> None:
        """Publishes no more, waits for everything under way, and verifies each last delivery."""
        self.loop.run_until(self._settled, self._progress)
        for consumer in self.consumers:
            consumer.verify_last()

    def _progress(self) -> int:
        confirmed = sum(publisher.confirmed() for publisher in self.publishers)
        return confirmed + sum(consumer.count for consumer in self.consumers)

    def _settled(self) -> bool:
        for publisher in self.publishers:
            if publisher.unfinished and not publisher.connection.full:
                publisher.send(publisher.begun)
        return self.complete() and all(
            not publisher.unfinished
            and (publisher.confirms is None or publisher.confirmed() == publisher.begun)
            for publisher in self.publishers
        )

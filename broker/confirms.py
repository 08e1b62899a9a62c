"""Publisher confirms of one channel: which publishes may be acknowledged, in as few frames as
may be.
"""

from collections import deque
from collections.abc import Iterator

from ..amqp.basic import ack_frame, nack_frame


class Confirms:
    """Publishes counted from 1, and how far they have been confirmed.

    A publish that is kept in memory only is done as soon as it is enqueued, one that must be on
    disk once the journal is durable up to where it stands. They are confirmed in order, so that one
    frame confirms many.
    """

    __slots__ = ("_confirmed", "_refused", "_waiting", "published")

    def __init__(self) -> None:
        self.published = 0
        self._confirmed = 0
        self._waiting: deque[tuple[int, int]] = deque()
        self._refused: deque[int] = deque()

    def add(self, count: int, position: int) -> None:
        """Count publishes that are done once the journal is durable up to `position`."""
        if position:
            self._waiting.append((position, self.published))
        self.published += count

    def refuse_last(self) -> None:
        """The publish that was counted last did not get into all of its queues."""
        self._refused.append(self.published)

    def frames(self, channel: int, durable: int) -> bytes:
        """The acks and nacks that may be sent now that the journal is durable that far; they count
        as sent.
        """
        waiting = self._waiting
        while waiting and waiting[0][0] <= durable:
            waiting.popleft()
        first, last = self._confirmed + 1, waiting[0][1] if waiting else self.published
        if first > last:
            return b""
        self._confirmed = last
        if not self._refused:
            return ack_frame(channel, last, multiple=last > first)
        return b"".join(self._with_nacks(channel, first, last))

    def _with_nacks(self, channel: int, first: int, last: int) -> Iterator[bytes]:
        refused = self._refused
        while refused and refused[0] <= last:
            number = refused.popleft()
            if first < number:
                yield ack_frame(channel, number - 1, multiple=number - 1 > first)
            yield nack_frame(channel, number, multiple=False)
            first = number + 1
        if first <= last:
            yield ack_frame(channel, last, multiple=last > first)

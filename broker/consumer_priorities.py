"""x-priority of consumers: those with a higher priority are served first, as long as they can take
messages; equal ones take turns (https://www.rabbitmq.com/docs/consumer-priority).
"""

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .consumer import Consumer


class PriorityRotation(deque["Consumer"]):
    """A rotation of consumers in which nobody stands before one of a higher priority.

    Only queues with a consumer that has a priority have one; others have a plain deque.
    """

    def append(self, consumer: "Consumer", /) -> None:
        """Let a consumer in, behind those of its priority."""
        at = len(self)
        while at and self[at - 1].priority < consumer.priority:
            at -= 1
        self.insert(at, consumer)

    def rotate(self, n: int = -1, /) -> None:
        """The first consumer has had its turn: it goes behind the others of its priority."""
        self.append(self.popleft())

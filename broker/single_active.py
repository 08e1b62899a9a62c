"""x-single-active-consumer: of a queue's consumers one gets messages, the others stand by.

The first one is active; when it goes, the next takes over at once: of those with the highest
priority the one that has waited longest. Deliveries that the former one has not settled stay with
it (https://www.rabbitmq.com/docs/consumers#single-active-consumer).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .consumer import Consumer


class SingleActive:
    """Which consumer of one queue is active."""

    __slots__ = ("active",)

    def __init__(self) -> None:
        self.active: Consumer | None = None

    def elect(self, consumers: Sequence["Consumer"]) -> "Consumer | None":
        """The one to be active from now on, unless that is the one that is already: of all
        consumers, in the order in which they came.
        """
        if self.active in consumers:
            return None
        self.active = max(consumers, key=lambda consumer: consumer.priority, default=None)
        return self.active

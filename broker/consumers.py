"""Who consumes from a queue, and who of them is served next.

Consumers that can take a message stand in a rotation. One that has no credit left, or whose
connection has too much to send, leaves it until `wake` puts it back.
"""

from collections import deque
from typing import TYPE_CHECKING

from ..amqp.errors import AccessRefused
from .consumer_priorities import PriorityRotation

if TYPE_CHECKING:
    from .consumer import Consumer
    from .queue import Queue
    from .single_active import SingleActive


class Consumers:
    """The consumers of one queue: `all` of them as they came, and those in the `rotation`.

    `single_active` is there if no more than one of them is to get messages.
    """

    __slots__ = ("all", "exclusive", "rotation", "single_active")

    def __init__(self) -> None:
        self.all: list[Consumer] = []
        self.rotation: deque[Consumer] = deque()
        self.exclusive = False
        """Whether there is one, which lets no other in."""
        self.single_active: SingleActive | None = None

    def check(self, consumer: "Consumer") -> None:
        """Refuse a consumer that cannot be one beside those that there are. Raises
        AccessRefused.
        """
        shared = self.all or self.single_active is not None
        if self.exclusive or (consumer.exclusive and shared):
            raise AccessRefused(f"{consumer.queue!r} in exclusive use")

    def add(self, consumer: "Consumer") -> None:
        """Let a consumer, which has been checked, take messages from the end of this turn on."""
        self.exclusive = consumer.exclusive
        self.all.append(consumer)
        if consumer.priority and not isinstance(self.rotation, PriorityRotation):
            self.rotation = PriorityRotation(self.rotation)
        if self.single_active is None:
            self.wake(consumer)
        else:
            consumer.resting = True
            self._elect()

    def remove(self, consumer: "Consumer") -> None:
        """Forget a consumer; what it has not settled stays with its channel."""
        self.all.remove(consumer)
        consumer.resting = True
        if consumer.in_rotation:
            consumer.in_rotation = False
            self.rotation.remove(consumer)
        self.exclusive = False
        self._elect()

    def _elect(self) -> None:
        """Let the next consumer be active, if only one may be and that one has gone."""
        elected = None if self.single_active is None else self.single_active.elect(self.all)
        if elected is not None:
            elected.resting = False
            self.wake(elected)

    def wake(self, consumer: "Consumer") -> None:
        """Put a consumer (back) into the rotation: it can take messages again."""
        if consumer.in_rotation or consumer.resting:
            return
        consumer.in_rotation = True
        self.rotation.append(consumer)
        queue = consumer.queue
        if not queue.dirty:
            queue.mark_dirty(queue)

    def serve(self, queue: "Queue", most: int) -> bool:
        """Have them take messages of their queue, `most` at most, without minding any features;
        True if they could go on.

        With several consumers in the rotation each takes one message in turn; a single one takes
        all it can.
        """
        rotation, left = self.rotation, most
        while rotation and (queue.ready or queue.returned or queue.load_more()):
            if not left:
                return True
            consumer = rotation[0]
            if not consumer.can_take():
                rotation.popleft().leave_rotation()
                continue
            share = left if len(rotation) == 1 else 1
            consumer.deliver(share)
            left -= share
            rotation.rotate(-1)
        return False

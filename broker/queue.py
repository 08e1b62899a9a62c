"""A queue: messages in publish order, and the consumers that take them in turn.

`ready` holds what was never delivered, `returned` what came back; since a message's id is its
place, returned ones always stand before ready ones. Whoever adds messages or wakes consumers marks
the queue dirty; at the end of the turn the broker lets each dirty queue dispatch, many messages in
one go.

Consumers that can take a message stand in a rotation. One that has no credit left, or whose
connection has too much to send, leaves it until `wake` puts it back.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ..amqp.errors import AccessRefused
from ..amqp.fields import Table
from .message import Message

if TYPE_CHECKING:
    from .binding import Binding
    from .connection import Connection
    from .consumer import Consumer
    from .lease import Lease

BATCH_MESSAGES = 1000
CONGESTED_MESSAGES = 2000


class Queue:
    """One queue of a vhost.

    `owner` is the connection of an exclusive queue. `mark_dirty` is called with the queue when it
    has work for the end of the turn.
    """

    __slots__ = (
        "arguments",
        "auto_delete",
        "consumers",
        "deleted",
        "destination_of",
        "dirty",
        "durable",
        "exclusive_consumer",
        "exclusive_owner",
        "lease",
        "mark_dirty",
        "name",
        "ready",
        "returned",
        "rotation",
        "vhost_name",
    )

    def __init__(
        self,
        vhost_name: str,
        name: str,
        mark_dirty: Callable[["Queue"], None],
        *,
        durable: bool = False,
        auto_delete: bool = False,
        exclusive_owner: "Connection | None" = None,
        arguments: Table | None = None,
    ):
        self.vhost_name = vhost_name
        self.name = name
        self.mark_dirty = mark_dirty
        self.durable = durable
        self.auto_delete = auto_delete
        self.exclusive_owner = exclusive_owner
        self.arguments: Table = arguments or {}
        self.ready: deque[Message] = deque()
        self.returned: list[tuple[int, Message]] = []
        self.consumers: list[Consumer] = []
        self.rotation: deque[Consumer] = deque()
        self.exclusive_consumer = False
        self.destination_of: set[Binding] = set()
        self.dirty = False
        self.deleted = False
        self.lease: Lease | None = None

    def __repr__(self) -> str:
        return f"queue '{self.name}' in vhost '{self.vhost_name}'"

    @property
    def message_count(self) -> int:
        """Messages ready for delivery; those delivered and not yet settled don't count."""
        return len(self.ready) + len(self.returned)

    @property
    def congested(self) -> bool:
        """Whether consumers exist but do not keep up, so that publishers should slow down."""
        return len(self.ready) > CONGESTED_MESSAGES and bool(self.consumers)

    # --- messages -----------------------------------------------------------------------------

    def enqueue(self, message: Message) -> None:
        """Add a new message at the end."""
        self.ready.append(message)
        if not self.dirty:
            self.mark_dirty(self)

    def requeue(self, message: Message) -> None:
        """Put a delivered message back in its place; it will be flagged redelivered."""
        if self.deleted:
            return
        heappush(self.returned, (message.id, message))
        if not self.dirty:
            self.mark_dirty(self)

    def take(self) -> tuple[Message, bool] | None:
        """The first message and whether it was delivered before; None if there is none."""
        if self.returned:
            return heappop(self.returned)[1], True
        if self.ready:
            return self.ready.popleft(), False
        return None

    def settle(self, message: Message) -> None:
        """A delivered message is done with: acknowledged, or dropped by a reject."""

    def purge(self) -> int:
        """Drop all ready messages and tell how many there were."""
        count = self.message_count
        self.ready.clear()
        self.returned.clear()
        return count

    def used(self) -> None:
        """Somebody declared it, got from it or consumed from it just now."""
        if self.lease is not None:
            self.lease.renew()

    # --- consumers ----------------------------------------------------------------------------

    def add_consumer(self, consumer: "Consumer") -> None:
        """Let a consumer take messages from the end of this turn on. Raises AccessRefused."""
        if self.exclusive_consumer or (consumer.exclusive and self.consumers):
            raise AccessRefused(f"{self!r} in exclusive use")
        self.exclusive_consumer = consumer.exclusive
        self.consumers.append(consumer)
        self.wake(consumer)

    def remove_consumer(self, consumer: "Consumer") -> None:
        """Forget a consumer; what it has not settled stays with its channel."""
        self.used()
        self.consumers.remove(consumer)
        consumer.cancelled = True
        if consumer.in_rotation:
            consumer.in_rotation = False
            self.rotation.remove(consumer)
        self.exclusive_consumer = False

    def wake(self, consumer: "Consumer") -> None:
        """Put a consumer (back) into the rotation: it can take messages again."""
        if consumer.in_rotation or consumer.cancelled:
            return
        consumer.in_rotation = True
        self.rotation.append(consumer)
        if not self.dirty:
            self.mark_dirty(self)

    def dispatch(self) -> None:
        """Deliver while there are messages and consumers that can take them.

        With several consumers in the rotation each takes one message in turn; a single one takes
        all it can.
        """
        self.dirty = False
        rotation = self.rotation
        while rotation and (self.ready or self.returned):
            consumer = rotation[0]
            if len(rotation) == 1:
                consumer.deliver(BATCH_MESSAGES)
            else:
                consumer.deliver(1)
            if not consumer.can_take():
                rotation.popleft()
                consumer.leave_rotation()
            else:
                rotation.rotate(-1)

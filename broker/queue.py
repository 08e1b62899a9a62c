"""A queue: messages in publish order, and the consumers that take them in turn.

`ready` holds what was never delivered, `returned` what came back; since a message's id is its
place, returned ones always stand before ready ones. Whoever adds messages or wakes consumers marks
the queue dirty; at the end of the turn the broker lets each dirty queue dispatch, many messages in
one go, but not so many that others would wait for long.

Consumers that can take a message stand in a rotation. One that has no credit left, or whose
connection has too much to send, leaves it until `wake` puts it back.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol

from ..amqp.errors import AccessRefused
from ..amqp.fields import Table
from ..storage.pages import FIRST_PAGED_ID
from .backlog import Backlog
from .death import Reason
from .expiry import Expiry
from .features import Features
from .message import Message
from .timers import Timers

if TYPE_CHECKING:
    from .binding import Binding
    from .connection import Connection
    from .consumer import Consumer
    from .dead_letter import DeadLetters
    from .lease import Lease

BATCH_MESSAGES = 1000
"""How many messages a queue delivers before others have their turn."""
LOADED_MESSAGES = 500
"""How many messages of a backlog are read at once."""
CONGESTED_MESSAGES = 2000


class Store(Protocol):
    """Where messages are kept that are not, or not only, in memory."""

    def load(self, ids: Sequence[int]) -> list[Message]:
        """Read messages back; they get new ids, as if published now."""
        ...

    def settle(self, queue: "Queue", ids: Sequence[int]) -> None:
        """A queue is done with messages."""
        ...

    def keep(self, queue: "Queue", message: Message) -> int:
        """Keep a message of that queue outside memory, for as long as the broker runs."""
        ...


class Queue:
    """One queue of a vhost.

    `exclusive_owner` is the connection of an exclusive queue. `mark_dirty` is called with the queue
    when it has work for the end of the turn.
    """

    __slots__ = (
        "arguments",
        "auto_delete",
        "backlog",
        "consumers",
        "dead_letters",
        "deleted",
        "destination_of",
        "dirty",
        "durable",
        "exclusive_consumer",
        "exclusive_owner",
        "features",
        "lease",
        "mark_dirty",
        "mean_bytes",
        "name",
        "number",
        "ready",
        "returned",
        "rotation",
        "routes_changed",
        "store",
        "timers",
        "vhost_name",
    )

    def __init__(
        self,
        vhost_name: str,
        name: str,
        mark_dirty: Callable[["Queue"], None],
        *,
        timers: Timers,
        number: int = 0,
        store: Store | None = None,
        routes_changed: Callable[[], None] = lambda: None,
        durable: bool = False,
        auto_delete: bool = False,
        exclusive_owner: "Connection | None" = None,
        arguments: Table | None = None,
    ):
        self.vhost_name = vhost_name
        self.name = name
        self.number = number
        self.store = store
        self.mark_dirty = mark_dirty
        self.durable = durable
        self.auto_delete = auto_delete
        self.exclusive_owner = exclusive_owner
        self.arguments: Table = arguments or {}
        self.ready: deque[Message] = deque()
        self.returned: list[tuple[int, Message]] = []
        self.backlog: Backlog | None = None
        self.consumers: list[Consumer] = []
        self.rotation: deque[Consumer] = deque()
        self.exclusive_consumer = False
        self.destination_of: set[Binding] = set()
        self.mean_bytes = 0
        self.routes_changed = routes_changed
        self.dirty = False
        self.deleted = False
        self.lease: Lease | None = None
        self.timers = timers
        self.features: Features | None = None
        self.dead_letters: DeadLetters | None = None

    def __repr__(self) -> str:
        return f"queue '{self.name}' in vhost '{self.vhost_name}'"

    @property
    def message_count(self) -> int:
        """Messages ready for delivery; those delivered and not yet settled don't count."""
        backlog = self.backlog
        return len(self.ready) + len(self.returned) + (len(backlog) if backlog else 0)

    @property
    def congested(self) -> bool:
        """Whether consumers exist but do not keep up, so that publishers should slow down."""
        return bool(self.consumers) and self.message_count > CONGESTED_MESSAGES

    # --- messages -----------------------------------------------------------------------------

    @property
    def singly(self) -> bool:
        """Whether publishers must hand it every message through `enqueue`."""
        return self.backlog is not None or (self.features is not None and self.features.singly)

    @property
    def timed(self) -> bool:
        """Whether messages must know when they were published."""
        return self.features is not None and self.features.timed

    def accepts(self, message: Message) -> bool:
        """Whether it takes a new message. If not, because it is full, it `refuses` it."""
        return self.features is None or self.features.has_room(message)

    def refuse(self, message: Message) -> None:
        """Have nothing to do with a new message, except that it may become a dead letter."""
        if self.features is not None and self.features.refused_die and self.dead_letters:
            self.dead_letters.add(message, Reason.MAXLEN, held=False)

    def enqueue(self, message: Message) -> None:
        """Add a new message at the end."""
        if message.notes is not None:
            self._expect_expiry(message)
        if self.backlog is None:
            self.ready.append(message)
        else:
            self.backlog.append(self._stored(message))
        if self.features is not None:
            self.features.gained(message)
        if not self.dirty:
            self.mark_dirty(self)

    def requeue(self, message: Message) -> None:
        """Put a delivered message back in its place; it will be flagged redelivered."""
        if self.deleted:
            return self.settle(message)
        heappush(self.returned, (message.id, message))
        if self.features is not None:
            self.features.gained(message)
            self.features.trim()
        if not self.dirty:
            self.mark_dirty(self)
        return None

    def take(self) -> tuple[Message, bool] | None:
        """For a basic.get: the first message and whether it was delivered before; None if there
        is none.
        """
        self.catch_up()
        return self.pop()

    def pop(self) -> tuple[Message, bool] | None:
        """The same, whatever it is that is done with it."""
        if not self.returned and not self.ready and not self.load():
            return None
        if self.returned:
            taken = heappop(self.returned)[1], True
        else:
            taken = self.ready.popleft(), False
        if self.features is not None:
            self.features.lost(taken[0])
        return taken

    def head(self) -> Message | None:
        """The message that `pop` would give."""
        if self.returned:
            return self.returned[0][1]
        if self.ready:
            return self.ready[0]
        return self.head() if self.load() else None

    def discard(self, message: Message, reason: Reason) -> None:
        """Be done with a message that nobody acknowledged."""
        if self.dead_letters is not None:
            self.dead_letters.add(message, reason)
        elif message.stored:
            self.settle(message)

    def _expect_expiry(self, message: Message) -> None:
        """Watch for expiry from now on, if this is a message that can expire."""
        if message.notes is None or message.notes.ttl_ms is None:
            return
        if self.features is None:
            self.features = Features(self)
        if self.features.expiry is None:
            self.features.expiry = Expiry(None, self.timers, self.look)
            self.look()

    def look(self) -> None:
        """There may be something to do at the end of the turn."""
        if not self.dirty:
            self.mark_dirty(self)

    def restore(self, backlog: Backlog) -> None:
        """Take over messages from before a restart; the first one is looked at, for it may have to
        expire.
        """
        if self.features is not None and self.features.counts_bytes:
            self.features.restored(self._all_of(backlog))
        self.backlog = backlog
        self.load(1)
        self.look()

    def _all_of(self, backlog: Backlog) -> Iterator[Message]:
        """Each message of a backlog, which stays as it is."""
        assert self.store is not None
        ids = backlog.first(len(backlog))
        for at in range(0, len(ids), LOADED_MESSAGES):
            yield from self.store.load(ids[at : at + LOADED_MESSAGES])

    def load(self, most: int = LOADED_MESSAGES) -> bool:
        """Read the next messages of the backlog into memory; False if there are none."""
        backlog = self.backlog
        if backlog is None:
            return False
        assert self.store is not None
        ids = backlog.first(most)
        messages = self.store.load(ids)
        backlog.drop(len(ids))
        for message in messages:
            if message.notes is not None:
                self._expect_expiry(message)
            if backlog.was_delivered(message.stored):
                heappush(self.returned, (message.id, message))
            else:
                self.ready.append(message)
        if not len(backlog):
            self.backlog = None
            self.routes_changed()
        return bool(ids)

    def _load_more(self) -> bool:
        """The same, but False too if the next message may have expired."""
        return self.load() and (self.features is None or self.features.expiry is None)

    def page_out(self) -> None:
        """Keep only the first messages in memory; the others are a backlog from now on."""
        if self.backlog is None:
            self.backlog = Backlog()
            self.routes_changed()
        kept = [self.ready.popleft() for _ in range(min(LOADED_MESSAGES, len(self.ready)))]
        for message in self.ready:
            self.backlog.append(self._stored(message))
        self.ready = deque(kept)

    def _stored(self, message: Message) -> int:
        if message.stored and self.durable:
            return message.stored
        assert self.store is not None
        return self.store.keep(self, message)

    def settle(self, message: Message) -> None:
        """A stored message is done with: acknowledged, or dropped by a reject."""
        if self.store is not None and owns(self, message):
            self.store.settle(self, (message.stored,))

    def purge(self) -> int:
        """Drop all ready messages and tell how many there were."""
        self.catch_up()
        count = self.message_count
        if self.store is not None:
            messages = [*self.ready, *(message for _, message in self.returned)]
            self.store.settle(self, [message.stored for message in messages if owns(self, message)])
            if self.backlog is not None:
                self.store.settle(self, self.backlog.first(len(self.backlog)))
        self.ready.clear()
        self.returned.clear()
        self.backlog = None
        if self.features is not None:
            self.features.emptied()
        return count

    @property
    def memory_bytes(self) -> int:
        """About how much memory its ready messages take, by the mean size of those seen lately."""
        return len(self.ready) * self.mean_bytes

    def delivered_before(self) -> list[int]:
        """The journal's ids of waiting messages that will be flagged redelivered."""
        if not self.durable:
            return []
        returned = [message.stored for _, message in self.returned if message.stored]
        return returned + (self.backlog.delivered() if self.backlog is not None else [])

    def used(self) -> None:
        """Somebody declared it, got from it or consumed from it just now."""
        if self.lease is not None:
            self.lease.renew()

    def catch_up(self) -> None:
        """Somebody is going to look at its messages in the middle of a turn."""
        if self.features is not None:
            self.features.catch_up()

    def end(self) -> None:
        """The queue is deleted: let go of all that refers to it."""
        self.deleted = True
        if self.lease is not None:
            self.lease.end()
        if self.features is not None:
            self.features.end()
            self.features = None
        self.dead_letters = None

    # --- consumers ----------------------------------------------------------------------------

    def add_consumer(self, consumer: "Consumer") -> None:
        """Let a consumer take messages from the end of this turn on. Raises AccessRefused."""
        if self.exclusive_consumer or (consumer.exclusive and self.consumers):
            raise AccessRefused(f"{self!r} in exclusive use")
        self.catch_up()
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

    def dispatch(self) -> bool:
        """Deliver a batch at most; True if it could go on, and the queue remains dirty.

        With several consumers in the rotation each takes one message in turn; a single one takes
        all it can.
        """
        self.dirty = False
        if self.features is None:
            more = self.deliver()
        else:
            more = self.features.dispatch(BATCH_MESSAGES)
        if self.dirty:  # again, and so it will be called again
            return False
        self.dirty = more
        return more

    def deliver(self) -> bool:
        """The same, without minding any features."""
        rotation, left = self.rotation, BATCH_MESSAGES
        while rotation and (self.ready or self.returned or self._load_more()):
            if not left:
                return True
            consumer = rotation[0]
            share = left if len(rotation) == 1 else 1
            consumer.deliver(share)
            left -= share
            if not consumer.can_take():
                rotation.popleft()
                consumer.leave_rotation()
            else:
                rotation.rotate(-1)
        return False


def owns(queue: Queue, message: Message) -> bool:
    """Whether the journal keeps that message for that queue: not, if only for another one."""
    return message.stored >= FIRST_PAGED_ID or (message.stored != 0 and queue.durable)

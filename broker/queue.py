"""A queue: messages in publish order, what is done with them, and the consumers that take them.

Whoever adds messages or wakes consumers marks the queue dirty; at the end of the turn the broker
lets each dirty queue dispatch, many messages in one go, but not so many that others would wait for
long.
"""

from array import array
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..amqp.errors import PreconditionFailed
from ..amqp.fields import Table
from ..storage.pages import FIRST_PAGED_ID
from .clearing import Clearings, cleared
from .consumers import Consumers
from .death import Reason
from .expiry import NEVER, Expiry
from .features import Features
from .kept import Kept
from .line import Line, Store, owns
from .message import Message
from .queue_settings import NO_SETTINGS, QueueSettings
from .timers import Timers
from .work import Work

if TYPE_CHECKING:
    from .binding import Binding
    from .connection import Connection
    from .consumer import Consumer
    from .dead_letter import DeadLetters
    from .delayed_retries import DelayedRetries
    from .lease import Lease

BATCH_MESSAGES = 1000
"""How many messages a queue delivers before others have their turn."""
CATCH_UP_BATCHES = 16
"""How many of these in one go when somebody looks into it in the middle of a turn."""
CONGESTED_MESSAGES = 2000


class Queue(Line):
    """One queue of a vhost: a line of messages and those that consume them.

    `exclusive_owner` is the connection of an exclusive queue. `mark_dirty` is called with the queue
    when it has work for the end of the turn.
    """

    __slots__ = (
        "arguments",
        "auto_delete",
        "clearings",
        "consumers",
        "dead_letters",
        "deleted",
        "destination_of",
        "dirty",
        "exclusive_owner",
        "features",
        "lease",
        "mark_dirty",
        "name",
        "retries",
        "settings",
        "timers",
        "vhost_name",
    )

    def __init__(
        self,
        vhost_name: str,
        name: str,
        mark_dirty: Callable[[Work], None],
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
        super().__init__(number, store, durable=durable, backlog_changed=routes_changed)
        self.mark_dirty = mark_dirty
        self.auto_delete = auto_delete
        self.exclusive_owner = exclusive_owner
        self.arguments: Table = arguments or {}
        self.consumers = Consumers()
        self.destination_of: dict[Binding, None] = {}
        self.dirty = False
        self.deleted = False
        self.clearings = Clearings(mark_dirty)
        self.lease: Lease | None = None
        self.timers = timers
        self.features: Features | None = None
        self.dead_letters: DeadLetters | None = None
        self.retries: DelayedRetries | None = None
        self.settings: QueueSettings = NO_SETTINGS

    def __repr__(self) -> str:
        return f"queue '{self.name}' in vhost '{self.vhost_name}'"

    keeps_all = False
    """Whether also transient messages are kept on disk."""

    ranks_messages = False
    """Whether the journal must know the priorities of its messages, see `ranks`."""

    global_qos = True
    """Whether it can be consumed from on a channel that has a prefetch limit of its own."""

    @property
    def fronts(self) -> tuple[Line, ...]:
        """The lines whose first messages may expire."""
        return (self,)

    @property
    def is_destination(self) -> bool:
        """Whether a message that is in it counts as routed."""
        return True

    @property
    def congested(self) -> bool:
        """Whether consumers exist but do not keep up, so that publishers should slow down."""
        return bool(self.consumers.all) and self.message_count > CONGESTED_MESSAGES

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
        """Whether it takes a new message. If not, because it is full or holds the same message
        already, it `refuses` it.
        """
        return self.features is None or self.features.takes(message)

    def refuse(self, message: Message) -> None:
        """Have nothing to do with a new message, except that it may become a dead letter."""
        if self.dead_letters and self.features is not None and self.features.lets_die(message):
            self.dead_letters.add(message, Reason.MAXLEN, held=False)

    def enqueue(self, message: Message) -> None:
        """Add a new message at the end."""
        if message.notes is not None:
            self.notice(message)
        self.append(message)
        if self.features is not None:
            self.features.gained(message)
        if not self.dirty:
            self.mark_dirty(self)

    def requeue(self, message: Message, *, failed: bool = True, asked: bool = True) -> None:
        """Put a delivered message back in its place; it will be flagged redelivered.

        `failed` says that somebody could not deal with it, `asked` that the client wants it back in
        the queue. basic.nack and basic.recover are no failures, and the end of a channel asks for
        nothing.
        """
        if self.deleted:
            return self.settle(message)
        if self.retries is not None:
            return self.retries.take_back(message, failed=failed)
        return self.ready_again(message)

    def ready_again(self, message: Message) -> None:
        """Have a message that was delivered stand in its place again."""
        self.put_back(message)
        if message.notes is not None:
            self.notice(message)
        if self.features is not None:
            self.features.gained(message)
        self.make_room()
        self.look()

    def stored_ready_again(self, ids: "array[int]") -> None:
        """The same for messages that are on disk only."""
        self.put_back_stored(ids)
        self.make_room()
        self.look()

    def make_room(self) -> None:
        """Keep the limits after something has come back, before consumers that wait get it."""
        if self.features is not None:
            self.features.trim()

    def take(self) -> tuple[Message, bool] | None:
        """For a basic.get: the first message and whether it was delivered before; None if there
        is none.
        """
        self.catch_up()
        if self.features is not None and not self.features.passes_expired():
            return None
        taken = self.pop()
        if self.backlog is not None:
            self.head()
        self.catch_up()
        return taken

    def pop(self) -> tuple[Message, bool] | None:
        """The same, whatever it is that is done with it."""
        taken = self.shift()
        if taken is None:
            return None
        if self.features is not None:
            self.features.lost(taken[0])
        return taken

    def shed(self, message: Message) -> Message:
        """What to keep in memory of a message that is delivered; all of it is on disk then."""
        needed = self.features is not None and self.features.ask_properties
        return message.shell(self.stored_id(message), keeps_properties=needed)

    def discard(self, message: Message, reason: Reason) -> None:
        """Be done with a message that nobody acknowledged."""
        if self.dead_letters is None:
            return self.drop(message)
        self.gone(message)
        return self.dead_letters.add(self.whole(message), reason)

    def drop(self, message: Message) -> None:
        """Be done with a message that needs no acknowledgement, or has died without a trace."""
        self.gone(message)
        if message.stored:
            self.settle(message)

    def gone(self, message: Message) -> None:
        """A message that was taken out will not come back: it was acknowledged, or whatever."""
        if self.features is not None:
            self.features.gone(message)

    def notice(self, message: Message) -> None:
        """Watch for expiry from now on, if this is a message that can expire."""
        if self.features is not None and self.features.expiry is not None:
            return self.features.expiry.notice(message)
        expiry = Expiry(self.number, None, None, self.timers, self.look)
        if expiry.expires_ms(message) < NEVER:
            if self.features is None:
                self.features = Features(self)
            self.features.expiry = expiry
            expiry.notice(message)
            self.look()
        return None

    def restore(self, kept: Kept) -> None:
        """Take over messages from before a restart; the first one may have to expire."""
        ids = kept.ids
        if self.features is not None:
            self.features.know_again(ids)
        if self.retries is not None:
            ids = self.retries.restore(ids)
        self.count_bytes(self.all_of(ids), 1)
        self.line_up(ids, kept)
        if self.features is not None:
            self.features.settled_down()
        self.look()

    def line_up(self, ids: "array[int]", kept: Kept) -> None:
        """Have those of them that are ready stand in order."""
        self.take_over(ids, kept.delivered)

    def load_more(self) -> bool:
        """Read on in the backlog; False if there is none or what comes next may have expired."""
        return self.load() and (self.features is None or self.features.expiry is None)

    def settle(self, message: Message) -> None:
        """A stored message is done with: acknowledged, or dropped by a reject."""
        if self.store is not None and owns(self, message):
            self.store.settle(self, (message.stored,))

    def settle_many(self, ids: list[int]) -> None:
        """The same for many, by the ids that the journal has given them."""
        if self.store is not None:
            mine = ids if self.durable else [each for each in ids if each >= FIRST_PAGED_ID]
            self.store.settle(self, mine)

    def check_purge(self) -> None:
        """Refuse to be purged for a client. Raises NotSupported."""

    def purge(self) -> int:
        """Drop all ready messages and tell how many there were."""
        self.catch_up()
        count = self.message_count
        self.clear()
        if self.retries is not None:
            self.retries.clear()
        if self.features is not None:
            self.features.emptied()
        return count

    def clear(self) -> None:
        """Drop all messages."""
        self.clearings.add(cleared(self, self.name, self.vhost_name))

    def lines(self) -> Iterable[Line]:
        """The lines that its messages stand in."""
        return (self,)

    def count_bytes(self, messages: Iterable[Message], sign: int) -> None:
        if self.features is not None:
            self.features.count_bytes(messages, sign)

    # --- consumers ----------------------------------------------------------------------------

    def add_consumer(self, consumer: "Consumer") -> None:
        """Let a consumer take messages from the end of this turn on. Raises AccessRefused."""
        self.consumers.check(consumer)
        self.catch_up()
        self.consumers.add(consumer)

    def remove_consumer(self, consumer: "Consumer") -> None:
        """Forget a consumer; what it has not settled stays with its channel."""
        self.used()
        self.consumers.remove(consumer)

    # --- turns --------------------------------------------------------------------------------

    def look(self) -> None:
        """There may be something to do at the end of the turn."""
        if not self.dirty:
            self.mark_dirty(self)

    def dispatch(self) -> bool:
        """Deliver a batch at most; True if it could go on, and the queue remains dirty."""
        self.dirty = False
        more = self._work()
        if self.dirty:  # again, and so it will be called again
            return False
        self.dirty = more
        return more

    def _work(self) -> bool:
        """The same, whether the broker knows that there is something to do or not."""
        if self.features is None:
            more = self.consumers.serve(self, BATCH_MESSAGES)
        else:
            more = self.features.dispatch(BATCH_MESSAGES)
        if self.backlog is not None:
            self.head()  # it may be one that expires, which shows when it is read
        return more

    def catch_up(self) -> None:
        """Somebody is going to look at its messages in the middle of a turn: do what the end of
        the turn would do, so that they do not come before consumers that wait.
        """
        if self.dirty:
            for _ in range(CATCH_UP_BATCHES):
                count = self.message_count
                idle = not self._work() and self.message_count == count
                if idle or not self.consumers.rotation:
                    break
        elif self.features is not None and not self.features.returning:
            self.features.expire()

    # --- its life -----------------------------------------------------------------------------

    def declared(self) -> None:
        """Somebody declared it though it was there, or asked passively whether it is."""
        self.used()

    def used(self) -> None:
        """Somebody uses it just now, and so it does not expire for a while."""
        if self.lease is not None:
            self.lease.renew()

    def check_deletion(self, *, if_unused: bool, if_empty: bool) -> None:
        """Refuse to be deleted against a condition. Raises PreconditionFailed."""
        if if_unused and self.consumers.all:
            raise PreconditionFailed(f"{self!r} in use")
        if if_empty:
            self.catch_up()
            if self.message_count:
                raise PreconditionFailed(f"{self!r} not empty")

    def stop(self) -> None:
        """The broker is about to stop: finish what is left to do."""
        self.clearings.finish()

    def end(self) -> None:
        """The queue is deleted: let go of all that refers to it."""
        self.deleted = True
        if self.lease is not None:
            self.lease.end()
            self.lease = None
        if self.features is not None:
            self.features.end()
            self.features = None
        self.dead_letters = None
        self.retries = None

"""What the model is made of: queues, messages and channels as plain records.

About the disk they know one thing: the number of the batch that holds a change; 0 is on disk since
the start, None never happened.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias

from .queues import Traits


class Violation(AssertionError):
    """The broker has done what it should not. The text begins with what kind of thing."""


@dataclass(slots=True, eq=False)
class Commit:
    """A tx.commit: its effects survive a crash all or not at all."""

    batch: int
    published: "list[tuple[MQueue, Entry]]" = field(default_factory=list)
    settled: "list[tuple[MQueue, Entry]]" = field(default_factory=list)


Death: TypeAlias = tuple[str, str, int]
"""Of a message: in which queue, why, and how often."""


@dataclass(slots=True, eq=False)
class Address:
    """What replies to a consumer are published by; `text` is None until a client has seen it."""

    queue: "MQueue"
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it was published, by a client or as a dead letter."""

    number: int
    key: str
    size: int
    persistent: bool
    priority: int
    ttl_ms: int | None = None
    """How long it may wait by its own `expiration`."""
    content_bytes: int = 0
    """What it takes on the wire, beside the method."""
    delay_ms: int = 0
    filter_value: str | None = None
    """What it is found by in a stream."""
    value: int = -1
    """What its headers and its message id say, -1 for nothing."""
    value_ttl_ms: int | None = None
    """For how long that is to be remembered."""
    cc: tuple[str, ...] = ()
    """What its header CC says."""
    copies: tuple[str, ...] = ()
    """The keys that lead it beside its own, of BCC as well."""
    deaths: tuple[Death, ...] = ()
    """The latest first."""
    first_death: tuple[str, str] | None = None
    """In which queue it died first, and why."""
    exchange: str = ""
    asks: bool = False
    """Whether it is a request that wants a direct reply."""
    reply_to: Address | None = None
    """Where that goes."""

    @property
    def name(self) -> str:
        """What it is told from all others by."""
        return named(self.number, self.cc, self.deaths)


def named(number: int, copies: Iterable[str], deaths: Iterable[Death]) -> str:
    """The name of a message with that number that tells of these copies and deaths."""
    told = [f"copied to {key}" for key in copies]
    told += [f"{why} in {queue} {n}x" for queue, why, n in deaths]
    return ", ".join([str(number), *told])


@dataclass(frozen=True, slots=True)
class Return:
    """That a message came back to a quorum queue: in which batch, and where it stood then, None if
    that is not known.
    """

    batch: int
    stands: int | None


@dataclass(slots=True, eq=False)
class Entry:
    """A message in one queue. `expires_ms` is when its time is up there, if ever."""

    sent: Sent
    place: int
    """Where it came in."""
    published_in: int
    priority: int = 0
    expires_ms: int | None = None
    came_ms: int = 0
    stands: int = 0
    """Where it stands."""
    is_sure: bool = True
    """Whether that is known."""
    offset: int = 0
    """In a stream."""
    returns: int = 0
    doubtful_returns: int = 0
    """Of those before a crash, how many may have been forgotten or not."""
    returned: "list[Return]" = field(default_factory=list)
    due_ms: int = 0
    """When it is ready again after it came back last, if that is delayed."""
    is_paged_out: bool = False
    """Whether it was not in memory while it waited."""
    redelivered: bool = False
    settled_in: int | None = None
    published_by: Commit | None = None
    settled_by: Commit | None = None

    def __lt__(self, other: "Entry") -> bool:
        return (-self.priority, self.stands) < (-other.priority, other.stands)

    @property
    def name(self) -> str:
        return self.sent.name


@dataclass(slots=True, eq=False)
class MQueue:
    """A queue, from its declaration to its deletion."""

    name: str
    number: int
    declared: Traits
    owner: "MClient | None"
    defined_in: int
    used_ms: int
    """When somebody used it last."""
    deleted_in: int | None = None
    ready: list[Entry] = field(default_factory=list)
    stored: list[Entry] = field(default_factory=list)
    """Every message that it ever had and that it keeps on disk."""
    consumers: "list[MConsumer]" = field(default_factory=list)
    waiting: list[Entry] = field(default_factory=list)
    """What has come back and is not ready again yet."""
    returning: int = 0
    """For how many times that very much comes back it waits."""
    values: dict[int, Entry] = field(default_factory=dict)
    """What values stand for, if it holds each but once."""
    takes_turns: bool = False
    """Whether there are two priorities, which take turns."""
    turn: int | None = 0
    """Whose turn it is, None if that is not known."""
    next_offset: int = 0
    """Of a stream, all messages of which are `ready` as long as it has them."""
    traits: Traits = field(init=False)
    """What counts for it at present."""

    def __post_init__(self) -> None:
        self.traits = self.declared

    @property
    def in_order(self) -> bool:
        """Whether it is known in which order the messages stand."""
        return self.turn is not None and all(entry.is_sure for entry in self.ready)

    @property
    def deleted(self) -> bool:
        return self.deleted_in is not None

    @property
    def stays_in_order(self) -> bool:
        """Whether that is also known when what waits comes back."""
        return self.in_order and not any(entry.is_paged_out for entry in self.waiting)

    @property
    def durable(self) -> bool:
        return self.traits.durable

    def keeps(self, sent: Sent) -> bool:
        """Whether a restart brings a message back."""
        return self.durable and (sent.persistent or self.traits.keeps_all)


@dataclass(slots=True)
class Put:
    """What has become of a message that came to its queues."""

    entries: list[tuple[MQueue, Entry]]
    on_disk: bool
    refused: bool


@dataclass(slots=True, eq=False)
class MConsumer:
    tag: str
    channel: "MChannel"
    queue: MQueue
    no_ack: bool
    prefetch: int
    priority: int = 0
    exclusive: bool = False
    stands_by: bool = False
    ack_timeout_ms: int | None = None
    unsettled: int = 0
    position: int = 0
    """The offset from which on it gets the next messages of a stream."""
    filters: tuple[str | None, ...] = ()
    """By which values it gets messages of a stream, None for those without: all if there are none.
    """

    def wants(self, entry: Entry) -> bool:
        """Whether it is to get a message of its stream."""
        wanted = not self.filters or entry.sent.filter_value in self.filters
        return wanted and entry.offset >= self.position

    def is_due(self, first_offset: int = 0) -> bool:
        """Whether its queue has a message for it, which it can take; of a stream, from there on."""
        more = bool(self.queue.ready)
        if self.queue.traits.stream:
            behind = (entry for entry in self.queue.ready if entry.offset >= first_offset)
            more = any(map(self.wants, behind))
        return more and not self.queue.returning and self.has_credit()

    def has_credit(self) -> bool:
        """Whether it can take a message."""
        if self.stands_by:
            return False
        if self.no_ack:
            return True
        channel = self.channel
        return (not self.prefetch or self.unsettled < self.prefetch) and (
            not channel.limit or channel.consumed < channel.limit
        )


class Outcome(Enum):
    """What a client says of a delivery."""

    ACKNOWLEDGED = auto()
    REQUEUED = auto()
    HANDED_BACK = auto()
    """The same, but not because the client has failed."""
    ABANDONED = auto()
    """Nothing: the channel has ended."""
    REJECTED = auto()


COME_BACK = (Outcome.REQUEUED, Outcome.HANDED_BACK, Outcome.ABANDONED)


@dataclass(slots=True, eq=False)
class Delivery:
    entry: Entry
    queue: MQueue
    consumer: MConsumer | None
    since_ms: int


@dataclass(slots=True, eq=False)
class MChannel:
    client: "MClient"
    number: int
    mode: str = ""
    closing: bool = False
    """The broker has closed it, and the client not yet answered."""
    overdue_since_ms: int | None = None
    """Since when it should be closed because its oldest delivery is late."""
    unsettled: dict[int, Delivery] = field(default_factory=dict)
    last_tag: int = 0
    consumed: int = 0
    limit: int = 0
    prefetch: int = 0
    consumers: dict[str, MConsumer] = field(default_factory=dict)
    confirms: list[int] = field(default_factory=list)
    """For each publish the batch that must be on disk before its confirm, 0 for none."""
    refused: set[int] = field(default_factory=set)
    """The publishes that are to be nacked, counted from 1."""
    confirmed: int = 0
    tx_published: list[tuple[Sent, list[MQueue], bool]] = field(default_factory=list)
    tx_settled: list[tuple[dict[int, Delivery], Outcome]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the broker calls it."""
        return f"channel {self.number} of connection {self.client.name}"


@dataclass(slots=True, eq=False)
class MClient:
    name: str
    channels: dict[int, MChannel] = field(default_factory=dict)
    busy: int = 0
    """How much work in several turns it waits for."""
    due: "list[Expected]" = field(default_factory=list)
    """What it must get for that even so."""
    owed: "tuple[MChannel, Callable[[], list[Expected]]] | None" = None
    """What it must get on a channel when that is done. May raise Refused."""

    def take_due(self) -> "list[Expected]":
        """What it must get even so, taken out."""
        due, self.due = self.due, []
        return due


@dataclass(slots=True)
class Expected:
    """What the client must get next. It must not come before `batch` is on disk."""

    kind: type[Any]
    values: dict[str, Any] = field(default_factory=dict)
    sent: Sent | None = None
    """The message that comes with it."""
    batch: int = 0
    counted: Entry | None = None
    """The message, if it must tell how often it has come back."""
    may_wait: bool = False
    """The broker may keep it back until the disk has caught up."""


class Refused(Exception):
    """The command closes its channel; the client must get other things `before`."""

    def __init__(self, code: int, before: Iterable[Expected] = ()):
        super().__init__(code)
        self.code = code
        self.before = list(before)


BindingKey = tuple[str, str, str]

"""Messages waiting in order: in memory those next to go, on disk, if there are many, the others.

`ready` holds what was never delivered, `returned` what came back; since a message's id is its
place, returned ones always stand before ready ones. Behind both comes the backlog.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Protocol

from ..storage.pages import FIRST_PAGED_ID
from .backlog import Backlog
from .message import Message

LOADED_MESSAGES = 500
"""How many messages of a backlog are read at once."""


class Store(Protocol):
    """Where messages are kept that are not, or not only, in memory."""

    def load(self, ids: Sequence[int]) -> list[Message]:
        """Read messages back; they get new ids, as if published now."""
        ...

    def settle(self, line: "Line", ids: Sequence[int]) -> None:
        """A queue is done with messages."""
        ...

    def keep(self, line: "Line", message: Message) -> int:
        """Keep a message of that queue outside memory, for as long as the broker runs."""
        ...


class Line:
    """The messages of one queue, or of one priority in it.

    `number` and `durable` are the queue's. `backlog_changed` is called when there begins or ceases
    to be a backlog.
    """

    __slots__ = (
        "backlog",
        "backlog_changed",
        "durable",
        "mean_bytes",
        "number",
        "ready",
        "returned",
        "store",
    )

    def __init__(
        self,
        number: int,
        store: Store | None,
        *,
        durable: bool = False,
        backlog_changed: Callable[[], None] = lambda: None,
    ):
        self.number = number
        self.store = store
        self.durable = durable
        self.backlog_changed = backlog_changed
        self.ready: deque[Message] = deque()
        self.returned: list[tuple[int, Message]] = []
        self.backlog: Backlog | None = None
        self.mean_bytes = 0

    @property
    def message_count(self) -> int:
        """Messages ready for delivery; those delivered and not yet settled don't count."""
        backlog = self.backlog
        return len(self.ready) + len(self.returned) + (len(backlog) if backlog else 0)

    def append(self, message: Message) -> None:
        """Add a new message at the end."""
        if self.backlog is None:
            self.ready.append(message)
        else:
            self.backlog.append(self._stored(message))

    def put_back(self, message: Message) -> None:
        """Add a message that was delivered, in its old place."""
        heappush(self.returned, (message.id, message))

    def shift(self) -> tuple[Message, bool] | None:
        """Take the first message out: it, and whether it was delivered before."""
        if not self.returned and not self.ready and not self.load():
            return None
        if self.returned:
            return heappop(self.returned)[1], True
        return self.ready.popleft(), False

    def head(self) -> Message | None:
        """The first message."""
        if not self.returned and not self.ready and not self.load():
            return None
        return self.returned[0][1] if self.returned else self.ready[0]

    def clear(self) -> None:
        """Drop all messages."""
        if self.store is not None:
            messages = [*self.ready, *(message for _, message in self.returned)]
            self.store.settle(self, [message.stored for message in messages if owns(self, message)])
            if self.backlog is not None:
                self.store.settle(self, self.backlog.first(len(self.backlog)))
        self.ready.clear()
        self.returned.clear()
        self.backlog = None

    # --- on disk ------------------------------------------------------------------------------

    def restore(self, backlog: Backlog) -> None:
        """Take over messages from before a restart; the first one is looked at."""
        self.backlog = backlog
        self.load(1)

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
                self.notice(message)
            if backlog.was_delivered(message.stored):
                heappush(self.returned, (message.id, message))
            else:
                self.ready.append(message)
        if not len(backlog):
            self.backlog = None
            self.backlog_changed()
        return bool(ids)

    def notice(self, message: Message) -> None:
        """A message with notes has come to memory."""

    def page_out(self) -> None:
        """Keep only the first messages in memory; the others are a backlog from now on."""
        if self.backlog is None:
            self.backlog = Backlog()
            self.backlog_changed()
        kept = [self.ready.popleft() for _ in range(min(LOADED_MESSAGES, len(self.ready)))]
        for message in self.ready:
            self.backlog.append(self._stored(message))
        self.ready = deque(kept)

    def _stored(self, message: Message) -> int:
        if message.stored and self.durable:
            return message.stored
        assert self.store is not None
        return self.store.keep(self, message)

    def all_of(self, backlog: Backlog) -> Iterator[Message]:
        """Each message of a backlog, which stays as it is."""
        assert self.store is not None
        ids = backlog.first(len(backlog))
        for at in range(0, len(ids), LOADED_MESSAGES):
            yield from self.store.load(ids[at : at + LOADED_MESSAGES])

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


def owns(line: Line, message: Message) -> bool:
    """Whether the journal keeps that message for that queue: not, if only for another one."""
    return message.stored >= FIRST_PAGED_ID or (message.stored != 0 and line.durable)

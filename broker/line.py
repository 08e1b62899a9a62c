"""Messages waiting in order: in memory those next to go, on disk, if there are many, the others.

`ready` holds what was never delivered, `returned` what came back; since a message's id is its
place, returned ones always stand before ready ones. Behind both comes the backlog.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Protocol

from ..storage.pages import FIRST_PAGED_ID
from .backlog import Backlog
from .message import OVERHEAD_BYTES, Message
from .returns import Returns

LOADED_MESSAGES = 500
LOADED_BYTES = 1 << 20
"""How many messages of a backlog are read at once, and about how many bytes."""

PAGED_MESSAGES = 20_000
"""How many messages are paged out at once."""


class Store(Protocol):
    """Where messages are kept that are not, or not only, in memory."""

    def load(self, ids: Sequence[int]) -> list[Message]:
        """Read messages back; they get new ids, as if published now."""
        ...

    def fitting(self, ids: Sequence[int], limit_bytes: int) -> int:
        """How many of these messages, from the first on, take about so many bytes; at least
        one.
        """
        ...

    def settle(self, line: "Line", ids: Sequence[int]) -> None:
        """A queue is done with messages."""
        ...

    def note_returns(
        self, line: "Line", stored: int, returns: Returns, *, at_end: bool = False
    ) -> None:
        """A message came back to a queue, or to its end, for so many times now."""
        ...

    def returns(self, line: "Line", stored: int) -> Returns:
        """What was noted of a message last, NEVER if nothing was."""
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
        "shells",
        "store",
    )

    keeps_places = True
    """Whether what comes back goes to its place, rather than behind what came back before."""

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
        self.shells = 0
        """How many of those that came back have no content in memory."""

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
            self.backlog.append(self.stored_id(message))

    def put_back(self, message: Message) -> None:
        """Add a message that was delivered, in its old place."""
        heappush(self.returned, (message.id, message))
        self.shells += not message.is_whole

    def put_back_stored(self, ids: "array[int]") -> None:
        """The same for messages that are on disk only: they remain there if there are many."""
        assert self.store is not None
        held = len(ids) + len(self.returned) + len(self.ready)
        if held <= LOADED_MESSAGES and self.store.fitting(ids, LOADED_BYTES) == len(ids):
            for message in self.all_of(ids):
                self.put_back(message)
                self.count_bytes((message,), 1)
                if message.notes is not None:
                    self.notice(message)
            return
        self.page_out()
        backlog = self.begin_backlog()
        if 0 < backlog.uncounted >= backlog.delivered:
            backlog.uncounted += len(ids)
        else:
            self.count_bytes(self.all_of(ids), 1)
        backlog.put_behind_delivered(ids)
        if not self.returned and not self.ready:
            self.load(1)

    def shift(self) -> tuple[Message, bool] | None:
        """Take the first message out: it, and whether it was delivered before."""
        if not self.returned and not self.ready and not self.load():
            return None
        if self.returned:
            if not self.returned[0][1].is_whole:
                self._fill_first()
            return heappop(self.returned)[1], True
        return self.ready.popleft(), False

    def head(self) -> Message | None:
        """The first message."""
        if not self.returned and not self.ready and not self.load():
            return None
        return self.returned[0][1] if self.returned else self.ready[0]

    # --- on disk ------------------------------------------------------------------------------

    def take_over(self, ids: "array[int]", delivered: Container[int] = ()) -> None:
        """Take over messages from before a restart; the first one is looked at.

        Those up to the last one in `delivered` will be flagged redelivered.
        """
        last = max((each for each in ids if each in delivered), default=0)
        self.backlog = Backlog(ids, bisect_right(ids, last))
        self.load(1)

    def load(self, most: int = LOADED_MESSAGES) -> bool:
        """Read the next messages of the backlog into memory; False if there are none."""
        backlog = self.backlog
        if backlog is None:
            return False
        assert self.store is not None
        ids = backlog.first(most)
        ids = ids[: self.store.fitting(ids, LOADED_BYTES)]
        messages, delivered = self.store.load(ids), backlog.delivered
        for message, place in zip(messages, backlog.places(len(ids)), strict=False):
            message.id = place
        if backlog.uncounted:
            self.count_bytes(messages[: backlog.uncounted], 1)
        backlog.drop(len(ids))
        for place, message in enumerate(messages):
            self.seen(len(message.content))
            if message.notes is not None:
                self.notice(message)
            if place < delivered:
                heappush(self.returned, (message.id, message))
            else:
                self.ready.append(message)
        if not len(backlog):
            self.backlog = None
            self.backlog_changed()
        return bool(ids)

    def notice(self, message: Message) -> None:
        """A message with notes has come to memory."""

    def count_bytes(self, messages: Iterable[Message], sign: int) -> None:
        """Messages have come to be in the count of the queue's bytes (1), or not to be (-1)."""

    def page_out(self) -> None:
        """Keep only the first messages in memory; the others are a backlog from now on.

        They go from the end, at most `PAGED_MESSAGES` at a time.
        """
        excess = len(self.returned) + len(self.ready) - self.held_messages()
        if excess <= 0:
            return
        backlog = self.begin_backlog()
        excess = min(excess, PAGED_MESSAGES)
        paged = [self.ready.pop() for _ in range(min(excess, len(self.ready)))]
        delivered = excess - len(paged)
        places: list[int] = []
        if delivered:
            self.returned.sort()
            came_back = [message for _, message in reversed(self.returned[-delivered:])]
            if self.keeps_places:
                places = [message.id for message in reversed(came_back)]
            del self.returned[-delivered:]
            self.shells -= sum(not message.is_whole for message in came_back)
            paged += came_back
        if backlog.uncounted:
            self.count_bytes(paged, -1)
        ids = [self.stored_id(message) for message in reversed(paged)]
        backlog.put_before(ids, delivered, places)

    def begin_backlog(self) -> Backlog:
        """The backlog, which there is from now on."""
        if self.backlog is None:
            self.backlog = Backlog()
            self.backlog_changed()
        return self.backlog

    def whole(self, message: Message) -> Message:
        """A message with its content, which is read back if it is on disk only."""
        return message if message.is_whole else self.read_back((message,))[0]

    def read_back(self, shells: Sequence[Message]) -> list[Message]:
        """The whole messages that these were."""
        assert self.store is not None
        messages = self.store.load([shell.stored for shell in shells])
        for message, shell in zip(messages, shells, strict=True):
            message.id, message.persistent = shell.id, shell.persistent
            message.returns = shell.returns
        return messages

    def _fill_first(self) -> None:
        """Read back what stands first among the messages that came back, if it is on disk only."""
        assert self.store is not None
        first = list[tuple[int, Message]]()
        while self.returned and len(first) < LOADED_MESSAGES and not self.returned[0][1].is_whole:
            first.append(heappop(self.returned))
        count = self.store.fitting([shell.stored for _, shell in first], LOADED_BYTES)
        messages = self.read_back([shell for _, shell in first[:count]])
        self.shells -= count
        for (place, _), message in zip(first[:count], messages, strict=True):
            heappush(self.returned, (place, message))
        for entry in first[count:]:
            heappush(self.returned, entry)

    def held_messages(self) -> int:
        """How many messages it has in memory while it has a backlog."""
        return max(1, min(LOADED_MESSAGES, LOADED_BYTES // max(self.mean_bytes, 1)))

    def seen(self, content_bytes: int) -> None:
        """Note the size of a message that it holds."""
        size = content_bytes + OVERHEAD_BYTES
        self.mean_bytes = (7 * self.mean_bytes + size) >> 3 if self.mean_bytes else size

    def stored_id(self, message: Message) -> int:
        """The journal's id of a message, which is on disk from now on if it was not."""
        if owns(self, message):
            return message.stored
        assert self.store is not None
        return self.store.keep(self, message)

    def all_of(self, ids: Sequence[int]) -> Iterator[Message]:
        """Stored messages, one after the other, to look at."""
        assert self.store is not None
        at = 0
        while at < len(ids):
            some = ids[at : at + LOADED_MESSAGES]
            some = some[: self.store.fitting(some, LOADED_BYTES)]
            for message in self.store.load(some):
                self.seen(len(message.content))
                yield message
            at += len(some)

    def read_last(self, ids: Sequence[int]) -> list[Message]:
        """The last ones of some stored messages, to look at; no more than go out at once."""
        assert self.store is not None
        while self.store.fitting(ids, LOADED_BYTES) < len(ids):
            ids = ids[len(ids) // 2 :]
        return self.store.load(ids)

    def waiting(self) -> Iterator[Message]:
        """All messages that are ready, to look at; those of a backlog are read for it."""
        yield from (message for _, message in self.returned)
        yield from self.ready
        if self.backlog is not None:
            yield from self.all_of(self.backlog.first(len(self.backlog)))

    @property
    def memory_bytes(self) -> int:
        """About how much memory its messages take, by the mean size of those seen lately."""
        held = len(self.ready) + len(self.returned) - self.shells
        return held * self.mean_bytes + self.shells * OVERHEAD_BYTES

    def delivered_before(self) -> list[int]:
        """The journal's id of the last stored message that will be flagged redelivered, if there
        is one. Those before it will be too.
        """
        if not self.durable:
            return []
        waiting = [message.stored for _, message in self.returned]
        if self.backlog is not None:
            waiting += self.backlog.first(self.backlog.delivered)
        last = max((stored for stored in waiting if stored < FIRST_PAGED_ID), default=0)
        return [last] if last else []


def owns(line: Line, message: Message) -> bool:
    """Whether the journal keeps that message for that queue: not, if only for another one."""
    return message.stored >= FIRST_PAGED_ID or (message.stored != 0 and line.durable)

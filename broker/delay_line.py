"""Where the messages of an x-delayed-message exchange wait until they are due.

To what routes and stores messages it is a queue without a name: a delayed message enters it as it
would any queue, so transactions, confirms and the journal are as for those. When a message is due
depends on what the journal keeps of it anyway: when it was published, and its header x-delay. It
is then published anew, in one group of the journal with being settled here, so that a crash neither
loses nor doubles it. As in RabbitMQ's plugin transient messages, too, are on disk until they are
due.

The messages are in a heap, in memory as long as the budget allows, and one timer waits for the
first of all. Past the budget, and after a restart, sixteen bytes of a message are in memory.
"""

from array import array
from collections.abc import Callable
from heapq import heappop, heappush

from .clearing import Clearing
from .due_heap import ENTRY_BYTES, NO_DUE_MS, DueHeap
from .intake import Intake
from .kept import Kept
from .line import LOADED_BYTES, PAGED_MESSAGES, Store
from .message import Message
from .queue import BATCH_MESSAGES, Queue
from .timers import Timer
from .work import Work


class DelayLine(Queue):
    """The delayed messages of one exchange.

    `delay_ms` tells how long a message is to wait, `release` has one published that is due;
    `together` is a context in which all that is written to the journal survives a crash or nothing.
    """

    keeps_all = True
    __slots__ = (
        "_delay_ms",
        "_due",
        "_held_bytes",
        "_intake",
        "_on_disk",
        "_release",
        "_timer",
        "_waiting",
    )

    def __init__(
        self,
        vhost_name: str,
        mark_dirty: Callable[[Work], None],
        intake: Intake,
        store: Store | None,
        *,
        number: int,
        durable: bool,
        delay_ms: Callable[[Message], int],
        release: Callable[[list[Message], "DelayLine"], None],
    ):
        super().__init__(
            vhost_name,
            "",
            mark_dirty,
            timers=intake.timers,
            number=number,
            store=store,
            durable=durable,
        )
        self._intake = intake
        self._delay_ms = delay_ms
        self._release = release
        self._waiting: list[tuple[int, int, Message]] = []
        self._on_disk = DueHeap()
        self._held_bytes = 0
        self._timer: Timer | None = None
        self._due = 0

    @property
    def message_count(self) -> int:
        return len(self._waiting) + len(self._on_disk)

    @property
    def memory_bytes(self) -> int:
        return self._held_bytes + ENTRY_BYTES * len(self._on_disk)

    @property
    def is_destination(self) -> bool:
        return False

    @property
    def singly(self) -> bool:
        return True

    @property
    def timed(self) -> bool:
        return True

    def enqueue(self, message: Message) -> None:
        self._held_bytes += message.memory_bytes
        heappush(self._waiting, (self._due_ms(message), message.id, message))
        self.look()

    def _due_ms(self, message: Message) -> int:
        assert message.notes is not None
        return message.notes.published_ms + self._delay_ms(message)

    def restore(self, kept: Kept) -> None:
        for message in self.all_of(kept.ids):
            self._on_disk.push(self._due_ms(message), message.stored)
        self.look()

    def page_out(self) -> None:
        """Keep the messages that are due last on disk only, all but those of one batch."""
        waiting = self._waiting
        waiting.sort()
        for _ in range(min(len(waiting) - self._batch(), PAGED_MESSAGES)):
            due_ms, _, message = waiting.pop()
            self._held_bytes -= message.memory_bytes
            self._on_disk.push(due_ms, self.stored_id(message))

    def _batch(self) -> int:
        """How many messages are read or published at once."""
        mean_bytes = self._held_bytes // len(self._waiting) if self._waiting else 0
        return max(1, min(BATCH_MESSAGES, LOADED_BYTES // max(mean_bytes, 1)))

    # --- turns --------------------------------------------------------------------------------

    def dispatch(self) -> bool:
        """Publish what is due, a batch at most; True if there is more that is."""
        self.dirty = False
        if self.deleted:
            return False
        due = self._take_due()
        if due:
            self._release(due, self)
        more = self._first_due_ms() <= self.timers.wall_ms
        if not more:
            self._watch()
        if self.dirty:
            return False
        self.dirty = more
        return more

    def _take_due(self) -> list[Message]:
        now, due = self.timers.wall_ms, list[Message]()
        ids = array("Q")
        waiting, on_disk, size = self._waiting, self._on_disk, 0
        while len(due) + len(ids) < BATCH_MESSAGES and size < LOADED_BYTES:
            first_ms = self._first_due_ms()
            if first_ms > now:
                break
            if self._first_is_in_memory(first_ms):
                due += self._load(ids)
                message = heappop(waiting)[2]
                self._held_bytes -= message.memory_bytes
                size += message.memory_bytes
                due.append(message)
            else:
                ids.append(on_disk.pop()[1])
        return due + self._load(ids)

    def _first_is_in_memory(self, first_ms: int) -> bool:
        """Of what is due at the same time, what was published first comes first."""
        waiting, on_disk = self._waiting, self._on_disk
        if not waiting or waiting[0][0] != first_ms:
            return False
        return on_disk.first_due_ms != first_ms or waiting[0][2].stored < on_disk.first_id

    def _load(self, ids: "array[int]") -> list[Message]:
        """Read messages that are due; those that would take too much memory remain for later."""
        if not ids:
            return []
        assert self.store is not None
        count = self.store.fitting(ids, LOADED_BYTES)
        in_journal = sorted(ids[:count])  # so that each of its blocks is read once
        found = dict(zip(in_journal, self.store.load(in_journal), strict=True))
        messages = [found[each] for each in ids[:count]]
        for late in ids[count:]:
            self._on_disk.push(self.timers.wall_ms, late)
        del ids[:]
        return messages

    def _first_due_ms(self) -> int:
        waiting_ms = self._waiting[0][0] if self._waiting else NO_DUE_MS
        return min(waiting_ms, self._on_disk.first_due_ms)

    def _watch(self) -> None:
        """Wake up when the first message is due."""
        due = self._first_due_ms()
        if self._timer is not None and due == self._due:
            return
        self._stop()
        if self.message_count:
            self._due = due
            wait_s = (due - self.timers.wall_ms) / 1000
            self._timer = self.timers.at(self.timers.now + wait_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.look()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def clear(self) -> None:
        self.clearings.add(
            Clearing(
                self,
                self.name,
                self.vhost_name,
                returned=self._waiting,
                ids=self._on_disk.take_all(),
            )
        )
        self._waiting = []
        self._held_bytes = 0

    def end(self) -> None:
        """The exchange is deleted, and its delayed messages with it."""
        self._stop()
        self.clear()
        super().end()

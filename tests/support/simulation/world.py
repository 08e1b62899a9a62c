"""A broker on a disk in memory, driven as the server and its committer drive one.

What takes time in a server (a batch being written, its end being noticed, a timer) happens here
when it is asked for, so that a crash can come between any two of these.
"""

import random
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from fake_client import FakeClient, FakeServer
from leveret.broker.administration import Administration
from leveret.broker.alarms import Alarm
from leveret.broker.broker import Broker
from leveret.broker.configuration import Configuration
from leveret.broker.deduplication_exchange import DeduplicationExchange
from leveret.broker.delayed_exchange import DelayedExchange
from leveret.broker.message import Message, restored
from leveret.broker.policy_checks import checked_policy
from leveret.broker.remainder import Remainder
from leveret.broker.rules import DEFAULT_VERSION, EmulatedVersion
from leveret.broker.server import COMMIT_DELAY_S, LAZY_MAX_BYTES
from leveret.broker.stream_queue import StreamQueue
from leveret.broker.turn_bounds import TurnBounds
from leveret.broker.work import ChannelWork, Work
from leveret.storage.batch import Batch
from leveret.storage.errors import DiskFull, JournalError, JournalFailed
from leveret.storage.journal import Journal
from leveret.storage.opening import Recovered, open_journal
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk

from .choices import Choices
from .names import name_of, number_of
from .policies import PolicyTraits
from .things import Violation

ROOMY_BYTES = 1 << 40
FRAME_MAX = 4096
OBSERVED = "observed"
"""A queue that no story knows."""
UNIQUE_CHARACTERS = 22
_HAIR_S, _TOGETHER_S, _DIGITS = 1e-9, 1e-7, 6
"""What is due at the same millisecond is due together, whatever rounding has done to it."""


_SLOW = (ChannelWork, Remainder)


class PowerLoss(Exception):
    """Comes from the disk in the middle of an operation."""


class _Broker(Broker):
    """A broker whose clients have a turn for what is much work only when they are given one."""

    put_off: list[Work]

    def mark_dirty(self, work: Work) -> None:
        if isinstance(work, _SLOW):
            work.dirty = True
            self.put_off.append(work)
        else:
            super().mark_dirty(work)


class World(FakeServer):
    """A broker that can be stopped, crash, and be started again on what its disk has kept.

    A turn does as much work for a channel as `turn_bounds` says.
    """

    def __init__(
        self,
        settings: Settings,
        memory_budget_bytes: int,
        turn_bounds: TurnBounds | None = None,
        emulate: EmulatedVersion = DEFAULT_VERSION,
    ):
        self.settings = settings
        self._turn_bounds = turn_bounds or TurnBounds()
        self._emulate: EmulatedVersion = emulate
        self._clients = count(1)
        self.memory_budget_bytes = memory_budget_bytes
        self.disk = MemoryDisk()
        self.unique = count(1)
        self.choices = Choices(self.unique.__next__)
        self.taken = 0
        """Batches that have been taken from the journal."""
        self.written = 0
        """Batches that are on disk, whether the broker has noticed or not."""
        self.flight: Batch | None = None
        self.full = False
        self.failed = False
        """The journal is finished, and the broker with it."""
        self._started = False
        self.journal: Journal
        self.recovered: Recovered
        self.broker: _Broker
        self.start()

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the journal and set the broker up. PowerLoss may come from the disk."""
        now = self.broker.timers.now if self._started else 0.0
        self.journal, self.recovered = open_journal(self.disk, self.settings)
        self.broker = _Broker(
            Configuration(emulate=self._emulate),
            lambda: f"{next(self.unique):0{UNIQUE_CHARACTERS}}",
            self.journal,
            self.recovered,
            random_below=self.choices,
            now=now,
            turn_bounds=self._turn_bounds,
        )
        self.broker.put_off = []
        self._started = True
        self.broker.memory.budget_bytes = self.memory_budget_bytes
        self.broker.alarms.on_clear = self._release
        self.flight = None
        self.full = self.failed = self._commit_is_due = self._is_late = False
        # What has been recovered is on disk; it counts as a batch of its own.
        self.taken += 1
        self.written = self.taken

    def _release(self) -> None:
        for connection in self.broker.connections:
            connection.unblock()

    def stop(self) -> None:
        """What a server does when all its connections are gone."""
        self.disk.capacity_bytes = ROOMY_BYTES
        if self.flight is not None:
            if not self.flight.written:
                self.flight.write_and_sync()
            self.journal.synced(self.flight)
        self.broker.dirty += self.broker.put_off
        self.broker.note_deliveries()
        super().end_turn()
        self.journal.close()

    @property
    def now_ms(self) -> int:
        """The time, which a restart does not turn back."""
        return self.broker.timers.wall_ms

    def contents(self) -> dict[str, list[int]]:
        """The bodies' numbers that each queue holds right after a start."""
        return {name: list(map(number_of, held)) for name, held in self._messages().items()}

    def names(self) -> dict[str, list[str]]:
        """The names of the messages that each queue holds right after a start."""
        return {name: list(map(name_of, held)) for name, held in self._messages().items()}

    def _messages(self) -> dict[str, list[Message]]:
        found: dict[str, list[Message]] = {}
        for name, queue in self.queues.items():
            ids = self.recovered.messages.get(queue.number) or ()
            stored = self.journal.read_many([each for each in ids if not _is_dropped(queue, each)])
            found[name] = [restored(0, 0, message.blob) for message in stored]
        return found

    def seen_values(self, name: str) -> list[tuple[int, int]]:
        """The values that an exchange has on disk right after a start, the oldest first, and until
        when each is remembered.
        """
        exchange = self.broker.vhosts["/"].exchanges.get(name)
        if not isinstance(exchange, DeduplicationExchange):
            return []
        ids = self.recovered.messages.get(exchange.number, ())
        blobs = [each.blob for each in self.journal.read_many(ids)]
        found = [(int(blob[9:]), int.from_bytes(blob[:8])) for blob in blobs]
        return [each for at, each in enumerate(found) if each[0] not in dict(found[at + 1 :])]

    def returns(self, name: str) -> list[tuple[int, int]]:
        """How often the messages of a queue came back, and when they are ready again."""
        queue = self.queues[name]
        ids = self.recovered.messages.get(queue.number) or ()
        notes = [queue.store.returns(queue, each) for each in ids]
        return [(note.times, note.due_ms) for note in notes]

    def leftovers(self) -> dict[str, int]:
        """How many messages from before their beginning streams have had on disk at the start."""
        found = {
            name: sum(_is_dropped(queue, each) for each in self.recovered.messages[queue.number])
            for name, queue in self.queues.items()
            if queue.number in self.recovered.messages
        }
        return {name: count_ for name, count_ in found.items() if count_}

    @property
    def queues(self) -> dict[str, Any]:
        """All queues, and the lines of exchanges that delay messages, which have their names."""
        vhost = self.broker.vhosts["/"]
        delaying = {
            name: exchange.delayed
            for name, exchange in vhost.exchanges.items()
            if isinstance(exchange, DelayedExchange)
        }
        queues = {name: queue for name, queue in vhost.queues.items() if name != OBSERVED}
        return {**queues, **delaying}

    # --- turns --------------------------------------------------------------------------------

    def accept(self, *, from_loopback: bool = True) -> FakeClient:
        name = f"client {next(self._clients)}"
        return FakeClient(self, from_loopback=from_loopback, name=name)

    def go_on(self, pick: int) -> Work:
        """Have a turn for something that takes several ones; tell for what."""
        works = self.broker.put_off
        work = works.pop(pick % len(works))
        self.broker.dirty.append(work)
        self.end_turn()
        return work

    def one_turn(self) -> None:
        super().one_turn()
        works, self.broker.dirty = self.broker.dirty, []
        for work in works:
            (self.broker.put_off if isinstance(work, _SLOW) else self.broker.dirty).append(work)

    def end_turn(self) -> None:
        timers = self.broker.timers
        try:
            super().end_turn()
            while (due := timers.next_deadline()) is not None and due <= timers.now + _HAIR_S:
                timers.now = max(timers.now, due)  # what was not done at once goes on
                timers.run()
                super().end_turn()
        except JournalError:  # a message could not be read back
            self.failed = True
        if self.failed:
            return
        broker = self.broker
        is_late, self._is_late = self._is_late, False
        if is_late or broker.awaits_disk or broker.position - broker.durable > LAZY_MAX_BYTES:
            self.commit()
        elif not self._commit_is_due and self.journal.has_work:
            self._commit_is_due = True
            broker.timers.at(broker.timers.now + COMMIT_DELAY_S, self._commit_late)

    def _commit_late(self) -> None:
        self._commit_is_due = False
        self._is_late = True  # for the end of the turn, behind all that is due with this

    def commit(self) -> None:
        """Take a batch, unless one is on its way."""
        if self.journal.is_too_long:
            self.journal.reclaim()
        if self.flight is None and self.journal.has_work:
            self.flight = self.journal.take_batch()
            if self.flight is not None:
                self.taken += 1

    def advance_to_next(self, end_s: float) -> bool:
        """Have the next turn that is due by then; False if there is none, and it is that time."""
        timers = self.broker.timers
        due = timers.next_deadline()
        if self.failed or due is None or due > end_s + _TOGETHER_S:
            timers.now = max(timers.now, round(end_s, _DIGITS))
            return False
        together_s = max(timers.now, due) + _TOGETHER_S
        while due is not None and due < together_s:
            timers.now = max(timers.now, due + _HAIR_S)
            timers.run()
            due = timers.next_deadline()
        timers.now = round(timers.now, _DIGITS)
        self.end_turn()
        return True

    def watch(self) -> None:
        """What a server does every few seconds."""
        self.broker.memory.look()
        self.end_turn()

    # --- policies -----------------------------------------------------------------------------

    def change_policy(self, name: str, traits: PolicyTraits, *, present: bool) -> None:
        """Set a policy, or delete it."""
        policies = self.broker.vhosts["/"].policies
        try:
            if present:
                policy = checked_policy(
                    name,
                    traits.pattern,
                    traits.definition,
                    priority=traits.priority,
                    operator=traits.operator,
                )
                policies.set(policy, operator=traits.operator)
            else:
                policies.delete(name, operator=traits.operator)
        except JournalError:  # a message could not be read back
            self.failed = True
        self.end_turn()

    def trace(self, *, on: bool) -> None:
        """An operator switches the firehose on or off."""
        Administration(self.broker).set_tracing("/", on)
        self.end_turn()

    def check_counted_bytes(self) -> None:
        """Compare what queues have counted with what they hold. Raises Violation."""
        for name, queue in self.queues.items():
            if queue.features is None or not queue.features.counts_bytes:
                continue
            counted = queue.features.limits.ready_bytes
            held = sum(message.body_bytes for message in queue.waiting())
            if counted != held:
                raise Violation(f"count: {name} has counted {counted} bytes of {held}")

    def kept_for(self) -> Counter[int]:
        """How many messages the journal keeps for each that owns some."""
        index, segments = self.journal.index, self.journal.segments.values()
        places = [place for segment in segments for _, place in index.live_in(segment)]
        return Counter(owner for place in places for owner in place.owners)

    @property
    def journal_bytes(self) -> int:
        """How long the files of the journal are together."""
        files = self.disk.files().items()
        return sum(len(data) for name, data in files if name.startswith("journal-"))

    # --- the disk -----------------------------------------------------------------------------

    def write(self) -> None:
        """What the writing thread does. PowerLoss may come from the disk."""
        batch = self.flight
        if batch is None or batch.written:
            return
        try:
            batch.write_and_sync()
            self.written = self.taken
        except DiskFull:
            if not self.full:
                self.full = True
                self.broker.alarms.set(Alarm.DISK, True)
                self.end_turn()
        except JournalFailed:
            self.failed = True

    def notice(self) -> None:
        """What the loop does when a batch has been written."""
        batch = self.flight
        if batch is None or not batch.written:
            return
        if self.full:
            self.full = False
            self.broker.alarms.set(Alarm.DISK, False)
            self.end_turn()
        self.flight = None
        self.broker.synced(self.journal.synced(batch))
        self.end_turn()

    def lose_power(self, chance: random.Random) -> None:
        """From now on the disk is what a power loss has left of it."""
        self.disk = self.disk.crash(chance.randrange, sector=chance.choice((32, 512)))

    def fail_after(self, operations: int, error: Callable[[], Exception], *kinds: str) -> None:
        """Let the disk fail once, at its n-th operation of these kinds, else of all but reads."""
        left = count(operations, -1)

        def fault(operation: str, name: str) -> None:
            if operation not in kinds if kinds else operation == "read":
                return
            if next(left) == 0:
                self.disk.fault = None
                raise error()

        self.disk.fault = fault


def _is_dropped(queue: Any, stored: int) -> bool:
    """Whether retention had dropped a message of a stream, though that is not settled yet."""
    return isinstance(queue, StreamQueue) and stored < queue.begins_at[1]


def body_of(number: int, size: int) -> bytes:
    """A body of about that size that begins with its number."""
    return f"{number} ".encode().ljust(size, b".")

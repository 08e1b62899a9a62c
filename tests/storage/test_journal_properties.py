"""Random histories of a journal, with crashes anywhere, against a plain model.

What a crash leaves must be what the log said at some moment after the last sync: nothing durable
is missing, nothing settled is back, no transaction is there in part.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from journal_model import Model, Step, observed
from leveret.storage import log
from leveret.storage.batch import Batch
from leveret.storage.errors import DiskFull, NoSuchMessage
from leveret.storage.journal import Journal
from leveret.storage.opening import Recovered, open_journal
from leveret.storage.records import (
    JOURNAL_MAGIC,
    OLDEST_VERSION,
    VERSION,
    SegmentHeader,
    segment_name,
)
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk

OWNERS = (1, 2, 3, 70_000)
RUNS = 20
"""Histories in each of eight tests; a few thousand find more."""

SMALL = Settings(segment_bytes=1500, slack_segments=1, rewrite_bytes=400)


class PowerCut(BaseException):
    """Not an Exception, so that nothing in the journal can mistake it for a failed disk."""


class JournalMachine(RuleBasedStateMachine):
    """Steps since the last sync wait in `steps`; -1 and 1 in `groups` open and close a group."""

    journal: Journal
    disk: MemoryDisk

    @initialize(
        first_id=st.sampled_from([1, 16_380, 16_384, 32_767]),
        snapshots=st.booleans(),
        version=st.integers(OLDEST_VERSION, VERSION),
    )
    def begin(self, first_id: int, snapshots: bool, version: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(log, "BLOCK_BYTES", 256)
        self.settings = Settings(
            segment_bytes=SMALL.segment_bytes,
            slack_segments=SMALL.slack_segments,
            rewrite_bytes=SMALL.rewrite_bytes,
            snapshots=snapshots,
        )
        header = SegmentHeader(JOURNAL_MAGIC, version, 0x5EED, 1, 1, 0, first_id)
        self.disk = MemoryDisk({segment_name("journal", 1): header.encode()})
        self.journal, _ = open_journal(self.disk, self.settings)
        self.now = Model()
        self.durable = Model()
        self.taken: list[Step] = []
        self.steps: list[Step] = []
        self.queued: dict[int, list[int]] = {}
        self.paged: dict[int, dict[int, bytes]] = {}
        self.batch: Batch | None = None
        self.highest_id = first_id - 1

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()

    # What a broker does

    def log(self, *step: Any) -> None:
        self.steps.append(step)
        if step[0] in ("begin", "end"):
            return
        self.now.apply(step)

    def flush(self) -> None:
        for owner, ids in self.queued.items():
            self.log("settled", owner, ids)
        self.queued = {}

    def live(self, owner: int) -> list[int]:
        waiting = self.queued.get(owner, [])
        return [n for n in self.now.messages.get(owner, {}) if n not in waiting]

    @rule(
        owners=st.sets(st.sampled_from(OWNERS), min_size=1),
        size=st.sampled_from([0, 1, 40, 200, 300, 3000]),
        more=st.sampled_from([b"", b"tail"]),
        attributes=st.sampled_from([b"", b"", b"\1\2\3"]),
        rank=st.sampled_from([0, 0, 1, 9, 65_535]),
        count=st.integers(1, 8),
    )
    def append(
        self,
        owners: set[int],
        size: int,
        more: bytes,
        attributes: bytes,
        rank: int = 0,
        count: int = 1,
    ) -> None:
        for n in range(count):
            blob = bytes([n]) * size
            if rank:
                message_id = self.journal.append_ranked(rank, tuple(owners), blob, more, attributes)
            else:
                message_id = self.journal.append_message(tuple(owners), blob, more, attributes)
            assert message_id > self.highest_id
            self.highest_id = message_id
            self.log("message", message_id, tuple(owners), blob + more, attributes, rank)

    @rule(owner=st.sampled_from(OWNERS), size=st.sampled_from([10, 400]), count=st.integers(1, 5))
    def page(self, owner: int, size: int, count: int) -> None:
        for n in range(count):
            blob = bytes([n]) * size
            message_id = self.journal.page((owner,), blob)
            self.paged.setdefault(owner, {})[message_id] = blob

    @rule(owner=st.sampled_from(OWNERS), seed=st.integers(0, 99), part=st.sampled_from([1, 3]))
    def settle(self, owner: int, seed: int, part: int) -> None:
        choice = random.Random(seed)
        ids = [n for n in self.live(owner) if choice.randrange(part) == 0]
        paged = [n for n in self.paged.get(owner, {}) if choice.randrange(part) == 0]
        for message_id in paged:
            del self.paged[owner][message_id]
        both = ids + paged
        choice.shuffle(both)
        if len(both) == 1:
            self.journal.settle(owner, both[0])
        elif both:
            self.journal.settle_many(owner, both)
        if ids:
            self.queued.setdefault(owner, []).extend(ids)

    @rule(owner=st.sampled_from(OWNERS), tell=st.booleans())
    def drop(self, owner: int, tell: bool) -> None:
        ids: Iterable[int] | None = None
        if tell:
            ids = [*self.live(owner), *self.queued.get(owner, []), *self.paged.get(owner, {})]
        self.journal.drop_owner(owner, ids)
        self.queued.pop(owner, None)
        self.paged.pop(owner, None)
        self.log("dropped", owner)

    @rule(count=st.integers(2, 12), left=st.integers(0, 2))
    def pass_through(self, count: int, left: int) -> None:
        """Messages that all but a few owners are soon done with: there will be much to reclaim."""
        for n in range(count):
            self.append({2, 3}, 300, b"", b"")
            ids = [self.highest_id]
            for owner in (2, 3)[: 2 if n >= left else n]:
                self.journal.settle_many(owner, ids)
                self.queued.setdefault(owner, []).extend(ids)

    @rule(owner=st.sampled_from(OWNERS), count=st.integers(1, 9))
    def deliver(self, owner: int, count: int) -> None:
        counts = dict.fromkeys(self.live(owner)[:3], count)
        if counts:
            self.journal.note_deliveries(owner, counts)
            self.log("delivered", owner, counts)

    @rule(owner=st.sampled_from(OWNERS), note=st.sampled_from([b"", b"noted", bytes(300)]))
    def note(self, owner: int, note: bytes) -> None:
        for message_id in self.live(owner)[:1]:
            self.journal.note(owner, message_id, note)
            self.log("noted", owner, message_id, note)

    @rule(key=st.sampled_from([b"a", b"b", b"queue"]), size=st.sampled_from([0, 30, 500]))
    def define(self, key: bytes, size: int) -> None:
        self.journal.define(key, b"v" * size)
        self.log("defined", key, b"v" * size)

    @rule(key=st.sampled_from([b"a", b"b", b"queue"]))
    def undefine(self, key: bytes) -> None:
        self.journal.undefine(key)
        self.log("undefined", key)

    @rule(owners=st.lists(st.sampled_from(OWNERS), min_size=1, max_size=6), size=st.integers(0, 99))
    def commit(self, owners: list[int], size: int) -> None:
        self.journal.begin_group()
        self.log("begin")
        for owner in owners:
            self.append({owner}, size, b"", b"", size % 3)
            self.settle(owner, size, 2)
        self.flush()
        self.journal.end_group()
        self.log("end")

    # What its edge does

    @rule()
    def reclaim(self) -> None:
        if self.journal.is_too_long:
            self.journal.reclaim()

    @precondition(lambda self: self.batch is None)
    @rule()
    def take(self) -> None:
        self.flush()
        batch = self.journal.take_batch()
        if batch is not None:
            self.batch = batch
            self.taken, self.steps = self.steps, []

    @precondition(lambda self: self.batch is not None)
    @rule()
    def write(self) -> None:
        assert self.batch is not None
        if not self.batch.written:
            self.batch.write_and_sync()
        self.journal.synced(self.batch)
        self.batch = None
        assert not any(step[0] == "begin" for step in self.taken[-1:])
        for step in self.taken:
            if step[0] not in ("begin", "end"):
                self.durable.apply(step)
        self.taken = []

    @rule()
    def sync_all(self) -> None:
        if self.batch is not None:
            self.write()
        for _ in range(200):
            if not self.journal.has_work:
                break
            self.take()
            if self.batch is not None:
                self.write()
        else:
            raise AssertionError("there is always more work")
        assert self.journal.durable == self.journal.position
        self.check_counts()

    def check_counts(self) -> None:
        live = {n for held in self.now.messages.values() for n in held}
        statistics = self.journal.statistics()
        assert statistics.messages == len(live)
        assert statistics.definitions == len(self.now.definitions)
        assert all(self.journal.index.lives(message_id) for message_id in live)
        names = {segment_name("journal", number) for number in self.journal.segments}
        assert names == {name for name in self.disk.names() if name.startswith("journal-")}
        # What is kept is what lives, in blocks and records with their headers, and the slack.
        live_bytes = statistics.live_bytes
        slack = (SMALL.slack_segments + 3) * (SMALL.segment_bytes + 3200)
        assert statistics.bytes <= 3 * live_bytes + slack

    @precondition(lambda self: self.batch is not None and not self.batch.written)
    @rule(room=st.sampled_from([0, 1, 100, 700]))
    def run_out_of_room(self, room: int) -> None:
        assert self.batch is not None
        self.disk.capacity_bytes = self.disk.used_bytes + room
        try:
            self.batch.write_and_sync()
        except DiskFull:
            pass
        finally:
            self.disk.capacity_bytes = 1 << 40

    @rule(seed=st.integers(0, 99))
    def read(self, seed: int) -> None:
        choice = random.Random(seed)
        wanted: dict[int, bytes] = {}
        for owner in OWNERS:
            held = self.now.messages.get(owner, {})
            wanted |= {n: held[n][0] for n in self.live(owner) if choice.randrange(3) == 0}
            wanted |= {n: b for n, b in self.paged.get(owner, {}).items() if choice.randrange(2)}
        ids = list(wanted)
        choice.shuffle(ids)
        assert [m.message_id for m in self.journal.read_many(ids)] == ids
        assert [m.blob for m in self.journal.read_many(ids)] == [wanted[n] for n in ids]
        for message_id in ids[:3]:
            assert self.journal.read(message_id).blob == wanted[message_id]

    # What befalls it

    def candidates(self) -> list[Model]:
        model = self.durable.copy()
        found = [model.copy()]
        inside = False
        for step in self.taken + self.steps:
            if step[0] in ("begin", "end"):
                inside = step[0] == "begin"
            else:
                model.apply(step)
            if not inside:
                found.append(model.copy())
        return found

    def reopen(self, disk: MemoryDisk) -> Recovered:
        self.disk = disk
        self.journal, recovered = open_journal(disk, self.settings)
        seen = observed(self.journal, recovered)
        matches = [model for model in self.candidates() if model.frozen() == seen]
        assert matches, "the journal never was in this state"
        self.now = matches[0]
        self.durable = self.now.copy()
        self.taken, self.steps = [], []
        self.queued, self.paged = {}, {}
        self.batch = None
        self.highest_id = max((n for ids in recovered.messages.values() for n in ids), default=0)
        return recovered

    def write_in_part(self, after: int) -> None:
        """Have the power go, after so many operations, while a batch is being written."""
        if self.batch is None:
            self.take()
        if self.batch is not None and not self.batch.written:
            self.cut_power(after)
            with contextlib.suppress(PowerCut):
                self.batch.write_and_sync()

    @rule(
        seed=st.integers(0, 2**32),
        after=st.none() | st.integers(0, 9),
        sector=st.sampled_from([16, 512]),
    )
    def lose_power(self, seed: int, after: int | None, sector: int) -> None:
        if after is not None:
            self.write_in_part(after)
        disk = self.disk.crash(random.Random(seed).randrange, sector=sector)
        assert not self.reopen(disk).clean

    @rule(seed=st.integers(0, 2**32), after=st.lists(st.integers(0, 25), min_size=1, max_size=3))
    def lose_power_while_opening(self, seed: int, after: list[int]) -> None:
        choose = random.Random(seed).randrange
        disk = self.disk.crash(choose)
        for operations in after:
            self.disk = disk
            self.cut_power(operations)
            with contextlib.suppress(PowerCut):
                open_journal(disk, self.settings)
            disk = disk.crash(choose)
        self.reopen(disk)

    def cut_power(self, after: int) -> None:
        last = self.disk.operations + after

        def fault(operation: str, name: str) -> None:
            if self.disk.operations > last:
                raise PowerCut

        self.disk.fault = fault

    @rule(after=st.none() | st.integers(0, 9))
    def be_killed(self, after: int | None) -> None:
        """The process goes, the operating system stays."""
        if after is not None:
            self.write_in_part(after)
            self.disk.fault = None
        self.disk.unlock()
        assert not self.reopen(self.disk).clean

    @rule()
    def stop_and_start(self) -> None:
        if self.batch is not None:
            self.write()
        self.flush()
        everything = self.now.frozen()
        self.journal.close()
        recovered = self.reopen(self.disk)
        assert recovered.clean
        assert recovered.torn is None
        assert recovered.from_snapshot == self.settings.snapshots
        assert observed(self.journal, recovered) == everything


def append_some(machine: JournalMachine, choice: random.Random) -> None:
    owners = set(choice.sample(OWNERS, choice.choice([1, 1, 2, 4])))
    size = choice.choice([0, 40, 200, 300, 700, 3000])
    more, rank = choice.choice([b"", b"tail"]), choice.choice([0, 0, 1, 9])
    machine.append(owners, size, more, b"", rank, choice.randrange(1, 8))


def commit_some(machine: JournalMachine, choice: random.Random) -> None:
    machine.commit(choice.choices(OWNERS, k=choice.randrange(1, 6)), choice.randrange(99))


def take_or_write(machine: JournalMachine, choice: random.Random) -> None:
    if machine.batch is None:
        machine.take()
        return
    if choice.randrange(3) == 0 and not machine.batch.written:
        machine.run_out_of_room(choice.choice([0, 100, 700]))
    machine.write()


def fail(machine: JournalMachine, choice: random.Random) -> None:
    seed = choice.randrange(2**32)
    after = choice.choice([None, 0, 1, 1, 1, 2, 3, 5])
    if choice.randrange(4):
        machine.lose_power(seed, after, choice.choice([16, 512]))
    elif choice.randrange(2):
        machine.lose_power_while_opening(seed, choice.choices(range(12), k=2))
    else:
        machine.be_killed(after)


WEIGHTED: list[tuple[int, Callable[[JournalMachine, random.Random], None]]] = [
    (9, append_some),
    (2, lambda m, c: m.page(c.choice(OWNERS), c.choice([10, 400]), c.randrange(1, 5))),
    (9, lambda m, c: m.settle(c.choice(OWNERS), c.randrange(2**32), c.choice([1, 2, 3]))),
    (1, lambda m, c: m.drop(c.choice(OWNERS), c.choice([False, True]))),
    (2, lambda m, c: m.deliver(c.choice(OWNERS), c.randrange(1, 9))),
    (2, lambda m, c: m.note(c.choice(OWNERS), c.choice([b"", b"noted", bytes(300)]))),
    (2, lambda m, c: m.define(c.choice([b"a", b"b", b"c"]), c.choice([0, 30, 500]))),
    (1, lambda m, c: m.undefine(c.choice([b"a", b"b", b"c"]))),
    (3, commit_some),
    (9, lambda m, c: m.pass_through(c.randrange(2, 12), c.randrange(3))),
    (9, take_or_write),
    (3, lambda m, _: m.sync_all()),
    (5, fail),
    (1, lambda m, _: m.stop_and_start()),
    (6, lambda m, c: m.read(c.randrange(2**32))),
]


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_long_random_histories(block: int) -> None:
    """Longer and fuller than those that Hypothesis thinks of, but not made short when one fails."""
    weights, steps = zip(*WEIGHTED, strict=True)
    for seed in range(block * RUNS, (block + 1) * RUNS):
        choice = random.Random(seed)
        machine = JournalMachine()
        version = choice.randint(OLDEST_VERSION, VERSION)
        machine.begin(choice.choice([1, 16_300, 32_767]), choice.choice([False, True]), version)
        try:
            for _ in range(80):
                choice.choices(steps, weights)[0](machine, choice)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            machine.teardown()


def test_a_settled_message_cannot_be_read() -> None:
    journal, _ = open_journal(MemoryDisk())
    message_id = journal.append_message((1,), b"x")
    journal.settle(1, message_id)
    journal.take_batch()
    with pytest.raises(NoSuchMessage):
        journal.read(message_id)


JournalMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestJournal = JournalMachine.TestCase

"""What a broker may and must hold after it was started again.

Of batches up to `written` everything must be there; of later ones that were taken, the beginning
may be; of what was in no batch, nothing can be.
"""

from bisect import insort
from dataclasses import replace

from . import deduplication, queue_values, retries, streams
from .dead_letters import Burial
from .exchanges import EXCHANGES
from .model import TRACING, Model
from .quorum import left_of_returns
from .things import Commit, Entry, MQueue, Return, Violation
from .world import World


class _Disk:
    """What is known about changes by the number of their batch (None: they never happened)."""

    def __init__(self, written: int, taken: int):
        self.written = written
        self.taken = taken

    def has(self, batch: int | None) -> bool:
        return batch is not None and batch <= self.written

    def lacks(self, batch: int | None) -> bool:
        return batch is None or batch > self.taken


class Aftermath:
    """What a broker holds that has been started again: which of the model's queues and entries."""

    def __init__(self, model: Model, world: World, disk: _Disk):
        self.disk = disk
        self.entries: dict[MQueue, list[Entry]] = {}
        numbers = {queue.number: name for name, queue in world.queues.items()}
        contents = world.names()
        for queue in model.incarnations:
            if queue.durable and numbers.get(queue.number) == queue.name:
                self.entries[queue] = _found(queue, contents[queue.name], disk)
        lost = {entry.name for queue in self.entries for entry in self._lost(queue)}
        self.seen = {
            name: deduplication.after_start(
                seen, world.seen_values(name), disk.written, disk.taken, lost, world.now_ms
            )
            for name, seen in model.seen.items()
            if EXCHANGES[name].values_on_disk
        }
        known = {queue.number for queue in self.entries}
        for number, name in numbers.items():
            if number not in known:
                raise Violation(f"risen: queue {name} with number {number}")

    def _lost(self, queue: MQueue) -> list[Entry]:
        """What a queue would have if all had been written; transactions have their own rules."""
        return [
            entry
            for entry in queue.stored
            if entry.published_by is None
            and self.disk.lacks(entry.settled_in)
            and not self.has(queue, entry)
        ]

    def has(self, queue: MQueue, entry: Entry) -> bool:
        """Whether it is in its queue."""
        return entry in self.entries[queue]

    def has_one_like(self, queue: MQueue, entry: Entry) -> bool:
        """Whether it is in its queue, or the same message once more: they can't be told apart."""
        return any(each.name == entry.name for each in self.entries[queue])


def _found(queue: MQueue, names: list[str], disk: _Disk) -> list[Entry]:
    """The entries that have these names. A dead letter may be there twice, if a crash has left the
    message that it came from: then those are meant that have to be there, or else are not settled,
    and are in order.
    """
    found: list[Entry] = []
    # A batch that lacks messages does not have what was settled, either.
    is_torn = any(
        entry.name not in names and _doubt(entry, disk) == _POSSIBLE and entry.settled_in is None
        for entry in queue.stored
    )
    for name in names:
        same = [entry for entry in queue.stored if entry.name == name and entry not in found]
        if not same:
            raise Violation(f"risen: message {name} in {queue.name}, where it does not belong")
        if is_torn:
            found.append(min(same, key=lambda entry: (_doubt(entry, disk), entry.place)))
        else:
            found.append(min(same, key=lambda entry: (_doubt(entry, disk), entry.settled_in or 0)))
    for name in set(names):  # they can't be told apart
        places = [at for at, other in enumerate(names) if other == name]
        in_order = sorted((found[at] for at in places), key=lambda entry: entry.place)
        for at, entry in zip(places, in_order, strict=True):
            found[at] = entry
    in_order = sorted(found, key=lambda entry: entry.place) == found
    if in_order and _hole_in(queue, found, disk) is None:
        return found
    others = _found_in_order(queue, names, disk)
    if others is None and not in_order:
        raise Violation(f"order: {queue.name} has {names}")
    return others or found


def _hole_in(queue: MQueue, found: list[Entry], disk: _Disk) -> str | None:
    """What is wrong if a message is there, and one is lost that came before; None if none is."""
    there, lost = set(found), None
    for entry in queue.stored:
        if entry in there and lost is not None:
            return f"{queue.name} has {entry.name} and not {lost.name}"
        if entry not in there and disk.lacks(entry.settled_in):
            lost = entry
    return None


def _found_in_order(queue: MQueue, names: list[str], disk: _Disk) -> list[Entry] | None:
    """Entries that have these names, in this order, as there may be on disk, and without a hole;
    None if there are none.
    """
    ways: dict[tuple[int, bool], list[Entry]] = {(0, False): []}
    for entry in queue.stored:
        doubt, further = _doubt(entry, disk), dict[tuple[int, bool], list[Entry]]()
        for (count, ends), way in ways.items():
            fits = doubt < _IMPOSSIBLE and names[count : count + 1] == [entry.name]
            if fits and not ends:
                further.setdefault((count + 1, False), [*way, entry])
            if doubt > _CERTAIN:
                further.setdefault((count, ends or disk.lacks(entry.settled_in)), way)
        ways = further
    return next((way for (count, _), way in ways.items() if count == len(names)), None)


_CERTAIN, _POSSIBLE, _IMPOSSIBLE = range(3)


def _doubt(entry: Entry, disk: _Disk) -> int:
    """Whether a message is on disk."""
    if disk.has(entry.settled_in) or disk.lacks(entry.published_in):
        return _IMPOSSIBLE
    is_certain = disk.has(entry.published_in) and disk.lacks(entry.settled_in)
    return _CERTAIN if is_certain else _POSSIBLE


def _may_be(entry: Entry, found: Entry, disk: _Disk) -> bool:
    """Whether it may be this one that has been found as that one, for they can't be told apart."""
    same_name = entry.name == found.name and _doubt(entry, disk) < _IMPOSSIBLE
    return entry is found or same_name


def check_crash(model: Model, world: World, written: int, taken: int) -> Aftermath:
    """Compare what a crash has left with what the model knows to be on disk."""
    disk = _Disk(written, taken)
    after = Aftermath(model, world, disk)
    for queue in model.incarnations:
        if queue.durable:
            _check_queue(queue, after)
    _check_facts(model, world, disk)
    for commit in model.commits:
        _check_commit(commit, after)
    for burial in model.burials:
        _check_burial(burial, after)
    return after


def _check_queue(queue: MQueue, after: Aftermath) -> None:
    disk = after.disk
    if queue not in after.entries:
        if disk.has(queue.defined_in) and disk.lacks(queue.deleted_in):
            raise Violation(f"lost: queue {queue.name}")
        return
    if disk.has(queue.deleted_in) or disk.lacks(queue.defined_in):
        raise Violation(f"risen: queue {queue.name}")
    for entry in queue.stored:
        if after.has(queue, entry):
            if disk.has(entry.settled_in) or disk.lacks(entry.published_in):
                raise Violation(f"risen: message {entry.name} in {queue.name}")
        elif disk.lacks(entry.settled_in) and disk.has(entry.published_in):
            raise Violation(f"lost: message {entry.name} in {queue.name}")
    if hole := _hole_in(queue, after.entries[queue], disk):
        raise Violation(f"hole: {hole}")


def _check_facts(model: Model, world: World, disk: _Disk) -> None:
    there = _there(world)
    for key, history in model.facts.items():
        allowed = {False}
        for batch, present in history:
            if disk.has(batch):
                allowed = {present}
            elif not disk.lacks(batch):
                allowed.add(present)
        if (key in there) not in allowed:
            raise Violation(f"{'risen' if key in there else 'lost'}: {' '.join(key)}")
        there.pop(key, None)
    if there:
        raise Violation(f"risen: {there}")


def _there(world: World) -> dict[tuple[str, ...], None]:
    """What is durable beside queues, bindings in their order."""
    vhost = world.broker.vhosts["/"]
    found: dict[tuple[str, ...], None] = {TRACING: None} if vhost.tracing else {}
    for operator, kind in ((False, "policy"), (True, "operator policy")):
        for policy in vhost.policies.all(operator=operator):
            found[kind, policy.name] = None
    for name, exchange in vhost.exchanges.items():
        if name in EXCHANGES:
            found["exchange", name] = None
            for binding in exchange.bindings.values():
                found["binding", name, binding.destination.name, binding.routing_key] = None
    return found


def _check_commit(commit: Commit, after: Aftermath) -> None:
    disk = after.disk
    done: list[str] = []
    undone: list[str] = []
    for queue, entry in commit.published:
        if queue not in after.entries:
            continue
        if after.has(queue, entry):
            done.append(f"{entry.name} is in {queue.name}")
        elif disk.lacks(entry.settled_in) and disk.lacks(queue.deleted_in):
            undone.append(f"{entry.name} is not in {queue.name}")
    for queue, entry in commit.settled:
        if queue not in after.entries:
            continue
        if after.has(queue, entry):
            undone.append(f"{entry.name} is still in {queue.name}")
        elif disk.has(entry.published_in):
            done.append(f"{entry.name} is settled in {queue.name}")
    if done and undone:
        raise Violation(f"half a transaction: {done[0]}, but {undone[0]}")


def _check_burial(burial: Burial, after: Aftermath) -> None:
    """The message or all of its dead letters must be there."""
    queue, entry = burial.queue, burial.entry
    if entry is None or not (queue.keeps(entry.sent) and queue in after.entries):
        return
    if after.has_one_like(queue, entry) or not after.disk.has(entry.published_in):
        return
    for target, letter in burial.letters:
        gone = target not in after.entries or not after.disk.lacks(letter.settled_in)
        if target.keeps(letter.sent) and not gone and not after.has(target, letter):
            raise Violation(f"lost: {entry.name} between {queue.name} and {target.name}")


def check_restart(model: Model, world: World) -> Aftermath:
    """After a clean stop everything durable must be there, and nothing else."""
    contents = world.names()
    wanted = {
        name: [entry.name for entry in queue.stored if entry.settled_in is None]
        for name, queue in model.queues.items()
        if queue.durable
    }
    if contents != wanted:
        raise Violation(f"restart: queues have {contents}, not {wanted}")
    if leftovers := world.leftovers():
        raise Violation(f"restart: streams have kept {leftovers}")
    facts = {key for key, history in model.facts.items() if history[-1][1]}
    if _there(world).keys() != facts:
        raise Violation(f"restart: there are {_there(world)}, not {facts}")
    in_order = [("binding", *key) for key in model.bindings if model.is_durable(key)]
    for exchange in EXCHANGES:
        there = [key for key in _there(world) if key[:2] == ("binding", exchange)]
        if there != [key for key in in_order if key[1] == exchange]:
            raise Violation(f"restart: the order of bindings is {there}")
    return Aftermath(model, world, _Disk(model.batch, model.batch))


def start_over(model: Model, world: World, after: Aftermath, *, redelivered: bool) -> Model:
    """A model of what a started broker holds, all of it on disk. `redelivered` flags everything;
    else messages keep the flags that they had.
    """
    fresh = Model(model.turns.at_once, model.emulate)
    fresh.next_place = model.next_place
    fresh.now_ms = world.now_ms
    fresh.spread = model.spread
    fresh.replies = model.replies.after_start()
    for old_queue, entries in after.entries.items():
        queue = replace(
            old_queue, defined_in=0, deleted_in=None, used_ms=world.now_ms, ready=[], stored=[],
            consumers=[], waiting=[], returning=0, values={}, turn=0,
        )  # fmt: skip
        fresh.queues[queue.name] = queue
        fresh.incarnations.append(queue)
        delays = queue.traits.retry_type is not None
        notes = world.returns(queue.name) if delays else [(0, 0)] * len(entries)
        for old, note in zip(entries, notes, strict=True):
            place = old.place if queue.traits.quorum else fresh.next_place()
            alike = [each for each in old_queue.stored if _may_be(each, old, after.disk)]
            left = left_of_returns(alike, after.disk.written, after.disk.taken)
            stands = left.stands if queue.traits.quorum else place
            entry = replace(
                old, place=place, published_in=0, settled_in=None, published_by=None,
                settled_by=None, redelivered=(
                    not queue.traits.stream and (redelivered or old.redelivered)
                ),
                stands=place if stands is None else stands, is_sure=stands is not None,
                returns=left.returns, returned=[Return(0, stands)] * left.returns,
                doubtful_returns=left.doubtful,
            )  # fmt: skip
            queue.stored.append(entry)
            if delays and _still_waits(old, entry, note, fresh.now_ms):
                queue.waiting.append(entry)
            else:
                insort(queue.ready, entry)
        streams.begin_again(queue)
    for key in _there(world):
        fresh.facts[key] = [(0, True)]
        if key[0] == "exchange":
            fresh.exchanges.add(key[1])
        elif key == TRACING:
            fresh.firehose.on = True
        elif key[0] != "binding":
            fresh.policies.add(key[1])
        else:
            fresh.bindings[key[1], key[2], key[3]] = None
    fresh.seen = after.seen
    fresh.follow_policies()
    for queue in fresh.incarnations:
        for entry in queue.stored:
            queue_values.hold(queue, entry)
    return fresh


def _still_waits(old: Entry, entry: Entry, note: retries.Note, now_ms: int) -> bool:
    """Whether a message of a queue with delayed retries waits; how often it came back is known."""
    waits = retries.after_start(old, note, entry.returns, entry.doubtful_returns, now_ms)
    (entry.returns, entry.due_ms), entry.doubtful_returns = note, 0
    entry.returned = [Return(0, None)] * entry.returns
    entry.is_paged_out = waits
    return waits

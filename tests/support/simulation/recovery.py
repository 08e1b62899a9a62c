"""What a broker may and must hold after it was started again.

Of batches up to `written` everything must be there; of later ones that were taken, the beginning
may be; of what was in no batch, nothing can be.
"""

from bisect import insort

from .model import Model
from .queues import EXCHANGES, traits_of
from .things import Entry, MQueue, Violation
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


def check_crash(model: Model, world: World, written: int, taken: int) -> None:
    """Compare what a crash has left with what the model knows to be on disk."""
    disk = _Disk(written, taken)
    contents = world.names()
    by_number = {queue.number: name for name, queue in world.queues.items()}
    for queue in model.incarnations:
        if queue.durable:
            _check_queue(queue, disk, by_number, contents)
    _check_nothing_else(model, world, contents)
    _check_facts(model, world, disk)
    for commit in model.commits:
        _check_commit(commit.published, commit.settled, disk, by_number, contents)


def _check_queue(
    queue: MQueue, disk: _Disk, by_number: dict[int, str], contents: dict[str, list[str]]
) -> None:
    there = by_number.get(queue.number) == queue.name
    if not there:
        if disk.has(queue.defined_in) and disk.lacks(queue.deleted_in):
            raise Violation(f"lost: queue {queue.name}")
        return
    if disk.has(queue.deleted_in) or disk.lacks(queue.defined_in):
        raise Violation(f"risen: queue {queue.name}")
    _check_order(queue, contents[queue.name])
    _check_messages(queue, disk, set(contents[queue.name]))


def _check_order(queue: MQueue, found: list[str]) -> None:
    places = {entry.name: entry.place for entry in queue.stored}
    for name in found:
        if name not in places:
            raise Violation(f"risen: message {name} in {queue.name}, where it does not belong")
    if len(set(found)) != len(found):
        raise Violation(f"duplicate: {queue.name} has {found}")
    if sorted(found, key=places.__getitem__) != found:
        raise Violation(f"order: {queue.name} has {found}")


def _check_messages(queue: MQueue, disk: _Disk, survivors: set[str]) -> None:
    lost: Entry | None = None
    for entry in queue.stored:
        if entry.name in survivors:
            if disk.has(entry.settled_in) or disk.lacks(entry.published_in):
                raise Violation(f"risen: message {entry.name} in {queue.name}")
            if lost is not None:
                raise Violation(f"hole: {queue.name} has {entry.name} and not {lost.name}")
        elif disk.lacks(entry.settled_in):
            if disk.has(entry.published_in):
                raise Violation(f"lost: message {entry.name} in {queue.name}")
            lost = entry


def _check_nothing_else(model: Model, world: World, contents: dict[str, list[str]]) -> None:
    numbers = {queue.number for queue in model.incarnations if queue.durable}
    for name, queue in world.queues.items():
        if queue.number not in numbers:
            raise Violation(f"risen: queue {name} with number {queue.number}")


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
        there.discard(key)
    if there:
        raise Violation(f"risen: {there}")


def _there(world: World) -> set[tuple[str, ...]]:
    vhost = world.broker.vhosts["/"]
    found: set[tuple[str, ...]] = {("policy", policy.name) for policy in vhost.policies.all()}
    for name, exchange in vhost.exchanges.items():
        if name in EXCHANGES:
            found.add(("exchange", name))
            for binding in exchange.bindings.values():
                found.add(("binding", name, binding.destination.name, binding.routing_key))
    return found


def _check_commit(
    published: list[tuple[MQueue, Entry]],
    settled: list[tuple[MQueue, Entry]],
    disk: _Disk,
    by_number: dict[int, str],
    contents: dict[str, list[str]],
) -> None:
    done: list[str] = []
    undone: list[str] = []
    for queue, entry in published:
        if by_number.get(queue.number) != queue.name:
            continue
        if entry.name in contents[queue.name]:
            done.append(f"{entry.name} is in {queue.name}")
        elif disk.lacks(entry.settled_in) and disk.lacks(queue.deleted_in):
            undone.append(f"{entry.name} is not in {queue.name}")
    for queue, entry in settled:
        if by_number.get(queue.number) != queue.name:
            continue
        if entry.name in contents[queue.name]:
            undone.append(f"{entry.name} is still in {queue.name}")
        elif disk.has(entry.published_in):
            done.append(f"{entry.name} is settled in {queue.name}")
    if done and undone:
        raise Violation(f"half a transaction: {done[0]}, but {undone[0]}")


def check_restart(model: Model, world: World) -> None:
    """After a clean stop everything durable must be there, and nothing else."""
    contents = world.names()
    wanted = {
        name: [entry.name for entry in queue.stored if entry.settled_in is None]
        for name, queue in model.queues.items()
        if queue.durable
    }
    if contents != wanted:
        raise Violation(f"restart: queues have {contents}, not {wanted}")
    facts = {key for key, history in model.facts.items() if history[-1][1]}
    if _there(world) != facts:
        raise Violation(f"restart: there are {_there(world)}, not {facts}")


def start_over(model: Model, world: World, *, redelivered: bool) -> Model:
    """A model of what a started broker holds, all of it on disk. `redelivered` flags everything;
    else messages keep the flags that they had.
    """
    fresh = Model()
    fresh.next_place = model.next_place
    fresh.now_ms = world.now_ms
    before = {
        (queue.number, entry.name): entry for queue in model.incarnations for entry in queue.stored
    }
    for queue_name, names in world.names().items():
        number = world.queues[queue_name].number
        queue = MQueue(queue_name, number, traits_of(queue_name), None, 0, world.now_ms)
        fresh.queues[queue_name] = queue
        fresh.incarnations.append(queue)
        for name in names:
            old = before[number, name]
            entry = Entry(old.sent, fresh.next_place(), 0, old.priority, old.expires_ms)
            entry.redelivered = redelivered or old.redelivered
            queue.stored.append(entry)
            insort(queue.ready, entry)
    for key in sorted(_there(world)):
        fresh.facts[key] = [(0, True)]
        if key[0] == "exchange":
            fresh.exchanges.add(key[1])
        elif key[0] == "policy":
            fresh.policies.add(key[1])
        else:
            fresh.bindings.add((key[1], key[2], key[3]))
    return fresh

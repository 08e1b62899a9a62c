"""Delayed retries: the oracle for x-delayed-retry-type, -min and -max.

What comes back waits before it is ready again: the first time for the minimum, the second time
twice as long and so on, up to the maximum, which is the minimum if there is none. `failed` is for
what is rejected or abandoned, `returned` for what is handed back. What waits is not counted, and
goes with its queue. How often it came back, and until when it waits, survives a crash, except that
the last return before it may be forgotten: then the message is ready.
What waits since before a restart is on disk only, and may come behind what is in memory.
"""

from typing import TYPE_CHECKING, TypeAlias

from . import quorum
from .things import Entry, MQueue, Outcome, Violation

if TYPE_CHECKING:
    from .model import Model

Note: TypeAlias = tuple[int, int]
"""What is on disk of a message: how often it came back, and when it is ready again."""


def must_wait(queue: MQueue, entry: Entry, outcome: Outcome, now_ms: int) -> bool:
    """A message has come back; whether it waits now."""
    entry.due_ms = _due_ms(queue, entry, outcome, now_ms)
    if entry.due_ms:
        queue.waiting.append(entry)
    return entry.due_ms > 0


def _due_ms(queue: MQueue, entry: Entry, outcome: Outcome, now_ms: int) -> int:
    traits = queue.traits
    kind = "returned" if outcome is Outcome.HANDED_BACK else "failed"
    if traits.retry_type not in ("all", kind):
        return 0
    most_ms = traits.retry_max_ms or traits.retry_min_ms
    return now_ms + min(entry.returns * traits.retry_min_ms, most_ms)


def release(model: "Model") -> None:
    """Have what is due be ready."""
    for queue in model.queues.values():
        level = _level(queue)
        for entry in sorted(queue.waiting, key=lambda each: (each.due_ms, each.place)):
            if entry.due_ms <= model.now_ms:
                queue.waiting.remove(entry)
                if queue.traits.quorum:
                    quorum.put_first(entry)
                if entry.is_paged_out:
                    entry.is_paged_out = entry.is_sure = False
                entry.is_sure = entry.is_sure and entry not in level
                model.ready_again(queue, entry)


def _level(queue: MQueue) -> list[Entry]:
    """What comes back to a quorum queue together with something from before a restart: as it stood
    then, so that nobody may rely on what is first.
    """
    from_before = {entry.due_ms for entry in queue.waiting if entry.published_in == 0}
    dues = [entry.due_ms for entry in queue.waiting]
    return [
        entry
        for entry in queue.waiting
        if queue.traits.quorum and entry.due_ms in from_before and dues.count(entry.due_ms) > 1
    ]


def after_start(old: Entry, note: Note, returns: int, doubtful: int, now_ms: int) -> bool:
    """A message, before the start `old`, has that on disk now, and came back so often for certain,
    and so often perhaps. Whether it waits. Raises Violation.
    """
    times, due = note
    if not returns <= times <= returns + doubtful:
        raise Violation(f"retry: {old.name} came back {times} times, not {returns} + {doubtful}?")
    if times == old.returns and max(due, now_ms) != max(old.due_ms, now_ms):
        raise Violation(f"retry: {old.name} is due at {due}, not {old.due_ms}")
    if times < old.returns and due > now_ms:
        raise Violation(f"retry: {old.name} is due at {due} though it was ready")
    return due > now_ms

"""Message deduplication: the oracle for exchanges that pass each value on but once.

An exchange remembers so many values, the latest, each for some time since it let it pass: a message
with one of them leads nowhere, or to the alternate exchange. A value counts as soon as its message
is published, whatever becomes of it. How many there are and for how long says a policy, or else the
exchange; a message itself may say for how long its own is.

All are forgotten with the exchange. An exchange may have them on disk, so that a restart brings
them back in their order. A crash leaves those that were written, none without its message.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from .exchanges import EXCHANGES
from .policies import definition_for
from .things import Sent, Violation

if TYPE_CHECKING:
    from .model import Model

NEVER = 1 << 63
Found: TypeAlias = Sequence[tuple[int, int]]
"""Values, the oldest first, and until when each is remembered."""


@dataclass(slots=True, eq=False)
class Note:
    """That a value is remembered until some time: since which batch, and till which one. `name` is
    that of the message that it came with.
    """

    name: str
    value: int
    until_ms: int
    seen_in: int
    forgotten_in: int | None = None


@dataclass(slots=True, eq=False)
class Seen:
    """What an exchange remembers, the oldest first, and all that it ever did."""

    known: dict[int, Note] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def forget(self, value: int, batch: int) -> None:
        """A value, if it is known, gives way."""
        note = self.known.pop(value, None)
        if note is not None:
            note.forgotten_in = batch


def passes(model: Model, exchange: str, sent: Sent) -> bool:
    """Whether a message may pass an exchange, which remembers its value from now on."""
    traits = EXCHANGES[exchange]
    if not traits.values_most or sent.value < 0:
        return True
    seen = model.seen.setdefault(exchange, Seen())
    note = seen.known.get(sent.value)
    if note is not None and note.until_ms > model.now_ms:
        return False
    policy = definition_for(exchange, model.policies)
    seen.forget(sent.value, model.batch)
    # Not all of those that are over make room at once, but enough of them do.
    while len(seen.known) >= policy.get("x-cache-size", traits.values_most):
        seen.forget(next(iter(seen.known)), model.batch)
    ttl_ms = sent.value_ttl_ms
    if ttl_ms is None:
        ttl_ms = policy.get("x-cache-ttl", traits.values_ttl_ms)
    until_ms = NEVER if ttl_ms is None else model.now_ms + ttl_ms
    seen.known[sent.value] = Note(sent.name, sent.value, until_ms, model.batch)
    seen.notes.append(seen.known[sent.value])
    return True


def end(model: Model, exchange: str) -> None:
    """An exchange is deleted."""
    if exchange in model.seen:
        for value in list(model.seen[exchange].known):
            model.seen[exchange].forget(value, model.batch)


def after_start(
    seen: Seen, found: Found, written: int, taken: int, lost: Set[str], now_ms: int
) -> Seen:
    """What an exchange knows after a start that knew this before, and has those values on disk now.
    The batches up to `written` are there, those behind `taken` are not; `lost` are the names of
    messages that were in the latter. Raises Violation.
    """
    possible = [
        note
        for note in seen.notes
        if note.seen_in <= taken and (note.forgotten_in is None or note.forgotten_in > written)
    ]
    left, rest = list[Note](), possible[::-1]
    for value, until_ms in found[::-1]:  # of equal ones the latest is meant
        while rest and (rest[0].value, rest[0].until_ms) != (value, until_ms):
            del rest[0]
        if not rest:
            raise Violation(f"values: {found} are on disk, which may be {possible}")
        left.insert(0, rest.pop(0))
        if left[0].name in lost and left[0].seen_in > written:
            raise Violation(f"values: {left[0]} is there without its message")
    for note in possible:
        is_certain = note.seen_in <= written and (note.forgotten_in or NEVER) > taken
        if is_certain and note.until_ms > now_ms and note not in left:
            raise Violation(f"values: {note} is lost of {found}")
    fresh = [Note(note.name, note.value, note.until_ms, 0) for note in left]
    return Seen({note.value: note for note in fresh}, fresh)

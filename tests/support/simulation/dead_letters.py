"""Dead letters: the oracle for x-dead-letter-exchange and x-dead-letter-routing-key.

A message that its queue is done with, and that nobody has acknowledged, is published anew: by the
key that the queue names, or else by its own ones, those of CC and BCC among them. It tells what it
died of, and does not expire any more. It is not let into a queue that it has died in before, if
nobody has rejected it since.

A persistent one is not lost on the way from one durable queue to another: after a crash it is in
either of them, or in both.
"""

from dataclasses import dataclass, field, replace
from enum import Enum

from .things import Death, Entry, MQueue, Sent


class Reason(Enum):
    REJECTED = "rejected"
    EXPIRED = "expired"
    MAXLEN = "maxlen"
    DELIVERY_LIMIT = "delivery_limit"


@dataclass(slots=True, eq=False)
class Burial:
    """Of a message, which the queue held as an entry, or refused. What has become of it."""

    queue: MQueue
    sent: Sent
    reason: Reason
    entry: Entry | None
    letters: list[tuple[MQueue, Entry]] = field(default_factory=list)


def letter_of(burial: Burial) -> Sent:
    """What is published anew."""
    sent, queue = burial.sent, burial.queue
    key = queue.traits.dead_letter_key
    deaths = _with_death(sent.deaths, queue.name, burial.reason)
    exchange = queue.traits.dead_letter_exchange or ""
    first = sent.first_death or deaths[0][:2]
    letter = replace(sent, deaths=deaths, first_death=first, ttl_ms=None, exchange=exchange)
    return letter if key is None else replace(letter, key=key, copies=())


def _with_death(deaths: tuple[Death, ...], queue: str, reason: Reason) -> tuple[Death, ...]:
    """The latest comes first, and how often that has happened is counted."""
    same = [death for death in deaths if death[:2] == (queue, reason.value)]
    times = same[0][2] + 1 if same else 1
    others = [death for death in deaths if death not in same]
    return ((queue, reason.value, times), *others)


def may_enter(letter: Sent, queue: MQueue, reason: Reason) -> bool:
    """Whether a dead letter is let into a queue."""
    if reason is Reason.REJECTED:
        return True
    for where, why, _ in letter.deaths:
        if why == Reason.REJECTED.value:
            return True
        if where == queue.name:
            return False
    return True

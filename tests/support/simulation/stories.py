"""Stories: lists of actions made up from a seed."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from leveret.broker.rules import DEFAULT_VERSION, EmulatedVersion

from .actions import Action
from .exchanges import EXCHANGES
from .model import ALL_AT_ONCE
from .queues import QUEUES
from .value_plots import ValuePlots

_QUEUE_NAMES = tuple(QUEUES)
_PLAIN = "d0 d0 d0 d0 d1 d1 t0 t0 x a0 p0 p0"
_FEW = "d0 d1 t0 x a0 p0"
_STREAMS = "w0 w1 w1 w1 w2 w2 d0"
_SPECIAL = (
    "e0 e1 e1 e1",
    "e0 e0 m0",
    "e2 r0 r0",
    "n0 n0",
    "m1 m2",
    "b0 e0 m0",
    "q0 q0 b0",
    "q1 q1 q1 q2 q2",
    "z0",
    "o0 o0 o1 o1",
    "y0 y0 y1 y1 y2",
    "l0 l0",
    "s0 s0 s0",
    "s1 s1 s1",
    "c0 c0 c1 k0 k1",
    "g0 g0 v0",
    "g1 g1 v1",
    "u0 u0 u0",
    "u0 u1 u1 u2",
    "u3 u6 u7 u7",
    "u4 u4 u5 u5",
    _STREAMS,
)

_EXCHANGES = "direct fanout fleeting vanishing late"
_RARE_EXCHANGES = (
    "vain forked forked stopgap stopgap",
    "topical topical",
    "heads heads heads",
    "spread spread",
    "spread_by_header spread_by_id",
    "shards shards",
    "dice dice",
    "recent recent",
    "once once once",
    "once once_or_direct once_or_direct",
    "once_for_long once_for_long once_for_long",
)


@dataclass(frozen=True, slots=True)
class Story:
    """What a run is made of, and on what scale."""

    actions: tuple[Action, ...]
    segment_bytes: int
    memory_budget_bytes: int
    snapshots: bool
    at_once: int
    """How much of a channel's work is done in one turn."""
    effort: int
    """How much of what a client sends is dealt with in one turn."""
    emulate: EmulatedVersion = DEFAULT_VERSION
    """The version of RabbitMQ whose rules hold."""


def story(seed: int) -> Story:
    """The story of a seed."""
    chance = Random(seed)
    at_once = chance.choice((1, 2, 3, *[ALL_AT_ONCE] * 4))
    effort = chance.choice((1, 3, 20, *[ALL_AT_ONCE] * 4))
    cast = _cast(chance)
    scene = _Scene(
        chance, cast, _exchanges(chance, cast), in_turns=min(at_once, effort) < ALL_AT_ONCE
    )
    scene.prelude()
    for _ in range(chance.choice((20, 60, 120))):
        scene.add_one()
    # What gives way when memory is short nobody can tell.
    traits = [QUEUES[_QUEUE_NAMES[queue]] for queue in scene.cast]
    roomy = any(list(EXCHANGES.values())[each].remembers for each in scene.exchanges)
    roomy = roomy or any(each.retry_type for each in traits)
    quorum = any(each.quorum for each in traits)
    budgets = (0, 0, 0, 20000) if quorum else (0, 0, 3000, 20000)
    emulate: EmulatedVersion = "4.0" if seed % 6 == 5 else DEFAULT_VERSION
    return Story(
        tuple(scene.actions),
        segment_bytes=chance.choice((1024, 2048, 1 << 20)),
        memory_budget_bytes=0 if roomy else chance.choice(budgets),
        snapshots=chance.random() < 0.5,
        at_once=at_once,
        effort=effort,
        emulate=emulate,
    )


def _cast(chance: Random) -> list[int]:
    """The queues that a story is about; what stands there more often is likelier."""
    special = chance.sample(_SPECIAL, chance.choice((0, 1, 2, 2, 3)))
    chosen = " ".join([_FEW] + special * chance.choice((1, 2, 4))) if special else _PLAIN
    if chance.random() < 0.1:
        chosen = _STREAMS
    return [_QUEUE_NAMES.index(name) for name in chosen.split()]


def _exchanges(chance: Random, cast: list[int]) -> list[int]:
    """The exchanges of a story, those for its dead letters among them."""
    chosen = f"{_EXCHANGES} {' '.join(chance.sample(_RARE_EXCHANGES, chance.choice((0, 1, 2, 3))))}"
    names = list(EXCHANGES)
    to = {QUEUES[_QUEUE_NAMES[queue]].dead_letter_exchange for queue in cast}
    return [names.index(name) for name in (*chosen.split(), *filter(to.__contains__, names))]


class _Scene(ValuePlots):
    """Makes up a story. What is likely differs from one to the other."""

    def __init__(self, chance: Random, cast: list[int], exchanges: list[int], *, in_turns: bool):
        super().__init__(chance, cast, exchanges)
        crashes, faults = chance.choice((0, 2, 5)), chance.choice((0, 0, 1))
        self._tracing = chance.choice((0, 0, 0, 0, 2, 4))
        self._kinds: dict[Callable[[], None], int] = {
            self._publish: chance.choice((10, 30)),
            self._publish_late: chance.choice((0, 0, 10)),
            self._commit: chance.choice((3, 10)),
            self._settle: chance.choice((8, 25)),
            self._get: chance.choice((1, 3, 10)),
            self._try: chance.choice((0, 2, 5)),
            self._consume: chance.choice((0, 3, 9)),
            self._compete: chance.choice((3, 6) if self._turning else (0, 0, 3)),
            self._read: chance.choice((5, 15)) if self._streams else 0,
            self._fail_again: chance.choice((2, 6)) if self._counting else 0,
            self._return_and_restart: chance.choice((0, 3, 6)) if self._counting else 0,
            self._return_to_the_end: chance.choice((2, 4, 8)) if self._unlimited else 0,
            self._bury: chance.choice((1, 2, 4)) if self._burying else 0,
            self._die_again: chance.choice((2, 4)) if self._burying else 0,
            self._govern: chance.choice((2, 5)) if self._governed else 0,
            self._bury_in_transaction: chance.choice((0, 1, 3)) if self._burying else 0,
            self._purge_waiting: chance.choice((2, 5)) if self._retrying else 0,
            self._keep: chance.choice((3, 8)) if self._expiring else 0,
            self._be_alone: chance.choice((0, 0, 3)),
            self._delay_over_restart: chance.choice((0, 0, 0, 2)),
            self._limit_late: chance.choice((0, 2)) if self._governed else 0,
            self._bury_copies: chance.choice((1, 3)) if self._copying_letters else 0,
            self._reroute: chance.choice((2, 5, 10)) if self._choosy else chance.choice((0, 0, 1)),
            self._come_again: chance.choice((2, 5, 9)) if self._holding_once else 0,
            self._repeat: chance.choice((2, 5)) if self._once else 0,
            self._read_from_then: chance.choice((0, 2)) if self._streams else 0,
            self._read_slowly: chance.choice((0, 3)) if self._streams else 0,
            self._ask: chance.choice((5, 15)) if self._asking else 0,
            self._reply: 1 if self._asking else 0,
            self._ask_after: 1 if self._asking else 0,
            self._cancel: 1,
            self._qos: 2,
            self._recover: 1,
            self._declare_queue: 5,
            self._delete_queue: chance.choice((0, 1, 2)),
            self._purge: chance.choice((0, 1)),
            self._declare_exchange: 2,
            self._delete_exchange: chance.choice((0, 1)),
            self._bind: 4,
            self._link: chance.choice((0, 0, 2)),
            self._unbind: 1,
            self._close_channel: 1,
            self._disconnect: 1,
            self._policy: chance.choice((0, 1, 4)),
            self._trace: self._tracing,
            self._write: chance.choice((20, 60)),
            self._wait: 5,
            self._be_late: chance.choice((5, 12)) if self._timed else 0,
            self._go_on: chance.choice((5, 20, 40)) if in_turns else 0,
            self._settle_much: chance.choice((3, 10)) if in_turns else 0,
            self._commit_much: chance.choice((3, 10)) if in_turns else 0,
            self._crash: crashes,
            self._interrupt: chance.choice((0, 0, 2)),
            self._restart: chance.choice((0, 1)),
            self._fault: faults,
            self._fill_disk: faults,
            self._free_disk: 3 * faults,
        }

    def add_one(self) -> None:
        (make,) = self.chance.choices(list(self._kinds), list(self._kinds.values()))
        make()

    def prelude(self) -> None:
        """A topology that the rest can do something with."""
        for queue in sorted(set(self.cast)):
            self._declare_queue(queue)
        for exchange in self.exchanges:
            if self.chance.random() < 0.8:
                self._declare_exchange(exchange)
        for _ in range(3):
            self._bind()
        if self._tracing:
            self._add("trace", on=0)
        for _ in range(4):
            self._add("write")
            self._add("notice")

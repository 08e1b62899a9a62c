"""Stories: lists of actions made up from a seed. Each action means something whatever came before,
or nothing: so any of them can be left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .queues import EXCHANGES, GRAVE_QUEUES, GRAVES, LATE, QUEUES

_QUEUE_NAMES = tuple(QUEUES)
_EXCHANGE_NAMES = tuple(EXCHANGES)
_GRAVE_QUEUES = [_QUEUE_NAMES.index(name) for name in GRAVE_QUEUES]
_PLAIN = "d0 d0 d0 d0 d1 d1 t0 t0 x a0 p0 p0"
_FEW = "d0 d1 t0 x a0 p0"
_STREAMS = "w0 w1 w1 w1 d0"
_SPECIAL = (
    "e0 e1 e1 e1",
    "e0 e0 m0",
    "e2 r0",
    "m1 m2",
    "b0 e0 m0",
    "q0 q0 b0",
    "q1 q2 q2",
    "z0",
    "l0 l0",
    _STREAMS,
)
CLIENTS = 3
CHANNELS = 2


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that somebody does, with numbers that say how."""

    name: str
    numbers: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.numbers)})"


@dataclass(frozen=True, slots=True)
class Story:
    """What a run is made of, and on what scale."""

    actions: tuple[Action, ...]
    segment_bytes: int
    memory_budget_bytes: int
    snapshots: bool


def story(seed: int) -> Story:
    """The story of a seed."""
    chance = Random(seed)
    scene = _Scene(chance)
    scene.prelude()
    for _ in range(chance.choice((20, 60, 120))):
        scene.add_one()
    quorum = any(QUEUES[_QUEUE_NAMES[queue]].quorum for queue in scene.cast)
    return Story(
        tuple(scene.actions),
        segment_bytes=chance.choice((1024, 2048, 1 << 20)),
        memory_budget_bytes=chance.choice((0, 0, 0, 20000) if quorum else (0, 0, 3000, 20000)),
        snapshots=chance.random() < 0.5,
    )


class _Scene:
    """Makes up one action after the other. What is likely differs from story to story."""

    def __init__(self, chance: Random):
        self.chance = chance
        self.actions: list[Action] = []
        crashes, faults = chance.choice((0, 2, 5)), chance.choice((0, 0, 1))
        self.cast = self._cast_queues()
        self._streams = self._those_that("stream")
        self._counting = self._those_that("quorum")
        self._burying = self._those_that("lets_die")
        self._kinds: dict[Callable[[], None], int] = {
            self._publish: chance.choice((10, 30)),
            self._publish_late: chance.choice((0, 0, 10)),
            self._commit: chance.choice((3, 10)),
            self._settle: chance.choice((8, 25)),
            self._get: chance.choice((1, 3, 10)),
            self._try: chance.choice((0, 2, 5)),
            self._consume: chance.choice((0, 3, 9)),
            self._read: chance.choice((5, 15)) if self._streams else 0,
            self._fail_again: chance.choice((2, 6)) if self._counting else 0,
            self._bury: chance.choice((0, 2, 2)) if self._burying else 0,
            self._read_slowly: chance.choice((0, 3)) if self._streams else 0,
            self._cancel: 1,
            self._qos: 2,
            self._recover: 1,
            self._declare_queue: 5,
            self._delete_queue: chance.choice((0, 1, 2)),
            self._purge: chance.choice((0, 1)),
            self._declare_exchange: 2,
            self._delete_exchange: chance.choice((0, 1)),
            self._bind: 4,
            self._unbind: 1,
            self._close_channel: 1,
            self._disconnect: 1,
            self._policy: chance.choice((0, 1, 4)),
            self._write: chance.choice((20, 60)),
            self._wait: 5,
            self._crash: crashes,
            self._restart: chance.choice((0, 1)),
            self._fault: faults,
            self._fill_disk: faults,
            self._free_disk: 3 * faults,
        }

    def _cast_queues(self) -> list[int]:
        """The queues that this story is about; what stands there more often is likelier."""
        special = self.chance.sample(_SPECIAL, self.chance.choice((0, 1, 1, 2, 2)))
        chosen = " ".join([_FEW] + special * self.chance.choice((1, 2, 4))) if special else _PLAIN
        if self.chance.random() < 0.1:
            chosen = _STREAMS
        return [_QUEUE_NAMES.index(name) for name in chosen.split()]

    def _those_that(self, trait: str) -> list[int]:
        return [each for each in self.cast if getattr(QUEUES[_QUEUE_NAMES[each]], trait)]

    def add_one(self) -> None:
        (make,) = self.chance.choices(list(self._kinds), list(self._kinds.values()))
        make()

    def prelude(self) -> None:
        """A topology that the rest can do something with."""
        for queue in sorted(set(self.cast)):
            self._declare_queue(queue)
        for exchange in range(len(EXCHANGES)):
            if self.chance.random() < 0.8:
                self._declare_exchange(exchange)
        for _ in range(3):
            self._bind()
        for _ in range(4):
            self._add("write")
            self._add("notice")

    def _add(self, name: str, **numbers: int) -> None:
        self.actions.append(Action(name, tuple(numbers.items())))

    def _below(self, end: int) -> int:
        return self.chance.randrange(end)

    def _on_existing(self, name: str, **numbers: int) -> None:
        """An action on a queue or exchange, which is declared first unless it is a `blind` one."""
        self._on_channel(name, **numbers, blind=int(self.chance.random() < 0.1))

    def _on_channel(self, name: str, **numbers: int) -> None:
        """An action on some channel; `more` keeps it back until more is sent."""
        where = {"client": self._below(CLIENTS), "channel": 1 + self._below(CHANNELS)}
        self._add(name, **{**where, **numbers, "more": int(self.chance.random() < 0.3)})

    def _queue(self) -> int:
        return self.chance.choice(self.cast)

    def _exchange(self) -> int:
        return self._below(len(EXCHANGES))

    def _publish(self, queue: int | None = None, exchange: int | None = None) -> None:
        if exchange is None:
            any_one = self.chance.choice((-1, -1, -1, self._exchange()))
            exchange = -1 if queue is not None else any_one
        self._on_existing(
            "publish",
            exchange=exchange,
            queue=self._queue() if queue is None else queue,
            persistent=self.chance.choice((0, 1, 1, 2)),
            priority=self.chance.choice((0, 0, 1, 3, 9)),
            mandatory=int(self.chance.random() < 0.2),
            expiration=self.chance.choice((-1, 0, 30, 30, 120, 1000)),
            count=self.chance.choice((1, 1, 2, 5, 12)),
            size=self.chance.choice((8, 8, 60, 60, 300, 300, 5000)),
            delay=self.chance.choice((0, 1, 30, 120, 1000)),
        )

    def _publish_late(self) -> None:
        """Messages to the exchange that delays them, which leads to a queue of its own."""
        if self.chance.random() < 0.2:
            self._bind_late()
        self._publish(exchange=_EXCHANGE_NAMES.index(LATE))

    def _bind_late(self) -> None:
        late, queue = _EXCHANGE_NAMES.index(LATE), _QUEUE_NAMES.index("l0")
        self._on_existing("bind", exchange=late, queue=queue, key=queue, nowait=0)

    def _commit(self) -> None:
        client, channel = self.chance.choice(((0, 2), (1, 1)))  # those that have transactions
        commit = self.chance.choice((0, 1, 1, 1))
        self._add("commit", client=client, channel=channel, commit=commit, more=0)

    def _settle(self, **where: int) -> None:
        self._on_channel(
            "settle",
            **where,
            how=self._below(3),
            pick=self._below(8),
            multiple=self.chance.choice((0, 0, 1, 2)),
            requeue=self._below(2),
            twice=int(self.chance.random() < 0.02),
        )

    def _get(self) -> None:
        self._on_existing("get", queue=self._queue(), no_ack=int(self.chance.random() < 0.3))

    def _try(self) -> None:
        """Messages of one queue come, go out, and are settled on one channel."""
        queue, on = self._queue(), self._without_transactions()
        self._publish(queue)
        if self.chance.random() < 0.25:
            self._add("consume", **on, queue=queue, no_ack=0, blind=0, more=0)
        for _ in range(self.chance.choice((1, 2, 4))):
            self._add("get", **on, queue=queue, no_ack=0, blind=0, more=0)
            self._settle(**on)

    def _without_transactions(self) -> dict[str, int]:
        client, channel = self.chance.choice(((0, 1), (1, 2), (2, 1), (2, 2)))
        return {"client": client, "channel": channel}

    def _fail_again(self) -> None:
        """Messages go out and come back, until they have come back too often, or the broker
        crashes.
        """
        queue, on = self.chance.choice(self._counting), self._without_transactions()
        self._publish(queue)
        for _ in range(self.chance.choice((1, 2))):
            self._add("qos", **on, count=self.chance.choice((0, 1, 2)), all_of_it=0, more=0)
            self._add("consume", **on, queue=queue, no_ack=0, blind=0, more=0)
            for _ in range(self.chance.choice((1, 3, 5))):
                multiple = self.chance.choice((0, 1, 2))
                how = {"how": self.chance.choice((1, 1, 2)), "requeue": 1, "twice": 0}
                self._add("settle", **on, **how, pick=0, multiple=multiple, more=0)
            self.chance.choice((self._write, self._write, self._close_channel, self._crash))()

    def _bury(self) -> None:
        """Messages die, and the power fails while that is written."""
        queue, on = self.chance.choice(self._burying), self._without_transactions()
        self._publish(queue)
        self._write_all()
        for _ in range(self.chance.choice((1, 2, 4))):
            self._add("get", **on, queue=queue, no_ack=0, blind=0, more=0)
        how = {"how": 1, "requeue": 0, "twice": 0}
        self._add("settle", **on, **how, pick=0, multiple=2, more=0)
        inside = self.chance.choice((2, 2, 3, 4))
        self._add("crash", power=1, inside=inside, again_inside=0, seed=self._below(1 << 30))

    def _write_all(self) -> None:
        for name in ("write", "notice") * 2:
            self._add(name)

    def _consume(self) -> None:
        self._on_existing("consume", queue=self._queue(), no_ack=int(self.chance.random() < 0.3))

    def _read(self) -> None:
        self._on_existing(
            "read",
            queue=self.chance.choice(self._streams),
            offset=self.chance.choice((0, 2, 5, 20, 100, 101, 101, 102, 103, 104)),
            prefetch=self.chance.choice((-1, -1, 0, 1, 2, 2, 5, 50, 50)),
        )

    def _read_slowly(self) -> None:
        """A stream grows while somebody reads, who may be left behind."""
        queue, on = self.chance.choice(self._streams), self._without_transactions()
        prefetch = self.chance.choice((1, 2))
        self._add("read", **on, queue=queue, offset=101, prefetch=prefetch, blind=0, more=0)
        for _ in range(self.chance.choice((2, 4, 6))):
            self._publish(queue)
            if self.chance.random() < 0.4:
                self._settle(**on)
        self._settle(**on)

    def _cancel(self) -> None:
        self._on_channel("cancel", pick=self._below(4))

    def _qos(self) -> None:
        self._on_channel("qos", count=self.chance.choice((0, 1, 2, 5)), all_of_it=self._below(2))

    def _recover(self) -> None:
        self._on_channel("recover")

    def _declare_queue(self, queue: int | None = None) -> None:
        queue = self._queue() if queue is None else queue
        self._on_channel("declare_queue", queue=queue, nowait=int(self.chance.random() < 0.2))

    def _delete_queue(self) -> None:
        self._on_channel(
            "delete_queue",
            queue=self._queue(),
            if_empty=int(self.chance.random() < 0.2),
            nowait=int(self.chance.random() < 0.2),
        )

    def _purge(self) -> None:
        self._on_channel("purge", queue=self._queue())

    def _declare_exchange(self, exchange: int | None = None) -> None:
        exchange = self._exchange() if exchange is None else exchange
        self._on_channel("declare_exchange", exchange=exchange)

    def _delete_exchange(self) -> None:
        self._on_channel("delete_exchange", exchange=self._exchange())

    def _bind(self) -> None:
        exchange = self._exchange()
        if _EXCHANGE_NAMES[exchange] == LATE:
            self._bind_late()
            return
        is_graves = _EXCHANGE_NAMES[exchange] == GRAVES
        self._on_existing(
            "bind",
            exchange=exchange,
            queue=self.chance.choice(_GRAVE_QUEUES) if is_graves else self._queue(),
            key=self._queue(),
            nowait=int(self.chance.random() < 0.2),
        )

    def _unbind(self) -> None:
        self._on_channel(
            "unbind", exchange=self._exchange(), queue=self._queue(), key=self._queue()
        )

    def _close_channel(self) -> None:
        self._on_channel("close_channel")

    def _disconnect(self) -> None:
        self._add("disconnect", client=self._below(CLIENTS))

    def _policy(self) -> None:
        self._add("policy", which=self._below(2), present=int(self.chance.random() < 0.6))

    def _write(self) -> None:
        for name in self.chance.choice(
            (("write",), ("notice",), ("write", "notice"), ("write", "notice"))
        ):
            self._add(name)

    def _wait(self) -> None:
        self._add("wait", milliseconds=self.chance.choice((10, 10, 60, 60, 150, 150, 1000)))

    def _crash(self) -> None:
        """`inside` is the disk operation in which it happens, if there is one left to do."""
        self._add(
            "crash",
            power=self._below(2),
            inside=self.chance.choice((0, 0, 1, 2, 2, 2, 3, 5)),
            again_inside=self.chance.choice((0, 0, 1, 3, 6)),
            seed=self._below(1 << 30),
        )

    def _restart(self) -> None:
        self._add("restart")

    def _fault(self) -> None:
        self._add("fault", after=self._below(6), what=self._below(3))

    def _fill_disk(self) -> None:
        self._add("fill_disk", left=self.chance.choice((0, 40, 400)))

    def _free_disk(self) -> None:
        self._add("free_disk")

"""What there is to be done in a story, one by one. Each action means something, or nothing,
whatever came before: so any of them can be left out.
"""

from dataclasses import dataclass
from random import Random
from re import search

from .exchanges import EXCHANGES, LATE
from .policies import POLICIES
from .queues import QUEUES

_QUEUE_NAMES = tuple(QUEUES)
_EXCHANGE_NAMES = tuple(EXCHANGES)
_EXCHANGES = tuple(EXCHANGES.values())
CLIENTS = 3
PLAINLY = {"no_ack": 0, "priority": 0, "exclusive": 0}
"""How one consumes mostly."""
CHANNELS = 2


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that somebody does, with numbers that say how."""

    name: str
    numbers: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.numbers)})"


class Actions:
    """Makes up one action after the other, about the queues of `cast` and the `exchanges`, which
    are numbers.
    """

    def __init__(self, chance: Random, cast: list[int], exchanges: list[int]):
        self.chance = chance
        self.cast = cast
        self.exchanges = exchanges
        self._copying = chance.choice((0, 0, 0.1, 0.4))
        self._asking = chance.choice((0, 0, 0, 0.1))
        self._values = chance.choice((4, 4, 12))
        self.actions: list[Action] = []
        names = [
            *(_QUEUE_NAMES[each] for each in cast),
            *(_EXCHANGE_NAMES[each] for each in exchanges),
        ]
        self._policies = [
            number
            for number, policy in enumerate(POLICIES.values())
            if any(search(policy.pattern, name) for name in names)
        ]
        self._streams = self._those_that("stream")
        self._holding_once = self._those_that("looks_at_values")
        by_exchange = any(_EXCHANGES[each].looks_at_values for each in exchanges)
        self._has_values = by_exchange or bool(self._holding_once)

    def _those_that(self, trait: str) -> list[int]:
        """The queues that have some trait."""
        return [each for each in self.cast if getattr(QUEUES[_QUEUE_NAMES[each]], trait)]

    def _add(self, name: str, **numbers: int) -> None:
        self.actions.append(Action(name, tuple(numbers.items())))

    def _below(self, end: int) -> int:
        return self.chance.randrange(end)

    def _on_existing(self, name: str, **numbers: int) -> None:
        """An action on a queue or exchange, which is declared first unless it is a `blind` one."""
        self._on_channel(name, **{"blind": int(self.chance.random() < 0.1), **numbers})

    def _on_channel(self, name: str, **numbers: int) -> None:
        """An action on some channel; `more` keeps it back until more is sent."""
        where = {"client": self._below(CLIENTS), "channel": 1 + self._below(CHANNELS)}
        self._add(name, **{**where, **numbers, "more": int(self.chance.random() < 0.3)})

    def _queue(self) -> int:
        return self.chance.choice(self.cast)

    def _exchange(self) -> int:
        return self.chance.choice(self.exchanges)

    def _publish(
        self, queue: int | None = None, exchange: int | None = None, **certain: int
    ) -> None:
        if exchange is None:
            any_one = self.chance.choice((-1, -1, -1, self._exchange()))
            exchange = -1 if queue is not None else any_one
        likely = {
            "exchange": exchange,
            "queue": self._queue() if queue is None else queue,
            "persistent": self.chance.choice((0, 1, 1, 2)),
            "priority": self.chance.choice((0, 0, 1, 3, 9)),
            "mandatory": int(self.chance.random() < 0.2),
            "expiration": self.chance.choice((-1, 0, 30, 30, 120, 1000)),
            "count": self.chance.choice((1, 1, 2, 5, 12)),
            "size": self.chance.choice((8, 8, 60, 60, 300, 300, 5000)),
            "delay": self.chance.choice((0, 1, 30, 120, 1000)),
            "value": self._value(),
            "cc": self._copy(),
            "bcc": self._copy(),
            "asks": int(self.chance.random() < self._asking),
        }
        self._on_existing("publish", **{**likely, **certain})

    def _value(self) -> int:
        """What messages are compared by."""
        some = self._has_values and self.chance.random() < 0.8
        return self._below(self._values) if some else -1

    def _copy(self) -> int:
        """The queue whose name is in a header CC or BCC, if there is one."""
        return self._queue() if self.chance.random() < self._copying else -1

    def _reply(self, **where: int) -> None:
        self._on_channel(
            "reply",
            **where,
            pick=self.chance.choice((0, 0, 0, 1, 2, 4)),
            mandatory=self._below(2),
            persistent=self._below(2),
            cc=self._copy(),
            bcc=self._copy(),
            size=self.chance.choice((8, 300, 5000)),
        )

    def _ask_after(self) -> None:
        self._on_channel("ask_after", pick=self._below(3), passive=self._below(2))

    def _consume_replies(self, **where: int) -> None:
        no_ack = int(self.chance.random() < 0.95)
        self._on_channel("consume_replies", **where, no_ack=no_ack)

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

    def _without_transactions(self) -> dict[str, int]:
        client, channel = self.chance.choice(((0, 1), (1, 2), (2, 1), (2, 2)))
        return {"client": client, "channel": channel}

    def _write_all(self) -> None:
        for name in ("write", "notice") * 2:
            self._add(name)

    def _consume(self) -> None:
        self._on_existing("consume", queue=self._queue(), **self._manner())

    def _manner(self) -> dict[str, int]:
        """Of consuming."""
        return {
            "no_ack": int(self.chance.random() < 0.3),
            "priority": self.chance.choice((0, 0, 0, 5, -1)),
            "exclusive": int(self.chance.random() < 0.05),
            "timeout": self.chance.choice((0, 0, 300, 900)),
        }

    def _read(self) -> None:
        self._on_existing(
            "read",
            queue=self.chance.choice(self._streams),
            offset=self.chance.choice((0, 2, 5, 20, 100, 101, 101, *range(102, 108))),
            filters=self.chance.choice((0, 0, 1, 2, 3)),
            prefetch=self.chance.choice((-1, -1, 0, 1, 2, 2, 5, 50, 50)),
        )

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

    def _bind(self, exchange: int | None = None) -> None:
        exchange = self._exchange() if exchange is None else exchange
        if _EXCHANGE_NAMES[exchange] == LATE:
            self._bind_late()
            return
        only_to = EXCHANGES[_EXCHANGE_NAMES[exchange]].only_to
        self._on_existing(
            "bind",
            exchange=exchange,
            queue=_QUEUE_NAMES.index(self.chance.choice(only_to)) if only_to else self._queue(),
            key=self._queue(),
            nowait=int(self.chance.random() < 0.2),
        )

    @property
    def _linkable(self) -> list[int]:
        """The exchanges that may be bound to others."""
        return [each for each in self.exchanges if _EXCHANGES[each].may_be_linked]

    def _link(self, source: int | None = None) -> None:
        """Bind an exchange to another one, or no longer."""
        source = self.chance.choice(self._linkable) if source is None else source
        to = self.chance.choice(self._linkable)
        where = {"exchange": source, "to": to, "key": self._queue()}
        if self.chance.random() < 0.8:
            self._on_existing("link", **where)
        else:
            self._on_channel("unlink", **where)

    def _unbind(self) -> None:
        self._on_channel(
            "unbind", exchange=self._exchange(), queue=self._queue(), key=self._queue()
        )

    def _unbind_one(self, exchange: int) -> None:
        """One of the bindings that an exchange has."""
        self._on_channel("unbind_one", exchange=exchange, pick=self._below(8))

    def _close_channel(self) -> None:
        self._on_channel("close_channel")

    def _disconnect(self) -> None:
        self._add("disconnect", client=self._below(CLIENTS))

    def _policy(self) -> None:
        self._add(
            "policy",
            which=self.chance.choice(self._policies),
            present=int(self.chance.random() < 0.6),
        )

    def _trace(self) -> None:
        self._add("trace", on=self.chance.choice((0, 1, 1)))

    def _write(self) -> None:
        for name in self.chance.choice(
            (("write",), ("notice",), ("write", "notice"), ("write", "notice"))
        ):
            self._add(name)

    def _go_on(self) -> None:
        """Work that takes several turns has one or some."""
        for _ in range(self.chance.choice((1, 1, 2, 5))):
            self._add("go_on", pick=self._below(4))

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

    def _lose_power(self) -> None:
        """In the midst of what is written next."""
        inside = self.chance.choice((2, 2, 3, 4, 5, 6))
        self._add("crash", power=1, inside=inside, again_inside=0, seed=self._below(1 << 30))

    def _restart(self) -> None:
        self._add("restart")

    def _fault(self) -> None:
        self._add("fault", after=self._below(6), what=self._below(3))

    def _fill_disk(self) -> None:
        self._add("fill_disk", left=self.chance.choice((0, 40, 400)))

    def _free_disk(self) -> None:
        self._add("free_disk")

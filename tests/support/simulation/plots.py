"""What is worth doing in a row, so that it gets anywhere."""

from random import Random

from .actions import CHANNELS, CLIENTS, PLAINLY
from .dying_plots import DyingPlots
from .exchanges import EXCHANGES, LATE
from .policies import POLICIES
from .queues import QUEUES

_COMMON = ("direct", "fanout")
_NOW = {"blind": 0, "more": 0}


class Plots(DyingPlots):
    """Makes up several actions that belong together."""

    def __init__(self, chance: Random, cast: list[int], exchanges: list[int]):
        super().__init__(chance, cast, exchanges)
        self._counting = self._those_that("counts_returns")
        self._unlimited = [
            each
            for each in self._those_that("quorum")
            if each not in self._those_that("delivery_limit")
        ]
        self._retrying = self._those_that("retry_type")
        self._expiring = self._those_that("expires_ms")
        self._governed = self._those_that("governed")
        self._timed = self._those_that("ack_timeout_ms") + self._those_that("hurries")
        self._choosy = [
            each
            for each in self._linkable
            if list(EXCHANGES.values())[each].type not in _COMMON
            or list(EXCHANGES.values())[each].alternate is not None
        ]
        self._turning = self._those_that("single_active")

    def _try(self) -> None:
        """Messages of one queue come, go out, and are settled on one channel."""
        queue, on = self._queue(), self._without_transactions()
        self._publish(queue)
        if self.chance.random() < 0.25:
            self._add("consume", **on, **PLAINLY, queue=queue, blind=0, more=0)
        for _ in range(self.chance.choice((1, 2, 4))):
            self._add("get", **on, queue=queue, no_ack=0, blind=0, more=0)
            self._settle(**on)

    def _ask(self) -> None:
        """A client asks, others reply, and the one or the other may go."""
        queue, on = self._queue(), self._without_transactions()
        asker = self._without_transactions()
        if self.chance.random() < 0.2:
            asker = {"client": self._below(CLIENTS), "channel": 1 + self._below(CHANNELS)}
        self._consume_replies(**asker)
        self._publish(queue, **asker, asks=1, expiration=-1, more=0)
        plainly = PLAINLY | {"no_ack": self._below(2)}
        self._add("consume", **on, **plainly, queue=queue, **_NOW)
        self._write_all()
        replier = self.chance.choice(({}, on))
        for _ in range(self.chance.choice((2, 4, 6))):
            self._reply(**replier)
            match self._below(16):
                case 0:
                    self._cancel()
                case 1:
                    self._add("close_channel", **asker, more=0)
                case 2:
                    self._add("disconnect", client=asker["client"])
                case 3:
                    self.chance.choice((self._restart, self._crash))()
                case 4:
                    self._consume_replies(**asker)
                case 5 | 6 | 7:
                    self._commit()
                case 8:
                    self._ask_after()
                case _:
                    self._reply(**replier, more=0)

    def _fail_again(self) -> None:
        """Messages go out and come back, until they have come back too often, or the broker
        crashes.
        """
        queue, on = self.chance.choice(self._counting), self._without_transactions()
        self._publish(queue)
        for _ in range(self.chance.choice((1, 2))):
            self._add("qos", **on, count=self.chance.choice((0, 1, 2)), all_of_it=0, more=0)
            self._add("consume", **on, **PLAINLY, queue=queue, blind=0, more=0)
            for _ in range(self.chance.choice((1, 3, 5))):
                multiple = self.chance.choice((0, 1, 2))
                how = {"how": self.chance.choice((1, 1, 2)), "requeue": 1, "twice": 0}
                self._add("settle", **on, **how, pick=0, multiple=multiple, more=0)
            what = (self._write, self._wait, self._wait, self._close_channel, self._crash)
            self.chance.choice((*what, lambda: self._add("purge", **on, queue=queue, more=0)))()

    def _return_to_the_end(self) -> None:
        """The same where what comes back goes to the end."""
        self._return_and_restart(self.chance.choice(self._unlimited))

    def _return_and_restart(self, queue: int | None = None) -> None:
        """Messages come back in any order, and the broker starts anew, sometimes after much else
        has been written.
        """
        queue = self.chance.choice(self._counting) if queue is None else queue
        on = self._without_transactions()
        self._publish(queue, count=self.chance.choice((5, 12)), expiration=-1)
        for gets in self.chance.choices((1, 3, 6), k=self.chance.choice((1, 2, 3))):
            for _ in range(gets):
                self._add("get", **on, queue=queue, no_ack=0, blind=0, more=0)
            for _ in range(self.chance.choice((1, gets, gets))):
                back = {"how": self.chance.choice((1, 2)), "requeue": 1, "twice": 0}
                self._add("settle", **on, **back, pick=self._below(99), multiple=0, more=0)
            self._write_all()
            for _ in range(self.chance.choice((0, 0, 3, 6))):
                self._pass_by()
            self._publish(queue)
            self.chance.choice((self._restart, self._crash, self._write_all))()
        for _ in range(self.chance.choice((4, 8))):
            self._add("get", **on, queue=queue, no_ack=self._below(2), blind=0, more=0)

    def _pass_by(self) -> None:
        """Messages come and go that have the journal rewrite what lives."""
        queue, on = list(QUEUES).index("d0"), self._without_transactions()
        self._publish(queue, persistent=1, count=12, size=300)
        self._add("purge", **on, queue=queue, more=0)
        self._write_all()

    def _interrupt(self) -> None:
        """The power fails while messages are written."""
        self._write_all()
        self._publish(count=12)
        self._lose_power()

    def _purge_waiting(self) -> None:
        """Messages wait to be ready again when their queue is purged."""
        queue, on = self.chance.choice(self._retrying), self._without_transactions()
        self._publish(queue, exchange=-1, count=self.chance.choice((2, 5)), size=8)
        for _ in range(self.chance.choice((1, 3))):
            self._add("get", **on, queue=queue, no_ack=0, blind=0, more=0)
        how = {"how": self.chance.choice((1, 2)), "requeue": 1, "twice": 0}
        self._add("settle", **on, **how, pick=0, multiple=2, more=0)
        self.chance.choice((self._write_all, self._restart, self._wait))()
        self._add("purge", **on, queue=queue, more=0)
        self._add("wait", milliseconds=150)

    def _keep(self) -> None:
        """A queue that would be gone if it were not used now and then, in some way."""
        queue, on = self.chance.choice(self._expiring), self._without_transactions()
        self._add("declare_queue", **on, queue=queue, nowait=0, more=0)
        use = self.chance.choice(("declare_queue", "declare_queue", "get", "consume", "publish"))
        for _ in range(self.chance.choice((2, 3, 5))):
            self._add("wait", milliseconds=self.chance.choice((100, 150, 150)))
            if use == "declare_queue":
                self._add(use, **on, queue=queue, nowait=0, more=0)
            elif use == "get":
                self._add(use, **on, queue=queue, no_ack=1, blind=1, more=0)
            elif use == "publish":
                self._publish(queue, count=1, blind=1)
            else:
                self._add(use, **on, **PLAINLY, queue=queue, blind=1, more=0)
                self._add("cancel", **on, pick=0, more=0)
        self._add("wait", milliseconds=150)

    def _be_alone(self) -> None:
        """A consumer wants to be the only one; then it goes, and another comes."""
        queue, on = self._queue(), self._without_transactions()
        alone = {"no_ack": 0, "priority": 0, "exclusive": 1}
        for manner in (alone, self.chance.choice((alone, PLAINLY))):
            self._add("consume", **on, **manner, queue=queue, blind=0, more=0)
            self.chance.choice((self._cancel, self._disconnect, self._write))()
            self._add("cancel", **on, pick=0, more=0)

    def _delay_over_restart(self) -> None:
        """Delayed messages of before and after a restart that are due at the same time."""
        self._bind_late()
        late, few = list(EXCHANGES).index(LATE), {"count": 2, "size": 8, "blind": 0}
        self._publish(exchange=late, **few, delay=120)
        self._write_all()
        self._add("restart")
        self._publish(exchange=late, **few, delay=120)
        self._add("wait", milliseconds=150)
        on, queue = self._without_transactions(), list(QUEUES).index("l0")
        for _ in range(4):
            self._add("get", **on, queue=queue, no_ack=1, blind=0, more=0)

    def _reroute(self) -> None:
        """Bindings of an exchange come and go, and messages go where they lead."""
        exchange = self.chance.choice(self._choosy or self._linkable)
        self._bind_alternate(list(EXCHANGES.values())[exchange].alternate)
        for _ in range(self.chance.choice((0, 1, 2, 3))):
            self._bind(exchange)
        for _ in range(self.chance.choice((2, 4, 6))):
            for _ in range(self.chance.choice((1, 3))):
                key, few = self._below(6), {"count": 1, "size": 8, "expiration": -1}
                self._publish(key, exchange, **few, persistent=1, mandatory=1, blind=1)
            self._change_bindings(exchange)

    def _bind_alternate(self, alternate: str | None) -> None:
        """To some queues, by their names."""
        if alternate is not None:
            where = {"exchange": list(EXCHANGES).index(alternate), "nowait": 0}
            for queue in (self._below(6), self._below(6)):
                self._on_existing("bind", **where, queue=queue, key=queue)

    def _change_bindings(self, exchange: int) -> None:
        match self._below(9):
            case 0 | 1 | 2:
                self._unbind_one(exchange)
            case 3:
                self._bind(exchange)
            case 4 | 5:
                self._link(exchange)
            case 6:
                self._delete_queue()
            case 7:
                self.chance.choice((self._restart, self._restart, self._crash))()
            case _:
                self._write_all()

    def _govern(self) -> None:
        """Policies change for a queue that has messages, of before and after a restart."""
        queue = self.chance.choice(self._governed)
        self._publish(queue, persistent=1, expiration=-1, size=60)
        self._policy()
        self._publish(queue, persistent=1, expiration=-1, size=60)
        self._write_all()
        self.chance.choice((self._restart, self._policy, self._write))()
        self._policy()
        self._wait()

    def _limit_late(self) -> None:
        """A limit in bytes comes to a queue that is long, and on disk only for the most part."""
        queue = self.chance.choice(self._governed)
        which = list(POLICIES).index(self.chance.choice(("aging", "sterner")))
        for name in (
            "leaving",
            "burying",
            "short",
            "stern",
            "capped",
            "scarce",
            "aging",
            "sterner",
        ):
            self._add("policy", which=list(POLICIES).index(name), present=0)
        self._publish(queue, exchange=-1, persistent=1, expiration=-1, count=12, size=60)
        self._write_all()
        self._add("restart")
        self._add("policy", which=which, present=1)

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

    def _read_from_then(self) -> None:
        """Somebody reads what has come to a stream since a time."""
        queue, on = self.chance.choice(self._streams), self._without_transactions()
        for _ in range(self.chance.choice((2, 3))):
            self._publish(queue, exchange=-1, count=self.chance.choice((1, 2, 5)), size=8)
            self._add("wait", milliseconds=self.chance.choice((60, 400, 600, 1000)))
        offset = self.chance.choice((104, 104, 105, 106, 107))
        self._add("read", **on, queue=queue, offset=offset, prefetch=50, blind=0, more=0)

    def _be_late(self) -> None:
        """A client sits on what it has got, or settles only what came last, in time or not."""
        queue, on = self.chance.choice(self._timed), self._without_transactions()
        if self.chance.random() < 0.5:
            self._add("policy", which=list(POLICIES).index("hurried"), present=1)
        self._publish(queue)
        if self.chance.random() < 0.7:
            self._add("consume", **on, **self._manner() | {"no_ack": 0}, queue=queue, **_NOW)
        else:
            self._add("get", **on, queue=queue, no_ack=0, **_NOW)
        for _ in range(self.chance.choice((2, 4, 8))):
            self._add("wait", milliseconds=self.chance.choice((100, 250, 400)))
            if self.chance.random() < 0.3:
                self._settle(**on)
                self._publish(queue)

    def _compete(self) -> None:
        """Several consume from one queue, and some of them go."""
        queue = self.chance.choice(self._turning or self.cast)
        for _ in range(self.chance.choice((2, 3, 4))):
            on = self._without_transactions()
            self._add("qos", **on, count=self.chance.choice((0, 1, 2, 5)), all_of_it=0, more=0)
            self._add("consume", **on, **self._manner(), queue=queue, blind=0, more=0)
        for _ in range(self.chance.choice((2, 4, 6))):
            self._publish(queue)
            goes = (self._settle, self._cancel, self._cancel, self._close_channel, self._disconnect)
            self.chance.choice(goes)()

    def _settle_much(self) -> None:
        """Very many deliveries are settled at once, and others want to have the messages."""
        queue, on = self._queue(), self._without_transactions()
        self._publish(queue, count=self.chance.choice((5, 12)))
        self._add("qos", **on, count=0, all_of_it=0, more=0)
        self._add("consume", **on, **PLAINLY, queue=queue, blind=0, more=0)
        how, requeue = self.chance.choice(((0, 0), (1, 0), (1, 1), (1, 1)))
        settle = {"how": how, "requeue": requeue, "twice": 0, "pick": self._below(8)}
        ends = self.chance.random()
        if ends < 0.6:
            self._add("settle", **on, **settle, multiple=self.chance.choice((1, 2, 2)), more=0)
        elif ends < 0.8:
            self._add("recover", **on, more=0)
        else:
            self._add("close_channel", **on, more=0)
        self._interfere(queue)

    def _commit_much(self) -> None:
        """Very much is committed, or two such transactions."""
        queue = self._queue()
        for client, channel in self.chance.sample(((0, 2), (1, 1)), self.chance.choice((1, 2))):
            on = {"client": client, "channel": channel}
            self._publish(queue, **on, count=self.chance.choice((2, 5, 12)), more=0)
            if self.chance.random() < 0.6:
                self._publish(queue, count=self.chance.choice((5, 12)))
                self._add("consume", **on, **PLAINLY, queue=queue, blind=0, more=0)
                for _ in range(self.chance.choice((1, 2))):
                    self._settle(**on)
            self._add("commit", **on, commit=1, more=0)
        self._interfere(queue)

    def _interfere(self, queue: int) -> None:
        """Between the turns that something takes others act."""
        for _ in range(self.chance.choice((1, 2, 4))):
            self._add("go_on", pick=self._below(4))
            match self._below(9):
                case 0 | 1:
                    self._add("get", **self._without_transactions(), queue=queue, no_ack=0, **_NOW)
                case 2:
                    self._add(
                        "consume", **self._without_transactions(), **PLAINLY, queue=queue, **_NOW
                    )
                case 3 | 4:
                    self._publish(queue, **self._without_transactions())
                case 5:
                    self._disconnect()
                case 6:
                    self.chance.choice((self._crash, self._lose_power, self._restart))()
                case _:
                    self._write()

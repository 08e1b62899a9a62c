"""Plays a story on a broker and on the model: what clients do, and what befalls disk and broker."""

import logging
from contextlib import suppress
from random import Random

from leveret.broker.commit import Commit
from leveret.broker.turn_bounds import TurnBounds
from leveret.broker.work import ChannelWork
from leveret.storage.settings import Settings

from . import space, streams
from .actions import Action
from .compare import Comparison
from .conversation import Conversation
from .doings import Doings
from .model import Model
from .observer import Observer
from .policies import POLICIES
from .queues import QUEUES
from .recovery import check_crash, check_restart, start_over
from .scale import small_scale
from .stage import Stage
from .stories import Story
from .things import Violation
from .world import ROOMY_BYTES, PowerLoss, World


class _Complaints(logging.Handler):
    """Tracebacks in the log are failures."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.texts.append(logging.Formatter().format(record))


def play(story: Story) -> None:
    """Raise Violation, or whatever the broker lets escape, if something is wrong."""
    complaints, logger = _Complaints(), logging.getLogger("leveret")
    before = logger.propagate, logger.level
    logger.addHandler(complaints)
    logger.propagate = False
    logger.setLevel(logging.ERROR)
    try:
        with small_scale():
            run = Run(story, complaints.texts)
            for action in story.actions:
                run.do(action)
            run.end()
    finally:
        logger.removeHandler(complaints)
        logger.propagate, level = before
        logger.setLevel(level)


class Run:
    """One story being played."""

    def __init__(self, story: Story, complaints: list[str]):
        settings = Settings(
            segment_bytes=story.segment_bytes,
            slack_segments=1,
            rewrite_bytes=600,
            snapshots=story.snapshots,
        )
        at_once = story.at_once
        bounds = TurnBounds(at_once, at_once, at_once, effort=story.effort)
        world = World(settings, story.memory_budget_bytes, bounds, story.emulate)
        self._stage = Stage(world, Model(at_once, story.emulate), complaints)
        self._stage.use(self._stage.model)
        self._comparison = Comparison(self._stage)
        self._conversation = Conversation(self._stage, self._comparison)
        self._doings = Doings(self._stage, self._conversation)

    @property
    def world(self) -> World:
        return self._stage.world

    def do(self, action: Action) -> None:
        """Do one thing, and look at all that comes of it."""
        does = getattr(self._doings, action.name, None) or getattr(self, action.name)
        does(**dict(action.numbers))
        self._conversation.send_what_may_be_sent()
        if self.world.failed:
            self._restart_after_crash(Random(0), power=0, again_inside=0)

    # --- time and the disk --------------------------------------------------------------------

    def _begin(self) -> None:
        self._stage.model.batch = self.world.taken + 1

    def write(self) -> None:
        self._stage.begin()
        self.world.write()
        self._comparison.look()

    def notice(self) -> None:
        self._stage.begin()
        self.world.notice()
        self._comparison.look()

    def go_on(self, pick: int) -> None:
        """A turn for one client that has much to do."""
        if not self.world.broker.put_off:
            return
        self._stage.begin()
        work = self.world.go_on(pick)
        turns, name = self._stage.model.turns, work.name if isinstance(work, ChannelWork) else ""
        commits = isinstance(work, Commit)
        self._comparison.look(work=lambda: turns.go_on(name, commits=commits) if name else None)

    def wait(self, milliseconds: int) -> None:
        end_s = self.world.broker.timers.now + milliseconds / 1000
        self._stage.begin()
        while self.world.advance_to_next(end_s):
            self._comparison.look()
            self._stage.begin()
        self.world.watch()
        self._comparison.look()

    def policy(self, which: int, present: int) -> None:
        """Somebody sets a policy, or deletes it."""
        name = list(POLICIES)[which]
        self._stage.begin()
        self.world.change_policy(name, POLICIES[name], present=bool(present))
        self._stage.model.change_policy(name, present=bool(present))
        self._comparison.look()

    def trace(self, on: int) -> None:
        """Somebody switches the firehose on or off."""
        self._stage.begin()
        self._observe()
        self.world.trace(on=bool(on))
        self._stage.model.trace(on=bool(on))
        self._comparison.look()

    def _observe(self) -> None:
        """Have somebody look at the firehose."""
        if self._stage.observer is None:
            self._stage.observer = Observer(self.world)

    def fault(self, after: int, what: int) -> None:
        kinds = (("write", "create", "unlink"), ("sync",), ("read",))[what]
        self.world.fail_after(after, lambda: OSError(5, "Input/output error"), *kinds)

    def fill_disk(self, left: int) -> None:
        self.world.disk.capacity_bytes = self.world.disk.used_bytes + left

    def free_disk(self) -> None:
        self.world.disk.capacity_bytes = ROOMY_BYTES

    def crash(self, power: int, inside: int, again_inside: int, seed: int) -> None:
        """`inside` and `again_inside` count disk operations: of the batch that is to be written, of
        the recovery after the crash.
        """
        if inside and not self.world.failed:
            self.world.commit()
            self.world.fail_after(inside - 1, PowerLoss)
            with suppress(PowerLoss):
                self.world.write()
        self._restart_after_crash(Random(seed), power, again_inside)

    def _restart_after_crash(self, chance: Random, power: int, again_inside: int) -> None:
        world = self.world
        written, taken = world.written, world.taken
        while True:
            world.disk.fault = None
            if power:
                world.lose_power(chance)
            world.disk.unlock()
            world.disk.capacity_bytes = ROOMY_BYTES
            if again_inside:
                world.fail_after(again_inside - 1, PowerLoss)
            try:
                world.start()
            except PowerLoss:
                again_inside = again_inside // 2
                continue
            world.disk.fault = None
            break
        self._stage.clients.clear()
        self._stage.waiting.clear()
        self._stage.observer = None
        self._comparison.complain()
        model = self._stage.model
        after = check_crash(model, self.world, written, taken)
        self._stage.use(start_over(model, self.world, after, redelivered=True))
        self._first_turn()

    def restart(self) -> None:
        """A clean stop, in which the disk does what it should, and a start."""
        self.world.disk.fault = None
        for client in list(self._stage.clients):
            self._conversation.disconnect(client)
        model = self._stage.model
        model.turns.finish()
        self._stage.begin()
        if self._stage.observer is not None:
            self._stage.observer.leave()
            self._stage.observer = None
        self.world.stop()
        self._comparison.look()
        self.world.start()
        self._comparison.complain()
        after = check_restart(model, self.world)
        self._stage.use(start_over(model, self.world, after, redelivered=False))
        self._first_turn()

    def _first_turn(self) -> None:
        self._stage.begin()
        self.world.end_turn()
        if self._stage.model.firehose.on:
            self._observe()
        self._comparison.look()

    def end(self) -> None:
        """Let everything come to its end: all must be answered, and be there after a crash."""
        self.world.disk.fault = None
        self.world.disk.capacity_bytes = ROOMY_BYTES
        self.world.broker.memory.budget_bytes = 0
        for _ in range(100):
            for it in self._stage.clients.values():
                it.flushed = it.flushed or bool(it.outbox)
            self._conversation.send_what_may_be_sent()
            self.wait(200)
            while self.world.broker.put_off:
                self.go_on(0)
            self.write()
            self.notice()
            if not self._unfinished():
                break
        else:
            raise Violation(f"no end: {self._unfinished()} for ever")
        self.world.check_counted_bytes()
        clients = [it.model for it in self._stage.clients.values()]
        channels = [channel for client in clients for channel in client.channels.values()]
        space.check(self._stage.model, channels, self.world)
        self._restart_after_crash(Random(1), power=1, again_inside=0)
        self._read_streams()

    def _read_streams(self) -> None:
        """Read all that is in streams, from the first message to the last."""
        model = self._stage.model
        for at, (name, traits) in enumerate(QUEUES.items()):
            if traits.stream and name in model.queues:
                streams.check_age(model.queues[name], model.now_ms)
                self._doings.read(0, 1, at, offset=0, prefetch=60000, blind=1, more=0)
        self._conversation.send_what_may_be_sent()

    def _unfinished(self) -> str:
        for it in self._stage.clients.values():
            if it.outbox or it.pending or it.waiting is not None:
                return f"{it.model.name} waits for an answer"
            for channel in it.model.channels.values():
                if channel.mode == "confirm" and channel.confirmed < len(channel.confirms):
                    return f"{it.model.name} waits for confirms"
        return "the journal has work" if self.world.flight or self.world.journal.has_work else ""

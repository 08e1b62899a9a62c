"""Plays a story on a broker and on the model, and compares all that clients see, step by step."""

import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from pamqp import commands
from pamqp.commands import Basic, Channel, Confirm, Exchange, Queue, Tx

from fake_client import FakeClient, Received, encoded, message, shown
from leveret.storage.settings import Settings

from .actions import QUEUES, Action, Story
from .model import (
    EXCHANGES,
    Expected,
    MChannel,
    MClient,
    Model,
    MQueue,
    Refused,
    Violation,
)
from .recovery import check_crash, check_restart, start_over
from .world import ROOMY_BYTES, PowerLoss, World, body_of, number_of, small_scale

FRAME_MAX = 4096
_KINDS = {"d": "durable", "t": "transient", "a": "auto-delete", "x": "exclusive"}
_MODES = ("", "confirm", "tx")


@dataclass(slots=True)
class Command:
    """What a client sends: to be carried out by the model once the broker has."""

    channel: int
    name: str
    options: dict[str, Any]
    wire: bytes


@dataclass(slots=True, eq=False)
class SimulatedClient:
    """A client: what it has still to send, what it has sent, and the model's view of it."""

    fake: FakeClient
    model: MClient
    outbox: list[Command] = field(default_factory=list)
    flushed: bool = False
    pending: deque[Command] = field(default_factory=deque)
    waiting: Expected | None = None
    """The answer that the broker keeps back until the disk has caught up."""
    may_send: set[int] = field(default_factory=set)
    """The channels that it takes for open."""


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
        self._complaints = complaints
        self.model = Model()
        self.world = World(
            Settings(
                segment_bytes=story.segment_bytes,
                slack_segments=1,
                rewrite_bytes=600,
                snapshots=story.snapshots,
            ),
            story.memory_budget_bytes,
        )
        self.clients: dict[int, SimulatedClient] = {}
        self._next_body = count(1).__next__
        self._next_tag = count(1).__next__
        self._waiting: list[SimulatedClient] = []
        """Those that the broker lets wait for the disk, in the order in which they began to."""
        self._watch_numbers()

    def _watch_numbers(self) -> None:
        self.model.queue_number = self._queue_number

    def _queue_number(self, name: str) -> int:
        """The number that the broker has given a queue; 0 if that is gone already."""
        return self.world.queues[name].number if name in self.world.queues else 0

    def do(self, action: Action) -> None:
        """Do one thing, and look at all that comes of it."""
        getattr(self, f"_do_{action.name}")(**dict(action.numbers))
        self._send_what_may_be_sent()
        if self.world.failed:
            self._restart_after_crash(Random(0), power=0, again_inside=0)

    # --- clients come, go and send ------------------------------------------------------------

    def _connected(self, client: int) -> SimulatedClient:
        """A client; it connects if it has not."""
        if client not in self.clients:
            self._begin()
            fake = self.world.connect(frame_max=FRAME_MAX)
            fake.send(Channel.Close(0, "", 0, 0), channel=1)
            fake.expect(Channel.CloseOk)
            self.clients[client] = SimulatedClient(fake, MClient(f"client {client}"))
            self._look()
        return self.clients[client]

    def _do_disconnect(self, client: int) -> None:
        gone = self.clients.pop(client, None)
        if gone is None:
            return
        self._begin()
        gone.fake.disconnect()
        self._forget(gone)
        self._look()

    def _forget(self, gone: SimulatedClient) -> None:
        self.model.lose(gone.model)
        if gone in self._waiting:
            self._waiting.remove(gone)

    def _open_channel(self, it: SimulatedClient, client: int, channel: int) -> None:
        it.may_send.add(channel)
        it.outbox.append(Command(channel, "open", {}, encoded(Channel.Open(), channel=channel)))
        mode = _MODES[(client + channel) % 3]
        if mode:
            select = Confirm.Select() if mode == "confirm" else Tx.Select()
            self._queue(it, channel, "select", {"mode": mode}, select)

    def _ready(self, client: int, channel: int) -> SimulatedClient | None:
        """The client, if it may send something on that channel, which it opens if need be."""
        it = self._connected(client)
        known = it.model.channels.get(channel)
        if known is not None and known.committing is not None:
            return None
        sent = [each for each in (*it.outbox, *it.pending) if each.channel == channel]
        if any(each.name == "commit" for each in sent):
            return None
        if channel not in it.may_send:
            if known is not None or sent:
                return None
            self._open_channel(it, client, channel)
        return it

    def _queue(
        self, it: SimulatedClient, channel: int, name: str, options: dict[str, Any], call: Any
    ) -> None:
        wire = call if isinstance(call, bytes) else encoded(call, channel=channel)
        it.outbox.append(Command(channel, name, options, wire))

    def _send(
        self,
        client: int,
        channel: int,
        more: int,
        name: str,
        options: dict[str, Any],
        *calls: Any,
    ) -> None:
        it = self._ready(client, channel)
        if it is None:
            return
        for call in calls:
            self._queue(it, channel, name, options, call)
        it.flushed = it.flushed or not more

    def _send_what_may_be_sent(self) -> None:
        """Let every client send that has something to say and that the broker reads from."""
        again = True
        while again:
            again = False
            for it in list(self.clients.values()):
                connection = it.fake.connection
                if not it.flushed or connection.held or connection.blocked:
                    continue
                again = True
                it.flushed = False
                sent, it.outbox = it.outbox, []
                self._begin()
                it.pending.extend(sent)
                it.fake.feed(b"".join(command.wire for command in sent))
                self._look(it)

    def _queue_name(self, client: int, queue: int) -> str:
        name = QUEUES[queue]
        return f"x{client}" if name == "x" else name

    def _need_queue(self, client: int, channel: int, queue: int) -> None:
        if self._queue_name(client, queue) not in self.model.queues:
            self._do_declare_queue(client, channel, queue, nowait=0, more=1)

    def _need_exchange(self, client: int, channel: int, exchange: int) -> None:
        if list(EXCHANGES)[exchange] not in self.model.exchanges:
            self._do_declare_exchange(client, channel, exchange, more=1)

    def _with(self, what: str, client: int, channel: int) -> tuple[int, MChannel] | None:
        """A channel that has something unsettled, or consumers: this one, else the first."""
        found = [
            (number, known)
            for number, it in self.clients.items()
            for known in it.model.channels.values()
            if getattr(known, what) and not known.closing
        ]
        for number, known in found:
            if (number, known.number) == (client, channel):
                return number, known
        return found[0] if found else None

    # --- what clients do ----------------------------------------------------------------------

    def _do_declare_queue(
        self, client: int, channel: int, queue: int, nowait: int, more: int
    ) -> None:
        name = self._queue_name(client, queue)
        kind = _KINDS[name[0]]
        self._send(
            client,
            channel,
            more,
            "declare_queue",
            {"queue": name, "kind": kind, "nowait": bool(nowait)},
            Queue.Declare(
                queue=name,
                durable=kind in ("durable", "auto-delete"),
                exclusive=kind == "exclusive",
                auto_delete=kind == "auto-delete",
                nowait=bool(nowait),
            ),
        )

    def _do_delete_queue(
        self, client: int, channel: int, queue: int, if_empty: int, nowait: int, more: int
    ) -> None:
        name = self._queue_name(client, queue)
        options = {"queue": name, "if_empty": bool(if_empty), "nowait": bool(nowait)}
        self._send(client, channel, more, "delete_queue", options, Queue.Delete(**options))

    def _do_purge(self, client: int, channel: int, queue: int, more: int) -> None:
        name = self._queue_name(client, queue)
        self._send(client, channel, more, "purge", {"queue": name}, Queue.Purge(queue=name))

    def _do_declare_exchange(self, client: int, channel: int, exchange: int, more: int) -> None:
        name = list(EXCHANGES)[exchange]
        kind, durable, auto_delete = EXCHANGES[name]
        declare = Exchange.Declare(
            exchange=name, exchange_type=kind, durable=durable, auto_delete=auto_delete
        )
        self._send(client, channel, more, "declare_exchange", {"exchange": name}, declare)

    def _do_delete_exchange(self, client: int, channel: int, exchange: int, more: int) -> None:
        name = list(EXCHANGES)[exchange]
        delete = Exchange.Delete(exchange=name)
        self._send(client, channel, more, "delete_exchange", {"exchange": name}, delete)

    def _binding(self, client: int, exchange: int, queue: int, key: int) -> dict[str, str]:
        return {
            "queue": self._queue_name(client, queue),
            "exchange": list(EXCHANGES)[exchange],
            "key": QUEUES[key],
        }

    def _do_bind(
        self,
        client: int,
        channel: int,
        exchange: int,
        queue: int,
        key: int,
        nowait: int,
        blind: int,
        more: int,
    ) -> None:
        if not blind:
            self._need_exchange(client, channel, exchange)
            self._need_queue(client, channel, queue)
        binding = self._binding(client, exchange, queue, key)
        bind = Queue.Bind(
            queue=binding["queue"],
            exchange=binding["exchange"],
            routing_key=binding["key"],
            nowait=bool(nowait),
        )
        self._send(client, channel, more, "bind", binding | {"nowait": bool(nowait)}, bind)

    def _do_unbind(
        self, client: int, channel: int, exchange: int, queue: int, key: int, more: int
    ) -> None:
        options = self._binding(client, exchange, queue, key)
        unbind = Queue.Unbind(
            queue=options["queue"], exchange=options["exchange"], routing_key=options["key"]
        )
        self._send(client, channel, more, "unbind", options, unbind)

    def _do_publish(
        self,
        client: int,
        channel: int,
        exchange: int,
        queue: int,
        persistent: int,
        mandatory: int,
        count: int,
        size: int,
        blind: int,
        more: int,
    ) -> None:
        """`persistent` 2 stands for every other message being so."""
        if not blind:
            if exchange >= 0:
                self._need_exchange(client, channel, exchange)
            self._need_queue(client, channel, queue)
        for nth in range(count):
            body = self._next_body()
            is_persistent = bool(persistent == 1 or (persistent == 2 and nth % 2))
            name = "" if exchange < 0 else list(EXCHANGES)[exchange]
            key = QUEUES[queue] if exchange >= 0 else self._queue_name(client, queue)
            options = {
                "exchange": name,
                "key": key,
                "body": body,
                "persistent": is_persistent,
                "mandatory": bool(mandatory),
                "size": size,
            }
            wire = message(
                body_of(body, size),
                key,
                exchange=name,
                mandatory=bool(mandatory),
                channel=channel,
                payload_max=FRAME_MAX - 8,
                delivery_mode=2 if is_persistent else 1,
            )
            self._send(client, channel, int(more or nth < count - 1), "publish", options, wire)

    def _do_commit(self, client: int, channel: int, commit: int, more: int) -> None:
        it = self.clients.get(client)
        if it is None or channel not in it.model.channels:
            return
        if it.model.channels[channel].mode != "tx":
            return
        name, call = ("commit", Tx.Commit()) if commit else ("rollback", Tx.Rollback())
        self._send(client, channel, more, name, {}, call)

    def _do_settle(
        self,
        client: int,
        channel: int,
        how: int,
        pick: int,
        multiple: int,
        requeue: int,
        twice: int,
        more: int,
    ) -> None:
        """`multiple` 2 stands for all that is outstanding."""
        if (found := self._with("unsettled", client, channel)) is None:
            return
        client, known = found
        tags = list(known.unsettled)
        tag = 0 if multiple == 2 and how != 2 else tags[pick % len(tags)]
        several = bool(multiple) and how != 2
        match how:
            case 0:
                call, again = Basic.Ack(tag, several), False
            case 1:
                call, again = Basic.Nack(tag, several, bool(requeue)), bool(requeue)
            case _:
                call, again = Basic.Reject(tag, bool(requeue)), bool(requeue)
        options = {"how": "ack", "tag": tag, "multiple": several, "requeue": again}
        self._send(client, known.number, more, "settle", options, *[call] * (1 + twice))

    def _do_get(
        self, client: int, channel: int, queue: int, no_ack: int, blind: int, more: int
    ) -> None:
        if not blind:
            self._need_queue(client, channel, queue)
        name = self._queue_name(client, queue)
        options = {"queue": name, "no_ack": bool(no_ack)}
        self._send(client, channel, more, "get", options, Basic.Get(**options))

    def _do_consume(
        self, client: int, channel: int, queue: int, no_ack: int, blind: int, more: int
    ) -> None:
        if not blind:
            self._need_queue(client, channel, queue)
        name, tag = self._queue_name(client, queue), f"c{self._next_tag()}"
        options = {"queue": name, "tag": tag, "no_ack": bool(no_ack)}
        consume = Basic.Consume(queue=name, consumer_tag=tag, no_ack=bool(no_ack))
        self._send(client, channel, more, "consume", options, consume)

    def _do_cancel(self, client: int, channel: int, pick: int, more: int) -> None:
        if (found := self._with("consumers", client, channel)) is None:
            return
        client, known = found
        tag = list(known.consumers)[pick % len(known.consumers)]
        cancel = Basic.Cancel(consumer_tag=tag)
        self._send(client, known.number, more, "cancel", {"tag": tag}, cancel)

    def _do_qos(self, client: int, channel: int, count: int, all_of_it: int, more: int) -> None:
        options = {"count": count, "all_of_it": bool(all_of_it)}
        qos = Basic.Qos(prefetch_count=count, global_=bool(all_of_it))
        self._send(client, channel, more, "qos", options, qos)

    def _do_recover(self, client: int, channel: int, more: int) -> None:
        self._send(client, channel, more, "recover", {}, Basic.Recover(requeue=True))

    def _do_close_channel(self, client: int, channel: int, more: int) -> None:
        it = self._ready(client, channel)
        if it is not None:
            self._send(client, channel, more, "close", {}, Channel.Close(0, "", 0, 0))
            it.may_send.discard(channel)

    # --- time and the disk --------------------------------------------------------------------

    def _begin(self) -> None:
        self.model.batch = self.world.taken + 1

    def _do_write(self) -> None:
        self._begin()
        self.world.write()
        self._look()

    def _do_notice(self) -> None:
        self._begin()
        self.world.notice()
        self._look()

    def _do_wait(self, milliseconds: int) -> None:
        self._begin()
        self.world.advance(milliseconds / 1000)
        self.world.watch()
        self._look()

    def _do_fault(self, after: int, sync: int) -> None:
        kinds = ("sync",) if sync else ("write", "create", "unlink")
        self.world.fail_after(after, lambda: OSError(5, "Input/output error"), *kinds)

    def _do_fill_disk(self, left: int) -> None:
        self.world.disk.capacity_bytes = self.world.disk.used_bytes + left

    def _do_free_disk(self) -> None:
        self.world.disk.capacity_bytes = ROOMY_BYTES

    def _do_crash(self, power: int, inside: int, again_inside: int, seed: int) -> None:
        """`inside` and `again_inside` count disk operations: of the batch that is to be written, of
        the recovery after the crash.
        """
        if inside and not self.world.failed:
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
        self.clients.clear()
        self._waiting.clear()
        self._complain()
        check_crash(self.model, self.world, written, taken)
        self.model = start_over(self.model, self.world, redelivered=True)
        self._watch_numbers()

    def _do_restart(self) -> None:
        """A clean stop, in which the disk does what it should, and a start."""
        self.world.disk.fault = None
        for client in list(self.clients):
            self._do_disconnect(client)
        self.world.stop()
        self.world.start()
        self._complain()
        check_restart(self.model, self.world)
        self.model = start_over(self.model, self.world, redelivered=False)
        self._watch_numbers()

    def end(self) -> None:
        """Let everything come to its end: all must be answered, and be there after a crash."""
        self.world.disk.fault = None
        self.world.disk.capacity_bytes = ROOMY_BYTES
        self.world.broker.memory.budget_bytes = 0
        for _ in range(100):
            for it in self.clients.values():
                it.flushed = it.flushed or bool(it.outbox)
            self._send_what_may_be_sent()
            self._do_wait(200)
            self._do_write()
            self._do_notice()
            if not self._unfinished():
                break
        else:
            raise Violation(f"no end: {self._unfinished()} for ever")
        self._restart_after_crash(Random(1), power=1, again_inside=0)

    def _unfinished(self) -> str:
        for it in self.clients.values():
            if it.outbox or it.pending or it.waiting is not None:
                return f"{it.model.name} waits for an answer"
            for channel in it.model.channels.values():
                if channel.committing is not None:
                    return f"{it.model.name} waits for tx.commit-ok"
                if channel.mode == "confirm" and channel.confirmed < len(channel.confirms):
                    return f"{it.model.name} waits for confirms"
        return "the journal has work" if self.world.flight or self.world.journal.has_work else ""

    # --- what comes of it ---------------------------------------------------------------------

    def _complain(self) -> None:
        if self._complaints:
            raise Violation(f"internal error: {self._complaints[0]}")

    def _look(self, first: SimulatedClient | None = None) -> None:
        """Carry out in the model what the broker has, and compare with what clients have got."""
        self._complain()
        before = [(it, it.waiting) for it in self._waiting]
        order = [*self._waiting, *([first] if first else []), *self.clients.values()]
        self._waiting.clear()
        seen: dict[int, None] = {}
        later: list[tuple[SimulatedClient, list[Received]]] = []
        for it in order:
            if id(it) in seen:
                continue
            seen[id(it)] = None
            got = it.fake.received()
            for each in got:
                if isinstance(each.call, commands.Connection.Close):
                    raise Violation(f"connection closed: {shown(each)}")
            later.append((it, [each for each in got if _comes_unasked(each.call)]))
            self._carry_out(it, deque(each for each in got if not _comes_unasked(each.call)))
        still = [it for it, answer in before if it.waiting is answer]
        self._waiting = still + [it for it in self._waiting if it not in still]
        delivered: list[tuple[MChannel, Received]] = []
        for it, unasked in later:
            delivered += self._take_unasked(it, unasked)
        self._check_deliveries(delivered)
        self._check_nothing_is_missing()

    def _carry_out(self, it: SimulatedClient, answers: deque[Received]) -> None:
        while True:
            if it.waiting is not None:
                if not answers:
                    if not it.fake.connection.held:
                        raise Violation(f"no answer: {it.waiting} is owed to {it.model.name}")
                    self._waiting.append(it)
                    return
                self._check_answer(it, it.waiting, answers.popleft())
                it.waiting = None
            if not it.pending:
                break
            command = it.pending.popleft()
            for expected in self._expected(it, command):
                if not answers and expected.may_wait:
                    it.waiting = expected
                    break
                if not answers:
                    raise Violation(f"no answer: {expected} is owed for {command.name}")
                self._check_answer(it, expected, answers.popleft())
        if answers:
            raise Violation(f"unexpected: {it.model.name} got {shown(answers[0])}")

    def _expected(self, it: SimulatedClient, command: Command) -> list[Expected]:
        """Carry a command out; what the client must get for it."""
        channels, number = it.model.channels, command.channel
        channel = channels.get(number)
        if command.name == "open":
            channels[number] = MChannel(it.model, number)
            return [Expected(Channel.OpenOk)]
        assert channel is not None
        if command.name == "close-ok":
            del channels[number]
            return []
        if channel.closing:
            return [Expected(Channel.CloseOk)] if command.name == "close" else []
        try:
            return self.model.carry_out(channel, command.name, command.options)
        except Refused as refused:
            self.model.close_channel(channel)
            channel.closing = True
            it.may_send.discard(number)
            self._queue(it, number, "close-ok", {}, Channel.CloseOk())
            it.flushed = True
            return [Expected(Channel.Close, {"reply_code": refused.code})]

    def _check_answer(self, it: SimulatedClient, expected: Expected, got: Received) -> None:
        wrong = not isinstance(got.call, expected.kind) or any(
            getattr(got.call, name) != value for name, value in expected.values.items()
        )
        if wrong or (expected.body is not None and number_of(got.body) != expected.body):
            raise Violation(f"wrong answer: {it.model.name} got {shown(got)}, not {expected}")
        if expected.batch > self.world.written:
            raise Violation(f"too early: {shown(got)} before it was on disk")

    def _take_unasked(
        self, it: SimulatedClient, got: list[Received]
    ) -> list[tuple[MChannel, Received]]:
        """Check confirms and the like; return the deliveries."""
        delivered: list[tuple[MChannel, Received]] = []
        for each in got:
            channel = it.model.channels.get(each.channel)
            match each.call:
                case Basic.Deliver():
                    assert channel is not None
                    delivered.append((channel, each))
                case Basic.Ack():
                    if channel is not None:
                        self._confirm(channel, each.call)
                case Tx.CommitOk():
                    assert channel is not None
                    commit, channel.committing = channel.committing, None
                    if commit is None:
                        raise Violation("unexpected: tx.commit-ok")
                    if commit.batch > self.world.written:
                        raise Violation("too early: tx.commit-ok before it was on disk")
                case Basic.Cancel():
                    assert channel is not None
                    cancelled = channel, str(each.call.consumer_tag)
                    if cancelled not in self.model.cancels:
                        raise Violation(f"unexpected: {shown(each)}")
                    self.model.cancels.remove(cancelled)
                case _:
                    raise Violation(f"unexpected: {shown(each)}")
        return delivered

    def _confirm(self, channel: MChannel, ack: Basic.Ack) -> None:
        tag = ack.delivery_tag
        assert tag is not None
        first = channel.confirmed + 1
        if tag > len(channel.confirms) or tag < first or (tag > first and not ack.multiple):
            raise Violation(
                f"wrong confirm: {dict(ack)} with {channel.confirmed} of {len(channel.confirms)}"
                " confirmed"
            )
        if max(channel.confirms[first - 1 : tag]) > self.world.written:
            raise Violation(f"too early: confirm {tag} before its message was on disk")
        channel.confirmed = tag

    def _check_deliveries(self, delivered: list[tuple[MChannel, Received]]) -> None:
        """They must be the first ones of their queues, in order."""
        taken: dict[MQueue, int] = {}
        for channel, got in delivered:
            consumer = channel.consumers.get(got.call.consumer_tag)
            if consumer is None:
                raise Violation(f"unexpected: delivery to no consumer, {shown(got)}")
            taken[consumer.queue] = taken.get(consumer.queue, 0) + 1
        due: dict[MQueue, dict[int, Any]] = {}
        for queue, n in taken.items():
            due[queue] = {entry.body: entry for entry in queue.ready[:n]}
            del queue.ready[:n]
        last: dict[str, int] = {}
        for channel, got in delivered:
            consumer = channel.consumers[got.call.consumer_tag]
            body = number_of(got.body)
            entry = due[consumer.queue].pop(body, None)
            if entry is None:
                raise Violation(f"order: {body} delivered from {consumer.queue.name}, not its turn")
            if last.get(consumer.tag, 0) > entry.place:
                raise Violation(f"order: {body} delivered from {consumer.queue.name} too late")
            last[consumer.tag] = entry.place
            if got.call.redelivered != entry.redelivered:
                raise Violation(f"redelivered: {body} has {got.call.redelivered}")
            if not consumer.has_credit():
                raise Violation(f"prefetch: {body} delivered to {consumer.tag} without credit")
            self.model.deliver(channel, consumer, entry)
            if got.call.delivery_tag != channel.last_tag:
                raise Violation(f"delivery tag: {got.call.delivery_tag}, not {channel.last_tag}")

    def _check_nothing_is_missing(self) -> None:
        self._check_queues()
        for channel, tag in self.model.cancels:
            if channel.client.channels.get(channel.number) is channel and not channel.closing:
                raise Violation(f"missing: basic.cancel of {tag}")
        self.model.cancels.clear()

    def _check_queues(self) -> None:
        actual = {name: queue.message_count for name, queue in self.world.queues.items()}
        wanted = {name: len(queue.ready) for name, queue in self.model.queues.items()}
        if actual != wanted:
            raise Violation(f"counts: {actual} messages are ready, not {wanted}")
        for queue in self.model.queues.values():
            if queue.ready and any(consumer.has_credit() for consumer in queue.consumers):
                raise Violation(f"stuck: {queue.name} has messages for a consumer with credit")


def _comes_unasked(call: Any) -> bool:
    return isinstance(call, Basic.Deliver | Basic.Ack | Basic.Cancel | Basic.Nack | Tx.CommitOk)

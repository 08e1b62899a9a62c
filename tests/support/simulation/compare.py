"""Holding all that clients see against the model, step by step."""

from collections import deque
from collections.abc import Callable
from typing import Any

from pamqp import commands
from pamqp.commands import Basic, Channel

from fake_client import Received, shown

from . import contents, streams, timeouts
from .commands import Commands
from .deliveries import check_deliveries
from .names import name_of
from .quorum import check_count
from .stage import Command, SimulatedClient, Stage
from .things import Expected, MChannel, Refused, Violation


class Comparison:
    """Of what is on a stage."""

    def __init__(self, stage: Stage):
        self._stage = stage

    def complain(self) -> None:
        """Raise Violation if a traceback was logged."""
        if self._stage.complaints:
            raise Violation(f"internal error: {self._stage.complaints[0]}")

    def look(
        self, first: SimulatedClient | None = None, work: Callable[[], None] | None = None
    ) -> None:
        """Carry out in the model what the broker has, which is `work` in it or what clients ask
        for, first of all this one; and compare with what clients have got.

        A broker that has failed stops where it is: what was in its last turn never gets to disk.
        """
        self.complain()
        if self._stage.world.failed:
            return
        model = self._stage.model
        model.now_ms = self._stage.world.now_ms
        model.drop_unused_queues()
        before = [(it, it.waiting) for it in self._stage.waiting]
        order = [*self._stage.waiting, *([first] if first else []), *self._stage.clients.values()]
        self._stage.waiting.clear()
        later: list[tuple[SimulatedClient, list[Received]]] = []
        received = [(it, it.fake.received()) for it in {id(it): it for it in order}.values()]
        model.arrivals = [
            (it.model, each)
            for it, got in received
            for each in got
            if isinstance(each.call, Basic.Deliver)
        ]
        if work is not None:
            work()
        for it, got in received:
            for each in got:
                if isinstance(each.call, commands.Connection.Close):
                    raise Violation(f"connection closed: {shown(each)}")
            for each in got:
                if _is_timeout(each):
                    self._time_out(it, each)
            got = [each for each in got if not _is_timeout(each)]
            later.append((it, [each for each in got if _comes_unasked(each.call)]))
            self._carry_out(it, deque(each for each in got if not _comes_unasked(each.call)))
        still = [it for it, answer in before if it.waiting is answer]
        self._stage.waiting = still + [it for it in self._stage.waiting if it not in still]
        delivered: list[tuple[MChannel, Received]] = []
        for it, unasked in later:
            delivered += self._take_unasked(it, unasked)
        model.arrivals = None
        check_deliveries(model, delivered)
        if self._stage.observer is not None:
            model.firehose.check(self._stage.observer.copies(), model.replies.check_told)
        self._check_nothing_is_missing()

    def _carry_out(self, it: SimulatedClient, answers: deque[Received]) -> None:
        while True:
            if it.waiting is not None:
                if not answers:
                    if not it.fake.connection.waiting:
                        raise Violation(f"no answer: {it.waiting} is owed to {it.model.name}")
                    self._stage.waiting.append(it)
                    return
                self._check_answer(it, it.waiting, answers.popleft())
                it.waiting = None
            owed = self._owed(it)
            if owed is None:
                break
            for expected in owed:
                if not answers and expected.may_wait:
                    it.waiting = expected
                    break
                if not answers:
                    raise Violation(f"no answer: {expected} is owed to {it.model.name}")
                self._check_answer(it, expected, answers.popleft())
        if answers:
            raise Violation(f"unexpected: {it.model.name} got {shown(answers[0])}")

    def _owed(self, it: SimulatedClient) -> list[Expected] | None:
        """What a client must get next; None if there is nothing to be done for it now."""
        client = it.model
        if client.due:
            return client.take_due()
        if client.busy:
            return None
        if client.owed is not None:
            (channel, answer), client.owed = client.owed, None
            return self._answer(it, channel, answer)
        return self._expected(it, it.pending.popleft()) if it.has_come_to_next else None

    def _expected(self, it: SimulatedClient, command: Command) -> list[Expected]:
        """Carry a command out; what the client must get for it, unless that takes several turns."""
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
        commands = Commands(self._stage.model)
        expected = self._answer(
            it, channel, lambda: commands.carry_out(channel, command.name, command.options)
        )
        if not it.model.busy or channel.closing:
            return expected
        it.model.owed = it.model.owed or (channel, lambda: expected)
        return []

    def _answer(
        self, it: SimulatedClient, channel: MChannel, answer: Callable[[], list[Expected]]
    ) -> list[Expected]:
        """What the client must get, which is channel.close if it is refused."""
        try:
            return answer()
        except Refused as refused:
            self._close(it, channel)
            return [*refused.before, Expected(Channel.Close, {"reply_code": refused.code})]

    def _close(self, it: SimulatedClient, channel: MChannel) -> None:
        """The broker has closed a channel."""
        self._stage.model.close_channel(channel)
        channel.closing = True
        it.may_send.discard(channel.number)
        it.queue(channel.number, "close-ok", {}, Channel.CloseOk())
        it.flushed = True

    def _time_out(self, it: SimulatedClient, got: Received) -> None:
        """The broker has closed a channel because a delivery is outstanding for too long."""
        model, channel = self._stage.model, it.model.channels.get(got.channel)
        if channel is None or channel.closing or it.model.busy or it.waiting:
            raise Violation(f"unexpected: {shown(got)}")
        timeouts.check_closed(channel, model.now_ms)
        self._close(it, channel)

    def _check_answer(self, it: SimulatedClient, expected: Expected, got: Received) -> None:
        wrong = not isinstance(got.call, expected.kind) or any(
            getattr(got.call, name) != value for name, value in expected.values.items()
        )
        sent = expected.sent
        if wrong or (sent is not None and name_of(got) != sent.name):
            raise Violation(f"wrong answer: {it.model.name} got {shown(got)}, not {expected}")
        if sent is not None:
            contents.check(sent, got, self._stage.model.replies.check_told)
        if expected.counted is not None:
            check_count(expected.counted, got)
        if expected.batch > self._stage.world.written:
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
                    if any(each is due for _, due in self._stage.model.arrivals or ()):
                        assert channel is not None
                        delivered.append((channel, each))
                case Basic.Ack() | Basic.Nack():
                    if channel is not None:
                        self._confirm(channel, each.call)
                case Basic.Cancel():
                    self._take_cancel(it, each)
                case _:
                    raise Violation(f"unexpected: {shown(each)}")
        return delivered

    def _take_cancel(self, it: SimulatedClient, got: Received) -> None:
        for cancelled in self._stage.model.cancels:
            channel, tag = cancelled
            if (channel.client, channel.number, tag) == (
                it.model,
                got.channel,
                got.call.consumer_tag,
            ):
                self._stage.model.cancels.remove(cancelled)
                return
        raise Violation(f"unexpected: {shown(got)}")

    def _confirm(self, channel: MChannel, ack: Basic.Ack | Basic.Nack) -> None:
        tag = ack.delivery_tag
        assert tag is not None
        first = channel.confirmed + 1
        if tag > len(channel.confirms) or tag < first or (tag > first and not ack.multiple):
            raise Violation(
                f"wrong confirm: {dict(ack)} with {channel.confirmed} of {len(channel.confirms)}"
                " confirmed"
            )
        wanted = set(range(first, tag + 1)) & channel.refused
        if wanted != (set(range(first, tag + 1)) if isinstance(ack, Basic.Nack) else set()):
            raise Violation(f"wrong confirm: {ack.name} {dict(ack)} with {wanted} refused")
        if max(channel.confirms[first - 1 : tag]) > self._stage.world.written:
            raise Violation(f"too early: confirm {tag} before its message was on disk")
        channel.confirmed = tag

    def _check_nothing_is_missing(self) -> None:
        self._check_queues()
        model = self._stage.model
        clients = self._stage.clients.values()
        kept_back = [it.model for it in clients if it.model.busy or it.fake.connection.waiting]
        kept_back += [it.model for it in self._stage.waiting]
        for channel, tag in model.cancels:
            is_open = channel.client.channels.get(channel.number) is channel
            if is_open and not channel.closing and channel.client not in kept_back:
                raise Violation(f"missing: basic.cancel of {tag}")
        # What comes unasked does not overtake an answer that the broker keeps back.
        model.cancels = [each for each in model.cancels if each[0].client in kept_back]

        for it in self._stage.clients.values():
            waits = bool(it.model.busy or it.waiting or it.fake.connection.waiting)
            for channel in it.model.channels.values():
                timeouts.check_open(channel, model.now_ms, waits=waits)

    def _check_queues(self) -> None:
        model = self._stage.model
        for queue in model.queues.values():
            if queue.traits.retained_s:
                first = model.first_offset(queue)
                streams.retain_young(queue, first, model.now_ms, model.batch)
            elif queue.traits.stream:
                most_bytes = streams.most_bytes(queue, model.policies)
                streams.retain(queue, most_bytes, model.first_offset(queue), model.batch)
        actual = {name: queue.message_count for name, queue in self._stage.world.queues.items()}
        wanted = {name: len(queue.ready) for name, queue in self._stage.model.queues.items()}
        if actual != wanted:
            raise Violation(f"counts: {actual} messages are ready, not {wanted}")
        for queue in self._stage.model.queues.values():
            if any(consumer.is_due() for consumer in queue.consumers):
                raise Violation(f"stuck: {queue.name} has messages for a consumer with credit")


def _comes_unasked(call: Any) -> bool:
    return isinstance(call, Basic.Deliver | Basic.Ack | Basic.Cancel | Basic.Nack)


def _is_timeout(got: Received) -> bool:
    return isinstance(got.call, Channel.Close) and "timed out" in (got.call.reply_text or "")

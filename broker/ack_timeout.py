"""Ack timeouts: a client that sits on a delivery for too long loses its channel
(https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).

Off unless set: by the consumer's argument x-consumer-timeout, else for its queue (the argument of
that name, the policy key consumer-timeout), else for all (`consumer_timeout_ms` of the
configuration). As in RabbitMQ it is a channel's oldest outstanding delivery that is looked at, now
and then, and from RabbitMQ 4.3 on the oldest one of each consumer; so a timeout comes up to a
quarter of the shortest one late, at most a minute, and never early.

Deliveries are not timed one by one. Each look notes how far a channel's delivery tags have come:
what has a tag up to there was delivered by then.
"""

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, TypeAlias

from ..amqp.errors import PreconditionFailed
from .policy import QUORUM
from .queue_settings import queue_type
from .rules import Rules
from .settling import settle_in_turns
from .timers import Timer, Timers
from .unsettled import Outcome

if TYPE_CHECKING:
    from .channel import Channel
    from .connection import Connection
    from .consumer import Consumer
    from .queue import Queue
    from .unsettled import Unsettled

LOOK_S = 60.0
LOOK_MIN_S = 0.25
MARKS_MAX = 1000

Marks: TypeAlias = deque[tuple[float, int]]
"""When a look was (seconds), and the highest tag that had been delivered then."""


class AckTimeouts:
    """Looks at the channels of all `connections`, once anything has a timeout.

    `default_ms` is for whatever has none of its own.
    """

    def __init__(
        self,
        timers: Timers,
        connections: "Collection[Connection]",
        rules: Rules,
        default_ms: int | None,
    ):
        self._timers = timers
        self._connections = connections
        self._rules = rules
        self._default_ms = default_ms
        self._marks: dict[Channel, Marks] = {}
        self._interval_s = LOOK_S
        self._timer: Timer | None = None
        if default_ms is not None:
            self.watch(default_ms)

    def watch(self, timeout_ms: int) -> None:
        """There are deliveries with this timeout from now on."""
        interval_s = min(LOOK_S, max(timeout_ms / 4000, LOOK_MIN_S))
        if self._timer is None or interval_s < self._interval_s:
            if self._timer is not None:
                self._timer.cancel()
            self._interval_s = interval_s
            self._timer = self._timers.at(self._timers.now + interval_s, self._look)

    def _look(self) -> None:
        self._timer = self._timers.at(self._timers.now + self._interval_s, self._look)
        before, self._marks = self._marks, {}
        for connection in tuple(self._connections):
            for channel in tuple(connection.channels.values()):
                if channel.unsettled.deliveries:
                    marks = self._marks[channel] = before.get(channel) or deque()
                    self._look_at(channel, marks)

    def _look_at(self, channel: "Channel", marks: Marks) -> None:
        unsettled, now = channel.unsettled, self._timers.now
        if not marks or marks[-1][1] < unsettled.last_tag:
            marks.append((now, unsettled.last_tag))
        if len(marks) > MARKS_MAX:
            for index in range(len(marks) - 2, 0, -2):
                del marks[index]
        oldest = next(iter(unsettled.deliveries))
        while marks[0][1] < oldest:
            marks.popleft()
        tags = (oldest,) if self._rules.classic_ack_timeout else _oldest_of_each(unsettled)
        for tag in tags:
            if tag in unsettled.deliveries:
                _, queue, consumer = unsettled.deliveries[tag]
                timeout_ms = self._timeout_ms(queue, consumer)
                since = next(when for when, last_tag in marks if last_tag >= tag)
                if timeout_ms is not None and (now - since) * 1000 >= timeout_ms:
                    self._time_out(channel, queue, consumer, timeout_ms)

    def _timeout_ms(self, queue: "Queue", consumer: "Consumer | None") -> int | None:
        """How long a delivery may be outstanding; None for as long as it likes."""
        if not self._rules.classic_ack_timeout and queue_type(queue.arguments) != QUORUM:
            return None
        if consumer is not None and consumer.ack_timeout_ms is not None:
            return consumer.ack_timeout_ms
        of_queue = queue.settings.consumer_timeout_ms
        return self._default_ms if of_queue is None else of_queue

    def _time_out(
        self, channel: "Channel", queue: "Queue", consumer: "Consumer | None", timeout_ms: int
    ) -> None:
        if channel.connection.waiting:
            return  # until a later look: answers come in order
        if self._rules.classic_ack_timeout or consumer is None:
            return channel.connection.close_channel(
                channel.number,
                PreconditionFailed(
                    f"delivery acknowledgement on channel {channel.number} timed out."
                    f" Timeout value used: {timeout_ms} ms. This timeout value can be configured,"
                    " see consumers doc guide to learn more",
                    at=(0, 0),
                ),
            )
        if channel.consumers.get(consumer.tag) is consumer:
            queue.remove_consumer(consumer)
            channel.cancelled_by_broker(consumer)
        deliveries = channel.unsettled.deliveries
        theirs = [tag for tag, (_, _, each) in deliveries.items() if each is consumer]
        return settle_in_turns(channel, theirs, Outcome.TIMED_OUT)


def _oldest_of_each(unsettled: "Unsettled") -> list[int]:
    """The tags of the oldest deliveries of each consumer and, for basic.get, of each queue."""
    oldest: dict[tuple[Queue, Consumer | None], int] = {}
    for tag, (_, queue, consumer) in unsettled.deliveries.items():
        oldest.setdefault((queue, consumer), tag)
    return list(oldest.values())

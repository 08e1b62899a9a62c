"""Heartbeats of one connection, both ways (https://www.rabbitmq.com/docs/heartbeats).

As RabbitMQ does it: one is sent when nothing was written for half the interval; the peer is lost
when two checks in a row, an interval apart, find that nothing has come. One that is not read from
(an alarm, a disk that is behind) is not lost meanwhile, unless the reason is that it does not read
itself.
"""

from typing import TYPE_CHECKING

from ..amqp.frames import HEARTBEAT_FRAME
from .timers import Timer

if TYPE_CHECKING:
    from .connection import Connection

_MISSED_MAX = 2


class Heartbeats:
    """Two timers: one looks when something was last sent, the other whether anything was heard
    since it last looked.
    """

    __slots__ = (
        "_connection",
        "_interval_s",
        "_missed",
        "_timers",
        "_unsent_bytes",
        "heard",
        "sent_at",
    )

    def __init__(self, connection: "Connection", interval_s: int):
        self._connection = connection
        self._interval_s = interval_s
        self._missed = 0
        self._unsent_bytes = 0
        self.heard = False
        timers, now = connection.broker.timers, connection.broker.timers.now
        self.sent_at = now
        self._timers: list[Timer] = []
        if interval_s:
            self._timers = [
                timers.at(now + interval_s / 2, self._send),
                timers.at(now + interval_s, self._check),
            ]

    def stop(self) -> None:
        """The connection is closing."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []

    def _send(self) -> None:
        timers = self._connection.broker.timers
        due = self.sent_at + self._interval_s / 2
        if due <= timers.now:
            self._connection.send(HEARTBEAT_FRAME)
            due = timers.now + self._interval_s / 2
        self._timers[0] = timers.at(due, self._send)

    def _check(self) -> None:
        heard = self.heard or (self._connection.paused and not self._is_stuck())
        self._missed = 0 if heard else self._missed + 1
        self.heard = False
        if self._missed >= _MISSED_MAX:
            self._connection.lost(f"missed heartbeats from client, timeout: {self._interval_s}s")
            return
        broker = self._connection.broker
        self._timers[1] = broker.timers.at(broker.timers.now + self._interval_s, self._check)

    def _is_stuck(self) -> bool:
        """Whether the client has to take answers before it is read from again, and has taken none
        since this was last asked: that it can't be heard is its own doing.
        """
        before, self._unsent_bytes = self._unsent_bytes, self._connection.output_bytes
        return self._connection.is_full and self._unsent_bytes >= before > 0

"""Alarms: while memory or disk run low, publishers are not read from
(https://www.rabbitmq.com/docs/alarms).

As RabbitMQ does, a connection is blocked when it publishes during an alarm, and told so if it
understands connection.blocked. Everyone else is served: consumers are what makes room again.
"""

import logging
from collections.abc import Callable
from enum import Enum

from .log import fields

log = logging.getLogger("leveret.alarms")


class Alarm(Enum):
    """What runs low, in the order in which RabbitMQ names it."""

    DISK = "disk"
    MEMORY = "memory"


class Alarms:
    """The alarms in force. `on_raise` is called with each one, `on_clear` when the last is gone."""

    def __init__(self) -> None:
        self._raised: set[Alarm] = set()
        self.on_raise: Callable[[], None] = lambda: None
        self.on_clear: Callable[[], None] = lambda: None

    def __bool__(self) -> bool:
        return bool(self._raised)

    @property
    def raised(self) -> list[Alarm]:
        """Those in force, in RabbitMQ's order."""
        return [alarm for alarm in Alarm if alarm in self._raised]

    @property
    def reason(self) -> str:
        """What connection.blocked says."""
        return "low on " + " & ".join(alarm.value for alarm in self.raised)

    def set(self, alarm: Alarm, raised: bool) -> None:
        """Raise or clear an alarm; nothing happens if it is so already."""
        if raised and alarm not in self._raised:
            self._raised.add(alarm)
            log.warning("raised: publishers are blocked", extra=fields(low_on=alarm.value))
            self.on_raise()
        elif not raised and alarm in self._raised:
            self._raised.discard(alarm)
            log.warning("cleared", extra=fields(low_on=alarm.value))
            if not self._raised:
                self.on_clear()

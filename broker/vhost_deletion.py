"""Deleting a vhost, bit by bit if there is very much in it.

It is gone at once: nobody finds it, its connections are closed, and the journal says first of all
that it is deleted, so that no restart brings anything of it back (`definition_keys`). Only then
goes what was in it, which nobody uses any more. A vhost of the same name waits for that: their
definitions have the same keys.
"""

from itertools import islice
from typing import TYPE_CHECKING

from .deletion import DELETED_AT_ONCE

if TYPE_CHECKING:
    from .broker import Broker
    from .vhost import VirtualHost


class VhostDeletion:
    """What is left of a deleted vhost, as `Work`."""

    __slots__ = ("_broker", "_steps", "dirty", "vhost_name")

    name = "deleted vhost"

    def __init__(self, broker: "Broker", vhost: "VirtualHost"):
        self._broker = broker
        self._steps = vhost.take_apart()
        self.vhost_name = vhost.name
        self.dirty = False

    def begin(self) -> None:
        """Have it gone, and take some of it apart."""
        broker, name = self._broker, self.vhost_name
        broker.definitions.begin_to_remove_vhost(name)
        del broker.vhosts[name]
        broker.vhost_deletions[name] = self
        if self.dispatch():
            broker.mark_dirty(self)

    def dispatch(self) -> bool:
        """Take some of it apart; True if there is more."""
        self.dirty = sum(1 for _ in islice(self._steps, DELETED_AT_ONCE)) == DELETED_AT_ONCE
        if not self.dirty:
            self._end()
        return self.dirty

    def finish(self) -> None:
        """Be done with it now: there is to be a vhost of that name again."""
        for _ in self._steps:
            pass
        self._end()

    def _end(self) -> None:
        broker, name = self._broker, self.vhost_name
        if broker.vhost_deletions.get(name) is self:
            del broker.vhost_deletions[name]
            broker.definitions.remove_vhost(name)

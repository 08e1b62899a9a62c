"""The broker: what its connections share, and the turn that they are served in.

A turn begins when the edge hands over bytes or a timer is due, and ends with `finish_turn`:
confirms that are due, deliveries of all queues that have work, then the edge sends what each
touched connection has to say. Nothing here waits, reads a clock or makes up randomness: `now` is
set by the edge and `unique_name` passed in.
"""

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from .configuration import Configuration
from .configuration import User as ConfiguredUser
from .handshake import greeting
from .property_kinds import PropertyKinds
from .queue import Queue
from .timers import Timers
from .users import User
from .vhost import VirtualHost

if TYPE_CHECKING:
    from .connection import Connection
    from .publisher import Publisher


class Broker:
    """The composition root of the synchronous core.

    `unique_name` gives 22 characters of URL-safe randomness for names that the broker makes up.
    """

    def __init__(self, configuration: Configuration, unique_name: Callable[[], str]):
        self.configuration = configuration
        self.unique_name = unique_name
        self.greeting = greeting(configuration.identity)
        self.timers = Timers()
        self.vhosts = {
            name: VirtualHost(name, self._mark_dirty, self.timers) for name in configuration.vhosts
        }
        self.users = {user.name: _user(user) for user in configuration.users}
        self.connections: set[Connection] = set()
        self.touched: list[Connection] = []
        """Connections with something to send, or to be dropped."""
        self.confirming: list[Publisher] = []
        """Publishers with confirms due at the end of the turn."""
        self.dirty: list[Queue] = []
        self.next_message_id = count(1).__next__
        self.property_kinds = PropertyKinds()
        self._later: deque[Callable[[], None]] = deque()

    def _mark_dirty(self, queue: Queue) -> None:
        queue.dirty = True
        self.dirty.append(queue)

    def later(self, call: Callable[[], None]) -> None:
        """Have a call made at the end of the turn, after what is going on now."""
        self._later.append(call)

    def finish_turn(self) -> None:
        """Do what the turn's input led to: postponed calls, confirms, deliveries."""
        while self._later or self.confirming or self.dirty:
            while self._later:
                self._later.popleft()()
            publishers, self.confirming = self.confirming, []
            for publisher in publishers:
                publisher.send_confirms()
            queues = self.dirty[:]
            self.dirty.clear()
            for queue in queues:
                queue.dispatch()

    def take_touched(self) -> "list[Connection]":
        """The connections that the edge must look after now."""
        touched, self.touched = self.touched, []
        return touched


def _user(configured: ConfiguredUser) -> User:
    return User(
        configured.name,
        configured.password,
        tags=configured.tags,
        loopback_only=configured.loopback_only,
        permissions={
            vhost: (rights.configure, rights.write, rights.read)
            for vhost, rights in configured.permissions.items()
        },
    )

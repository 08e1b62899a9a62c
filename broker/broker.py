"""The broker: what its connections share, and the turn that they are served in.

A turn begins when the edge hands over bytes or a timer is due, and ends with `finish_turn`:
confirms that are due, deliveries of all queues that have work, then the edge sends what each
touched connection has to say. Nothing here waits, reads a clock or makes up randomness: `now` is
set by the edge, `unique_name` and `random_below` are passed in.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING

from ..storage.errors import JournalError
from .ack_timeout import AckTimeouts
from .alarms import Alarms
from .commit import Commits
from .configuration import DEFAULT_CLUSTER_NAME, DEFAULT_USERS, DEFAULT_VHOSTS, Configuration
from .configuration import User as ConfiguredUser
from .definition_keys import has_users, has_vhosts, vhost_names
from .definitions import (
    Definitions,
    last_queue_number,
    restore,
    restored_global_parameters,
    restored_users,
    rights_of_configured_users,
)
from .faults import attempt
from .global_parameters import CLUSTER_NAME, GlobalParameters
from .handshake import greeting
from .intake import Intake
from .log import fields
from .logins import Logins
from .memory import MemoryBudget
from .passwords import SHA256, hashed
from .permissions import Patterns
from .property_kinds import PropertyKinds
from .publish_route import RouteMemory
from .settling import Settling
from .store import JournalStore
from .timers import Timers
from .turn_bounds import TurnBounds
from .users import User
from .vhost import VirtualHost
from .work import ConnectionWork, Work

if TYPE_CHECKING:
    from ..storage.journal import Journal
    from ..storage.opening import Recovered
    from .connection import Connection
    from .publisher import Publisher
    from .vhost_deletion import VhostDeletion

log = logging.getLogger("leveret.broker")

_BOUNDS = TurnBounds()


class Broker:
    """The composition root of the synchronous core.

    `unique_name` gives 22 characters of URL-safe randomness for names that the broker makes up,
    `random_below` a random number from 0 up to its argument.
    """

    def __init__(
        self,
        configuration: Configuration,
        unique_name: Callable[[], str],
        journal: "Journal | None" = None,
        recovered: "Recovered | None" = None,
        *,
        random_below: Callable[[int], int],
        now: float = 0.0,
        epoch_ms: float = 0.0,
        turn_bounds: TurnBounds = _BOUNDS,
    ):
        self.configuration = configuration
        self.unique_name = unique_name
        self.rules = configuration.rules
        self.turn_bounds = turn_bounds
        self.greeting = b""
        self.timers = Timers()
        self.timers.now, self.timers.epoch_ms = now, epoch_ms
        self.journal = journal
        self.message_ids = count(1)
        self.next_message_id = self.message_ids.__next__
        self.definitions = Definitions(journal)
        self.global_parameters = GlobalParameters(self.definitions, self._greet)
        self._store = None if journal is None else JournalStore(journal, self.next_message_id)
        self._later: deque[Callable[[], None]] = deque()
        self.dirty: list[Work] = []
        self.settlings: dict[Settling, None] = {}
        """What is being settled bit by bit."""
        self.commits = Commits(self)
        self.intake = Intake(journal, self.timers, self.next_message_id, self.later)
        self.connections: dict[Connection, None] = {}
        self.ack_timeouts = AckTimeouts(
            self.timers,
            self.connections,
            self.rules,
            configuration.connection.consumer_timeout_ms,
        )
        self.password_key = unique_name().encode()
        """With this passwords are remembered, see `User.accepts`."""
        self.logins = Logins()
        self._random_below = random_below
        self.vhosts: dict[str, VirtualHost] = {}
        self.users: dict[str, User] = {}
        self.vhost_deletions: dict[str, VhostDeletion] = {}
        """Vhosts that are gone, and what was in them not yet."""
        if recovered is not None:
            self.definitions.forget_void(recovered)
            self.users |= restored_users(recovered)
            for name in sorted(vhost_names(recovered.definitions)):
                self.vhosts[name] = self.new_vhost(name)
            self.definitions.reserve_queue_numbers(last_queue_number(recovered.definitions))
            restore(self.vhosts, recovered, self.definitions)
            for name, value in restored_global_parameters(recovered).items():
                self.global_parameters.restore(name, value)
        self._greet()
        self._add_configured({} if recovered is None else recovered.definitions)
        self.touched: list[Connection] = []
        """Connections with something to send, or to be dropped."""
        self.confirming: list[Publisher] = []
        """Publishers with confirms due at the end of the turn."""
        self.property_kinds = PropertyKinds(
            minds_deaths=not self.rules.clients_x_death_counts,
            minds_priorities=self.rules.quorum_priorities > 1,
        )
        self.route_memory = RouteMemory()
        self.alarms = Alarms()
        self.memory = MemoryBudget(self, self._store)
        self.durable = 0 if journal is None else journal.durable
        """The journal's position up to which everything is on disk."""
        self._when_durable: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def cluster_name(self) -> str:
        """What clients are told and traces say: as configured, else as the global parameter has
        it.
        """
        configured = self.configuration.identity.cluster_name
        name = self.global_parameters.get(CLUSTER_NAME) if configured is None else configured
        return name if isinstance(name, str) else DEFAULT_CLUSTER_NAME

    def _greet(self) -> None:
        """Have new connections greeted with what holds now."""
        identity, version = self.configuration.identity, self.rules.version
        self.greeting = greeting(identity, version, self.cluster_name)

    def new_vhost(self, name: str) -> VirtualHost:
        """A vhost that is not among the others yet."""
        return VirtualHost(
            name,
            self.mark_dirty,
            self.intake,
            self.definitions,
            self._store,
            random_below=self._random_below,
            rules=self.rules,
            ack_timeouts=self.ack_timeouts,
        )

    def _add_configured(self, defined: Mapping[bytes, bytes]) -> None:
        """Add the vhosts and users of the configuration. Those of the default one are for brokers
        that have never had any, and can be deleted.
        """
        configured = self.configuration
        if configured.vhosts != DEFAULT_VHOSTS or not has_vhosts(defined):
            for name in configured.vhosts:
                if name not in self.vhosts:
                    self.vhosts[name] = self.new_vhost(name)
                    self.definitions.add_vhost(self.vhosts[name])
        if configured.users != DEFAULT_USERS:
            self.users |= {user.name: _user(user) for user in configured.users}
            for name, rights in rights_of_configured_users(defined).items():
                if name in self.users and self.users[name].is_configured:
                    self.users[name].add_rights(rights)
        elif not has_users(defined):
            for guest in map(_user, DEFAULT_USERS):
                guest.set_hash(hashed(b"guest", self.unique_name().encode(), SHA256))
                self.users[guest.name] = guest
                self.definitions.add_user(guest)

    def mark_dirty(self, work: Work) -> None:
        """Have some work done at the end of the turn."""
        work.dirty = True
        self.dirty.append(work)

    def later(self, call: Callable[[], None]) -> None:
        """Have a call made at the end of the turn, after what is going on now."""
        self._later.append(call)

    def begin_settling(self, settling: Settling) -> None:
        """Have deliveries settled bit by bit in the turns to come."""
        self.settlings[settling] = None
        self.mark_dirty(settling)

    def end_settling(self, settling: Settling) -> None:
        """All of them are settled."""
        del self.settlings[settling]

    def do_postponed(self) -> None:
        """Make the calls that were put off with `later`."""
        while self._later:
            attempt(self._later.popleft())

    def when_durable(self, position: int, call: Callable[[], None]) -> None:
        """Have a call made once the journal is on disk up to `position`, the highest asked for
        yet.
        """
        self._when_durable.append((position, call))

    def synced(self, durable: int) -> None:
        """The journal is on disk up to `durable`: make the calls that waited for it."""
        self.durable = durable
        waiting = self._when_durable
        while waiting and waiting[0][0] <= durable:
            attempt(waiting.popleft()[1])

    @property
    def awaits_disk(self) -> bool:
        """Whether somebody waits for the journal to be durable further than it is."""
        return bool(self._when_durable)

    @property
    def position(self) -> int:
        """The journal's position behind all that has been done; 0 without a journal."""
        return 0 if self.journal is None else self.journal.position

    def note_deliveries(self) -> None:
        """Before the broker stops: be done with what was purged or is being settled, and remember
        what has been delivered, for the redelivered flag.
        """
        if self.journal is None:
            return
        self.commits.finish()
        for settling in tuple(self.settlings):
            settling.finish()
        self.dirty = [work for work in self.dirty if work.dirty]
        self.do_postponed()
        for vhost in self.vhosts.values():
            for queue in vhost.queues.values():
                queue.stop()
                delivered = queue.delivered_before()
                if delivered:
                    self.journal.note_deliveries(queue.number, dict.fromkeys(delivered, 1))

    def finish_turn(self) -> None:
        """Do what the turn's input led to: postponed calls, confirms, deliveries.

        Queues that could deliver more than their batch are left in `dirty`.
        """
        unfinished: list[Work] = []
        while self._later or self.confirming or self.dirty:
            self.do_postponed()
            publishers, self.confirming = self.confirming, []
            for publisher in publishers:
                publisher.send_confirms_due()
            works, self.dirty = self.dirty, []
            unfinished += [work for work in works if _dispatch(work)]
        self.dirty = unfinished
        if self.memory.is_due:
            self.look_at_memory()

    def look_at_memory(self) -> None:
        """Page out, and raise or clear the alarm, as memory asks for."""
        attempt(self.memory.look)

    @property
    def wants_turn(self) -> bool:
        """Whether there is something to do, besides deliveries, that should not wait for whatever
        starts the next turn.
        """
        return bool(self._later or self.confirming or self.touched or self.memory.again)

    def take_touched(self) -> "list[Connection]":
        """The connections that the edge must look after now."""
        touched, self.touched = self.touched, []
        return touched


def _dispatch(work: Work) -> bool:
    """Have some work done; True if it could go on. A bug in that is the trouble of the
    connection that it is for, or of nobody.
    """
    try:
        return work.dispatch()
    except JournalError:
        raise
    except Exception as error:
        if isinstance(work, ConnectionWork):
            work.fault(error)
        else:
            log.exception("internal error", extra=fields(work=work.name, vhost=work.vhost_name))
        return False


def _user(configured: ConfiguredUser) -> User:
    return User(
        configured.name,
        password=configured.password,
        tags=configured.tags,
        loopback_only=configured.loopback_only,
        permissions={
            vhost: Patterns(rights.configure, rights.write, rights.read)
            for vhost, rights in configured.permissions.items()
        },
    )

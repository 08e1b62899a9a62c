"""The edge: taking connections, timers, the disk's pace, and closing all connections.

All waiting is here and in `sockets`, `transport` and `committer`. A turn begins with `begin_turn`,
which tells the core the time, and ends with `end_turn`, which lets the core finish and then sends
what the touched connections have to say.
"""

import errno
import logging
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

import trio

from ..amqp.errors import ConnectionForced
from ..storage.errors import JournalError
from ..storage.journal import Journal
from ..storage.opening import Recovered
from .alarms import Alarm
from .broker import Broker
from .committer import Committer
from .configuration import Configuration, ConfigurationError
from .connection import Connection
from .data import load_definitions, memory_budget_bytes
from .log import fields
from .logins import CHECKS_AT_ONCE
from .sockets import Sockets
from .transport import SocketTransport
from .work import Work

log = logging.getLogger("leveret.server")

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ACCEPT_PAUSE_S = 0.1
PUMPED_QUEUES = 4
WATCH_S = 5.0
ALARM_WATCH_S = 0.5
UNWRITTEN_MAX_BYTES = 32 << 20
LAZY_MAX_BYTES = 1 << 20
COMMIT_DELAY_S = 0.1


def _epoch_ms() -> float:
    """When Trio's clock was 0, in milliseconds since 1970."""
    return (time.time() - trio.current_time()) * 1000


def _cannot_accept(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _OUT_OF_DESCRIPTORS:
        return "cannot accept connections; raise the limit of open files"
    return "cannot accept connections"


class Server:
    """A broker core and the tasks that drive it."""

    def __init__(
        self,
        configuration: Configuration,
        nursery: trio.Nursery,
        journal: Journal | None = None,
        recovered: Recovered | None = None,
    ):
        self.nursery = nursery
        self._configuration = configuration
        self.broker = Broker(
            configuration,
            lambda: secrets.token_urlsafe(16),
            journal,
            recovered,
            random_below=secrets.randbelow,
            now=trio.current_time(),
            epoch_ms=_epoch_ms(),
        )
        self.broker.timers.on_earlier = self._timer_set
        self._alarm = trio.Event()
        self.broker.alarms.on_raise = lambda: self._alarm.set()
        self.broker.alarms.on_clear = self._release_publishers
        self.broker.memory.budget_bytes = memory_budget_bytes(configuration.storage)
        self._journal = journal
        self._committer: Committer | None = None
        if journal is not None:
            self._committer = Committer(
                journal, self._synced, self._disk_full, self._journal_failed
            )
        self._commit_is_due = False
        self._published_bytes = 0
        """What had been published when the journal was last written."""
        self._disk_is_full = False
        self.failure: JournalError | ConfigurationError | None = None
        """Why the broker had to stop, unless it was told to."""
        self.password_checks = trio.CapacityLimiter(CHECKS_AT_ONCE)
        self._go_on = trio.Event()
        self.sockets = Sockets()
        self._transports: set[SocketTransport] = set()
        self._sleep = trio.CancelScope()
        self._work = trio.Event()
        self._put_off: deque[Work] = deque()
        """Dirty queues that wait for the pump."""
        self._stopping = False
        self._gone = trio.Event()

    def load_definitions(self) -> bool:
        """Load the file with definitions, if there is one; False, and `failure`, if it is no
        good.
        """
        path = self._configuration.definitions
        if path is None:
            return True
        self.begin_turn()
        try:
            load_definitions(self.broker, path)
        except ConfigurationError as error:
            self.failure = error
        self.end_turn()
        return self.failure is None

    def start(self, listeners: Iterable[trio.SocketListener]) -> None:
        """Start the tasks that take connections and keep the broker going."""
        for listener in listeners:
            self.nursery.start_soon(self.accept, listener.socket)
        self.nursery.start_soon(self._read_sockets)
        self.nursery.start_soon(self.run_timers)
        self.nursery.start_soon(self.pump)
        self.nursery.start_soon(self._watch)
        if self._committer is not None:
            self.nursery.start_soon(self._committer.run)

    # --- turns --------------------------------------------------------------------------------

    def begin_turn(self) -> None:
        """Tell the core what time it is."""
        self.broker.timers.now = trio.current_time()

    def end_turn(self) -> None:
        """Finish the turn and send."""
        broker = self.broker
        try:
            broker.finish_turn()
        except JournalError as error:  # a message could not be read back
            self._journal_failed(error)
        for connection in broker.take_touched():
            connection.transport.flush()
        if self._committer is not None:
            self._commit(self._committer)
        self.put_off()

    def _turn(self, call: Callable[[], None]) -> None:
        """Have a turn with a call that is about no connection in particular."""
        self.begin_turn()
        try:
            call()
        except JournalError as error:
            self._journal_failed(error)
        self.end_turn()

    def put_off(self) -> None:
        """Leave the queues that can go on, and what else has come up, to the pump."""
        broker = self.broker
        if broker.dirty:
            self._put_off.extend(broker.dirty)
            broker.dirty.clear()
        if self._put_off or broker.wants_turn:
            self._work.set()

    async def pump(self) -> None:
        """Give turns to queues that could not be emptied in one, a few at a time, letting readers
        in between.
        """
        while True:
            await self._work.wait()
            self._work = trio.Event()
            self.begin_turn()
            for _ in range(min(PUMPED_QUEUES, len(self._put_off))):
                self.broker.dirty.append(self._put_off.popleft())
            self.end_turn()

    async def _read_sockets(self) -> None:
        """Read from all sockets; at the end close them."""
        try:
            await self.sockets.run()
        finally:
            for transport in list(self._transports):
                transport.end()
            self.sockets.close()

    async def run_timers(self) -> None:
        """Sleep to the next deadline, run what is due, and again."""
        while True:
            with trio.CancelScope() as self._sleep:
                deadline = self.broker.timers.next_deadline()
                if deadline is not None:
                    self._sleep.deadline = deadline
                await trio.sleep_forever()
            self._set_clock()
            self._turn(self.broker.timers.run)

    def _set_clock(self) -> None:
        """Tell the core what the time of day is; it may have been set meanwhile."""
        self.broker.timers.epoch_ms = _epoch_ms()

    def _timer_set(self, due: float) -> None:
        self._sleep.deadline = min(self._sleep.deadline, due)

    # --- the disk -----------------------------------------------------------------------------

    @property
    def disk_is_behind(self) -> bool:
        """Whether so much waits to be written that nothing more should be taken in."""
        committer = self._committer
        return committer is not None and committer.unwritten_bytes > UNWRITTEN_MAX_BYTES

    async def may_go_on(self) -> None:
        """Wait until the disk has caught up a bit, or an alarm has been cleared."""
        await self._go_on.wait()

    def _commit(self, committer: Committer) -> None:
        """Have the journal written at once if somebody waits for it or there is much to write, else
        soon: what nobody waits for (acknowledgements above all) shares the syncs of the rest.

        If nothing but what it is about has come in since the last time, the loop may wait.
        """
        broker = self.broker
        committer.reclaim()
        if broker.awaits_disk or committer.unwritten_bytes > LAZY_MAX_BYTES:
            published_bytes = broker.memory.published_bytes - self._published_bytes
            self._published_bytes += published_bytes
            alone = not self._put_off and published_bytes < 2 * committer.unwritten_bytes
            committer.commit(in_place=alone)
        elif not self._commit_is_due and committer.has_work:
            self._commit_is_due = True
            broker.timers.at(broker.timers.now + COMMIT_DELAY_S, self._commit_late)

    def _commit_late(self) -> None:
        self._commit_is_due = False
        if self._committer is not None:
            self._committer.commit()

    def _release_publishers(self) -> None:
        for connection in self.broker.connections:
            connection.unblock()
        self.let_go_on()

    def let_go_on(self) -> None:
        """Have those that wait for `may_go_on` see whether they may."""
        self._go_on.set()
        self._go_on = trio.Event()

    def _synced(self, durable: int) -> None:
        self._turn(lambda: self.broker.synced(durable))
        self.let_go_on()

    def _disk_full(self, full: bool) -> None:
        self._disk_is_full = full
        self._turn(self._look_at_disk)

    def _journal_failed(self, failure: JournalError) -> None:
        """The disk can't be relied on any more: stop at once rather than pretend."""
        self.failure = failure
        log.critical("the journal has failed; stopping", extra=fields(error=str(failure)))
        self.nursery.cancel_scope.cancel()

    def _look_at_disk(self) -> None:
        if self._journal is None:
            return
        try:
            free = self._journal.space().free_bytes
        except OSError as error:
            log.error("cannot tell how much of the disk is free", extra=fields(error=str(error)))
            return
        low = free < self._configuration.storage.disk_free_limit_bytes
        self.broker.alarms.set(Alarm.DISK, low or self._disk_is_full)

    async def _watch(self) -> None:
        """Look at disk and memory now and then, more often while one of them is low."""
        while True:
            self._turn(self._look_at_disk)
            self._turn(self.broker.look_at_memory)
            if self.broker.alarms:
                await trio.sleep(ALARM_WATCH_S)
            else:
                self._alarm = trio.Event()
                with trio.move_on_after(WATCH_S):
                    await self._alarm.wait()

    def close_journal(self) -> None:
        """Bring what is left to disk and close the journal, after everything else has ended."""
        if self._journal is None or self._committer is None:
            return
        whole = self._committer.stop() and self.failure is None
        if whole:
            self.broker.note_deliveries()
        self._journal.close(clean=whole)

    # --- connections --------------------------------------------------------------------------

    async def accept(self, listener: trio.socket.SocketType) -> None:
        """Take new connections until the listener is closed.

        All else that accept(2) can report passes, or is another connection's trouble.
        """
        failing = False
        while True:
            try:
                accepted, _ = await listener.accept()
            except ConnectionAbortedError:
                continue
            except (trio.ClosedResourceError, OSError) as error:
                if listener.fileno() < 0:
                    return
                if not failing:
                    failing = True
                    log.error(_cannot_accept(error), extra=fields(error=str(error)))
                await trio.sleep(_ACCEPT_PAUSE_S)
                continue
            if failing:
                failing = False
                log.warning("accepting connections again")
            self._serve(accepted)

    def _serve(self, accepted: trio.socket.SocketType) -> None:
        # Told what it is, the socket does not ask the system for it.
        sock = socket.socket(accepted.family, accepted.type, accepted.proto, accepted.detach())
        if self._stopping:
            sock.close()
            return
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.begin_turn()
            transport = SocketTransport(self, sock)
        except OSError:  # it has hung up already
            sock.close()
            return
        self._transports.add(transport)
        transport.start()

    def failed(self, connection: Connection, error: Exception) -> None:
        """What goes wrong with one connection is no other's trouble, except for the journal."""
        if isinstance(error, JournalError):
            self._journal_failed(error)
        else:
            log.error("internal error", exc_info=error, extra=fields(connection=connection.name))

    def hung_up(self, transport: SocketTransport) -> None:
        """A connection has ended."""
        self._transports.discard(transport)
        if not self.broker.connections:
            self._gone.set()

    async def close_connections(self) -> None:
        """Tell every client that the broker stops, and wait for them a bounded time."""
        self.begin_turn()
        error = ConnectionForced(
            "broker forced connection closure with reason 'shutdown'", at=(0, 0)
        )
        self._stopping, self._gone = True, trio.Event()
        for connection in list(self.broker.connections):
            connection.shut(error)
        self.end_turn()
        self.let_go_on()
        if self.broker.connections:
            with trio.move_on_after(self._configuration.shutdown_timeout_s):
                await self._gone.wait()

"""A connection: one client's session, from the handshake to the last byte.

What a client sends is taken apart by its `Receiver`; what is to be sent to it collects in `output`,
which the edge sends at the end of the turn. This is the one place where errors become channel.close
or connection.close.
"""

import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..amqp.connection_methods import (
    ChannelClose,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionUnblocked,
)
from ..amqp.errors import AMQPError, FrameError, HardError, InternalError, LoginRefused, SoftError
from ..amqp.frames import FRAME_MIN_BYTES, method_frame
from ..storage.errors import JournalError
from .channel import Channel
from .client_properties import ClientProperties
from .closing_channel import ClosingChannel
from .deletion import ExclusiveQueues
from .faults import attempt, do_all
from .handshake import HandshakeFailed
from .heartbeats import Heartbeats
from .log import fields
from .queue import Queue
from .receiver import Receiver, State
from .timers import Timer

if TYPE_CHECKING:
    from .broker import Broker
    from .consumer import Consumer
    from .logins import Verification
    from .permissions import Permissions
    from .users import User
    from .vhost import VirtualHost

log = logging.getLogger("leveret.connection")

HANDSHAKE_PAYLOAD_MAX = 2 * FRAME_MIN_BYTES
ANSWERS_MAX_BYTES = 1 << 22
CLOSE_TIMEOUT_S = 30.0
"""How long a client may take to answer connection.close, or to hang up after
connection.close-ok.
"""

_HANDSHAKE_LATE = "the handshake took too long"
_OVER = (State.CLOSING, State.LEAVING, State.CLOSED)


class Transport(Protocol):
    """What carries a connection's bytes."""

    def flush(self) -> None:
        """Send the connection's output as far as possible at once; then hang up if it is
        `finished`.
        """


class Connection:
    """The session of one client."""

    def __init__(
        self, broker: "Broker", transport: Transport, name: str, *, from_loopback: bool = True
    ):
        """`name` is `peer -> local`, as logs and listings show it."""
        self.broker = broker
        self.name = name
        self.from_loopback = from_loopback
        self.transport = transport
        self.state = State.HEADER
        self.client = ClientProperties()
        self.user: User
        self.vhost: VirtualHost
        self.permissions: Permissions
        self.channels: dict[int, Channel] = {}
        self.exclusive_queues: dict[Queue, None] = {}
        self.channel_max = 0
        self.payload_max = HANDSHAKE_PAYLOAD_MAX
        self.receiver = Receiver()
        self.output: list[bytes] = []
        self.output_bytes = 0
        self.answered_bytes = 0
        """What has been sent since the output was last empty, less deliveries."""
        self.touched = False
        self.finished = False
        """Nothing more will be sent or read: hang up."""
        self.waiting = 0
        """For how many things it waits: for the disk, or until very much is settled. Nothing more
        is taken from the client meanwhile.
        """
        self._held = b""
        """Replies that wait with it."""
        self.verification: Verification | None = None
        """A password is being checked; nothing more is taken from the client meanwhile."""
        self.blocked = False
        """An alarm holds, and it has published meanwhile: it is not read from."""
        self.paused = False
        """The edge is not reading from it, so it can't be heard."""
        self.stalled: dict[Consumer, None] = {}
        """Consumers that wait until there is room in the output."""
        self.heartbeats: Heartbeats | None = None
        self.closing_channels: dict[int, ClosingChannel] = {}
        """Channels that leveret has closed and the client has not confirmed yet."""
        timeout_s = broker.configuration.connection.handshake_timeout_s
        self._deadline: Timer = self._within(timeout_s, _HANDSHAKE_LATE)
        self._time_left_s = 0.0
        broker.connections[self] = None
        log.debug("accepted", extra=fields(connection=name))

    # --- output -------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Add bytes to the output."""
        if data:
            self.output.append(data)
            self.answered_bytes += len(data)
            self.spent(len(data))

    def spent(self, count: int) -> None:
        """Note that about so many bytes were added to the output."""
        self.output_bytes += count
        if not self.touched:
            self.touched = True
            self.broker.touched.append(self)

    def hold(self, reply: bytes, position: int) -> None:
        """Keep a reply back, and whatever the client sends after it, until the journal is durable
        up to `position`.
        """
        self.wait()
        self._held += reply
        self.broker.when_durable(position, self._go_on)

    def wait(self) -> None:
        """Take nothing more from the client, nor answer, until `waited` is called."""
        self.waiting += 1

    def waited(self) -> None:
        """Go on, in this turn, if there is nothing else to wait for."""
        self.broker.later(self._go_on)

    def send_in_order(self, data: bytes) -> None:
        """Send, but not before a reply that is kept back."""
        if self.waiting:
            self._held += data
        else:
            self.send(data)

    def _go_on(self) -> None:
        self.waiting = max(self.waiting - 1, 0)  # a connection that is closed waits no more
        if self.waiting:
            return
        reply, self._held = self._held, b""
        if self.state in (State.OPEN, State.LEAVING):
            self.send(reply)
        self.spent(0)
        self.receiver.receive(self, b"")

    @property
    def is_full(self) -> bool:
        """Whether the client has so many answers to take that it gets no more until it has.

        Deliveries don't count, they have a bound of their own: a client may well publish before it
        takes them.
        """
        return min(self.answered_bytes, self.output_bytes) > ANSWERS_MAX_BYTES

    def drained(self) -> None:
        """The output has been sent: consumers that waited for room can go on."""
        if self.heartbeats is not None:
            self.heartbeats.sent_at = self.broker.timers.now
        self.answered_bytes = 0
        if self.receiver.kept_bytes and not self.waiting:
            self.broker.later(lambda: self.receiver.receive(self, b""))
        if self.stalled:
            stalled, self.stalled = self.stalled, {}
            for consumer in stalled:
                consumer.queue.consumers.wake(consumer)

    @property
    def is_open(self) -> bool:
        """Whether the client is logged in and has chosen a vhost."""
        return self.state is State.OPEN

    # --- input --------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Handle every complete frame in what has come; keep the rest for the next time."""
        if self.heartbeats is not None:
            self.heartbeats.heard = True
        self.receiver.receive(self, data)

    def await_check(self, verification: "Verification") -> bool:
        """Wait for a password's check, in which time the client can't be late; False if there are
        too many that wait.
        """
        dropped = self.broker.logins.add(verification)
        if dropped is verification:
            return False
        self.verification = verification
        self._time_left_s = self._deadline.due - self.broker.timers.now
        self._deadline.cancel()
        if dropped is not None:
            self.broker.later(dropped.refuse)
        return True

    def verified(self, accepted: bool | None) -> None:
        """Go on after the password of `verification` has been checked (None: too many wait)."""
        verification, self.verification = self.verification, None
        if verification is not None:
            self.broker.logins.end(verification)
            self._deadline = self._within(self._time_left_s, _HANDSHAKE_LATE)
            self.receiver.verified(self, verification, accepted)

    def fail(self, error: Exception) -> None:
        """Turn an error in handling a frame into what the client gets to know of it."""
        match error:
            case SoftError():
                self.close_channel(self.receiver.number, error)
            case HardError():
                self.close(error)
            case HandshakeFailed():
                self._drop_later(str(error))
            case _:
                self.fault(error)

    def fault(self, error: Exception) -> None:
        """Close it because of a bug in what was done for it. Raises JournalError."""
        if isinstance(error, JournalError):
            raise error
        log.error("internal error", exc_info=error, extra=fields(connection=self.name))
        self.close(InternalError("internal error"))

    @property
    def lacks_bytes(self) -> int:
        """How much of an incomplete frame is being held: a large one wants larger reads."""
        return self.receiver.kept_bytes

    def block(self) -> None:
        """It publishes during an alarm: stop reading from it, and say so if it wants to know."""
        if self.blocked:
            return
        self.blocked = True
        if self.client.capable("connection.blocked"):
            self.send(method_frame(0, ConnectionBlocked(self.broker.alarms.reason)))

    def unblock(self) -> None:
        """All alarms are over."""
        if not self.blocked:
            return
        self.blocked = False
        if self.state is State.OPEN and self.client.capable("connection.blocked"):
            self.send(method_frame(0, ConnectionUnblocked()))

    # --- life ---------------------------------------------------------------------------------

    def start_heartbeats(self, interval_s: int) -> None:
        """Begin to send and expect heartbeats; 0 turns them off."""
        self.heartbeats = Heartbeats(self, interval_s)

    def opened(self) -> None:
        """The handshake is over."""
        self._deadline.cancel()
        self.state = State.OPEN
        log.info(
            "opened",
            extra=fields(
                connection=self.name,
                user=self.user.name,
                vhost=self.vhost.name,
                client_name=self.client.connection_name,
            ),
        )

    def log_refused_login(self, user: str, why: str) -> None:
        """Tell the operator what the client is not told."""
        log.warning("login refused", extra=fields(connection=self.name, user=user, reason=why))

    def close_channel(self, number: int, error: SoftError) -> None:
        """Close a channel because of an error, by default one in what is being handled."""
        class_id, method_id = error.at or self.receiver.method_ids
        log.warning(
            "channel closed",
            extra=fields(connection=self.name, channel=number, reason=error.reply_text),
        )
        channel = self.channels.get(number)
        content = None
        if channel is not None:
            content = channel.publisher.assembly
            self.forget_channel(channel)
        self.closing_channels[number] = ClosingChannel(number, content)
        close = ChannelClose(error.code, error.reply_text, class_id, method_id)
        self.send(method_frame(number, close))

    def forget_channel(self, channel: Channel) -> None:
        """A channel ends, whoever wants it to."""
        del self.channels[channel.number]
        try:
            channel.close()
        finally:
            del channel.publisher

    def close(self, error: AMQPError) -> None:
        """Close the connection because of an error, and wait for the client's answer."""
        if self.state in _OVER:
            return
        log.warning("closed", extra=fields(connection=self.name, reason=error.reply_text))
        class_id, method_id = error.at or self.receiver.method_ids
        attempt(self._release)
        self.blocked, self.waiting, self._held = False, 0, b""
        self.send(
            method_frame(0, ConnectionClose(error.code, error.reply_text, class_id, method_id))
        )
        self.state = State.CLOSING
        delay_s = CLOSE_TIMEOUT_S
        if isinstance(error, LoginRefused | FrameError):
            delay_s = self.broker.configuration.connection.failed_login_delay_s
        self._deadline.cancel()
        self._deadline = self._within(delay_s, "no answer to connection.close")

    def shut(self, error: AMQPError) -> None:
        """Close the connection from outside; one that is not open yet is dropped without a word."""
        if self.state is State.OPEN:
            self.close(error)
        elif self.state is not State.CLOSING:
            self.lost(error.explanation)

    def client_closed(self, close: ConnectionClose) -> None:
        """The client has sent connection.close."""
        log.info(
            "closed by client",
            extra=fields(connection=self.name, code=close.reply_code, text=close.reply_text),
        )
        self._release()
        self.send_in_order(method_frame(0, ConnectionCloseOk()))
        self.state = State.LEAVING
        self._deadline = self._within(CLOSE_TIMEOUT_S, "the client has not hung up")

    def _drop_later(self, why: str) -> None:
        """A failed handshake: no answer, and the socket goes after a pause."""
        log.warning("handshake failed", extra=fields(connection=self.name, reason=why))
        self.state = State.CLOSED
        self._deadline.cancel()
        delay_s = self.broker.configuration.connection.failed_login_delay_s
        self._deadline = self._within(delay_s, "")

    def _within(self, delay_s: float, why: str) -> Timer:
        return self.broker.timers.at(self.broker.timers.now + delay_s, lambda: self.lost(why))

    def lost(self, why: str) -> None:
        """The client is gone or has to go: free all it held. Hanging up is the edge's part."""
        if self.state not in _OVER:
            log.warning("lost", extra=fields(connection=self.name, reason=why))
        attempt(self._release)
        self.state = State.CLOSED
        self.finish()

    def finish(self) -> None:
        """Hang up at the end of the turn, whether the client takes the output or not.

        What refers back to the connection goes: the garbage collector, which comes rarely, must
        not be needed to free its memory. (The same is why closed channels lose their publisher.)
        """
        self.finished = True
        self.heartbeats = None
        self.receiver.end()
        self.broker.connections.pop(self, None)
        self._deadline.cancel()
        if self.verification is not None:
            self.broker.logins.end(self.verification)
            self.verification = None
        self.spent(0)

    def _release(self) -> None:
        """Close the channels, then delete the connection's own queues (before any close-ok is
        sent).
        """
        if self.heartbeats is not None:
            self.heartbeats.stop()
        self.closing_channels.clear()
        do_all(
            *(partial(self.forget_channel, channel) for channel in self.channels.values()),
            self._leave_queues,
        )

    def _leave_queues(self) -> None:
        self.stalled.clear()
        if self.exclusive_queues:
            ExclusiveQueues(self).delete()

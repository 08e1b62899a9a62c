"""What a run is about: a broker, the model of it, and the clients that both have."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fake_client import FakeClient, encoded

from .model import Model
from .observer import Observer
from .things import Expected, MClient, MQueue
from .world import World


@dataclass(slots=True)
class Command:
    """What a client sends: to be carried out by the model once the broker has."""

    channel: int
    name: str
    options: dict[str, Any]
    wire: bytes
    ends_at: int = 0
    """Where it ends in all that the client has sent."""


@dataclass(slots=True, eq=False)
class SimulatedClient:
    """A client: what it has still to send, what it has sent, and the model's view of it."""

    fake: FakeClient
    model: MClient
    outbox: list[Command] = field(default_factory=list)
    flushed: bool = False
    pending: deque[Command] = field(default_factory=deque)
    sent_bytes: int = 0
    waiting: Expected | None = None
    """The answer that the broker keeps back until the disk has caught up."""
    may_send: set[int] = field(default_factory=set)
    """The channels that it takes for open."""

    def send(self) -> bytes:
        """What is to be sent, which is pending from now on."""
        sent, self.outbox = self.outbox, []
        for command in sent:
            self.sent_bytes += len(command.wire)
            command.ends_at = self.sent_bytes
        self.pending.extend(sent)
        return b"".join(command.wire for command in sent)

    @property
    def has_come_to_next(self) -> bool:
        """Whether the broker has taken the next command: it may leave some for later turns."""
        taken = self.sent_bytes - self.fake.connection.receiver.kept_bytes
        return bool(self.pending) and self.pending[0].ends_at <= taken

    def queue(self, channel: int, name: str, options: dict[str, Any], call: Any) -> None:
        """Put a method, or bytes, behind what is to be sent."""
        wire = call if isinstance(call, bytes) else encoded(call, channel=channel)
        self.outbox.append(Command(channel, name, options, wire))


@dataclass(slots=True)
class Stage:
    """What is there at the moment of a run."""

    world: World
    model: Model
    complaints: list[str]
    """Tracebacks that were logged."""
    clients: dict[int, SimulatedClient] = field(default_factory=dict)
    waiting: list[SimulatedClient] = field(default_factory=list)
    """Those that the broker lets wait for the disk, in the order in which they began to."""

    observer: Observer | None = None
    """Who gets the copies of the firehose, if that has been on."""

    def begin(self) -> None:
        """Before anything is done: what it writes goes into the next batch."""
        self.model.batch = self.world.taken + 1

    def use(self, model: Model) -> None:
        """From now on this is the model."""
        self.model = model
        model.queue_number = self._queue_number
        model.first_offset = self._first_offset
        model.choice_of = self.world.choices.of

    def _queue_number(self, name: str) -> int:
        """The number that the broker has given a queue; 0 if that is gone already."""
        return self.world.queues[name].number if name in self.world.queues else 0

    def _first_offset(self, stream: MQueue) -> int:
        """Where a stream begins in the broker; past everything if it is gone already."""
        found = self.world.queues.get(stream.name)
        if found is None or found.number != stream.number:
            return 1 << 62
        return found.begins_at[0]

"""What a turn works off, a bit at a time, and may leave for the next ones."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .channel import Channel
    from .connection import Connection


class Work(Protocol):
    """Something that has work for the end of the turn: a queue, or what one or a channel has left.

    `dirty` says that it is on the broker's list. The names are for logs.
    """

    dirty: bool

    @property
    def name(self) -> str:
        """Of the queue or channel."""
        ...

    @property
    def vhost_name(self) -> str:
        """Of its vhost."""
        ...

    def dispatch(self) -> bool:
        """Do some of the work; True if there is more, and it remains dirty."""
        ...


class ConnectionWork:
    """The part of `Work` that is the same for all that is done for a connection."""

    __slots__ = ("_connection", "dirty")

    def __init__(self, connection: "Connection"):
        self._connection = connection
        self.dirty = False

    @property
    def name(self) -> str:
        """Of the connection."""
        return f"connection {self._connection.name}"

    @property
    def vhost_name(self) -> str:
        """Of its vhost."""
        return self._connection.vhost.name

    def fault(self, error: Exception) -> None:
        """Close the connection because of a bug in the work. Raises JournalError."""
        self._connection.fault(error)


class ChannelWork(ConnectionWork):
    """The same for a channel."""

    __slots__ = ("_channel",)

    def __init__(self, channel: "Channel"):
        super().__init__(channel.connection)
        self._channel = channel

    @property
    def name(self) -> str:
        """Of the channel."""
        return f"channel {self._channel.number} of {super().name}"

"""The part of `Administration` that is about who is connected: connections, channels, consumers."""

from ..amqp.errors import PreconditionFailed
from .admin_checks import AdministrationPart, NoSuchThing
from .channel import Channel
from .connection import Connection
from .consumer import Consumer


class ConnectionAdministration(AdministrationPart):
    """Connections of clients that are logged in, and what runs on them."""

    def connections(self, *, user: str | None = None, vhost: str | None = None) -> list[Connection]:
        """All connections, or those of a user or in a vhost, by their names."""
        found = [
            each
            for each in self._broker.connections
            if each.is_open
            and (user is None or each.user.name == user)
            and (vhost is None or each.vhost.name == vhost)
        ]
        return sorted(found, key=lambda each: each.name)

    def connection(self, name: str) -> Connection:
        """The connection of that name, `client -> broker` with their addresses and ports."""
        for each in self._broker.connections:
            if each.is_open and each.name == name:
                return each
        raise NoSuchThing(f"no connection {name!r}")

    def close_connection(self, name: str, reason: str) -> None:
        """Close a connection; its client is told the reason."""
        self._close([self.connection(name)], reason)

    def close_connections(
        self, reason: str, *, user: str | None = None, vhost: str | None = None
    ) -> int:
        """Close all connections, or those of a user or in a vhost; returns how many."""
        connections = self.connections(user=user, vhost=vhost)
        self._close(connections, reason)
        return len(connections)

    # --- channels -----------------------------------------------------------------------------

    def channels(self, connection: str | None = None) -> list[Channel]:
        """All channels, or those of a connection, by connection and number."""
        connections = self.connections() if connection is None else [self.connection(connection)]
        return [each.channels[number] for each in connections for number in sorted(each.channels)]

    def channel(self, connection: str, number: int) -> Channel:
        """The channel of that number."""
        channel = self.connection(connection).channels.get(number)
        if channel is None:
            raise NoSuchThing(f"no channel {number} on connection {connection!r}")
        return channel

    def close_channel(self, connection: str, number: int, reason: str) -> None:
        """Close a channel with 406, which AMQP has for this; its client is told the reason."""
        error = PreconditionFailed(reason, at=(0, 0))
        self.channel(connection, number).connection.close_channel(number, error)

    # --- consumers ----------------------------------------------------------------------------

    def consumers(self, *, vhost: str | None = None, queue: str | None = None) -> list[Consumer]:
        """All consumers, or those in a vhost or of queues of a name; by connection and channel."""
        return [
            consumer
            for channel in self.channels()
            if vhost is None or channel.connection.vhost.name == vhost
            for consumer in channel.consumers.values()
            if queue is None or consumer.queue.name == queue
        ]

    def cancel_consumer(self, connection: str, channel: int, tag: str) -> None:
        """Stop a consumer; its client is told as if its queue had been deleted. What it has not
        acknowledged stays with it. An auto-delete queue goes with its last consumer.
        """
        found = self.channel(connection, channel)
        consumer = found.consumers.get(tag)
        if consumer is None:
            raise NoSuchThing(f"no consumer {tag!r} on channel {channel} of {connection!r}")
        found.cancel(consumer)
        found.tell_cancelled(tag)

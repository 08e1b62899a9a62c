"""Publishers that are faster than the consumers of their queues, and so should slow down.

A connection that consumes, too, is never slowed down: its acknowledgements come the same way.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection


def is_congested(connection: "Connection") -> bool:
    """Whether it publishes faster than the consumers of its queues take."""
    return any(
        queue.congested
        for channel in connection.channels.values()
        if not channel.consumers
        for queue in channel.publisher.last_queues
    )


def waiting_messages(connection: "Connection") -> int:
    """How many messages wait in the queues that it last published to."""
    return sum(
        queue.message_count
        for channel in connection.channels.values()
        for queue in channel.publisher.last_queues
    )

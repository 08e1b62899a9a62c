"""How many connections a vhost and a user may have, and how many channels a user
(https://www.rabbitmq.com/docs/vhosts#limits, https://www.rabbitmq.com/docs/user-limits).

What is open when a limit is set stays open. A negative limit is none.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..amqp.errors import NotAllowed

if TYPE_CHECKING:
    from .broker import Broker
    from .connection import Connection
    from .users import User
    from .vhost import VirtualHost


def check_connection_limits(broker: "Broker", user: "User", vhost: "VirtualHost") -> None:
    """Refuse another connection of a user to a vhost if there are enough. Raises NotAllowed."""
    limit = vhost.settings.limit("max-connections")
    if limit is not None and sum(each.vhost is vhost for each in _open(broker)) >= limit:
        raise NotAllowed(
            f"access to vhost '{vhost.name}' refused for user '{user.name}':"
            f" connection limit ({limit}) is reached"
        )
    limit = user.limit("max-connections")
    if limit is not None and sum(each.user is user for each in _open(broker)) >= limit:
        raise NotAllowed(
            f"connection refused for user '{user.name}': user connection limit ({limit}) is reached"
        )


def _open(broker: "Broker") -> "Iterator[Connection]":
    """Its open connections; not to be counted unless there is a limit, for there may be many."""
    return (each for each in broker.connections if each.is_open)


def check_channel_limit(broker: "Broker", user: "User") -> None:
    """Refuse another channel of a user who has enough on all connections. Raises NotAllowed."""
    limit = user.limit("max-channels")
    if limit is None:
        return
    if sum(len(each.channels) for each in _open(broker) if each.user is user) >= limit:
        raise NotAllowed(
            f"number of channels opened for user '{user.name}' has reached the maximum"
            f" allowed user limit of ({limit})",
            at=(0, 0),
        )

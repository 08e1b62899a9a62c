"""What operators do with a broker, as one object: the core of a command line, an HTTP API, or code
that embeds a broker.

Everything is synchronous and takes effect at once, also on connections that are open; it belongs
in a turn of the broker, whose end sends what there is to send. What is set here is in the journal
and comes back after a restart, except what the configuration file sets anew each time.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..amqp.errors import ConnectionForced
from .passwords import SCRYPT, PasswordHash, hashed
from .permissions import Patterns, Permissions, TopicPatterns
from .policy import JsonValue, Policy, regular_expression
from .policy_checks import checked_policy
from .users import LIMITS as USER_LIMITS
from .users import User
from .vhost import VirtualHost
from .vhost_settings import VHOST_LIMITS

if TYPE_CHECKING:
    from .broker import Broker
    from .connection import Connection

QUEUE_TYPES = ("classic", "quorum", "stream")


class NoSuchThing(LookupError):
    """There is nothing of that name; the text says what is missing."""


class Invalid(ValueError):
    """Something cannot be as it is asked for; the text says why."""


class Administration:
    """The users, vhosts, permissions, policies, limits and connections of one broker.

    What is set replaces what was there before. Methods raise NoSuchThing and Invalid.
    """

    def __init__(self, broker: "Broker"):
        self._broker = broker

    # --- vhosts -------------------------------------------------------------------------------

    def vhosts(self) -> list[VirtualHost]:
        """All vhosts, by their names."""
        return [self._broker.vhosts[name] for name in sorted(self._broker.vhosts)]

    def vhost(self, name: str) -> VirtualHost:
        """The vhost of that name."""
        vhost = self._broker.vhosts.get(name)
        if vhost is None:
            raise NoSuchThing(f"no vhost {name!r}")
        return vhost

    def set_vhost(
        self,
        name: str,
        *,
        description: str = "",
        tags: Iterable[str] = (),
        default_queue_type: str | None = None,
    ) -> VirtualHost:
        """Add a vhost, or change one. A queue declared without x-queue-type is of the default
        type.
        """
        _check_name("vhost", name)
        if default_queue_type not in (None, *QUEUE_TYPES):
            raise Invalid(f"unknown queue type {default_queue_type!r}")
        broker = self._broker
        vhost = broker.vhosts.get(name) or broker.new_vhost(name)
        settings = vhost.settings
        settings.description, settings.tags = description, tuple(tags)
        settings.default_queue_type = default_queue_type
        broker.vhosts[name] = vhost
        broker.definitions.add_vhost(vhost)
        return vhost

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost with all that is in it, closing its connections."""
        vhost, broker = self.vhost(name), self._broker
        self._close(
            [each for each in broker.connections if each.is_open and each.vhost is vhost],
            f"vhost '{name}' is deleted",
        )
        with broker.definitions.together():
            vhost.clear()
            for user in broker.users.values():
                if user.permissions.pop(name, None) is not None:
                    self._keep(user)
            broker.definitions.remove_vhost(name)
        del broker.vhosts[name]

    def set_vhost_limits(self, name: str, limits: Mapping[str, int]) -> None:
        """Set all limits of a vhost: max-connections, max-queues; negative ones are none."""
        vhost = self.vhost(name)
        vhost.settings.limits = _checked_limits(limits, VHOST_LIMITS)
        self._broker.definitions.add_vhost(vhost)

    def set_tracing(self, name: str, tracing: bool) -> None:
        """Have all that is published and delivered in a vhost copied to amq.rabbitmq.trace
        (https://www.rabbitmq.com/docs/firehose), or not any more.
        """
        vhost = self.vhost(name)
        vhost.tracing = tracing
        self._broker.definitions.add_vhost(vhost)

    # --- users --------------------------------------------------------------------------------

    def users(self) -> list[User]:
        """All users, by their names."""
        return [self._broker.users[name] for name in sorted(self._broker.users)]

    def user(self, name: str) -> User:
        """The user of that name."""
        user = self._broker.users.get(name)
        if user is None:
            raise NoSuchThing(f"no user {name!r}")
        return user

    def set_user(
        self, name: str, password: str | PasswordHash | None, *, tags: Iterable[str] = ()
    ) -> User:
        """Add a user, or change password and tags of one. Without a password nobody can log in.

        A password as text is hashed here, which takes some 50 ms, unless it is the user's already.
        A hash is taken as it is.
        """
        _check_name("user", name)
        broker = self._broker
        user = broker.users.get(name) or User(name)
        _check_not_configured(user)
        if isinstance(password, str):
            known = user.password_hash
            if known is not None and known.accepts(password.encode()):
                password = known
            else:
                password = hashed(password.encode(), broker.unique_name().encode(), SCRYPT)
        user.set_hash(password)
        user.tags = frozenset(tags)
        broker.users[name] = user
        self._keep(user)
        return user

    def delete_user(self, name: str) -> None:
        """Delete a user, closing all connections of theirs."""
        user, broker = self.user(name), self._broker
        _check_not_configured(user)
        self._close(
            [each for each in broker.connections if each.is_open and each.user is user],
            f"user '{name}' is deleted",
        )
        del broker.users[name]
        broker.definitions.remove_user(name)

    def set_permissions(self, user: str, vhost: str, patterns: Patterns) -> None:
        """Set what a user may configure, write and read in a vhost."""
        for pattern in (patterns.configure, patterns.write, patterns.read):
            _check_pattern(pattern)
        found = self.user(user)
        _check_not_configured(found)
        self._permissions(found, vhost).set(patterns)
        self._permissions_changed(found, vhost)

    def clear_permissions(self, user: str, vhost: str) -> None:
        """Take a user's permissions in a vhost away; connections that are open stay, but may do
        nothing. Topic permissions stay for when there are permissions again.
        """
        found = self.user(user)
        _check_not_configured(found)
        permissions = found.permissions.get(self.vhost(vhost).name)
        if permissions is not None:
            permissions.set(None)
            self._permissions_changed(found, vhost)

    def set_topic_permissions(
        self, user: str, vhost: str, topics: Mapping[str, TopicPatterns]
    ) -> None:
        """Set all of a user's topic permissions in a vhost, by the names of the exchanges."""
        for patterns in topics.values():
            _check_pattern(patterns.write)
            _check_pattern(patterns.read)
        found = self.user(user)
        _check_not_configured(found)
        self._permissions(found, vhost).set_topics(topics)
        self._permissions_changed(found, vhost)

    def set_user_limits(self, name: str, limits: Mapping[str, int]) -> None:
        """Set all limits of a user: max-connections, max-channels; negative ones are none."""
        user = self.user(name)
        _check_not_configured(user)
        user.limits = _checked_limits(limits, USER_LIMITS)
        self._keep(user)

    def _permissions(self, user: User, vhost: str) -> Permissions:
        self.vhost(vhost)
        return user.permissions.setdefault(vhost, Permissions(user.name, vhost))

    def _permissions_changed(self, user: User, vhost: str) -> None:
        self._keep(user)
        # What publishers remember of routes includes that they were allowed.
        self.vhost(vhost).epoch += 1

    def _keep(self, user: User) -> None:
        if not user.is_configured:
            self._broker.definitions.add_user(user)

    # --- policies -----------------------------------------------------------------------------

    def set_policy(
        self,
        vhost: str,
        name: str,
        pattern: str,
        definition: Mapping[str, JsonValue],
        *,
        priority: int = 0,
        applies_to: str = "all",
        operator: bool = False,
    ) -> Policy:
        """Set a policy, or an operator policy. Raises InvalidPolicy, with RabbitMQ's text."""
        found = self.vhost(vhost)
        policy = checked_policy(
            name,
            pattern,
            definition,
            priority=priority,
            applies_to=applies_to,
            operator=operator,
            rules=found.rules,
        )
        found.policies.set(policy, operator=operator)
        return policy

    def delete_policy(self, vhost: str, name: str, *, operator: bool = False) -> None:
        """Delete a policy, or an operator policy, and undo what it did."""
        if not self.vhost(vhost).policies.delete(name, operator=operator):
            raise NoSuchThing(f"no policy {name!r} in vhost {vhost!r}")

    # --- connections --------------------------------------------------------------------------

    def connections(self) -> "list[Connection]":
        """All connections of clients that are logged in, by their names."""
        opened = [each for each in self._broker.connections if each.is_open]
        return sorted(opened, key=lambda each: each.name)

    def close_connection(self, name: str, reason: str) -> None:
        """Close a connection; its client is told the reason."""
        found = [each for each in self.connections() if each.name == name]
        if not found:
            raise NoSuchThing(f"no connection {name!r}")
        self._close(found, reason)

    def _close(self, connections: "list[Connection]", reason: str) -> None:
        for connection in connections:
            connection.shut(ConnectionForced(reason, at=(0, 0)))


def _check_name(what: str, name: str) -> None:
    if not 0 < len(name.encode()) <= 255:
        raise Invalid(f"the name of a {what} must have between 1 and 255 bytes")


def _check_not_configured(user: User) -> None:
    if user.is_configured:
        raise Invalid(f"user {user.name!r} is set in the configuration file")


def _check_pattern(pattern: str) -> None:
    try:
        regular_expression(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise Invalid(f"{pattern!r} is not a regular expression: {error}") from error


def _checked_limits(limits: Mapping[str, int], known: Iterable[str]) -> dict[str, int]:
    for name in limits:
        if name not in known:
            raise Invalid(f"unknown limit {name!r}; expected one of {', '.join(known)}")
    return dict(limits)

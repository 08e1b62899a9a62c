"""The part of `Administration` that is about users: passwords, permissions, limits."""

from collections.abc import Iterable, Mapping

from .admin_checks import (
    AdministrationPart,
    Invalid,
    NoSuchThing,
    check_name,
    check_pattern,
    checked_limits,
    checked_tags,
)
from .configuration import GUEST
from .passwords import SCRYPT, InvalidHash, PasswordHash, checked_hash, hashed
from .permissions import Patterns, Permissions, TopicPatterns
from .users import LIMITS, User


class UserAdministration(AdministrationPart):
    """Users. Those of the configuration file can be given permissions in further vhosts, topic
    permissions and limits; what the file says of them can be changed there only.
    """

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
        """Add a user, or set password and tags of one. Without a password nobody can log in.

        A password as text is hashed here, which takes some 50 ms, unless it is the user's already.
        A hash is taken as it is. A new `guest` may connect from the same machine only.
        """
        check_name("user", name)
        broker = self._broker
        user = broker.users.get(name) or User(name, loopback_only=name == GUEST.name)
        _check_not_configured(user)
        checked = frozenset(checked_tags(tags))
        if isinstance(password, str):
            password = self.password_hash(name, password)
        elif password is not None:
            password = _checked_hash(password)
        user.set_hash(password)
        user.tags = checked
        broker.users[name] = user
        self._keep(user)
        return user

    def set_user_password(self, name: str, password: str | PasswordHash | None) -> None:
        """Change a user's password and nothing else; see `set_user`. Who is connected stays."""
        self.set_user(name, password, tags=self.user(name).tags)

    def password_hash(self, name: str, password: str) -> PasswordHash:
        """A hash of a password for a user: the one they have, if it is theirs already."""
        user = self._broker.users.get(name)
        known = None if user is None else user.password_hash
        if known is not None and known.accepts(password.encode()):
            return known
        return hashed(password.encode(), self._broker.unique_name().encode(), SCRYPT)

    def set_user_tags(self, name: str, tags: Iterable[str]) -> None:
        """Set all tags of a user."""
        user = self.user(name)
        _check_not_configured(user)
        user.tags = frozenset(checked_tags(tags))
        self._keep(user)

    def delete_user(self, name: str) -> None:
        """Delete a user, closing all connections of theirs."""
        user, broker = self.user(name), self._broker
        _check_not_configured(user)
        self._close(
            (each for each in broker.connections if each.is_open and each.user is user),
            f"user '{name}' is deleted",
        )
        del broker.users[name]
        broker.definitions.remove_user(name)

    # --- permissions --------------------------------------------------------------------------

    def permissions(
        self, *, user: str | None = None, vhost: str | None = None
    ) -> list[tuple[str, str, Patterns]]:
        """Who may do what where: user, vhost and patterns; of one user or in one vhost, if that
        is given.
        """
        return [
            (name, place, permissions.patterns)
            for name, place, permissions in self._found(user, vhost)
            if permissions.patterns is not None
        ]

    def topic_permissions(
        self, *, user: str | None = None, vhost: str | None = None
    ) -> list[tuple[str, str, str, TopicPatterns]]:
        """The same for topics: user, vhost, exchange and patterns."""
        return [
            (name, place, exchange, patterns)
            for name, place, permissions in self._found(user, vhost)
            for exchange, patterns in sorted(permissions.topics.items())
        ]

    def _found(self, user: str | None, vhost: str | None) -> list[tuple[str, str, Permissions]]:
        if vhost is not None:
            self.vhost(vhost)
        users = self.users() if user is None else [self.user(user)]
        return [
            (each.name, place, permissions)
            for each in users
            for place, permissions in sorted(each.permissions.items())
            if vhost in (None, place)
        ]

    def set_permissions(self, user: str, vhost: str, patterns: Patterns) -> None:
        """Set what a user may configure, write and read in a vhost."""
        for pattern in (patterns.configure, patterns.write, patterns.read):
            check_pattern(pattern)
        found = self.user(user)
        _check_not_fixed(found, vhost)
        self._permissions(found, vhost).set(patterns)
        self._permissions_changed(found, vhost)

    def clear_permissions(self, user: str, vhost: str) -> None:
        """Take a user's permissions in a vhost away; connections that are open stay, but may do
        nothing. Topic permissions stay for when there are permissions again.
        """
        found = self.user(user)
        _check_not_fixed(found, vhost)
        permissions = found.permissions.get(self.vhost(vhost).name)
        if permissions is not None:
            permissions.set(None)
            self._permissions_changed(found, vhost)

    def set_topic_permissions(
        self, user: str, vhost: str, topics: Mapping[str, TopicPatterns]
    ) -> None:
        """Set all of a user's topic permissions in a vhost, by the names of the exchanges; none
        clears them.
        """
        for patterns in topics.values():
            check_pattern(patterns.write)
            check_pattern(patterns.read)
        found = self.user(user)
        self._permissions(found, vhost).set_topics(topics)
        self._permissions_changed(found, vhost)

    def _permissions(self, user: User, vhost: str) -> Permissions:
        self.vhost(vhost)
        return user.permissions.setdefault(vhost, Permissions(user.name, vhost))

    def _permissions_changed(self, user: User, vhost: str) -> None:
        self._keep(user)
        # What publishers remember of routes includes that they were allowed.
        self.vhost(vhost).epoch += 1

    # --- limits -------------------------------------------------------------------------------

    def set_user_limits(self, name: str, limits: Mapping[str, int]) -> None:
        """Set all limits of a user: max-connections, max-channels; negative ones are none.

        They hold for what is opened from now on.
        """
        user = self.user(name)
        user.limits = checked_limits(limits, LIMITS)
        self._keep(user)


def _checked_hash(given: PasswordHash) -> PasswordHash:
    try:
        return checked_hash(given.encoded, given.algorithm)
    except InvalidHash as error:
        raise Invalid(str(error)) from error


def _check_not_configured(user: User) -> None:
    if user.is_configured:
        raise Invalid(f"user {user.name!r} is set in the configuration file; change it there")


def _check_not_fixed(user: User, vhost: str) -> None:
    if vhost in user.fixed_vhosts:
        raise Invalid(
            f"the permissions of user {user.name!r} in vhost {vhost!r} are set in the"
            " configuration file; change them there"
        )

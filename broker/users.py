"""Users: their passwords, tags, limits, and their permissions by vhost."""

import hmac
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .passwords import SHA256, PasswordHash, hashed
from .permissions import Patterns, Permissions, TopicPatterns

LIMITS = ("max-connections", "max-channels")
"""The names of the limits that a user may have."""


class User:
    """Somebody who may log in.

    The password is either known, when it stands in the configuration file, or a hash of it is; with
    neither nobody can log in under that name.

    `fixed_vhosts` are those where the configuration file says what the user may do.
    """

    __slots__ = (
        "_known_digest",
        "_password",
        "fixed_vhosts",
        "limits",
        "loopback_only",
        "name",
        "password_hash",
        "permissions",
        "tags",
    )

    def __init__(
        self,
        name: str,
        *,
        password: str | None = None,
        password_hash: PasswordHash | None = None,
        tags: Iterable[str] = (),
        loopback_only: bool = False,
        permissions: Mapping[str, Patterns] | None = None,
        topic_permissions: Mapping[str, Mapping[str, TopicPatterns]] | None = None,
        limits: Mapping[str, int] | None = None,
    ):
        """`permissions` and `topic_permissions` are by vhost, the latter then by exchange."""
        self.name = name
        self._password = None if password is None else password.encode()
        self.password_hash = password_hash
        self._known_digest = b""
        self.tags = frozenset(tags)
        self.loopback_only = loopback_only
        self.limits = dict(limits or {})
        self.permissions = {
            vhost: Permissions(name, vhost, patterns)
            for vhost, patterns in (permissions or {}).items()
        }
        self.fixed_vhosts = frozenset[str](self.permissions if self.is_configured else ())
        for vhost, topics in (topic_permissions or {}).items():
            self.permissions.setdefault(vhost, Permissions(name, vhost)).set_topics(topics)

    def limit(self, name: str) -> int | None:
        """The limit of that name, if there is one."""
        limit = self.limits.get(name, -1)
        return limit if limit >= 0 else None

    @property
    def is_configured(self) -> bool:
        """Whether it stands in the configuration file, with its password."""
        return self._password is not None

    def accepts(self, password: bytes, key: bytes) -> bool | None:
        """Whether that is the password; None if it takes long to find out: then ask
        `password_hash`, and `remember` the password if it was right. The empty one never is, as in
        RabbitMQ.

        `key` is secret and the same in all calls, so that no password is kept in memory as it is.
        """
        if not password:
            return False
        if self._password is not None:
            return hmac.compare_digest(self._password, password)
        if self.password_hash is None:
            return False
        if not self.password_hash.is_slow:
            return self.password_hash.accepts(password)
        if self._known_digest and hmac.compare_digest(self._known_digest, _digest(key, password)):
            return True
        return None

    def remember(self, password: bytes, key: bytes) -> None:
        """This password was right: it will be accepted at once from now on."""
        self._known_digest = _digest(key, password)

    def exported_hash(self, random: bytes) -> PasswordHash | None:
        """A hash of the password to take elsewhere; with `random` one is made that RabbitMQ knows,
        if the password is known.
        """
        if self._password is not None:
            return hashed(self._password, random, SHA256)
        return self.password_hash

    def set_hash(self, password_hash: PasswordHash | None) -> None:
        """Have another password, or none; the configuration file has no say from now on."""
        self._password = None
        self.fixed_vhosts = frozenset[str]()
        self.password_hash = password_hash
        self._known_digest = b""

    def may_enter(self, vhost: str) -> bool:
        """Whether it has permissions in that vhost, if only empty ones."""
        permissions = self.permissions.get(vhost)
        return permissions is not None and permissions.patterns is not None

    @property
    def value(self) -> dict[str, Any]:
        """All there is to know, for the journal; of a user in the configuration file, what is
        not there.
        """
        if self.is_configured:
            return self._rights
        hashed = self.password_hash
        return {
            "hashing_algorithm": None if hashed is None else hashed.algorithm,
            "password_hash": None if hashed is None else hashed.encoded,
            "tags": sorted(self.tags),
            "loopback_only": self.loopback_only,
            **self._rights,
        }

    @property
    def _rights(self) -> dict[str, Any]:
        return {
            "permissions": {
                vhost: msgspec.to_builtins(each.patterns)
                for vhost, each in self.permissions.items()
                if each.patterns is not None and vhost not in self.fixed_vhosts
            },
            "topic_permissions": {
                vhost: msgspec.to_builtins(each.topics)
                for vhost, each in self.permissions.items()
                if each.topics
            },
            "limits": self.limits,
        }

    def add_rights(self, value: Mapping[str, Any]) -> None:
        """Have again what `value` gave of a user in the configuration file."""
        patterns = msgspec.convert(value["permissions"], dict[str, Patterns])
        for vhost in patterns.keys() - self.fixed_vhosts:
            self.permissions[vhost] = Permissions(self.name, vhost, patterns[vhost])
        topics = msgspec.convert(value["topic_permissions"], dict[str, dict[str, TopicPatterns]])
        for vhost, each in topics.items():
            self.permissions.setdefault(vhost, Permissions(self.name, vhost)).set_topics(each)
        self.limits = dict(value["limits"])


def restored_user(name: str, value: Mapping[str, Any]) -> User:
    """The inverse of `User.value`."""
    hashed = None
    if value["hashing_algorithm"] is not None:
        hashed = PasswordHash(value["hashing_algorithm"], value["password_hash"])
    return User(
        name,
        password_hash=hashed,
        tags=value["tags"],
        loopback_only=value["loopback_only"],
        permissions=msgspec.convert(value["permissions"], dict[str, Patterns]),
        topic_permissions=msgspec.convert(
            value["topic_permissions"], dict[str, dict[str, TopicPatterns]]
        ),
        limits=value["limits"],
    )


def _digest(key: bytes, password: bytes) -> bytes:
    return hmac.digest(key, password, "sha256")

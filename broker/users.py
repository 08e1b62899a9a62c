"""Users, their passwords, and what each may do in a vhost.

Permissions are RabbitMQ's (https://www.rabbitmq.com/docs/access-control#authorisation): three
regular expressions per user and vhost, searched for anywhere in a resource's name; the empty one
matches nothing.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from enum import Enum

from ..amqp.errors import AccessRefused

_DECISIONS_MAX = 4096


class Right(Enum):
    """What a permission is asked for."""

    CONFIGURE = 0
    WRITE = 1
    READ = 2


class Permissions:
    """A user's rights in one vhost. Decisions are remembered, so that asking again costs a dict
    look-up.
    """

    __slots__ = ("_decisions", "_patterns", "_user", "_vhost")

    def __init__(self, user: str, vhost: str, configure: str, write: str, read: str):
        self._user = user
        self._vhost = vhost
        self._patterns = tuple(
            re.compile(pattern) if pattern else None for pattern in (configure, write, read)
        )
        self._decisions: dict[tuple[Right, str], bool] = {}

    def check_any(self, kind: str, name: str) -> None:
        """Refuse unless at least one right is granted. Raises AccessRefused."""
        for right in (Right.CONFIGURE, Right.WRITE):
            try:
                return self.check(right, kind, name)
            except AccessRefused:
                continue
        return self.check(Right.READ, kind, name)

    def check(self, right: Right, kind: str, name: str) -> None:
        """Refuse unless granted; `kind` is 'queue' or 'exchange'. Raises AccessRefused."""
        name = name or "amq.default"
        granted = self._decisions.get((right, name))
        if granted is None:
            pattern = self._patterns[right.value]
            granted = pattern is not None and pattern.search(name) is not None
            if len(self._decisions) >= _DECISIONS_MAX:
                self._decisions.clear()
            self._decisions[right, name] = granted
        if not granted:
            raise AccessRefused(
                f"access to {kind} '{name}' in vhost '{self._vhost}'"
                f" refused for user '{self._user}'"
            )


class User:
    """Somebody who may log in."""

    __slots__ = ("_password", "loopback_only", "name", "permissions", "tags")

    def __init__(
        self,
        name: str,
        password: str,
        *,
        tags: Iterable[str] = (),
        loopback_only: bool = False,
        permissions: Mapping[str, tuple[str, str, str]] | None = None,
    ):
        """`permissions` maps a vhost's name to its configure, write and read patterns."""
        self.name = name
        self._password = password.encode()
        self.tags = frozenset(tags)
        self.loopback_only = loopback_only
        self.permissions = {
            vhost: Permissions(name, vhost, *patterns)
            for vhost, patterns in (permissions or {}).items()
        }

    def accepts(self, password: bytes) -> bool:
        """Whether that is the password, compared in constant time."""
        return hmac.compare_digest(self._password, password)

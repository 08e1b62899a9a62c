"""What a user may do in a vhost.

Permissions are RabbitMQ's (https://www.rabbitmq.com/docs/access-control#authorisation): three
regular expressions per user and vhost, searched for anywhere in a resource's name; the empty one
matches nothing. Topic permissions are about routing keys of single topic exchanges besides; where
there are none for an exchange, any key will do.
"""

import re
from collections.abc import Mapping
from enum import Enum

import msgspec

from ..amqp.errors import AccessRefused
from .patterns import Pattern

_DECISIONS_MAX = 4096
_NOTHING = "^$"
_VARIABLE = re.compile(r"\{(?:username|vhost)\}")


class Right(Enum):
    """What a permission is asked for."""

    CONFIGURE = 0
    WRITE = 1
    READ = 2


class Patterns(msgspec.Struct, frozen=True):
    """The regular expressions of a permission."""

    configure: str
    write: str
    read: str


class TopicPatterns(msgspec.Struct, frozen=True):
    """Those of a topic permission; `{username}` and `{vhost}` stand for what they say. The empty
    one matches the empty routing key alone.
    """

    write: str
    read: str


class Permissions:
    """A user's rights in one vhost. Decisions are remembered, so that asking again costs a dict
    look-up. What changes holds for connections that are open, too.

    Without `patterns` the user may not even enter the vhost, whatever topic permissions say.
    """

    __slots__ = (
        "_compiled",
        "_decisions",
        "_topic_compiled",
        "_user",
        "_vhost",
        "patterns",
        "topics",
    )

    def __init__(self, user: str, vhost: str, patterns: Patterns | None = None):
        self._user = user
        self._vhost = vhost
        self._decisions: dict[tuple[Right, str], bool] = {}
        self.topics: dict[str, TopicPatterns] = {}
        self._topic_compiled: dict[tuple[str, Right], Pattern] = {}
        self.set(patterns)

    def __deepcopy__(self, memo: object) -> "Permissions":
        """The same rights in another place; what is remembered is not worth copying."""
        copy = Permissions(self._user, self._vhost)
        copy.patterns, copy._compiled = self.patterns, self._compiled
        copy.topics, copy._topic_compiled = self.topics, self._topic_compiled
        return copy

    def set(self, patterns: Patterns | None) -> None:
        """Have these rights, or none, from now on."""
        self.patterns = patterns
        three = ("", "", "")
        if patterns is not None:
            three = (patterns.configure, patterns.write, patterns.read)
        self._compiled = tuple(_compiled(pattern) for pattern in three)
        self._decisions.clear()

    def set_topics(self, topics: Mapping[str, TopicPatterns]) -> None:
        """Have these topic permissions, by the names of their exchanges, from now on."""
        self.topics = dict(topics)
        self._topic_compiled = {
            (exchange, right): Pattern(self._expanded(pattern) or _NOTHING)
            for exchange, patterns in topics.items()
            for right, pattern in ((Right.WRITE, patterns.write), (Right.READ, patterns.read))
        }

    def _expanded(self, pattern: str) -> str:
        names = {"{username}": self._user, "{vhost}": self._vhost}
        # In one go, and quoted: a name stands for itself, whatever characters are in it.
        return _VARIABLE.sub(lambda found: re.escape(names[found[0]]), pattern)

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
            pattern = self._compiled[right.value]
            granted = pattern is not None and pattern.matches(name)
            if len(self._decisions) >= _DECISIONS_MAX:
                self._decisions.clear()
            self._decisions[right, name] = granted
        if not granted:
            raise AccessRefused(
                f"access to {kind} '{name}' in vhost '{self._vhost}'"
                f" refused for user '{self._user}'"
            )

    def check_topic(self, right: Right, exchange: str, routing_key: str) -> None:
        """Refuse a routing key, to publish with or to bind with, that the user's topic permissions
        for a topic exchange do not cover. Raises AccessRefused.
        """
        if exchange not in self.topics:
            return
        if not self._topic_compiled[exchange, right].matches(routing_key):
            raise AccessRefused(
                f"access to topic '{routing_key}' in exchange '{exchange}'"
                f" in vhost '{self._vhost}' refused for user '{self._user}'"
            )


def _compiled(pattern: str) -> Pattern | None:
    return Pattern(pattern) if pattern else None

"""What all parts of `Administration` have in common: its errors, and checks of what it is given."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..amqp.errors import ConnectionForced
from .patterns import InvalidPattern, Pattern

if TYPE_CHECKING:
    from .broker import Broker
    from .connection import Connection
    from .users import User
    from .vhost import VirtualHost


class NoSuchThing(LookupError):
    """There is nothing of that name; the text says what is missing."""


class Invalid(ValueError):
    """Something cannot be as it is asked for; the text says why."""


class AdministrationPart:
    """One theme of `Administration`: methods that look up and change what a broker has."""

    def __init__(self, broker: "Broker"):
        self._broker = broker

    def vhost(self, name: str) -> "VirtualHost":
        """The vhost of that name."""
        vhost = self._broker.vhosts.get(name)
        if vhost is None:
            raise NoSuchThing(f"no vhost {name!r}")
        return vhost

    def _keep(self, user: "User") -> None:
        self._broker.definitions.add_user(user)

    def _close(self, connections: "Iterable[Connection]", reason: str) -> None:
        for connection in list(connections):
            connection.shut(ConnectionForced(reason, at=(0, 0)))


def check_name(what: str, name: str) -> None:
    """Refuse what cannot travel as a short string. Raises Invalid."""
    if not 0 < len(_encoded(f"the name of a {what}", name)) <= 255:
        raise Invalid(f"the name of a {what} must have between 1 and 255 bytes")


def check_text(what: str, text: str) -> None:
    """Refuse a text that could not be written down. Raises Invalid."""
    _encoded(what, text)


def _encoded(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{what} must be UTF-8") from error


def check_pattern(pattern: str) -> None:
    """Refuse what is no regular expression. Raises Invalid."""
    try:
        Pattern(pattern)
    except InvalidPattern as error:
        raise Invalid(str(error)) from error


def checked_limits(limits: Mapping[str, int], known: Iterable[str]) -> dict[str, int]:
    """Limits as they are to be kept. Raises Invalid."""
    for name, limit in limits.items():
        if name not in known:
            raise Invalid(f"unknown limit {name!r}; expected one of {', '.join(known)}")
        if type(limit) is not int:
            raise Invalid(f"{name} must be a whole number, not {limit!r}")
    return dict(limits)


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as they are to be kept. Raises Invalid, also for a single text."""
    if isinstance(tags, str):
        raise Invalid(f"tags must be a list of texts, not {tags!r}")
    checked = tuple(tags)
    for tag in checked:
        check_name("tag", tag)
    return checked

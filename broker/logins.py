"""Passwords that take long to check: it happens elsewhere, for a few clients at a time.

Those that wait are bounded, and a client that waits can't be late with its handshake. An unknown
user, and a wrong password for one whose hash is quick to check, take just as long as a wrong
password for one with a slow hash: how long a refusal takes does not tell who exists.
"""

from typing import TYPE_CHECKING

from ..amqp.errors import ResourceError
from .passwords import DECOY, PasswordHash
from .users import User

if TYPE_CHECKING:
    from .connection import Connection

CHECKS_MAX = 200
"""How many may wait or be under way: some 5 s of work on two processors."""


class Verification:
    """The password of one client that is being checked. Nothing more is taken from the client
    meanwhile; its connection's `verified` is called with the answer.
    """

    __slots__ = ("_connection", "_password", "mechanism", "name", "password_hash", "user")

    def __init__(
        self,
        connection: "Connection",
        name: str,
        password: bytes,
        mechanism: str,
        user: User | None,
    ):
        """Without a `user` the answer is going to be no, but nobody is to see that sooner."""
        self._connection = connection
        self._password = password
        self.name = name
        self.mechanism = mechanism
        self.user = user
        self.password_hash: PasswordHash = DECOY
        if user is not None and user.password_hash is not None:
            self.password_hash = user.password_hash

    def known_answer(self) -> bool:
        """Whether the password has turned out to be right while this waited: many clients of one
        user may come at once.
        """
        key = self._connection.broker.password_key
        return (
            self._is_valid
            and self.user is not None
            and bool(self.user.accepts(self._password, key))
        )

    def find_out(self) -> bool:
        """Whether the password is right; this takes long, and may be called in any thread."""
        return self.password_hash.accepts(self._password)

    def accepted_user(self, answer: bool) -> User | None:
        """The user who has logged in thereby, if so; their password is remembered."""
        if not answer or self.user is None or not self._is_valid:
            return None
        self.user.remember(self._password, self._connection.broker.password_key)
        return self.user

    @property
    def _is_valid(self) -> bool:
        """Whether user and password are still what they were when this began."""
        user, users = self.user, self._connection.broker.users
        return (
            user is not None
            and users.get(user.name) is user
            and user.password_hash is self.password_hash
        )


class Logins:
    """How many passwords are being checked."""

    def __init__(self) -> None:
        self._checks = 0

    def begin(self) -> None:
        """One more. Raises ResourceError if that is too many."""
        if self._checks >= CHECKS_MAX:
            raise ResourceError("too many logins at once, try again later", at=(0, 0))
        self._checks += 1

    def end(self) -> None:
        """One less."""
        self._checks -= 1

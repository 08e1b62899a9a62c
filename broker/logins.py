"""Passwords that take long to check: it happens elsewhere, for a few clients at a time.

Those that wait are bounded, and a client that waits can't be late with its handshake. An unknown
user, and a wrong password for one whose hash is quick to check, take just as long as a wrong
password for one with a slow hash: how long a refusal takes does not tell who exists.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .passwords import DECOY, PasswordHash
from .users import User

if TYPE_CHECKING:
    from .connection import Connection

CHECKS_AT_ONCE = 2
"""How many may be under way."""

CHECKS_MAX = 200
"""How many may wait or be under way: some 5 s of work on two processors."""


class Verification:
    """The password of one client that is being checked. Nothing more is taken from the client
    meanwhile; its connection's `verified` is called with the answer.
    """

    __slots__ = (
        "_connection",
        "_password",
        "address",
        "has_begun",
        "mechanism",
        "name",
        "on_turn",
        "password_hash",
        "user",
    )

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
        self.address = connection.name.partition(" -> ")[0].rpartition(":")[0]
        """Where the client is, without its port."""
        self.has_begun = False
        self.on_turn: Callable[[], None] = lambda: None
        """Called when it is its turn to be checked, or when it won't be any more."""
        self.name = name
        self.mechanism = mechanism
        self.user = user
        self.password_hash: PasswordHash = DECOY
        if user is not None and user.password_hash is not None:
            self.password_hash = user.password_hash

    def begin(self) -> None:
        """It is its turn."""
        self.has_begun = True
        self.on_turn()

    def refuse(self) -> None:
        """There are too many: its client is told to try again later."""
        self._connection.verified(None)
        self.on_turn()

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
    """The passwords that are being checked, and those that wait for it.

    Whose turn it is goes round the addresses that clients come from, and for each of them round
    the names of users: whoever tries passwords, or has a wrong one in many processes, waits for
    himself.
    """

    def __init__(self) -> None:
        self._begun: set[Verification] = set()
        self._waiting: dict[str, dict[str, deque[Verification]]] = {}
        """By address and name, in the order of their turns; none is empty."""

    def add(self, verification: Verification) -> Verification | None:
        """Have one begin, at once or when it is its turn.

        Returns one that is not to be checked any more if there are too many: the last one of the
        address, and there of the name, with most of them.
        """
        if len(self._begun) < CHECKS_AT_ONCE:
            self._begun.add(verification)
            verification.begin()
            return None
        names = self._waiting.setdefault(verification.address, {})
        names.setdefault(verification.name, deque()).append(verification)
        if len(self) <= CHECKS_MAX:
            return None
        dropped = self._last_of_most(verification)
        self._remove(dropped)
        return dropped

    def __len__(self) -> int:
        lanes = (lane for names in self._waiting.values() for lane in names.values())
        return len(self._begun) + sum(map(len, lanes))

    def _last_of_most(self, newest: Verification) -> Verification:
        """The one to go; the newest, if its address or name has as many as any other."""
        address, names = max(
            self._waiting.items(),
            key=lambda item: (sum(map(len, item[1].values())), item[0] == newest.address),
        )
        same = address == newest.address
        _, lane = max(
            names.items(), key=lambda item: (len(item[1]), same and item[0] == newest.name)
        )
        return lane[-1]

    def end(self, verification: Verification) -> None:
        """One is done, or nobody wants to know any more."""
        if verification in self._begun:
            self._begun.discard(verification)
            following = self._next()
            if following is not None:
                self._begun.add(following)
                following.begin()
        else:
            self._remove(verification)

    def _next(self) -> Verification | None:
        if not self._waiting:
            return None
        address, names = next(iter(self._waiting.items()))
        name, lane = next(iter(names.items()))
        following = lane[0]
        self._remove(following)
        if lane:
            names[name] = names.pop(name)
        if names:
            self._waiting[address] = self._waiting.pop(address)
        return following

    def _remove(self, verification: Verification) -> None:
        names = self._waiting.get(verification.address, {})
        lane = names.get(verification.name, deque[Verification]())
        if verification in lane:
            lane.remove(verification)
            if not lane:
                del names[verification.name]
            if not names:
                del self._waiting[verification.address]

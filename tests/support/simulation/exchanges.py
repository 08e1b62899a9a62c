"""The exchanges that stories are about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


class Basis(Enum):
    """What an exchange looks at that chooses one of its bindings."""

    KEY = auto()
    KEYS = auto()
    """Those of CC and BCC, too."""
    HEADER = auto()
    ID = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class ExchangeTraits:
    """What an exchange is declared with. `only_to` are the queues that may be bound to it, if not
    all may.
    """

    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    alternate: str | None = None
    delayed_type: str | None = None
    only_to: tuple[str, ...] = ()
    chooses_by: Basis | None = None
    values_most: int = 0
    """How many values it remembers, to pass each on but once."""
    values_ttl_ms: int | None = None
    """For how long it does so."""
    values_on_disk: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)
    """Arguments."""

    @property
    def may_be_linked(self) -> bool:
        """Whether it may be bound to another exchange, or another one to it."""
        return not self.only_to

    @property
    def remembers(self) -> bool:
        """Whether it remembers messages that have passed, or their values."""
        return self.type == "x-recent-history" or self.values_most > 0

    @property
    def looks_at_values(self) -> bool:
        """Whether it looks at more of a message than its keys."""
        by_value = self.type == "headers" or self.values_most > 0
        return by_value or self.chooses_by in (Basis.HEADER, Basis.ID)

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of exchange.declare."""
        chosen = {
            "alternate-exchange": self.alternate,
            "x-delayed-type": self.delayed_type,
            "x-cache-size": self.values_most or None,
            "x-cache-ttl": self.values_ttl_ms,
            "x-cache-persistence": "disk" if self.values_on_disk else None,
        }
        return {name: value for name, value in chosen.items() if value is not None} | {**self.more}


GRAVES, CRYPT = "graves", "crypt"
"""Each is for the dead letters of one queue, and all else that is published to it."""

LATE = "late"
"""An exchange for delayed messages."""

HISTORY = 3
"""How many messages an exchange remembers that does so."""

EXCHANGES: dict[str, ExchangeTraits] = {
    "direct": ExchangeTraits(),
    "fanout": ExchangeTraits("fanout"),
    "fleeting": ExchangeTraits(durable=False),
    "vanishing": ExchangeTraits(auto_delete=True),
    GRAVES: ExchangeTraits(only_to=("t0", "a0", "x", "p0", "e1")),
    CRYPT: ExchangeTraits(only_to=("k0", "k1")),
    "vain": ExchangeTraits("fanout", alternate="direct"),
    "forked": ExchangeTraits(alternate="stopgap"),
    "stopgap": ExchangeTraits(durable=False, alternate="forked"),
    "topical": ExchangeTraits("topic"),
    "heads": ExchangeTraits("headers"),
    "spread": ExchangeTraits("x-consistent-hash", chooses_by=Basis.KEY),
    "spread_by_header": ExchangeTraits(
        "x-consistent-hash", chooses_by=Basis.HEADER, more={"hash-header": "h"}
    ),
    "spread_by_id": ExchangeTraits(
        "x-consistent-hash", chooses_by=Basis.ID, more={"hash-property": "message_id"}
    ),
    "shards": ExchangeTraits("x-modulus-hash", chooses_by=Basis.KEYS),
    "dice": ExchangeTraits("x-random", chooses_by=Basis.NOTHING),
    "recent": ExchangeTraits("x-recent-history", more={"x-recent-history-length": HISTORY}),
    "once": ExchangeTraits("x-message-deduplication", values_most=2, values_ttl_ms=5000),
    "once_or_direct": ExchangeTraits(
        "x-message-deduplication", alternate="direct", values_most=3, values_ttl_ms=100
    ),
    "once_for_long": ExchangeTraits(
        "x-message-deduplication", alternate="direct", values_most=3, values_on_disk=True
    ),
    LATE: ExchangeTraits("x-delayed-message", delayed_type="fanout", only_to=("l0",)),
}

TOPICS = ("a.b", "a.c.b", "b", "", "a", "c.a.b")
PATTERNS = ("a.*", "#", "#.b", "*", "a.#.b", "*.*.#", "b", "")

HEADER_BINDINGS: dict[str, dict[str, Any]] = {
    "all of both": {"h": 1, "g": 0},
    "any of both": {"h": 2, "g": 1, "x-match": "any"},
    "one": {"h": 3, "x-match": "all"},
    "there": {"g": None},
    "everything": {},
    "nothing": {"x-match": "any"},
}
"""What a binding's key stands for."""


def id_of(value: int) -> str | None:
    """The message id of a message with that value, which is -1 for none."""
    return f"id {value}" if value >= 0 else None


def headers_of(value: int) -> dict[str, Any]:
    """The headers of a message with that value."""
    return {"h": value, "g": value // 2, "x-deduplication-header": value} if value >= 0 else {}


def routing_key(exchange: str, number: int, name: str) -> str:
    """The key of a message to an exchange, that of the queue with this number and name."""
    return TOPICS[number % len(TOPICS)] if EXCHANGES[exchange].type == "topic" else name


def binding_key(exchange: str, number: int, name: str) -> str:
    """The key of a binding of an exchange; see `routing_key`."""
    match EXCHANGES[exchange].type:
        case "topic":
            return PATTERNS[number % len(PATTERNS)]
        case "headers":
            return list(HEADER_BINDINGS)[number % len(HEADER_BINDINGS)]
        case "x-consistent-hash":
            return str(1 + number % 3)
        case _:
            return name


def binding_arguments(exchange: str, key: str) -> dict[str, Any]:
    """Those of the binding of an exchange with that key."""
    return HEADER_BINDINGS[key] if EXCHANGES[exchange].type == "headers" else {}

"""The exchanges that stories are about."""

from dataclasses import dataclass
from typing import Any


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

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of exchange.declare."""
        chosen = {"alternate-exchange": self.alternate, "x-delayed-type": self.delayed_type}
        return {name: value for name, value in chosen.items() if value is not None}


GRAVES, CRYPT = "graves", "crypt"
"""Each is for the dead letters of one queue, and all else that is published to it."""

LATE = "late"
"""An exchange for delayed messages."""

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
    LATE: ExchangeTraits("x-delayed-message", delayed_type="fanout", only_to=("l0",)),
}

"""How much work is done in one turn, before others have theirs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnBounds:
    """What a channel's work does in one turn at most. Smaller bounds change when something is done,
    not what is.
    """

    acknowledged: int = 5000
    settled: int = 200
    """How many deliveries of a channel are settled: acknowledged, or otherwise."""
    published: int = 500
    """How many messages of a transaction are published."""

"""How much work is done in one turn, before others have theirs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnBounds:
    """What is done in one turn at most. Smaller bounds change when something is done, not what
    is.
    """

    acknowledged: int = 5000
    settled: int = 200
    """How many deliveries of a channel are settled: acknowledged, or otherwise."""
    published: int = 500
    """How many messages of a transaction are published."""
    effort: int = 1000
    """How much is done of what has come from one client, see `remainder`."""
    imported: int = 200
    """How many entries of definitions are imported."""
    looked_at: int = 20_000
    """How many deliveries are looked at to find the queues that they come back to."""

"""Message deduplication: the oracle for exchanges that pass each value on but once.

An exchange remembers so many values, the latest, each for some time since it let it pass: a message
with one of them leads nowhere, or to the alternate exchange. A value counts as soon as its message
is published, whatever becomes of it. All are forgotten with the exchange and at a restart.
"""

from typing import TYPE_CHECKING

from .exchanges import EXCHANGES
from .things import Sent

if TYPE_CHECKING:
    from .model import Model

Seen = dict[int, int]
"""Values, the oldest first, and until when each is remembered."""


def passes(model: "Model", exchange: str, sent: Sent) -> bool:
    """Whether a message may pass an exchange, which remembers its value from now on."""
    most, ttl_ms = EXCHANGES[exchange].values_most, EXCHANGES[exchange].values_ttl_ms
    if not most or sent.value < 0:
        return True
    seen = model.seen.setdefault(exchange, {})
    if seen.get(sent.value, 0) > model.now_ms:
        return False
    seen.pop(sent.value, None)
    # Not all of those that are over make room at once, but enough of them do.
    while len(seen) >= most:
        del seen[next(iter(seen))]
    seen[sent.value] = model.now_ms + ttl_ms
    return True

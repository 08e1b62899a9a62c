"""What a message's properties ask of the broker, found once for all messages with the same
property bytes.
"""

from ..amqp.content import EXPIRATION, HEADERS, PRIORITY, REPLY_TO, USER_ID, Properties

TRANSIENT, PERSISTENT, SPECIAL = range(3)
"""SPECIAL ones ask for more than being kept or not: see `special`."""

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"

X_DEATH = b"\x07x-death"
_SENDER_SELECTED = (b"\x02CC", b"\x03BCC")
_REMEMBERED_MAX = 4096
_REMEMBERED_BYTES_MAX = 1024


class PropertyKinds(dict[bytes, int]):
    """Kinds by property bytes, computed when first asked for; a bounded number of them is
    remembered. With `minds_deaths` an x-death header is something special, with `minds_priorities`
    a priority.
    """

    def __init__(self, *, minds_deaths: bool = False, minds_priorities: bool = False):
        super().__init__()
        self._minds_deaths = minds_deaths
        self._minds_priorities = minds_priorities

    def __missing__(self, raw: bytes) -> int:
        """Find the kind. Raises FrameError if these are no properties."""
        properties = Properties(raw)
        kind = _kind(properties)
        if self._minds_deaths and properties.flags & HEADERS and X_DEATH in raw:
            kind = SPECIAL
        if self._minds_priorities and properties.flags & PRIORITY:
            kind = SPECIAL
        if len(raw) <= _REMEMBERED_BYTES_MAX:
            if len(self) >= _REMEMBERED_MAX:
                self.clear()
            self[raw] = kind
        return kind


def _kind(properties: Properties) -> int:
    flags, raw = properties.flags, properties.raw
    if (
        flags & (EXPIRATION | USER_ID)
        or (flags & HEADERS and any(name in raw for name in _SENDER_SELECTED))
        or (flags & REPLY_TO and properties.text(REPLY_TO) == DIRECT_REPLY_TO)
    ):
        return SPECIAL
    return PERSISTENT if properties.persistent else TRANSIENT

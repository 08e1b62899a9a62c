"""Publisher confirms of one channel: which publishes are to be acknowledged, and in as few
frames as may be.
"""

from ..amqp.basic import ack_frame


class Confirms:
    """Publishes counted from 1, and how far they have been confirmed.

    A publish that is kept in memory only is done as soon as it is enqueued; its ack goes out at the
    end of the turn, together with all others of the turn.
    """

    __slots__ = ("_confirmed", "published")

    def __init__(self) -> None:
        self.published = 0
        self._confirmed = 0

    def frames(self, channel: int) -> bytes:
        """The acks that are due; they count as sent."""
        first, last = self._confirmed + 1, self.published
        if first > last:
            return b""
        self._confirmed = last
        return ack_frame(channel, last, multiple=last > first)

"""x-max-length, x-max-length-bytes and x-overflow: how much a queue holds, and what gives way.

Only messages that are ready count, and of them the bytes of their bodies. With drop-head (the
default) the first messages give way to new ones and to those that come back; a message that a
consumer takes at once never counts. With reject-publish a full queue refuses new messages, which
their publishers see as basic.nack; reject-publish-dlx makes dead letters of them besides
(https://www.rabbitmq.com/docs/maxlength).
"""

from .message import Message

DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX = "drop-head", "reject-publish", "reject-publish-dlx"


class Limits:
    """The limits of one queue; None for a limit that there is not."""

    __slots__ = ("max_bytes", "max_length", "overflow", "ready_bytes")

    def __init__(self, max_length: int | None, max_bytes: int | None, overflow: str = DROP_HEAD):
        self.max_length = max_length
        self.max_bytes = max_bytes
        self.overflow = overflow
        self.ready_bytes = 0
        """Bytes of the ready messages' bodies; counted only if there is a limit for them."""

    @property
    def drops_head(self) -> bool:
        """Whether the first messages give way, rather than new ones being refused."""
        return self.overflow == DROP_HEAD

    def has_room(self, ready: int, message: Message) -> bool:
        """Whether another message may come to so many."""
        return (self.max_length is None or ready < self.max_length) and (
            self.max_bytes is None or self.ready_bytes + message.body_bytes <= self.max_bytes
        )

    def are_passed(self, ready: int) -> bool:
        """Whether so many messages are too many, or too large together."""
        return (self.max_length is not None and ready > self.max_length) or (
            self.max_bytes is not None and self.ready_bytes > self.max_bytes
        )


def limits_of(max_length: int | None, max_bytes: int | None, overflow: str) -> Limits | None:
    """The limits that there are, if there is any."""
    if max_length is None and max_bytes is None:
        return None
    return Limits(max_length, max_bytes, overflow)

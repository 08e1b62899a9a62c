"""A channel that leveret has closed and whose client has not answered yet.

What still comes on it is passed over, but its frames must make sense, as in RabbitMQ: a method, or
the content that a publish announces.
"""

from ..amqp.errors import UnexpectedFrame
from ..amqp.frames import METHOD
from ..amqp.method_codec import decode
from ..amqp.method_ids import Method
from ..amqp.methods import BasicPublish
from .assembly import ContentAssembly


class ClosingChannel:
    """What has come on such a channel. `content` is what was coming when it was closed."""

    __slots__ = ("_content", "_number")

    def __init__(self, number: int, content: ContentAssembly | None):
        self._number = number
        self._content = None if content is None else content.ignored()

    def receive(self, kind: int, payload: bytes) -> Method | None:
        """Take a frame; the method in it, unless that is one which belongs to a publish.

        Raises UnexpectedFrame, FrameError, CommandInvalid.
        """
        if self._content is not None:
            if self._content.receive(kind, payload) is not None:
                self._content = None
            return None
        if kind != METHOD:
            raise UnexpectedFrame("expected method frame, got non method frame instead", at=(0, 0))
        call = decode(payload)
        if isinstance(call, BasicPublish):
            self._content = ContentAssembly(b"", self._number).ignored()
            return None
        return call

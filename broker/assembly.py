"""A message whose content comes frame by frame: a header, then body frames until the announced size
is there.

Texts are RabbitMQ's (rabbit_command_assembler). A body longer than announced is refused, as
RabbitMQ does from 4.0 on; earlier versions swallow it.
"""

from ..amqp.basic import BASIC_PUBLISH
from ..amqp.content import BASIC_CLASS, CONTENT_HEAD
from ..amqp.errors import FrameError, PreconditionFailed, UnexpectedFrame
from ..amqp.frames import BODY, HEADER, frame

HARD_MAX_BYTES = 536_870_912
AT_PUBLISH = (BASIC_PUBLISH >> 16, BASIC_PUBLISH & 0xFFFF)


class ContentAssembly:
    """The content of one publish, as far as it has come. `publish` is the frame before it."""

    __slots__ = (
        "_body_left",
        "_channel",
        "_keeps",
        "_max_message_bytes",
        "_parts",
        "body_bytes",
        "properties",
        "publish",
    )

    def __init__(self, publish: bytes, channel: int, max_message_bytes: int = HARD_MAX_BYTES):
        self.publish = publish
        self.properties = b""
        self.body_bytes = 0
        self._channel = channel
        self._max_message_bytes = max_message_bytes
        self._body_left: int | None = None
        """None until the header is there."""
        self._keeps = True
        self._parts: list[bytes] = []

    def ignored(self) -> "ContentAssembly":
        """The same, to be taken to its end without keeping any of it, however large it is."""
        self._keeps, self._max_message_bytes = False, HARD_MAX_BYTES
        self._parts.clear()
        return self

    def receive(self, kind: int, payload: bytes) -> bytes | None:
        """Take a frame; the whole content, as frames, once it is complete.

        Raises UnexpectedFrame, FrameError, and PreconditionFailed if the message is larger than
        allowed.
        """
        if self._body_left is None:
            self._body_left = self._header(kind, payload)
        else:
            self._body_left -= self._body(kind, payload)
        if self._body_left:
            return None
        return b"".join(self._parts)

    def _header(self, kind: int, payload: bytes) -> int:
        """Take the header; how many bytes are to come."""
        if kind != HEADER:
            raise _unexpected(
                f"expected content header for class {BASIC_CLASS},"
                " got non content header frame instead"
            )
        class_id, weight, size = CONTENT_HEAD.unpack_from(payload)
        if class_id != BASIC_CLASS:
            raise _unexpected(
                f"expected content header for class {BASIC_CLASS},"
                f" got one for class {class_id} instead"
            )
        if weight != 0:
            raise _unexpected(
                f"expected content header for class {BASIC_CLASS},"
                " got non content header frame instead"
            )
        if size > HARD_MAX_BYTES:
            raise FrameError(
                f"content body size {size} exceeds maximum allowed size {HARD_MAX_BYTES}",
                AT_PUBLISH,
            )
        if size > self._max_message_bytes:
            self._body_left = size
            raise PreconditionFailed(
                f"message size {size} is larger than configured max size {self._max_message_bytes}"
            )
        self.properties = payload[CONTENT_HEAD.size :]
        self.body_bytes = size
        self._keep(HEADER, payload)
        return size

    def _body(self, kind: int, payload: bytes) -> int:
        """Take a body frame; how many bytes it has."""
        if kind != BODY:
            raise _unexpected("expected content body, got non content body frame instead")
        assert self._body_left is not None
        if len(payload) > self._body_left:
            raise FrameError("content body frame exceeds remaining content size", AT_PUBLISH)
        if payload:
            self._keep(BODY, payload)
        return len(payload)

    def _keep(self, kind: int, payload: bytes) -> None:
        if self._keeps:
            self._parts.append(frame(kind, self._channel, payload))


def _unexpected(text: str) -> UnexpectedFrame:
    return UnexpectedFrame(text, AT_PUBLISH)

"""A message whose content comes frame by frame: a header, then body frames until the announced size
is there.

Texts are RabbitMQ's (rabbit_command_assembler). A body longer than announced is refused, as
RabbitMQ does from 4.0 on; earlier versions swallow it.
"""

from typing import TYPE_CHECKING

from ..amqp.content import BASIC_CLASS, CONTENT_HEAD
from ..amqp.errors import FrameError, PreconditionFailed, UnexpectedFrame
from ..amqp.frames import BODY, HEADER, frame

if TYPE_CHECKING:
    from .publisher import Route

HARD_MAX_BYTES = 536_870_912


class ContentAssembly:
    """The content of one publish, as far as it has come."""

    __slots__ = (
        "_body_left",
        "_channel",
        "_max_message_bytes",
        "_parts",
        "body_bytes",
        "properties",
        "route",
    )

    def __init__(self, route: "Route", channel: int, max_message_bytes: int):
        self.route = route
        self.properties = b""
        self.body_bytes = 0
        self._channel = channel
        self._max_message_bytes = max_message_bytes
        self._body_left = 0
        self._parts: list[bytes] = []

    def receive(self, kind: int, payload: bytes) -> bytes | None:
        """Take a frame; the whole content, as frames, once it is complete.

        Raises UnexpectedFrame, FrameError, and PreconditionFailed if the message is larger than
        allowed.
        """
        if not self._parts:
            self._header(kind, payload)
        else:
            self._body(kind, payload)
        if self._body_left:
            return None
        return b"".join(self._parts)

    def _header(self, kind: int, payload: bytes) -> None:
        if kind != HEADER:
            raise UnexpectedFrame(
                f"expected content header for class {BASIC_CLASS},"
                " got non content header frame instead"
            )
        class_id, weight, size = CONTENT_HEAD.unpack_from(payload)
        if class_id != BASIC_CLASS:
            raise UnexpectedFrame(
                f"expected content header for class {BASIC_CLASS},"
                f" got one for class {class_id} instead"
            )
        if weight != 0:
            raise UnexpectedFrame(
                f"expected content header for class {BASIC_CLASS},"
                " got non content header frame instead"
            )
        if size > HARD_MAX_BYTES:
            raise FrameError(
                f"content body size {size} exceeds maximum allowed size {HARD_MAX_BYTES}"
            )
        if size > self._max_message_bytes:
            raise PreconditionFailed(
                f"message size {size} is larger than configured max size {self._max_message_bytes}"
            )
        self.properties = payload[CONTENT_HEAD.size :]
        self.body_bytes = self._body_left = size
        self._parts.append(frame(HEADER, self._channel, payload))

    def _body(self, kind: int, payload: bytes) -> None:
        if kind != BODY:
            raise UnexpectedFrame("expected content body, got non content body frame instead")
        if len(payload) > self._body_left:
            raise FrameError("content body frame exceeds remaining content size")
        self._body_left -= len(payload)
        if payload:
            self._parts.append(frame(BODY, self._channel, payload))

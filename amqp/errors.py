"""AMQP's reply codes as exceptions: raise one anywhere below a connection, never send one.

A *soft* error closes the channel it happened on, a *hard* error the connection (AMQP 0-9-1 §4.8.1,
with RabbitMQ's assignment of codes to scopes). The connection turns either into a close method; it
is the only place that does.
"""

from typing import ClassVar

NO_ROUTE = 312

_TEXT_LIMIT_BYTES = 255


class AMQPError(Exception):
    """A fault to be reported to the client with a reply code and text.

    `explanation` follows the code's name in the reply text. `at` is the (class id, method id) to
    report; None means: those of the method being handled.
    """

    code: ClassVar[int]
    name: ClassVar[str]

    def __init__(self, explanation: str, at: tuple[int, int] | None = None):
        super().__init__(explanation)
        self.explanation = explanation
        self.at = at

    @property
    def reply_text(self) -> str:
        """`NAME - explanation`, cut to what a short string holds as RabbitMQ cuts it.

        What is not UTF-8 in a quoted name is shown as escapes: clients could not decode the text.
        """
        encoded = f"{self.name} - {self.explanation}".encode("utf-8", "backslashreplace")
        if len(encoded) <= _TEXT_LIMIT_BYTES:
            return encoded.decode()
        return encoded[: _TEXT_LIMIT_BYTES - 3].decode("utf-8", "ignore") + "..."


class SoftError(AMQPError):
    """Closes the channel."""


class HardError(AMQPError):
    """Closes the connection."""


class AccessRefused(SoftError):
    code, name = 403, "ACCESS_REFUSED"


class NotFound(SoftError):
    code, name = 404, "NOT_FOUND"


class ResourceLocked(SoftError):
    code, name = 405, "RESOURCE_LOCKED"


class PreconditionFailed(SoftError):
    code, name = 406, "PRECONDITION_FAILED"


class ConnectionForced(HardError):
    code, name = 320, "CONNECTION_FORCED"


class LoginRefused(HardError):
    """403 for the whole connection: the credentials were not accepted."""

    code, name = 403, "ACCESS_REFUSED"


class FrameError(HardError):
    code, name = 501, "FRAME_ERROR"


class CommandInvalid(HardError):
    code, name = 503, "COMMAND_INVALID"


class ChannelFault(HardError):
    """504 CHANNEL_ERROR: a frame for a channel that is in no state to take it."""

    code, name = 504, "CHANNEL_ERROR"


class UnexpectedFrame(HardError):
    code, name = 505, "UNEXPECTED_FRAME"


class ResourceError(HardError):
    code, name = 506, "RESOURCE_ERROR"


class NotAllowed(HardError):
    code, name = 530, "NOT_ALLOWED"


class NotSupported(HardError):
    """540 NOT_IMPLEMENTED: AMQP names it, RabbitMQ (and so leveret) does not do it."""

    code, name = 540, "NOT_IMPLEMENTED"


class InternalError(HardError):
    code, name = 541, "INTERNAL_ERROR"

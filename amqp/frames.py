"""Frames: seven bytes of head (type, channel, payload size), the payload, the end octet (AMQP 0-9-1
§2.3.5).

The head of a buffer is judged here before its payload has arrived, so that no memory is spent on a
frame that will be refused. Error texts are RabbitMQ's, which prints what it got as Erlang terms.
"""

import struct
from typing import cast

from .errors import FrameError, UnexpectedFrame
from .method_codec import encode
from .method_ids import Method

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = 0xCE
END_OCTET = b"\xce"

HEAD = struct.Struct(">BHI")
"""Type, channel number, payload size."""

METHOD_HEAD = struct.Struct(">BHII")
"""The same, and the class and method id as one number."""

OVERHEAD_BYTES = 8
"""What a frame adds to its payload."""

FRAME_MIN_BYTES = 4096
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"

_LEAST_BYTES = {METHOD: 4, HEADER: 12, BODY: 0}
"""What a payload must at least hold: a method's ids; a content header's class id, weight and body
size.
"""

_SHOWN_BYTES = 16
_ERLANG_ESCAPES = str.maketrans(
    {
        "\b": r"\b",
        "\t": r"\t",
        "\n": r"\n",
        "\v": r"\v",
        "\f": r"\f",
        "\r": r"\r",
        "\x1b": r"\e",
        '"': r"\"",
        "\\": r"\\",
    }
)


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """A whole frame."""
    return HEAD.pack(kind, channel, len(payload)) + payload + END_OCTET


def method_frame(channel: int, call: Method) -> bytes:
    """A whole frame with a method in it."""
    payload = encode(call)
    return HEAD.pack(METHOD, channel, len(payload)) + payload + END_OCTET


def read_frame(data: bytes, at: int, payload_max: int) -> tuple[int, int, bytes, int] | None:
    """The frame that starts at `at`: (type, channel, payload, offset behind it); None while
    incomplete.

    Raises FrameError or UnexpectedFrame as soon as what is there shows that the frame is bad.
    """
    if len(data) - at < HEAD.size:
        return None
    kind, channel, size = cast("tuple[int, int, int]", HEAD.unpack_from(data, at))
    check_head(kind, channel, size, payload_max)
    behind = at + size + OVERHEAD_BYTES
    if behind > len(data):
        return None
    payload = data[at + HEAD.size : behind - 1]
    if data[behind - 1] != END:
        raise bad_end(kind, payload, data[behind - 1])
    least = _LEAST_BYTES.get(kind)
    if (least is None or size < least) and (kind != HEARTBEAT or size):
        raise unknown_frame(kind, payload)
    return kind, channel, payload, behind


def check_head(kind: int, channel: int, size: int, payload_max: int) -> None:
    """Refuse a frame by its head: raises FrameError or UnexpectedFrame.

    `payload_max` is frame_max less a frame's overhead; RabbitMQ lets payloads of up to frame_max
    pass.
    """
    if kind == HEARTBEAT and size == 0:
        if channel != 0:
            raise UnexpectedFrame("type 8, all octets = <<>>", at=(0, 0))
        return
    if size > payload_max + OVERHEAD_BYTES:
        raise FrameError(
            f"type {kind}, all octets = <<>>: {{frame_too_large,{size},{payload_max}}}", at=(0, 0)
        )


def unknown_frame(kind: int, payload: bytes) -> FrameError:
    """The error for a frame of no known type, a heartbeat with a payload, or a method or header
    that lacks its beginning.
    """
    return FrameError(f"type {kind}, {_octets(payload)}: unknown_frame", at=(0, 0))


def unexpected_frame(kind: int, payload: bytes) -> UnexpectedFrame:
    """The error for content on channel 0, where only methods go."""
    return UnexpectedFrame(f"type {kind}, {_octets(payload)}", at=(0, 0))


def bad_end(kind: int, payload: bytes, end: int) -> FrameError:
    """The error for a frame whose last octet is not the frame end."""
    return FrameError(
        f"type {kind}, {_octets(payload)}: {{invalid_frame_end_marker,{end}}}", at=(0, 0)
    )


def erlang_binary(data: bytes) -> str:
    """Bytes as Erlang's ~p prints a binary, on one line: text if all is printable ASCII, else
    numbers (for Latin-1 too, which Erlang would print, but reply texts are UTF-8).
    """
    if data and all(32 <= byte < 127 or byte in _ERLANG_ESCAPES for byte in data):
        return f'<<"{data.decode("ascii").translate(_ERLANG_ESCAPES)}">>'
    return f"<<{','.join(map(str, data))}>>"


def _octets(payload: bytes) -> str:
    if len(payload) > _SHOWN_BYTES:
        return f"first {_SHOWN_BYTES} octets = {erlang_binary(payload[:_SHOWN_BYTES])}"
    return f"all octets = {erlang_binary(payload)}"

"""Whether the content of a message can come in one piece: its header and a single body frame."""

from .basic import BASIC_CONTENT, CONTENT_FRAME_HEAD
from .content import CONTENT_HEAD
from .frames import BODY, END, HEAD, HEADER, OVERHEAD_BYTES


def may_become_whole(
    data: bytes, at: int, channel: int, payload_max: int, body_max_bytes: int
) -> bool:
    """Whether the content header and body frame of a channel that are to stand at `at` are as they
    should be, as far as they have come, and something is still to come.

    `payload_max` bounds the payload of a frame, `body_max_bytes` the body.
    """
    left = len(data) - at
    if left < HEAD.size:
        return left <= 0 or data[at] == HEADER
    kind, number, size = HEAD.unpack_from(data, at)
    if (kind, number) != (HEADER, channel) or not CONTENT_HEAD.size <= size <= payload_max:
        return False
    if left < CONTENT_FRAME_HEAD.size:
        return True
    _, _, _, content_class, body_bytes = CONTENT_FRAME_HEAD.unpack_from(data, at)
    return (
        content_class == BASIC_CONTENT
        and body_bytes <= body_max_bytes
        and not _is_settled(data, at + size + OVERHEAD_BYTES, channel, body_bytes)
    )


def _is_settled(data: bytes, body_at: int, channel: int, body_bytes: int) -> bool:
    """Whether all has come, or enough to see that header and body frame are not as they should
    be.
    """
    if body_at > len(data):
        return False
    if data[body_at - 1] != END:
        return True
    if not body_bytes or body_at + HEAD.size > len(data):
        return False
    if HEAD.unpack_from(data, body_at) != (BODY, channel, body_bytes):
        return True
    return body_at + body_bytes + OVERHEAD_BYTES <= len(data)

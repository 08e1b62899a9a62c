"""x-stream-offset: where in a stream a consumer begins (https://www.rabbitmq.com/docs/streams#consuming).

`first`, `last` and `next` (the default), an offset, which may lie outside of what there is, a
timestamp, or an interval like "1h" before now. RabbitMQ finds times and the last message to the
chunk, which is what was published together; here they are found to the message.
"""

import re

from ..amqp.errors import PreconditionFailed
from ..amqp.fields import INTEGER_TAGS, Field
from .erlang_terms import erlang_term
from .stream_log import StreamLog

_INTERVAL = re.compile(r"(0*[1-9][0-9]*)([YMDhms])")
_SECONDS = {"Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3600, "m": 60, "s": 1}


def interval_ms(text: str) -> int | None:
    """How long something like "7D" is, in milliseconds; None if it is nothing of that kind."""
    found = _INTERVAL.fullmatch(text)
    return None if found is None else int(found[1]) * _SECONDS[found[2]] * 1000


def start_offset(field: Field | None, log: StreamLog, wall_ms: int, resource: str) -> int:
    """The offset that an x-stream-offset asks for; `wall_ms` is the time now.

    Raises PreconditionFailed if it makes no sense.
    """
    if field is None:
        return log.next_offset
    if field.tag in INTEGER_TAGS:
        return max(field.integer, log.first_offset)
    if field.tag == "T":
        assert isinstance(field.value, int)
        return log.offset_at(field.value * 1000)
    text = field.text if field.tag == "S" else ""
    if text == "first":
        return log.first_offset
    if text == "last":
        return max(log.next_offset - 1, log.first_offset)
    if text == "next":
        return log.next_offset
    before_ms = interval_ms(text)
    if before_ms is None:
        raise PreconditionFailed(
            f"invalid arg 'x-stream-offset' for {resource}:"
            f" {{invalid_stream_offset_arg,{{{field.type_name},{erlang_term(field)}}}}}"
        )
    return log.offset_at(wall_ms - before_ms)

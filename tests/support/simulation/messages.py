"""Making up messages: for the broker, as bytes, and for the model."""

from typing import Any

from fake_client import message
from leveret.amqp.frames import OVERHEAD_BYTES

from .exchanges import EXCHANGES, LATE, headers_of, id_of
from .queues import QUEUES, REPLY_TO, traits_of
from .things import Sent
from .world import FRAME_MAX, UNIQUE_CHARACTERS, body_of

_QUEUE_NAMES = tuple(QUEUES)
_FILTER_VALUES = (None, "red", "blue")
_BCC_BYTES = 14
"""What the header BCC takes beside the one key in it."""
_TOKEN_BYTES = len(".") + UNIQUE_CHARACTERS
"""What an address takes that stands in place of the name that all have."""


def compose(
    number: int,
    exchange: str,
    key: str,
    *,
    channel: int,
    mandatory: bool,
    persistent: bool,
    size: int,
    priority: int = 0,
    expiration: int = -1,
    delay: int = 0,
    cc: int = -1,
    bcc: int = -1,
    value: int = -1,
    asks: int = 0,
) -> tuple[Sent, bytes]:
    """A message that is published with these; -1 stands for none. `number` is its own alone."""
    body = body_of(number, size)
    expires = not exchange and expiration >= 0 and traits_of(key).takes_expirations
    # Only some queues get messages that expire.
    copied, blind = (() if expires or to < 0 else (_QUEUE_NAMES[to],) for to in (cc, bcc))
    delay_ms = delay if exchange == LATE else 0
    headers: dict[str, Any] = {"x-delay": delay_ms} if delay_ms else {}
    headers |= headers_of(value)
    is_compared = bool(exchange) and EXCHANGES[exchange].values_most > 0
    value_ttl_ms = delay if is_compared and number % 3 == 0 else None
    if value_ttl_ms is not None:
        headers["x-cache-ttl"] = value_ttl_ms
    in_stream = not exchange and traits_of(key).stream
    filter_value = _FILTER_VALUES[number % 3] if in_stream else None
    if filter_value is not None:
        headers["x-stream-filter-value"] = filter_value
    headers |= {name: list(keys) for name, keys in (("CC", copied), ("BCC", blind)) if keys}
    wire = message(
        body,
        key,
        exchange=exchange,
        mandatory=mandatory,
        channel=channel,
        payload_max=FRAME_MAX - 8,
        delivery_mode=2 if persistent else 1,
        priority=priority or None,
        expiration=str(expiration) if expires else None,
        headers=headers or None,
        message_id=id_of(value),
        reply_to=REPLY_TO if asks else None,
    )
    blind_bytes = sum(_BCC_BYTES + len(key) for key in blind)  # queues hold it without
    content_bytes = len(wire) - OVERHEAD_BYTES - int.from_bytes(wire[3:7])
    sent = Sent(
        number,
        key,
        len(body),
        persistent,
        priority,
        ttl_ms=expiration if expires else None,
        content_bytes=content_bytes - blind_bytes + (asks and _TOKEN_BYTES),
        delay_ms=delay_ms,
        filter_value=filter_value,
        value=value,
        value_ttl_ms=value_ttl_ms,
        cc=copied,
        copies=(*copied, *blind),
        exchange=exchange,
        asks=bool(asks),
    )
    return sent, wire

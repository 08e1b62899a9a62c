"""Why messages die, and how that is written into their headers.

x-death has an entry for each queue and reason that a message died of, the latest first; the other
headers tell the first and the last death. Fields, their order and their types are RabbitMQ 3.13's
(https://www.rabbitmq.com/docs/dlx#effects). Everything else in the properties stays as it is, byte
by byte, but `expiration`, which would strike again.
"""

import struct
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from ..amqp.content import EXPIRATION, HEADERS, Properties, header_entries
from ..amqp.fields import Field, Table, check_field, decode_table, encode_field
from ..amqp.wire_types import shortstr

_SIZE = struct.Struct(">I")
_ARRAY, _TABLE = ord("A"), ord("F")
_COUNT_MAX = (1 << 63) - 1
_NO_DEATHS = encode_field(Field("A", []))
_FIELDS = (
    "original-expiration",
    "count",
    "reason",
    "queue",
    "time",
    "exchange",
    "routing-keys",
)


_TOLD_LAST = frozenset(f"x-last-death-{what}" for what in ("exchange", "queue", "reason"))
_TOLD_ANEW = _TOLD_LAST | {name.replace("last", "first") for name in _TOLD_LAST}


class Reason(Enum):
    """Why a queue was done with a message that was not acknowledged; RabbitMQ's names."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    MAXLEN = "maxlen"
    DELIVERY_LIMIT = "delivery_limit"


@dataclass(frozen=True, slots=True)
class Death:
    """One death: where, why, when (seconds since 1970), and how the message had been published."""

    queue: str
    reason: Reason
    time_s: int
    exchange: str
    routing_keys: tuple[str, ...]

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Queue and reason: each pair is counted once."""
        return _bytes(self.queue), _bytes(self.reason.value)


@lru_cache(maxsize=64)
def properties_after(death: Death, raw: bytes, *, anew: bool = False) -> bytes:
    """The properties (flags and list) of the dead letter of a message with `raw` ones; `anew`
    begins the history with this death, whatever the headers say.

    They are remembered: where many messages die they are often alike.
    """
    properties = Properties(raw)
    headers = properties.spans.get(HEADERS)
    entries = [] if headers is None else header_entries(properties.raw, headers[0])
    told = _TOLD_ANEW if anew else _TOLD_LAST
    kept: list[bytes] = []
    history: bytes | None = None
    for name, start, end in entries:
        if name == "x-death":
            history = None if anew else properties.raw[start + 1 + len("x-death") : end]
        elif name not in told:
            kept.append(properties.raw[start:end])
    expiration = properties.text(EXPIRATION)
    if history is None:
        kept.append(_first_death(death, expiration))
    else:
        kept.append(_entry("x-death", _with_death(death, history, expiration)))
        kept += _told("last", death)
    content = b"".join(kept)
    return properties.replaced({EXPIRATION: None, HEADERS: _SIZE.pack(len(content)) + content})


@lru_cache(maxsize=64)
def died_in_by_itself(raw: bytes) -> frozenset[str]:
    """The queues that a dead letter with these properties has died in since somebody rejected it:
    to let it in there once more could have it go round for ever by itself.
    """
    field = Properties(raw).headers().get("x-death")
    queues: set[str] = set()
    if field is None or not isinstance(field.value, list):
        return frozenset()
    for item in field.value:
        table = item.value
        if not isinstance(table, dict) or _value(table, "reason") == b"rejected":
            break
        queue = table.get("queue")
        if queue is not None and queue.tag == "S":
            queues.add(queue.text)
    return frozenset(queues)


@lru_cache(maxsize=64)
def _first_death(death: Death, expiration: str | None) -> bytes:
    """All header entries about a first death: the same for all messages that died like that."""
    history = _entry("x-death", _with_death(death, _NO_DEATHS, expiration))
    return b"".join([history, *_told("first", death), *_told("last", death)])


def _with_death(death: Death, history: bytes, expiration: str | None) -> bytes:
    """The field x-death (tag and value) with one more death in it."""
    others: list[bytes] = []
    earlier: bytes | None = None
    for item in _items(history):
        if earlier is None and _key_of(item) == death.key:
            earlier = item
        else:
            others.append(item)
    first = _new_entry(death, expiration) if earlier is None else _counted(earlier)
    content = b"".join([first, *others])
    return b"A" + _SIZE.pack(len(content)) + content


def _items(array: bytes) -> list[bytes]:
    """The items of an array field, each with its tag; none if it is something else."""
    if array[0] != _ARRAY:
        return []
    items: list[bytes] = []
    at = 1 + _SIZE.size
    while at < len(array):
        end = check_field(array, at)
        items.append(array[at:end])
        at = end
    return items


def _key_of(item: bytes) -> tuple[object, object] | None:
    if item[0] != _TABLE:
        return None
    table = decode_table(item, 1)[0]
    return _value(table, "queue"), _value(table, "reason")


def _value(table: Table, name: str) -> object:
    field = table.get(name)
    return None if field is None else field.value


def _new_entry(death: Death, expiration: str | None) -> bytes:
    fields = {
        "count": Field("l", 1),
        "reason": Field("S", _bytes(death.reason.value)),
        "queue": Field("S", _bytes(death.queue)),
        "time": Field("T", death.time_s),
        "exchange": Field("S", _bytes(death.exchange)),
        "routing-keys": Field("A", [Field("S", _bytes(key)) for key in death.routing_keys]),
    }
    if expiration is not None:
        fields["original-expiration"] = Field("S", _bytes(expiration))
    return _in_order({name: _entry(name, encode_field(field)) for name, field in fields.items()})


def _counted(item: bytes) -> bytes:
    """An entry with its count raised by one, all else as it is."""
    parts = {name: item[start:end] for name, start, end in header_entries(item, 1)}
    count = _value(decode_table(item, 1)[0], "count")
    raised = min(count + 1, _COUNT_MAX) if isinstance(count, int) else 1
    parts["count"] = _entry("count", encode_field(Field("l", raised)))
    return _in_order(parts)


def _in_order(parts: dict[str, bytes]) -> bytes:
    """A table field of encoded entries, in RabbitMQ's order."""
    names = [name for name in _FIELDS if name in parts]
    names += [name for name in parts if name not in _FIELDS]
    content = b"".join(parts[name] for name in names)
    return b"F" + _SIZE.pack(len(content)) + content


def _told(which: str, death: Death) -> list[bytes]:
    """The headers that tell of the first or the last death."""
    return [
        _entry(f"x-{which}-death-{what}", encode_field(Field("S", _bytes(value))))
        for what, value in (
            ("exchange", death.exchange),
            ("queue", death.queue),
            ("reason", death.reason.value),
        )
    ]


def _entry(name: str, field: bytes) -> bytes:
    return shortstr(name) + field


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

"""Properties that make the broker do something: expiration, user-id, CC and BCC, a direct reply-to.

Checked in RabbitMQ's order. Changes to a message are made on its wire bytes, so that all else stays
as sent.
"""

from typing import TYPE_CHECKING

from ..amqp.content import EXPIRATION, REPLY_TO, USER_ID, Properties
from ..amqp.errors import PreconditionFailed
from ..amqp.fields import Field, Table
from ..amqp.wire_types import shortstr
from .message import Message
from .notes import Notes
from .property_kinds import DIRECT_REPLY_TO
from .queue_arguments import TTL_MAX_MS

if TYPE_CHECKING:
    from .channel import Channel

BCC_MAX_BYTES = 255
BCC_REMEMBERED_MAX = 200


def apply_special_properties(channel: "Channel", message: Message) -> list[str]:
    """Check and carry out what the properties ask for; return the further routing keys.

    Raises PreconditionFailed.
    """
    properties = message.properties
    message.persistent = properties.persistent
    raw = properties.raw
    if properties.text(REPLY_TO) == DIRECT_REPLY_TO:
        if channel.reply_queue is None:
            raise PreconditionFailed("fast reply consumer does not exist")
        raw = properties.replaced({REPLY_TO: shortstr(channel.reply_queue.name)})
    user_id = properties.text(USER_ID)
    user, broker = channel.connection.user, channel.connection.broker
    if user_id is not None and user_id != user.name and "impersonator" not in user.tags:
        raise PreconditionFailed(
            f"user_id property set to '{user_id}' but authenticated user was '{user.name}'"
        )
    expiration = properties.text(EXPIRATION)
    ttl_ms = None if expiration is None else _ttl_ms(expiration)
    headers = properties.headers()
    copied, blind = _selected_keys(headers, "CC"), _selected_keys(headers, "BCC")
    if "BCC" in headers:
        raw = Properties(raw).without_header("BCC")
    if raw is not properties.raw:
        message.replace_properties(raw)
    foreign_deaths = "x-death" in headers and not broker.rules.clients_x_death_counts
    if ttl_ms is not None or blind or foreign_deaths:
        message.notes = Notes(ttl_ms=ttl_ms, bcc=_remembered(blind), foreign_deaths=foreign_deaths)
    return copied + blind


def _remembered(keys: list[str]) -> tuple[str, ...]:
    """Those of BCC's keys that lead a dead letter too: not what no binding can have, nor more than
    the journal has room for.
    """
    short = [key for key in keys if len(key.encode("utf-8", "surrogateescape")) <= BCC_MAX_BYTES]
    return tuple(short[:BCC_REMEMBERED_MAX])


def _selected_keys(headers: Table, name: str) -> list[str]:
    """The routing keys in a CC or BCC header; elements that are not strings are passed over."""
    field = headers.get(name)
    if field is None:
        return []
    if not isinstance(field.value, list):
        raise PreconditionFailed(
            f'invalid message: {{unacceptable_type_in_header,"{name}",{field.type_name}}}'
        )
    return [item.text for item in field.value if _is_string(item)]


def _is_string(item: Field) -> bool:
    return item.tag == "S"


def _ttl_ms(text: str) -> int:
    """What an expiration says; a whole number of milliseconds, as Erlang's string:to_integer sees
    it.
    """
    digits = text[1:] if text[:1] in ("-", "+") else text
    count = len(digits) - len(digits.lstrip("0123456789"))
    rest = digits[count:]
    if not count:
        why = "no_integer"
    elif rest:
        why = f'{{leftover_string,"{rest}"}}'
    elif text.startswith("-") and int(digits):
        why = f"{{value_negative,{int(text)}}}"
    elif int(digits) > TTL_MAX_MS:
        why = f"{{value_too_large,{int(digits)}}}"
    else:
        return int(digits)
    raise PreconditionFailed(f"invalid expiration '{text}': {why}")

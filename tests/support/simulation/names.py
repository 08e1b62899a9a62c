"""What messages are called, by which they are told from each other."""

from typing import Any

from fake_client import Received
from leveret.broker.message import Message

from .things import Death, named


def name_of(message: Received | Message) -> str:
    """What a message is told from all others by: the number that its body begins with, and what its
    headers say of copies and deaths.
    """
    copies = [key for header in ("CC", "BCC") for key in _keys_in(message, header)]
    return named(number_of(message), copies, _deaths_of(message))


def _keys_in(message: Received | Message, header: str) -> list[str]:
    if isinstance(message, Received):
        return (message.headers or {}).get(header, [])
    field = message.properties.headers().get(header)
    items: Any = [] if field is None else field.value
    return [item.text for item in items]


def _deaths_of(message: Received | Message) -> list[Death]:
    if isinstance(message, Received):
        told = (message.headers or {}).get("x-death", ())
        return [(each["queue"], each["reason"], each["count"]) for each in told]
    field = message.properties.headers().get("x-death")
    if field is None:
        return []
    items: Any = field.value
    tables = [item.value for item in items]
    return [(t["queue"].text, t["reason"].text, t["count"].integer) for t in tables]


def number_of(message: Received | Message) -> int:
    """The number that its body begins with."""
    return int(message.body.split(b" ", 1)[0])

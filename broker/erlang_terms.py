"""Field values as RabbitMQ prints them in texts: Erlang terms."""

import re
from collections.abc import Mapping
from typing import cast

from ..amqp.fields import Field
from ..amqp.frames import erlang_binary

_PLAIN_WORD = re.compile(r"[a-z][a-zA-Z0-9_@]*")


def erlang_term(field: Field) -> str:
    """A value as Erlang's ~p prints it."""
    value = field.value
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return erlang_binary(value)
    if isinstance(value, tuple):
        return f"{{{value[0]},{value[1]}}}"
    if isinstance(value, list):
        return f"[{','.join(f'{{{_typed(item)}}}' for item in value)}]"
    if isinstance(value, dict):
        return f"[{','.join(f'{{{_name(name)},{_typed(value[name])}}}' for name in value)}]"
    return str(value)


def erlang_atom(word: str) -> str:
    """An atom as Erlang's ~p prints it: in quotes, unless it is a plain word."""
    return word if _PLAIN_WORD.fullmatch(word) else f"'{word}'"


def _typed(field: Field) -> str:
    return f"{field.type_name},{erlang_term(field)}"


def _name(name: str) -> str:
    return erlang_binary(name.encode("utf-8", "surrogateescape"))


def json_term(value: object) -> str:
    """A value from a JSON document as Erlang's ~p prints it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _name(value)
    if isinstance(value, list):
        items = cast("list[object]", value)
        characters = [item for item in items if isinstance(item, int) and 32 <= item < 127]
        if items and len(characters) == len(items):
            text = "".join(map(chr, characters)).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{text}"'
        return f"[{','.join(map(json_term, items))}]"
    if isinstance(value, Mapping):
        entries = sorted(cast("Mapping[str, object]", value).items())
        return f"#{{{','.join(f'{_name(key)} => {json_term(item)}' for key, item in entries)}}}"
    return str(value)

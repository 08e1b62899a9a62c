"""The keys of definitions in the journal, and which definitions are void.

A key is a JSON list: a kind, mostly a vhost, and names. What very much belongs to is deleted bit by
bit, and its own definition goes first. If a crash or the end of the broker comes in between, what
is left of the others is void: the next start sees nothing of it, and takes it away.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .configuration import DEFAULT_VHOSTS
from .exchange_declaration import PREDECLARED

EXCHANGE, QUEUE, BINDING = "exchange", "queue", "binding"
SEGMENT = "segment"
POLICY, OPERATOR_POLICY = "policy", "operator_policy"
VHOST, USER = "vhost", "user"
GLOBAL_PARAMETER = "global_parameter"
CONFIGURED_USER = "configured_user"
OF_THE_BROKER = (USER, CONFIGURED_USER, GLOBAL_PARAMETER)
"""What belongs to no vhost."""
DELETED = {"deleted": True}
"""The value for a vhost that is deleted, and for a user that a new broker would have."""


def parsed(definitions: Mapping[bytes, bytes]) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Keys and values as what they stand for."""
    for key, value in definitions.items():
        yield json.loads(key), json.loads(value)


def vhost_names(definitions: Mapping[bytes, bytes]) -> set[str]:
    """The vhosts that definitions belong to."""
    return {
        names[0]
        for (kind, *names), value in parsed(definitions)
        if kind not in OF_THE_BROKER and value != DELETED
    }


def has_users(definitions: Mapping[bytes, bytes]) -> bool:
    """Whether there are users, or there were and they have been deleted."""
    return any(key[0] == USER for key, _ in parsed(definitions))


def has_vhosts(definitions: Mapping[bytes, bytes]) -> bool:
    """Whether there are vhosts, or there were and they have been deleted."""
    return any(key[0] == VHOST for key, _ in parsed(definitions)) or bool(vhost_names(definitions))


def void_keys(definitions: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys of what belongs to something that is deleted: anything in a vhost, the bindings of
    an exchange or a queue, the segments of a stream; and auto-delete exchanges that have lost all
    their bindings so. That a vhost is deleted is kept of those that a new broker would have.
    """
    gone: set[str] = set()
    there: set[tuple[str, str, str | int]] = set()
    auto_delete: set[tuple[str, str, str | int]] = set()
    for (kind, *names), value in parsed(definitions):
        if kind == VHOST and value == DELETED:
            gone.add(names[0])
        elif kind in (EXCHANGE, QUEUE):
            there.add((kind, names[0], names[1]))
        if kind == QUEUE:
            there.add((SEGMENT, names[0], value["number"]))
        elif kind == EXCHANGE and value["auto_delete"]:
            auto_delete.add((kind, names[0], names[1]))
    left = {key: json.loads(key) for key in definitions}
    void: list[bytes] = []
    while more := [key for key, names in left.items() if _is_void(names, gone, there)]:
        void += more
        there -= auto_delete & _sources(left.pop(key) for key in more) - _sources(left.values())
    return void


def _sources(keys: Iterable[list[Any]]) -> set[tuple[str, str, str | int]]:
    """The exchanges that bindings come from."""
    return {(EXCHANGE, names[0], names[1]) for kind, *names in keys if kind == BINDING}


def _is_void(key: list[Any], gone: set[str], there: set[tuple[str, str, str | int]]) -> bool:
    kind, *names = key
    if kind in OF_THE_BROKER:
        return False
    if kind == VHOST:
        return names[0] in gone and names[0] not in DEFAULT_VHOSTS
    if kind == BINDING:
        vhost, source, destination_kind, destination, *_ = names
        ends = (EXCHANGE, vhost, source), (destination_kind, vhost, destination)
        lost = any(end not in there and end[2] not in PREDECLARED for end in ends)
    else:
        lost = kind in (EXCHANGE, SEGMENT) and (kind, names[0], names[1]) not in there
    return lost or names[0] in gone

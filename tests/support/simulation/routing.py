"""Where messages go: the oracle for exchanges and bindings, CC and BCC, and alternate exchanges.

A message has the key that it is published with, and those of its headers CC and BCC. It comes to
every queue that one of them leads to, once. Everybody sees the header CC afterwards, nobody BCC,
though its keys lead dead letters as well, also after a restart.

An exchange that knows no way for a message hands it on to its alternate exchange, if there is one
of that name: a policy may name one where the arguments do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exchanges import EXCHANGES

if TYPE_CHECKING:
    from .model import Model
    from .things import BindingKey, MQueue, Sent


def route(model: Model, exchange: str, sent: Sent) -> list[MQueue]:
    """The queues that a message comes to which is published now."""
    keys = {sent.key, *sent.copies}
    if not exchange:
        return [queue for name, queue in sorted(model.queues.items()) if name in keys]
    passed: list[str] = []
    reached: set[str] = set()
    ahead = [exchange]
    while ahead:
        current = ahead.pop()
        passed.append(current)
        found = {binding[1] for binding in _bindings(model, current) if _leads(binding, keys)}
        alternate = _alternate(model, current)
        if not found and alternate in model.exchanges:
            found = {alternate}
        ahead += [name for name in found if name in EXCHANGES and name not in passed]
        reached |= {name for name in found if name not in EXCHANGES}
    return [model.queues[name] for name in sorted(reached)]


def _bindings(model: Model, exchange: str) -> list[BindingKey]:
    return [binding for binding in model.bindings if binding[0] == exchange]


def _leads(binding: BindingKey, keys: set[str]) -> bool:
    """Whether a message with these keys follows a binding."""
    source, _, bound = binding
    match EXCHANGES[source].type:
        case "fanout" | "x-delayed-message":
            return True
        case _:
            return bound in keys


def _alternate(model: Model, exchange: str) -> str | None:
    is_matched = exchange in ("direct", "forked") and "stray" in model.policies
    return EXCHANGES[exchange].alternate or ("fanout" if is_matched else None)

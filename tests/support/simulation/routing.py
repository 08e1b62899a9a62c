"""Where messages go: the oracle for exchanges and bindings, CC and BCC, and alternate exchanges.

A message has the key that it is published with, and those of its headers CC and BCC. It comes to
every queue that one of them leads to, once, also by several exchanges. Everybody sees the header CC
afterwards, nobody BCC, though its keys lead dead letters as well, also after a restart.

An exchange that knows no way for a message hands it on to its alternate exchange, if there is one
of that name: a policy may name one where the arguments do not.

Some exchanges choose one of their bindings: any, or as `spreading` has it. One gives the
last messages, as it had them, to whatever is bound to it, until a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import deduplication
from .exchanges import EXCHANGES, HEADER_BINDINGS, HISTORY, Basis, headers_of, id_of
from .policies import definition_for
from .things import Violation

if TYPE_CHECKING:
    from .model import Model
    from .things import BindingKey, MQueue, Sent


def route(model: Model, exchange: str, sent: Sent) -> list[MQueue]:
    """The queues that a message comes to which is published now."""
    keys = (sent.key, *sent.copies)
    if not exchange:
        named = [queue for name, queue in sorted(model.queues.items()) if name in keys]
        return named + model.replies.reached_by(keys)
    passed: list[str] = []
    reached: set[str] = set()
    ahead = [exchange]
    while ahead:
        current = ahead.pop()
        passed.append(current)
        found = _destinations(model, current, sent)
        alternate = _alternate(model, current)
        if not found and alternate in model.exchanges:
            found = {alternate}
        ahead += [name for name in found if name in EXCHANGES and name not in (*passed, *ahead)]
        reached |= {name for name in found if name not in EXCHANGES}
    return [model.queues[name] for name in sorted(reached)]


def replay(model: Model, exchange: str, destination: str) -> None:
    """A queue or an exchange has been bound to an exchange: it gets what that remembers."""
    for sent in tuple(model.histories.get(exchange, ())):
        leads_on = destination in EXCHANGES
        model.put(
            sent, route(model, destination, sent) if leads_on else [model.queues[destination]]
        )


def _destinations(model: Model, exchange: str, sent: Sent) -> set[str]:
    """The queues and exchanges that a message goes to by the bindings of an exchange."""
    bindings = [binding for binding in model.bindings if binding[0] == exchange]
    traits = EXCHANGES[exchange]
    if not deduplication.passes(model, exchange, sent):
        return set()
    if traits.type == "x-recent-history":
        model.histories[exchange] = [*model.histories.get(exchange, ()), sent][-HISTORY:]
    if traits.chooses_by is not None:
        return {_chosen(model, bindings, traits.chooses_by, sent)} if bindings else set()
    return {binding[1] for binding in bindings if _leads(binding, sent)}


def _chosen(model: Model, bindings: list[BindingKey], by: Basis, sent: Sent) -> str:
    """Which destination an exchange has chosen. Raises Violation if it must not."""
    match by:
        case Basis.KEY:
            basis = sent.key
        case Basis.KEYS:
            basis = (sent.key, *sent.copies)
        case Basis.HEADER:
            basis = sent.value if sent.value >= 0 else None
        case Basis.ID:
            basis = id_of(sent.value)
        case Basis.NOTHING:
            basis = sent.name
    chosen = model.choice_of(bindings, by, basis)
    if chosen is None or all(chosen != destination for _, destination, _ in bindings):
        raise Violation(f"choice: {bindings[0][0]} has led {sent.name} to {chosen}")
    if by is not Basis.NOTHING:
        model.spread.check(bindings, basis, chosen)
    return chosen


def _leads(binding: BindingKey, sent: Sent) -> bool:
    """Whether a message follows a binding."""
    source, _, bound = binding
    keys = (sent.key, *sent.copies)
    match EXCHANGES[source].type:
        case "direct":
            return bound in keys
        case "topic":
            return any(_fits(_words(bound), _words(key)) for key in keys)
        case "headers":
            return _are_met(dict(HEADER_BINDINGS[bound]), headers_of(sent.value))
        case _:
            return True


def _words(key: str) -> list[str]:
    return key.split(".") if key else []


def _fits(pattern: list[str], words: list[str]) -> bool:
    """Whether words are as a pattern has them, where * is any word and # any number of words."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_fits(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _fits(pattern[1:], words[1:])


def _are_met(asked: dict[str, Any], headers: dict[str, Any]) -> bool:
    """Whether all of the headers are there that are asked for, or any; None is for any value."""
    do = any if asked.pop("x-match", "all") == "any" else all
    return do(name in headers and value in (None, headers[name]) for name, value in asked.items())


def _alternate(model: Model, exchange: str) -> str | None:
    by_policy = definition_for(exchange, model.policies).get("alternate-exchange")
    return EXCHANGES[exchange].alternate or by_policy

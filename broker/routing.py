"""From an exchange and routing keys to queues, through exchange-to-exchange bindings."""

from collections.abc import Mapping, Sequence

from .exchange import Exchange
from .message import Message
from .queue import Queue


def route(
    exchanges: Mapping[str, Exchange],
    exchange: Exchange,
    routing_keys: Sequence[str],
    message: Message | None,
) -> dict[Queue, None] | None:
    """The queues that a message goes to, each once; `exchanges` are those of the vhost.

    An exchange that finds no destination at all hands on to its alternate exchange, if that exists.
    Without a message the answer must follow from the keys alone: None is returned if an exchange on
    the way has to see each message.
    """
    queues: dict[Queue, None] = {}
    seen = {exchange}
    work = [exchange]
    while work:
        current = work.pop()
        if message is None and current.routes_each_message:
            return None
        matched = list(current.match(routing_keys, message))
        if not matched and current.alternate is not None:
            alternate = exchanges.get(current.alternate)
            matched = [] if alternate is None else [alternate]
        for destination in matched:
            if isinstance(destination, Queue):
                queues[destination] = None
            elif destination not in seen:
                seen.add(destination)
                work.append(destination)
    return queues

"""Delays: the oracle for x-delayed-message.

A message that is published with a delay waits in the line before its exchange, which keeps
everything on disk. When its time has come, and not before, it goes where the exchange's bindings
lead then: all in one step, so that after a crash it is in the line or in its queues, never in both.
The line goes with its exchange, and all that is in it.
"""

from . import routing
from .exchanges import EXCHANGES
from .model import Model
from .queues import Traits
from .things import Commit, Entry, MQueue, Sent

LINE = Traits(keeps_all=True, counts_as_routed=False)
"""The line of an exchange is a queue that has its name."""


def line_for(model: Model, exchange: str, sent: Sent) -> list[MQueue]:
    """Where a message waits that is published now, if it does."""
    waits = exchange and is_delayed(exchange) and sent.delay_ms
    return [model.queues[exchange]] if waits else []


def are_reached(queues: list[MQueue]) -> bool:
    """Whether a message has come to queues: one that waits counts as not routed, and a reply."""
    return any(queue.traits.counts_as_routed for queue in queues)


def is_delayed(exchange: str) -> bool:
    """Whether it is an exchange with a line."""
    return EXCHANGES[exchange].type == "x-delayed-message"


def release(model: Model) -> None:
    """Publish what is due, in the order of due times."""
    for exchange in sorted(model.exchanges):
        if is_delayed(exchange):
            line = model.queues[exchange]
            for entry in sorted(line.ready, key=lambda each: (_due_ms(each), each.place)):
                if _due_ms(entry) <= model.now_ms:
                    _release_one(model, exchange, line, entry)


def _due_ms(entry: Entry) -> int:
    return entry.came_ms + entry.sent.delay_ms


def _release_one(model: Model, exchange: str, line: MQueue, entry: Entry) -> None:
    line.ready.remove(entry)
    commit = Commit(model.batch, settled=[(line, entry)])
    entry.settled_in = model.batch
    model.put(entry.sent, routing.route(model, exchange, entry.sent), commit)
    model.commits.append(commit)

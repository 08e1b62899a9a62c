"""What a basic.publish frame means, worked out once for all messages that begin with the same."""

from typing import TYPE_CHECKING

from .queue import Queue

if TYPE_CHECKING:
    from .exchange import Exchange

SINGLY, ENQUEUE, STORE = range(3)
"""What there is to do with a message, once its route is known."""

PLAIN = (ENQUEUE, ENQUEUE, SINGLY)
DURABLE = (ENQUEUE, STORE, SINGLY)
KEPT = (STORE, STORE, SINGLY)
SINGLY_ONLY = (SINGLY, SINGLY, SINGLY)


class Route:
    """What a basic.publish frame means: the address, and the queues it leads to.

    `per_message` says that an exchange on the way has to see each message. `handling` tells, by the
    kind of a message's properties, what to do with it. `owners` are the numbers of its durable
    queues.
    """

    __slots__ = (
        "address",
        "exchange",
        "handling",
        "mandatory",
        "owners",
        "per_message",
        "queues",
        "routing_key",
    )

    def __init__(self, address: bytes, exchange: "Exchange", routing_key: str, mandatory: bool):
        self.address = address
        self.exchange = exchange
        self.routing_key = routing_key
        self.mandatory = mandatory
        self.queues: tuple[Queue, ...] = ()
        self.per_message = False
        self.owners: tuple[int, ...] = ()
        self.handling = SINGLY_ONLY

"""Who gets a message: the oracle for x-single-active-consumer, and for x-priority of consumers.

Of the consumers of a queue with a single active one all others stand by. When it goes the one with
the highest priority takes over, of equal ones the first. (A quorum queue with one knows no get.)
Elsewhere nobody gets a message while one with a higher priority can take it, and equal ones take
turns.
"""

from collections.abc import Sequence
from math import inf
from typing import TypeAlias

from .things import MConsumer, MQueue, Violation

Credit: TypeAlias = dict[MConsumer, float]
"""How many messages consumers can take by their own prefetch."""


def elect(queue: MQueue) -> None:
    """Consumers have come or gone: who stands by?"""
    if not queue.traits.single_active or not queue.consumers:
        return
    if all(consumer.stands_by for consumer in queue.consumers):
        max(queue.consumers, key=lambda consumer: consumer.priority).stands_by = False


def is_taken(queue: MQueue, *, exclusive: bool) -> bool:
    """Whether a queue refuses another consumer, which may want to be the only one."""
    if queue.traits.quorum or queue.traits.stream:
        return False
    shared = queue.consumers or queue.traits.single_active
    return any(other.exclusive for other in queue.consumers) or bool(exclusive and shared)


def credit_of(queue: MQueue) -> Credit:
    """What its consumers can take."""
    return {consumer: _credit(consumer) for consumer in queue.consumers}


def _credit(consumer: MConsumer) -> float:
    if consumer.stands_by:
        return 0
    return consumer.prefetch - consumer.unsettled if consumer.prefetch else inf


def check_one(consumer: MConsumer) -> None:
    """A consumer is sent a message now. Raises Violation."""
    for other in consumer.queue.consumers:
        if other.priority > consumer.priority and other.has_credit():
            raise _wrong(consumer, other)


def check_turns(queue: MQueue, credit: Credit, served: Sequence[MConsumer]) -> None:
    """Consumers had this credit, and were served in this order; they have what they got. Raises
    Violation.
    """
    left = dict(credit)
    for consumer in served:
        for other in queue.consumers:
            # A limit that a channel has is also for what it gets of other queues meanwhile.
            could = left[other] > 0 and (other.no_ack or not other.channel.limit)
            if other.priority > consumer.priority and (could or other.has_credit()):
                raise _wrong(consumer, other)
        left[consumer] -= 1
    ready = [consumer for consumer in queue.consumers if consumer.has_credit()]
    for consumer in ready:
        for other in ready:
            lead = served.count(consumer) - served.count(other)
            if lead > 1 and consumer.priority == other.priority:
                raise Violation(
                    f"turns: {consumer.tag} got {lead} more of {queue.name} than {other.tag}"
                )


def _wrong(consumer: MConsumer, other: MConsumer) -> Violation:
    return Violation(f"priority: {consumer.tag} was served, {other.tag} could have been")

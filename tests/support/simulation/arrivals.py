"""What consumers have been sent in the middle of a turn, as far as others notice.

Most of what consumers are sent is only compared at the end of a step. But who looks into a queue,
or leaves, does so at some moment within it: what came before is to be taken account of before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_client import Received

from . import serving, streams, two_to_one
from .names import name_of
from .things import Entry, MConsumer, MQueue, Violation

if TYPE_CHECKING:
    from .model import Model


def take_early(model: Model, queue: MQueue) -> None:
    """Somebody looks into a queue in the middle of a turn: those that wait had their turn."""
    if model.arrivals is None:
        return
    if queue.traits.stream:
        first = model.first_offset(queue)
        while any(consumer.is_due(first) for consumer in queue.consumers):
            _pass_one(model, *_recipient(model, queue, None))
        return
    while not queue.returning and any(consumer.has_credit() for consumer in queue.consumers):
        entry = model.offer(queue)
        if entry is None:
            return
        two_to_one.leave(queue, entry)
        consumer, _ = _recipient(model, queue, entry)
        serving.check_one(consumer)
        model.deliver(consumer.channel, consumer, entry)


def take_before_end(model: Model, consumer: MConsumer) -> None:
    """A consumer goes: it may have been sent messages of a stream that has dropped them since, so
    that it would not be due any more.
    """
    arrivals = model.arrivals or []
    of_channel = [
        (each, other)
        for each in arrivals
        if each[0] is consumer.channel.client
        and each[1].channel == consumer.channel.number
        and (other := consumer.channel.consumers.get(each[1].call.consumer_tag))
    ]
    while any(other is consumer for _, other in of_channel) and of_channel[0][1].has_credit():
        arrival, other = of_channel.pop(0)
        if not other.queue.traits.stream:
            return
        arrivals.remove(arrival)
        _pass_one(model, other, arrival[1])


def _pass_one(model: Model, consumer: MConsumer, got: Received) -> None:
    entry = streams.pass_one(consumer, got, model.first_offset(consumer.queue))
    model.deliver(consumer.channel, consumer, entry)


def _recipient(model: Model, queue: MQueue, entry: Entry | None) -> tuple[MConsumer, Received]:
    """Who has been sent a message, None for any of a stream; it is taken account of then."""
    arrivals = model.arrivals or []
    for place, (client, got) in enumerate(arrivals):
        channel = client.channels.get(got.channel)
        consumer = channel and channel.consumers.get(got.call.consumer_tag)
        if (
            consumer
            and consumer.queue is queue
            and (consumer.is_due() if entry is None else consumer.has_credit())
            and (entry is None or _is_of(got, entry))
            and got.call.delivery_tag == consumer.channel.last_tag + 1
        ):
            del arrivals[place]
            return consumer, got
    name = "what is next" if entry is None else entry.name
    raise Violation(f"overtaken: {name} of {queue.name} waits for a consumer")


def _is_of(got: Received, entry: Entry) -> bool:
    return (name_of(got), got.call.redelivered) == (entry.name, entry.redelivered)

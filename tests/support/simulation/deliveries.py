"""Holding what consumers are sent, and what stays in the queues, against the model."""

from typing import TypeAlias

from fake_client import Received, shown

from .expiry import is_too_late
from .model import Model
from .things import Entry, MChannel, MConsumer, MQueue, Violation
from .world import name_of

Observed: TypeAlias = list[tuple[MChannel, Received]]


def check_deliveries(model: Model, delivered: Observed) -> None:
    """What was delivered must be the first messages of the queues, in order; those that must not
    stay then are gone.
    """
    names: dict[MQueue, set[str]] = {}
    for channel, got in delivered:
        queue = _consumer(channel, got).queue
        names.setdefault(queue, set()).add(name_of(got))
    due, expired = _come_to_rest(model, names)
    last: dict[MConsumer, Entry] = {}
    for channel, got in delivered:
        consumer = _consumer(channel, got)
        entry = due[consumer.queue].pop(name_of(got), None)
        if entry is None:
            raise Violation(f"order: {name_of(got)} of {consumer.queue.name}, not its turn")
        if consumer in last and entry < last[consumer]:
            raise Violation(f"order: {name_of(got)} of {consumer.queue.name} too late")
        last[consumer] = entry
        _check_one(channel, got, consumer, entry)
        model.deliver(channel, consumer, entry)
    for queue, entry in expired:
        late = is_too_late(entry, model.now_ms)
        if not late and any(consumer.has_credit() for consumer in queue.consumers):
            raise Violation(f"expired: {entry.name} before a ready consumer could have it")


def _consumer(channel: MChannel, got: Received) -> MConsumer:
    consumer = channel.consumers.get(got.call.consumer_tag)
    if consumer is None:
        raise Violation(f"unexpected: delivery to no consumer, {shown(got)}")
    return consumer


def _come_to_rest(
    model: Model, names: dict[MQueue, set[str]]
) -> tuple[dict[MQueue, dict[str, Entry]], list[tuple[MQueue, Entry]]]:
    """Take those that were delivered from the heads of the queues, and be done with those that must
    not stay, until nothing happens any more. Returns the former, and those that expired.
    """
    due: dict[MQueue, dict[str, Entry]] = {queue: {} for queue in names}
    expired: list[tuple[MQueue, Entry]] = []
    for queue in model.queues.values():
        delivered = names.get(queue, ())
        for entry in queue.ready:
            if entry.name in delivered and is_too_late(entry, model.now_ms):
                raise Violation(f"expired: {entry.name} delivered from {queue.name} too late")
        while delivered and (entry := model.offer(queue)) and entry.name in delivered:
            queue.ready.remove(entry)
            due[queue][entry.name] = entry
        expired += [(queue, entry) for entry in model.tidy(queue)]
    return due, expired


def _check_one(channel: MChannel, got: Received, consumer: MConsumer, entry: Entry) -> None:
    name = entry.name
    if got.call.redelivered != entry.redelivered:
        raise Violation(f"redelivered: {name} has {got.call.redelivered}")
    if not consumer.has_credit():
        raise Violation(f"prefetch: {name} delivered to {consumer.tag} without credit")
    if got.call.delivery_tag != channel.last_tag + 1:
        raise Violation(f"delivery tag: {got.call.delivery_tag} after {channel.last_tag}")

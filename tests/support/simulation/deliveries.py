"""Holding what consumers are sent, and what stays in the queues, against the model."""

from collections import Counter
from typing import TypeAlias

from fake_client import Received, shown

from . import contents, delays, retries, serving, streams, two_to_one
from .expiry import is_too_late
from .model import Model
from .names import name_of
from .quorum import check_count
from .things import Entry, MChannel, MConsumer, MQueue, Violation

Observed: TypeAlias = list[tuple[MChannel, Received]]


def check_deliveries(model: Model, delivered: Observed) -> None:
    """What was delivered must be the first messages of the queues, in order; those that must not
    stay then are gone.
    """
    names: dict[MQueue, Counter[str]] = {}
    for channel, got in delivered:
        queue = _consumer(channel, got).queue
        if not queue.traits.stream:
            names.setdefault(queue, Counter())[name_of(got)] += 1
    due, order, expired = _come_to_rest(model, names)
    credit = {queue: serving.credit_of(queue) for queue in names}
    turn_of = {entry: turn for taken in order.values() for turn, entry in enumerate(taken)}
    last: dict[MConsumer, Entry] = {}
    taken: dict[Entry, MConsumer] = {}
    for channel, got in delivered:
        consumer = _consumer(channel, got)
        if consumer.queue.traits.stream:
            entry = streams.pass_one(consumer, got, model.first_offset(consumer.queue))
            _check_one(model, channel, got, consumer, entry)
            model.deliver(channel, consumer, entry)
            continue
        same = due[consumer.queue].get(name_of(got))
        if not same:
            raise Violation(f"order: {name_of(got)} of {consumer.queue.name}, not its turn")
        entry = same.pop(0)
        _check_order(consumer, entry, last, turn_of)
        taken[entry] = consumer
        _check_one(model, channel, got, consumer, entry)
        model.deliver(channel, consumer, entry)
    for queue, entries in order.items():
        serving.check_turns(queue, credit[queue], [taken[entry] for entry in entries])
    for queue, entry in expired:
        late = is_too_late(entry, model.now_ms)
        if not late and any(consumer.has_credit() for consumer in queue.consumers):
            raise Violation(f"expired: {entry.name} before a ready consumer could have it")


def _check_order(
    consumer: MConsumer, entry: Entry, last: dict[MConsumer, Entry], turn_of: dict[Entry, int]
) -> None:
    """A consumer gets a message behind the last one of those whose order is known."""
    if consumer.queue.takes_turns and entry not in turn_of:
        return
    if entry.is_sure:
        if consumer in last:
            before = last[consumer]
            if turn_of[entry] < turn_of[before] if entry in turn_of else entry < before:
                raise Violation(f"order: {entry.name} of {consumer.queue.name} too late")
        last[consumer] = entry


def _consumer(channel: MChannel, got: Received) -> MConsumer:
    consumer = channel.consumers.get(got.call.consumer_tag)
    if consumer is None:
        raise Violation(f"unexpected: delivery to no consumer, {shown(got)}")
    return consumer


def _come_to_rest(
    model: Model, names: dict[MQueue, Counter[str]]
) -> tuple[
    dict[MQueue, dict[str, list[Entry]]], dict[MQueue, list[Entry]], list[tuple[MQueue, Entry]]
]:
    """Take those that were delivered from the heads of the queues, and be done with those that must
    not stay, until nothing happens any more. Returns the former by name, and in order where that is
    known, and those that expired.
    """
    due: dict[MQueue, dict[str, list[Entry]]] = {queue: {} for queue in names}
    order: dict[MQueue, list[Entry]] = {queue: [] for queue in names if queue.in_order}
    expired: list[tuple[MQueue, Entry]] = []
    model.bury()
    delays.release(model)
    retries.release(model)
    while True:
        for queue in (*model.queues.values(), *model.replies.queues):
            if queue in names:
                if not queue.in_order:
                    order.pop(queue, None)
                for entry in _take(model, queue, names[queue]):
                    if queue in order:
                        order[queue].append(entry)
                    due[queue].setdefault(entry.name, []).append(entry)
            expired += [(queue, entry) for entry in model.tidy(queue)]
        if not model.bury():
            return due, order, expired


def _take(model: Model, queue: MQueue, delivered: Counter[str]) -> list[Entry]:
    if queue.returning:
        return []
    for entry in queue.ready:
        if delivered[entry.name] and is_too_late(entry, model.now_ms):
            raise Violation(f"expired: {entry.name} delivered from {queue.name} too late")
    if not queue.in_order:
        return _take_any(queue, delivered)
    taken: list[Entry] = []
    while (entry := model.offer(queue)) and delivered[entry.name]:
        delivered[entry.name] -= 1
        two_to_one.leave(queue, entry)
        taken.append(entry)
    return taken


def _take_any(queue: MQueue, delivered: Counter[str]) -> list[Entry]:
    """Of some it is not known where they stand; the others have an order."""
    taken: list[Entry] = []
    passed: dict[bool, Entry] = {}
    for entry in list(queue.ready):
        goes_first = queue.takes_turns and two_to_one.is_high(entry)
        if not delivered[entry.name]:
            if entry.is_sure:
                passed[goes_first] = entry
        elif entry.is_sure and goes_first in passed:
            other = passed[goes_first]
            raise Violation(f"order: {entry.name} of {queue.name} before {other.name}")
        else:
            queue.turn = None if queue.takes_turns else queue.turn
            delivered[entry.name] -= 1
            queue.ready.remove(entry)
            taken.append(entry)
    return taken


def _check_one(
    model: Model, channel: MChannel, got: Received, consumer: MConsumer, entry: Entry
) -> None:
    name = entry.name
    contents.check(entry.sent, got, model.replies.check_told)
    if got.call.redelivered != entry.redelivered:
        raise Violation(f"redelivered: {name} has {got.call.redelivered}")
    if consumer.queue.traits.quorum:
        check_count(entry, got)
    if consumer.stands_by:
        raise Violation(f"turns: {name} delivered to {consumer.tag}, which stands by")
    if not consumer.has_credit():
        raise Violation(f"prefetch: {name} delivered to {consumer.tag} without credit")
    if got.call.delivery_tag != channel.last_tag + 1:
        raise Violation(f"delivery tag: {got.call.delivery_tag} after {channel.last_tag}")

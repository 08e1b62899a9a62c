"""Ack timeouts: the oracle for x-consumer-timeout of queues and consumers, and for the policy.

A channel is closed whose oldest outstanding delivery is outstanding for longer than it may be:
never early, and somewhat late, for the broker looks now and then. One that waits for an answer has
time.
"""

from .things import Delivery, MChannel, Violation

LATE_MS = 1000
"""How late a channel may be closed."""


def timeout_ms(delivery: Delivery) -> int | None:
    """How long it may be outstanding; None for ever. The consumer's counts before the queue's."""
    if delivery.consumer is not None and delivery.consumer.ack_timeout_ms is not None:
        return delivery.consumer.ack_timeout_ms
    return delivery.queue.traits.ack_timeout_ms


def _is_overdue(channel: MChannel, now_ms: int) -> bool:
    if not channel.unsettled:
        return False
    oldest = channel.unsettled[min(channel.unsettled)]
    most_ms = timeout_ms(oldest)
    return most_ms is not None and now_ms - oldest.since_ms >= most_ms


def check_closed(channel: MChannel, now_ms: int) -> None:
    """The broker has closed a channel for its timeout now. Raises Violation."""
    if not _is_overdue(channel, now_ms):
        raise Violation(f"timeout: {channel.name} has been closed early")


def check_open(channel: MChannel, now_ms: int, *, waits: bool) -> None:
    """It has not. Raises Violation."""
    if waits or not _is_overdue(channel, now_ms):
        channel.overdue_since_ms = None
    elif channel.overdue_since_ms is None:
        channel.overdue_since_ms = now_ms
    elif now_ms - channel.overdue_since_ms > LATE_MS:
        raise Violation(f"timeout: {channel.name} has not been closed")

"""From what is set for a queue, by arguments and policies, to what the queue does.

Settings change while the queue lives, when policies do. Those that make a difference to it are
applied here; others (of quorum queues and streams) are read from `queue.settings` where they count.
"""

from typing import TYPE_CHECKING

from ..amqp.fields import Field
from .dead_letter import DeadLetters
from .deduplication import Deduplication
from .delayed_retries import DelayedRetries
from .expiry import Expiry
from .features import Features
from .lease import Lease
from .limits import limits_of
from .priorities import PriorityQueue
from .queue_settings import QueueSettings, queue_type, settings_of
from .single_active import SingleActive
from .stream_queue import StreamQueue

if TYPE_CHECKING:
    from .firehose import Firehose
    from .intake import Intake
    from .queue import Queue
    from .vhost import VirtualHost


def add_features(queue: "Queue", vhost: "VirtualHost", intake: "Intake") -> None:
    """Give a new queue what its arguments, which have been checked, and policies ask for."""
    if isinstance(queue, PriorityQueue):
        queue.features = Features(queue, prioritized=True)
    if queue.arguments.get("x-single-active-consumer") == Field("t", True):
        queue.consumers.single_active = SingleActive()
    if vhost.firehose is not None:
        trace(queue, vhost.firehose)
    update_settings(queue, vhost, intake)


def trace(queue: "Queue", firehose: "Firehose | None") -> None:
    """Have all deliveries of a queue told to the firehose, or to nobody any more."""
    if firehose is not None:
        _features_of(queue).firehose = firehose
    elif queue.features is not None:
        queue.features.firehose = None


def update_settings(queue: "Queue", vhost: "VirtualHost", intake: "Intake") -> None:
    """Have a queue do what is set for it now: policies may have changed.

    The vhost's `epoch` must move afterwards.
    """
    settings, before = _settings_in(vhost, queue), queue.settings
    if settings == before:
        return None
    queue.settings = settings
    if settings.consumer_timeout_ms is not None:
        vhost.ack_timeouts.watch(settings.consumer_timeout_ms)
    if isinstance(queue, StreamQueue):
        return queue.review()
    _change_lease(queue, vhost, intake, settings.expires_ms)
    if _dead_letters(settings) != _dead_letters(before):
        _change_dead_letters(queue, vhost, intake)
    _change_ttl(queue, intake, settings.message_ttl_ms)
    if settings.delayed_retry_type is not None and queue.retries is None:
        queue.retries = DelayedRetries(queue, intake.timers)
    if _limits(settings) != _limits(before):
        _change_limits(queue)
    if settings.deduplicates != before.deduplicates:
        _change_deduplication(queue, vhost, intake)
    return None


def _settings_in(vhost: "VirtualHost", queue: "Queue") -> QueueSettings:
    matching = vhost.policies.matching(queue_type(queue.arguments), queue.name)
    return settings_of(queue.arguments, matching.definition)


def _features_of(queue: "Queue") -> Features:
    if queue.features is None:
        queue.features = Features(queue)
    return queue.features


def _change_lease(
    queue: "Queue", vhost: "VirtualHost", intake: "Intake", expires_ms: int | None
) -> None:
    """As in RabbitMQ, the time that it may be unused begins anew."""
    if queue.lease is not None:
        queue.lease.end()
        queue.lease = None
    if expires_ms is not None:
        queue.lease = Lease(queue, expires_ms, intake.timers, vhost.delete_in_turns)


def _dead_letters(settings: QueueSettings) -> tuple[str | None, str | None]:
    return settings.dead_letter_exchange, settings.dead_letter_routing_key


def _change_dead_letters(queue: "Queue", vhost: "VirtualHost", intake: "Intake") -> None:
    exchange, routing_key = _dead_letters(queue.settings)
    queue.dead_letters = (
        None if exchange is None else DeadLetters(queue, vhost, intake, exchange, routing_key)
    )


def _change_ttl(queue: "Queue", intake: "Intake", ttl_ms: int | None) -> None:
    expiry = None if queue.features is None else queue.features.expiry
    if (None if expiry is None else expiry.ttl_ms) == ttl_ms:
        return
    if expiry is not None:
        expiry.ttl_ms = ttl_ms
        queue.look()
        return
    own_ttl_ms = settings_of(queue.arguments, {}).message_ttl_ms
    _features_of(queue).expiry = Expiry(queue.number, own_ttl_ms, ttl_ms, intake.timers, queue.look)


def _limits(settings: QueueSettings) -> tuple[int | None, int | None, str]:
    return settings.max_length, settings.max_length_bytes, settings.overflow


def _change_limits(queue: "Queue") -> None:
    limits = limits_of(*_limits(queue.settings))
    if limits is not None or queue.features is not None:
        _features_of(queue).limit(limits)
        queue.look()


def _change_deduplication(queue: "Queue", vhost: "VirtualHost", intake: "Intake") -> None:
    _features_of(queue).deduplication = (
        Deduplication(intake.timers, duplicates_die=vhost.rules.duplicates_die)
        if queue.settings.deduplicates
        else None
    )

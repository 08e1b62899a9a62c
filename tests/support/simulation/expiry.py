"""Time to live: the oracle for x-message-ttl, `expiration` and x-expires.

A message whose time is up is delivered to nobody, and gone as soon as it is the first one of its
queue; behind another one it is still counted. The shorter time counts, from when it was published,
over restarts as well. What has been delivered does not expire until it comes back.
"""

from .queues import Traits
from .things import Entry, MQueue, Sent


def expires_ms(traits: Traits, sent: Sent, now_ms: int) -> int | None:
    """When a message that is published now expires, None for never."""
    times = [ttl for ttl in (traits.ttl_ms, sent.ttl_ms) if ttl is not None]
    return now_ms + min(times) if times else None


def is_over(entry: Entry, now_ms: int) -> bool:
    """Whether a message must not stay at the head of its queue."""
    return entry.expires_ms is not None and entry.expires_ms <= now_ms


def is_too_late(entry: Entry, now_ms: int) -> bool:
    """Whether it must not be delivered: in its very last moment a message may be, if it is for the
    first time.
    """
    if entry.expires_ms is None or entry.expires_ms > now_ms:
        return False
    return entry.redelivered or entry.expires_ms < now_ms


def is_unused(queue: MQueue, now_ms: int) -> bool:
    """Whether a queue has been left alone for as long as it may be."""
    expires = queue.traits.expires_ms
    return expires is not None and not queue.consumers and queue.used_ms + expires <= now_ms

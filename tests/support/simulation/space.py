"""Space on disk: the oracle for what the journal keeps, and how long it becomes.

It has the messages that queues keep and those of deleted queues that clients have not settled, and
no others. When it has caught up its files are not longer together than twice what lives, and some
segments.
"""

from collections import Counter

from .model import Model
from .things import Entry, MChannel, MQueue, Violation
from .world import World

_MESSAGE_BYTES, _DEFINITION_BYTES, _ALWAYS_BYTES = 150, 400, 2000
"""What a message takes beside its content, a queue or the like, and all that is always there; about
that, but no more.
"""
_SEGMENTS = 8
_LARGE_BYTES = 5200
"""A segment may be longer by one message."""


def check(model: Model, channels: list[MChannel], world: World) -> None:
    """Compare what is on disk, when nothing is left to be done, with what must be. Raises
    Violation.
    """
    kept = [(queue, entry) for queue in model.incarnations for entry in _kept(queue)]
    kept += [each for channel in channels for each in _outstanding(channel)]
    wanted = Counter(queue.number for queue, _ in kept)
    numbers = {queue.number: queue.name for queue in model.incarnations}
    actual = {number: n for number, n in world.kept_for().items() if number in numbers}
    if actual != wanted:
        raise Violation(f"space: messages are kept for {actual}, not {dict(wanted)}: {numbers}")
    live_bytes = sum(entry.sent.content_bytes + _MESSAGE_BYTES for _, entry in kept)
    things = len(model.queues) + len(model.exchanges) + len(model.bindings) + len(model.policies)
    live_bytes += _DEFINITION_BYTES * things + _ALWAYS_BYTES
    most_bytes = 2 * live_bytes + _SEGMENTS * (world.settings.segment_bytes + _LARGE_BYTES)
    if world.journal_bytes > most_bytes:
        raise Violation(f"space: the journal has {world.journal_bytes} bytes, not {most_bytes}")


def _kept(queue: MQueue) -> list[Entry]:
    if queue.deleted:
        return []
    return [entry for entry in queue.stored if entry.settled_in is None]


def _outstanding(channel: MChannel) -> list[tuple[MQueue, Entry]]:
    """What a channel has of deleted queues."""
    deliveries = [*channel.unsettled.values()]
    deliveries += [each for settled, _ in channel.tx_settled for each in settled.values()]
    return [
        (each.queue, each.entry)
        for each in deliveries
        if each.queue.deleted and each.queue.keeps(each.entry.sent) and not each.queue.traits.stream
    ]

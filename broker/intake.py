"""Where a routed message enters its queues: kept once on disk for all that are durable."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from .message import Message
from .notes import QUEUE_TTLS_MAX, Notes
from .queue import Queue
from .ranks import Priorities, rank_of
from .timers import Timers

if TYPE_CHECKING:
    from ..storage.journal import Journal


class Intake:
    """Takes messages one by one, from clients and from the broker itself.

    `next_message_id` gives the places of messages in their queues; `later` has a call made at the
    end of the turn.
    """

    def __init__(
        self,
        journal: "Journal | None",
        timers: Timers,
        next_message_id: Callable[[], int],
        later: Callable[[Callable[[], None]], None],
    ):
        self._journal = journal
        self._last_ttls: tuple[tuple[int, int], ...] = ()
        self._priorities = Priorities()
        self.timers = timers
        self.next_message_id = next_message_id
        self.later = later

    def put(self, message: Message, queues: tuple[Queue, ...]) -> bool:
        """Enqueue a message; False if a queue was full and refused it."""
        if message.notes is not None or any(queue.timed for queue in queues):
            notes = message.notes = message.notes or Notes()
            notes.published_ms = self.timers.wall_ms
            notes.queue_ttls = self._queue_ttls(queues)
            if len(notes.queue_ttls) > QUEUE_TTLS_MAX:
                return self._put_in_parts(message, notes, queues)
        accepting = tuple(queue for queue in queues if queue.accepts(message))
        for queue in queues:
            if queue not in accepting:
                queue.refuse(message)
        if not message.persistent and any(queue.keeps_all for queue in accepting):
            keeping = tuple(queue for queue in accepting if queue.keeps_all)
            others = tuple(queue for queue in accepting if not queue.keeps_all)
            self._enqueue(msgspec.structs.replace(message), others)
            self._enqueue(message, keeping, keep=True)
        else:
            self._enqueue(message, accepting, keep=message.persistent)
        return len(accepting) == len(queues)

    def _queue_ttls(self, queues: tuple[Queue, ...]) -> tuple[tuple[int, int], ...]:
        """How long a message may wait where a policy says so; mostly the same as the last time."""
        ttls = tuple(
            (queue.number, ttl_ms)
            for queue in queues
            if (ttl_ms := _noted_ttl_ms(queue)) is not None
        )
        if ttls != self._last_ttls:
            self._last_ttls = ttls
        return self._last_ttls

    def _put_in_parts(self, message: Message, notes: Notes, queues: tuple[Queue, ...]) -> bool:
        """Enqueue a message that goes to more queues than its notes have room for."""
        some, others = queues[:QUEUE_TTLS_MAX], queues[QUEUE_TTLS_MAX:]
        copy = msgspec.structs.replace(message, notes=msgspec.structs.replace(notes))
        accepted = self.put(copy, some)
        return self.put(message, others) and accepted

    def _enqueue(self, message: Message, queues: tuple[Queue, ...], *, keep: bool = False) -> None:
        owners = owners_of(queues) if keep else ()
        if owners and self._journal is not None:
            notes = message.notes
            attributes = b"" if notes is None else notes.encoded()
            stored = owners, message.address, message.content, attributes
            if message.has_priority and any(queue.ranks_messages for queue in queues):
                rank = rank_of(self._priorities[message.raw_properties])
                message.stored = self._journal.append_ranked(rank, *stored)
            else:
                message.stored = self._journal.append_message(*stored)
        for queue in queues:
            queue.seen(len(message.content))
            queue.enqueue(message)


def _noted_ttl_ms(queue: Queue) -> int | None:
    """What must be noted with new messages, because a policy says how long they may wait."""
    expiry = None if queue.features is None else queue.features.expiry
    return None if expiry is None else expiry.noted_ttl_ms


def owners_of(queues: tuple[Queue, ...]) -> tuple[int, ...]:
    """The numbers of the queues that keep persistent messages on disk."""
    return tuple(queue.number for queue in queues if queue.durable)

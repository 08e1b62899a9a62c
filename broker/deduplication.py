"""x-message-deduplication of a queue: a message whose value it holds already does not come in.

As queues of the plugin rabbitmq-message-deduplication
(https://github.com/noxdafox/rabbitmq-message-deduplication): values stand in the header
`x-deduplication-header`. A duplicate is refused, so that its publisher sees a basic.nack, and from
RabbitMQ 4.1 on it becomes a dead letter besides. A value may come again as soon as its message

- has been acknowledged, was delivered to somebody who acknowledges nothing, or has died,
- has been in the queue for its time to live, though it may not have left it yet,
- is forgotten by a purge of the queue, also if it was delivered and not acknowledged yet.

After a restart the values are those of the messages that the queue still holds (the plugin has
forgotten them). A policy that turns this on counts the messages that come from then on.

Each value takes some memory, also if its message is on disk only. It counts in the memory budget:
past that publishers are blocked, rather than that a duplicate would come in.
"""

from .fingerprint import fingerprint_of
from .message import Message
from .timers import Timers

ENTRY_BYTES = 150


class Deduplication:
    """The values that one queue holds. `duplicates_die` says that duplicates become dead
    letters.

    A message is told from another one with the same value by when it was published, which survives
    paging and restarts.
    """

    __slots__ = ("_expires_ms", "_last_asked", "_published_ms", "_timers", "duplicates_die")

    def __init__(self, timers: Timers, *, duplicates_die: bool):
        self._timers = timers
        self.duplicates_die = duplicates_die
        self._published_ms: dict[bytes, int] = {}
        self._expires_ms: dict[bytes, int] = {}
        """When the time of messages is up, of those of which it will be."""
        self._last_asked: tuple[int, bytes | None] = 0, None
        """Id and value of the message that was asked about last: it is what is added next."""

    def knows(self, message: Message) -> bool:
        """Whether another message with the same value is in the queue."""
        value = self._value(message)
        if value is None or value not in self._published_ms:
            return False
        expires_ms = self._expires_ms.get(value)
        return expires_ms is None or expires_ms > self._timers.wall_ms

    def add(self, message: Message, expires_ms: int | None) -> None:
        """A message is in the queue, anew or again, until then; None for as long as it takes."""
        value = self._value(message)
        if value is None:
            return
        if value in self._published_ms:
            earlier_ms = self._expires_ms.get(value)
            if earlier_ms is None or (expires_ms is not None and expires_ms <= earlier_ms):
                return
        self._published_ms[value] = _published_ms(message)
        if expires_ms is None:
            self._expires_ms.pop(value, None)
        else:
            self._expires_ms[value] = expires_ms

    def remove(self, message: Message) -> None:
        """A message has left the queue."""
        value = fingerprint_of(message)
        if value is not None and self._published_ms.get(value) == _published_ms(message):
            del self._published_ms[value]
            self._expires_ms.pop(value, None)

    def _value(self, message: Message) -> bytes | None:
        if self._last_asked[0] != message.id:
            self._last_asked = message.id, fingerprint_of(message)
        return self._last_asked[1]

    def clear(self) -> None:
        """The queue was purged."""
        self._published_ms.clear()
        self._expires_ms.clear()

    @property
    def value_count(self) -> int:
        """How many values there are."""
        return len(self._published_ms)

    @property
    def memory_bytes(self) -> int:
        """About how much memory they take."""
        return ENTRY_BYTES * self.value_count

    def page_out(self) -> None:
        """Nothing can go as long as its message is there."""


def _published_ms(message: Message) -> int:
    return 0 if message.notes is None else message.notes.published_ms

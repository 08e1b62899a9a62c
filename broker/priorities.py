"""x-max-priority: a queue in which messages of a higher priority go first.

Within one priority messages keep their order, also when they come back. A message without a
priority has 0, one above the maximum counts as the maximum (its property stays as it is). What is
said of the head of a queue elsewhere, expiry and limits above all, holds for the first message of
the highest priority that there is (https://www.rabbitmq.com/docs/priority).
"""

from array import array
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

from ..amqp.content import PRIORITY, Properties
from .clearing import cleared
from .line import Line
from .message import OVERHEAD_BYTES, Message
from .queue import Queue

_REMEMBERED_MAX = 4096


class Priorities(dict[bytes, int | None]):
    """The priorities that property bytes give a message, None for none; a bounded number of them is
    remembered.
    """

    def __missing__(self, raw: bytes) -> int | None:
        if len(self) >= _REMEMBERED_MAX:
            self.clear()
        self[raw] = priority = Properties(raw).octet(PRIORITY)
        return priority


class Level(Line):
    """The messages of one priority."""

    __slots__ = ("_queue",)

    def __init__(self, queue: Queue):
        super().__init__(queue.number, queue.store, durable=queue.durable)
        self._queue = queue

    def notice(self, message: Message) -> None:
        self._queue.notice(message)

    def seen(self, content_bytes: int) -> None:
        self._queue.seen(content_bytes)

    def held_messages(self) -> int:
        return self._queue.held_messages()

    def count_bytes(self, messages: Iterable[Message], sign: int) -> None:
        self._queue.count_bytes(messages, sign)


class PriorityQueue(Queue):
    """A queue that is a line of messages for each priority in use."""

    __slots__ = ("_levels", "_priorities", "max_priority")

    def __init__(self, *as_queue: Any, **options: Any):
        super().__init__(*as_queue, **options)
        self.max_priority = self.arguments["x-max-priority"].integer
        self._levels: dict[int, Level] = {}
        """By priority, the highest first, those that have been in use."""
        self._priorities = Priorities()

    def _level(self, message: Message) -> Level:
        priority = min(self._priorities[message.raw_properties] or 0, self.max_priority)
        level = self._levels.get(priority)
        if level is None:
            self._levels[priority] = level = Level(self)
            self._levels = dict(sorted(self._levels.items(), reverse=True))
        return level

    # --- a line of lines ----------------------------------------------------------------------

    @property
    def message_count(self) -> int:
        return sum(level.message_count for level in self._levels.values())

    def append(self, message: Message) -> None:
        self._level(message).append(message)

    def put_back(self, message: Message) -> None:
        self._level(message).put_back(message)

    def put_back_stored(self, ids: "array[int]") -> None:
        for message in self.all_of(ids):
            self.put_back(message)
            self.notice(message)
            if self.features is not None:
                self.features.gained(message)

    def shift(self) -> tuple[Message, bool] | None:
        for level in self._levels.values():
            taken = level.shift()
            if taken is not None:
                return taken
        return None

    def head(self) -> Message | None:
        for level in self._levels.values():
            head = level.head()
            if head is not None:
                return head
        return None

    def clear(self) -> None:
        for level in self._levels.values():
            self.clearings.add(cleared(level, self.name, self.vhost_name))

    def lines(self) -> Iterable[Line]:
        return self._levels.values()

    def restore(self, ids: "array[int]", delivered: Container[int]) -> None:
        restore_by_level(self, ids, delivered, self._level)

    def page_out(self) -> None:
        for level in self._levels.values():
            level.page_out()

    def waiting(self) -> Iterator[Message]:
        for level in self._levels.values():
            yield from level.waiting()

    @property
    def memory_bytes(self) -> int:
        shells = sum(level.shells for level in self._levels.values())
        held = sum(len(level.ready) + len(level.returned) for level in self._levels.values())
        return (held - shells) * self.mean_bytes + shells * OVERHEAD_BYTES

    def delivered_before(self) -> list[int]:
        return [stored for level in self._levels.values() for stored in level.delivered_before()]

    def end(self) -> None:
        super().end()
        self._levels.clear()


def restore_by_level(
    queue: Queue,
    ids: "array[int]",
    delivered: Container[int],
    level_of: Callable[[Message], Level],
) -> None:
    """Let a queue take over messages from before a restart: each is read, for only it knows its
    priority.
    """
    if queue.features is not None:
        queue.features.know_again(ids)
    if queue.retries is not None:
        ids = queue.retries.restore(ids)
    lines: dict[Level, array[int]] = {}
    for message in queue.all_of(ids):
        lines.setdefault(level_of(message), array("Q")).append(message.stored)
        queue.notice(message)
        if queue.features is not None:
            queue.features.gained(message)
    for level, its_ids in lines.items():
        level.restore(its_ids, delivered)
    if queue.features is not None:
        queue.features.settled_down()
    queue.look()

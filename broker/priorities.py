"""x-max-priority: a queue in which messages of a higher priority go first.

Within one priority messages keep their order, also when they come back. A message without a
priority has 0, one above the maximum counts as the maximum (its property stays as it is). What is
said of the head of a queue elsewhere, expiry and limits above all, holds for the first message of
the highest priority that there is (https://www.rabbitmq.com/docs/priority).
"""

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

from .clearing import cleared
from .kept import Kept
from .line import Line
from .message import OVERHEAD_BYTES, Message
from .queue import Queue
from .ranks import Priorities, by_level


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

    ranks_messages = True

    def __init__(self, *as_queue: Any, **options: Any):
        super().__init__(*as_queue, **options)
        self.max_priority = self.arguments["x-max-priority"].integer
        self._levels: dict[int, Level] = {}
        """By priority, the highest first, those that have been in use."""
        self._priorities = Priorities()

    def _level(self, message: Message) -> Level:
        return self._level_of(self._priorities[message.raw_properties])

    def _level_of(self, priority: int | None) -> Level:
        priority = min(priority or 0, self.max_priority)
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

    def line_up(self, ids: "array[int]", kept: Kept) -> None:
        lines = by_level(ids, kept, self._level_of, self.all_of, self._priorities)
        for level, its_ids in lines.items():
            level.take_over(its_ids, kept.delivered)

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

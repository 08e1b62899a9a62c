"""Priorities of messages in quorum queues, which RabbitMQ has from 4.0 on, for all of them.

In 4.0 to 4.2 there are two: 5 and more is high, all else is normal. While both are waiting, two of
high priority go for one of normal priority, unless the one of high priority is the older one, too.
From 4.3 on there are 32 of them; the highest always goes first, more than 31 counts as 31, and a
message without a priority has 4 (https://www.rabbitmq.com/docs/4.3/priority#quorum-queues).

From 4.3 on the first message of each priority can expire, before that the first one of the queue.

What comes back has no priority any more: it goes before everything else, or to the end of the
ordinary messages (see `quorum_queue`). All that holds after a restart as before.

Ordinary messages stand in the queue itself, so that a queue without any others is delivered from as
quickly as one without priorities.
"""

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

from .clearing import cleared
from .kept import Kept
from .line import Line
from .message import Message
from .priorities import Level
from .quorum_queue import QuorumQueue
from .ranks import Priorities, by_level

_HIGH_FROM = 5
_NORMAL, _HIGH = 0, 1
_TURNS = 3
"""The last of so many turns is one for a message of normal priority."""
_STRICT_DEFAULT = 4


class PrioritizedQuorumQueue(QuorumQueue):
    """A quorum queue whose messages have priorities: so many as the rules say."""

    __slots__ = ("_levels", "_priorities", "_turn")

    ranks_messages = True

    def __init__(self, *as_queue: Any, **options: Any):
        super().__init__(*as_queue, **options)
        self._levels: dict[int, Level] = {}
        """By priority, the highest first, those that have been in use: not the ordinary one."""
        self._priorities = Priorities()
        self._turn = 0

    @property
    def _is_fair(self) -> bool:
        """Whether there are two priorities only, and both have their turns."""
        return self._rules.quorum_priorities == len((_NORMAL, _HIGH))

    @property
    def _ordinary(self) -> int:
        return _NORMAL if self._is_fair else _STRICT_DEFAULT

    def _priority(self, message: Message) -> int:
        return self._counts_as(self._priorities[message.raw_properties])

    def _counts_as(self, priority: int | None) -> int:
        if priority is None:
            return self._ordinary
        if self._is_fair:
            return _HIGH if priority >= _HIGH_FROM else _NORMAL
        return min(priority, self._rules.quorum_priorities - 1)

    def _level(self, priority: int) -> Level:
        level = self._levels.get(priority)
        if level is None:
            self._levels[priority] = level = Level(self)
            self._levels = dict(sorted(self._levels.items(), reverse=True))
        self.mix()
        return level

    # --- which is next ------------------------------------------------------------------------

    def _work(self) -> bool:
        if self.features is not None and self.features.mixed:
            return super()._work()
        # Ordinary messages alone are delivered without `take_next`, and take their turns, too.
        turn, waiting = self._turn, self._ordinary_count
        more = super()._work()
        self._turn = (turn + waiting - self._ordinary_count) % _TURNS
        return more

    @property
    def _ordinary_count(self) -> int:
        """How many ordinary messages wait that never came back."""
        backlog = self.backlog
        paged_out = 0 if backlog is None else len(backlog) - backlog.delivered
        return len(self.ready) + paged_out

    def _next_line(self) -> Line:
        """Where the next message is taken from; the queue itself if it came back, or if there is
        none.
        """
        if self._has_returned:
            return self
        lines: dict[int, Line] = {
            priority: level for priority, level in self._levels.items() if level.message_count
        }
        if self.ready or self.backlog is not None:
            lines[self._ordinary] = self
        if self._turn == _TURNS - 1 and lines.keys() == {_NORMAL, _HIGH} and self._is_fair:
            normal, high = lines[_NORMAL], lines[_HIGH]
            return normal if _place(normal) < _place(high) else high
        return lines[max(lines)] if lines else self

    @property
    def _has_returned(self) -> bool:
        return bool(self.returned) or (self.backlog is not None and self.backlog.delivered > 0)

    def take_next(self) -> tuple[Message, bool] | None:
        line = self._next_line()
        if line is self:
            came_back = self._has_returned
            taken = super().take_next()
        else:
            came_back = False
            taken = line.shift()
        if not came_back and taken is not None:
            self._turn = (self._turn + 1) % _TURNS
        return taken

    def head(self) -> Message | None:
        line = self._next_line()
        return super().head() if line is self else line.head()

    @property
    def fronts(self) -> tuple[Line, ...]:
        if self._is_fair or not self._levels:
            return (self,)
        return (self, *self._levels.values(), _Ordinary(self))

    # --- a line of lines ----------------------------------------------------------------------

    def append(self, message: Message) -> None:
        priority = self._priority(message)
        if priority == self._ordinary:
            super().append(message)
        else:
            self._level(priority).append(message)

    @property
    def has_new(self) -> bool:
        return super().has_new or any(level.message_count for level in self._levels.values())

    @property
    def message_count(self) -> int:
        return super().message_count + sum(level.message_count for level in self._levels.values())

    @property
    def memory_bytes(self) -> int:
        held = sum(len(level.ready) + len(level.returned) for level in self._levels.values())
        return super().memory_bytes + held * self.mean_bytes

    def clear(self) -> None:
        super().clear()
        for level in self._levels.values():
            self.clearings.add(cleared(level, self.name, self.vhost_name))

    def lines(self) -> Iterable[Line]:
        return (self, *self._levels.values())

    def page_out(self) -> None:
        super().page_out()
        for level in self._levels.values():
            level.page_out()

    def waiting(self) -> Iterator[Message]:
        yield from super().waiting()
        for level in self._levels.values():
            yield from level.waiting()

    def line_up_new(self, ids: "array[int]", kept: Kept) -> "array[int]":
        lines = by_level(ids, kept, self._counts_as, self.all_of, self._priorities)
        ordinary = lines.pop(self._ordinary, array("Q"))
        for priority, its_ids in lines.items():
            self._level(priority).take_over(its_ids)
        return ordinary

    def end(self) -> None:
        super().end()
        self._levels.clear()


class _Ordinary(Line):
    """The ordinary messages of a queue, as if there were no others."""

    __slots__ = ("_queue",)

    def __init__(self, queue: PrioritizedQuorumQueue):
        super().__init__(queue.number, queue.store, durable=queue.durable)
        self._queue = queue

    def head(self) -> Message | None:
        return Line.head(self._queue)

    def shift(self) -> tuple[Message, bool] | None:
        return Line.shift(self._queue)


def _place(line: Line) -> int:
    """Where the first message of a line stands among all that were published."""
    first = Line.head(line)
    assert first is not None
    return first.stored or first.id

"""x-queue-type stream: a log that consumers read, each from where it likes, and that nobody empties
(https://www.rabbitmq.com/docs/streams).

Everything published to it gets an offset and stays, on disk, until retention drops the oldest
segments: x-max-length-bytes says how much is to be kept, x-max-age for how long. Both are looked at
when a segment is full, when policies change and after a restart, ages also once in an hour; the
segment that is being filled always stays.

A consumer needs a prefetch. To acknowledge, and likewise to reject or to hand back, is to ask for
more. There is no getting, no purging, no dead-lettering, and nothing expires one by one.
"""

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Protocol

from ..amqp.errors import NotSupported, PreconditionFailed
from .backlog import Backlog
from .clearing import Clearing
from .death import Reason
from .kept import Kept
from .message import Message
from .queue import BATCH_MESSAGES, Queue
from .rules import DEFAULT_RULES, Rules
from .stream_cursor import Cursor, at_offset
from .stream_log import SEGMENT_BYTES, Segment, StreamLog
from .stream_offsets import interval_ms, start_offset
from .timers import Timer

if TYPE_CHECKING:
    from .consumer import Consumer

SHARE_MESSAGES = 50
"""How many messages one consumer passes before others have their turn."""

NOTED_BYTES = 8 << 20
"""After so many bytes it is written down how large the segment is that is being filled."""

LOOK_S = 3600.0
"""How often retention by age is looked at if nothing is published."""

DROPPED_SEGMENTS = 5
"""How many segments are dropped in one turn."""


class Records(Protocol):
    """Where it is written down what must be known of streams after a restart."""

    def keep_beginning(self, stream: "StreamQueue") -> None:
        """Where a stream begins has changed."""
        ...

    def add_segment(self, stream: "StreamQueue", segment: Segment) -> None:
        """A segment is full, or has grown."""
        ...

    def remove_segment(self, stream: "StreamQueue", first_offset: int) -> None:
        """A segment is gone."""
        ...


class StreamQueue(Queue):
    """A stream."""

    __slots__ = (
        "_cursors",
        "_log",
        "_noted_bytes",
        "_records",
        "_retention_due",
        "_rules",
        "_timer",
        "begins_at",
        "segments",
    )

    keeps_all = True

    def __init__(
        self,
        *as_queue: Any,
        rules: Rules = DEFAULT_RULES,
        records: Records,
        **options: Any,
    ):
        super().__init__(*as_queue, **options)
        self._rules = rules
        self._records = records
        self._log = StreamLog(self, self.store)
        self._cursors: dict[Consumer, Cursor] = {}
        self._retention_due = False
        self.begins_at = (0, 0)
        """The first offset, and the journal's id of the message there: 0 until any was dropped."""
        self.segments: list[Segment] = []
        """Those from before a restart, until `restore`."""
        self._noted_bytes = 0
        """How large the segment that is being filled was when it was written down."""
        self._timer: Timer | None = None

    # --- messages -----------------------------------------------------------------------------

    @property
    def message_count(self) -> int:
        """How many messages it holds; how many consumers have seen does not matter."""
        return self._log.next_offset - self._log.first_offset

    @property
    def segment_bytes(self) -> int:
        """How large a segment may become."""
        size = self.settings.stream_max_segment_size_bytes
        return SEGMENT_BYTES if size is None else size

    def enqueue(self, message: Message) -> None:
        if self._log.append(message, self.segment_bytes):
            self._records.add_segment(self, self._log.last_full_segment)
            self._noted_bytes = 0
            self._retention_due = True
        elif self._log.open_segment.size_bytes - self._noted_bytes > NOTED_BYTES:
            self._note_segment()
        self.look()

    def restore(self, kept: Kept) -> None:
        ids = kept.ids
        offset, first_id = self.begins_at
        dropped = ids[: bisect_left(ids, first_id)]  # a crash came before that was written
        if dropped and self.store is not None:
            self.store.settle(self, dropped)
        segments = sorted(each for each in self.segments if each.first_offset >= offset)
        self._log.restore(ids[len(dropped) :], offset, segments)
        self.segments = []
        self._noted_bytes = self._log.open_segment.size_bytes
        self.review()

    def _note_segment(self) -> None:
        """Have a restart know the size of what is being filled without reading it all."""
        segment = self._log.open_segment
        self._noted_bytes = segment.size_bytes
        self._records.add_segment(self, segment)

    def stop(self) -> None:
        super().stop()
        if self._log.open_segment.size_bytes > self._noted_bytes:
            self._note_segment()

    def requeue(self, message: Message, *, failed: bool = True, asked: bool = True) -> None:
        """Nothing: the message has never left."""

    def discard(self, message: Message, reason: Reason) -> None:
        """Nothing: rejecting is no more than acknowledging."""

    def shed(self, message: Message) -> Message:
        """Nothing of it needs to be kept: whatever becomes of the delivery, the stream has it."""
        return message.shell(0)

    def settle(self, message: Message) -> None:
        """Nothing: what is acknowledged stays."""

    def settle_many(self, ids: list[int]) -> None:
        """Nothing: what is acknowledged stays."""

    def take(self) -> tuple[Message, bool] | None:
        """Raises NotSupported: there is no basic.get."""
        raise self._not_supported("basic.get not supported")

    def check_purge(self) -> None:
        """Raises NotSupported."""
        raise self._not_supported("queue.purge not supported")

    def purge(self) -> int:
        """Drop everything, because it is deleted; RabbitMQ says that these were no messages."""
        while self._log.segment_count > 1:
            self._drop_segment()
        self._records.remove_segment(self, self._log.first_offset)
        self._settle_all_of(self._log.drop_segment())
        self._log = StreamLog(self, self.store)
        return 0

    def check_deletion(self, *, if_unused: bool, if_empty: bool) -> None:
        """Nothing is refused: RabbitMQ does not look at the conditions."""

    @property
    def singly(self) -> bool:
        return True

    @property
    def timed(self) -> bool:
        return True

    @property
    def congested(self) -> bool:
        """Never: how far its consumers are behind makes no difference to it."""
        return False

    # --- memory -------------------------------------------------------------------------------

    @property
    def memory_bytes(self) -> int:
        ahead = sum(cursor.held_messages for cursor in self._cursors.values())
        return (self._log.held_messages + ahead) * self.mean_bytes

    def page_out(self) -> None:
        self._log.forget_held()
        for cursor in self._cursors.values():
            cursor.forget_held()

    # --- retention ----------------------------------------------------------------------------

    def review(self) -> None:
        """Have retention looked at: what is set for it may have changed."""
        self._retention_due = True
        self.look()

    def _retain(self) -> bool:
        """Drop old segments, but not for long; True if there may be more."""
        for _ in range(DROPPED_SEGMENTS):
            if not self._first_segment_may_go():
                return False
            self._drop_segment()
        return True

    def _look_later(self) -> None:
        """Messages grow old also when none are published: RabbitMQ looks once in an hour."""
        ages = self.settings.max_age is not None and self._log.segment_count > 1
        if ages and self._timer is None:
            self._timer = self.timers.at(self.timers.now + LOOK_S, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self.review()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().end()

    def _drop_segment(self) -> None:
        """Drop the first one. Where the stream begins is in the journal before messages go."""
        log, gone = self._log, self._log.first_offset
        dropped = log.drop_segment()
        self.begins_at = (log.first_offset, log.first_id)
        self._records.keep_beginning(self)
        self._records.remove_segment(self, gone)
        self._settle_all_of(dropped)

    def _settle_all_of(self, dropped: Backlog | None) -> None:
        if dropped is not None:
            self.clearings.add(Clearing(self, self.name, self.vhost_name, backlog=dropped))

    def _first_segment_may_go(self) -> bool:
        log, most_bytes = self._log, self.settings.max_length_bytes
        if log.segment_count == 1:
            return False
        if most_bytes is not None and log.kept_bytes > most_bytes:
            return True
        age_ms = None if self.settings.max_age is None else interval_ms(self.settings.max_age)
        if age_ms is None:
            return False
        last_ms = log.published_ms(log.last_offset_of_first_segment())
        return last_ms < self.timers.wall_ms - age_ms

    # --- consumers ----------------------------------------------------------------------------

    def add_consumer(self, consumer: "Consumer") -> None:
        """Raises NotSupported, PreconditionFailed."""
        if not consumer.channel.prefetch:
            shown = f"stream {self!r}" if self._rules.brief_stream_texts else f"'{self!r}'"
            unset = "not set for" if self._rules.brief_stream_texts else "is not set for"
            raise PreconditionFailed(f"consumer prefetch count {unset} {shown}")
        if consumer.no_ack:
            raise self._not_supported("automatic acknowledgement not supported")
        if consumer.channel.unsettled.limit:
            raise NotSupported(f"{self!r} does not support global qos")
        asked = consumer.arguments.get("x-stream-offset")
        offset = start_offset(asked, self._log, self.timers.wall_ms, repr(self))
        self._cursors[consumer] = Cursor(self._log, consumer, offset)
        consumer.exclusive = False
        super().add_consumer(consumer)

    def remove_consumer(self, consumer: "Consumer") -> None:
        del self._cursors[consumer]
        super().remove_consumer(consumer)

    def _work(self) -> bool:
        more = self._serve()
        if self._retention_due:
            self._retention_due = self._retain()
            self._look_later()
        return more or self._retention_due

    def _serve(self) -> bool:
        """Have consumers that can take messages pass some in turn; True if they could go on."""
        rotation, left, at_end = self.consumers.rotation, BATCH_MESSAGES, 0
        while at_end < len(rotation):
            if left <= 0:
                return True
            consumer = rotation[0]
            if not consumer.can_take():
                rotation.popleft().leave_rotation()
                continue
            passed = self._advance(self._cursors[consumer], SHARE_MESSAGES)
            left -= passed
            at_end = 0 if passed else at_end + 1
            rotation.rotate(-1)
        return False

    def _advance(self, cursor: Cursor, most: int) -> int:
        """Let a consumer pass up to so many messages and get those it wants; return how many."""
        consumer, passed = cursor.consumer, 0
        while passed < most and consumer.can_take():
            message = cursor.next()
            if message is None:
                break
            passed += 1
            if cursor.wants(message):
                delivery = at_offset(message, cursor.offset - 1)
                if self.features is not None and self.features.firehose is not None:
                    self.features.firehose.delivered(consumer.channel, self, delivery, False)
                consumer.hand(delivery, False)
        return passed

    def _not_supported(self, what: str) -> NotSupported:
        kind = "stream" if self._rules.brief_stream_texts else "stream queues"
        return NotSupported(f"{what} by {kind} {self!r}")

"""Reclaiming space: what still lives in the oldest segment is appended again, bit by bit.

Segments go strictly oldest first, so a record that settles or undefines something can never be
lost before what it refers to. The price is that one old message could pin everything behind it;
therefore the oldest segment is rewritten when little lives in it, and when the log as a whole is
much longer than what lives in it. Both keep the bytes written again below the bytes won.
"""

from collections.abc import Iterator

from .errors import Damaged
from .index import Place
from .log import Log
from .segments import TYPICAL_SIZES, Segment

# Read and append this much at a time, to have neither many system calls nor large buffers.
_PORTION = 128 * 1024

# Small messages cost more than their bytes: a step takes at most so many.
_MESSAGES = 1000

# And this part of what has been appended since the last step, for it must keep up with that: the
# greater, the longer the log is.
_LEAST_SHARE = 0.25
_MOST_SHARE = 2.0
_SHARE_PER_EXCESS = 4.0

# All segments are looked at when the log has grown by this part.
_LOOKS = 16

# An oldest segment is rewritten in any case when at most this part of it lives.
_LITTLE = 8


class Rewriter:
    """Rewrites the oldest segments of one log; `trouble` is why it stopped for good, if it did."""

    __slots__ = (
        "_log",
        "_looked_at",
        "_messages",
        "_next_id",
        "_position",
        "_segment",
        "_share",
        "_stale",
        "rewritten_bytes",
        "trouble",
    )

    def __init__(self, log: Log) -> None:
        self._log = log
        self._segment: Segment | None = None
        self._messages: Iterator[tuple[int, Place]] = iter(())
        self._next_id = log.next_id
        self._position = log.position
        self._share = _LEAST_SHARE
        # Where the log was when all segments were last looked at; there may be thousands of them.
        self._looked_at = log.position
        # They have changed since, or were never looked at.
        self._stale = len(log.segments) > 1
        self.trouble: Damaged | OSError | None = None
        self.rewritten_bytes = 0

    @property
    def wanted(self) -> bool:
        """Would a step, without anything else happening, find something to do?"""
        return self.trouble is None and (self._segment is not None or self._stale)

    @property
    def presses(self) -> bool:
        """Is there so much to do that it should be done whenever something has been appended?"""
        return self.trouble is None and self._share > _LEAST_SHARE

    def step(self, *, idle: bool) -> None:
        """Rewrite a bit if that is worth while. Look more closely when there is nothing else."""
        self._go_on(self._log.settings.rewrite_bytes, _MESSAGES, idle=idle)

    def keep_up(self) -> None:
        """Rewrite no more than what was appended since the last step calls for, once that is worth
        reading a block.
        """
        log = self._log
        owed_bytes = (log.position - self._position) * self._share
        if owed_bytes >= log.settings.rewrite_bytes // 8:
            self._go_on(0, 0, idle=False)

    def _go_on(self, budget: int, messages: int, *, idle: bool) -> None:
        if self.trouble is not None:
            return
        log = self._log
        end = log.position + budget + int((log.position - self._position) * self._share)
        messages += int((log.next_id - self._next_id) * self._share)
        before = log.position
        try:
            while (
                log.position < end
                and messages > 0
                and (segment := self._segment or self._choose(idle=idle))
            ):
                messages -= self._rewrite(segment, end - log.position, messages)
                if segment.empty:
                    self._segment = None
                    self._stale = True
        except (Damaged, OSError) as trouble:
            # The segment stays as it is, and with it everything behind it.
            self.trouble = trouble
            self._segment = None
        self.rewritten_bytes += log.position - before
        self._next_id, self._position = log.next_id, log.position

    def _choose(self, *, idle: bool) -> Segment | None:
        """The segment to rewrite: the oldest in which anything lives, if that is worth while."""
        log = self._log
        count = len(log.segments)
        oldest = next((one for one in log.segments.values() if not one.empty), None)
        if oldest is None or oldest is log.newest:
            self._stale = False
            self._share = _LEAST_SHARE
            return None
        if count > 2 and oldest.live_bytes * _LITTLE <= oldest.size:
            return self._begin(oldest, _LEAST_SHARE)
        grown = log.position - self._looked_at
        self._stale = not idle and not self.presses and grown * _LOOKS < log.size
        if self._stale:
            return None
        self._looked_at = log.position
        live_bytes = sum(segment.live_bytes for segment in log.segments.values())
        slack_bytes = log.settings.slack_segments * log.settings.segment_bytes
        limit = 2 * live_bytes + slack_bytes
        excess = (log.position - oldest.base) / max(limit, 1) - 1
        if excess <= 0:
            self._share = _LEAST_SHARE
            return None
        return self._begin(oldest, _SHARE_PER_EXCESS * excess)

    def _begin(self, segment: Segment, share: float) -> Segment:
        self._share = min(max(_LEAST_SHARE, share), _MOST_SHARE)
        self._segment = segment
        self._messages = self._log.index.live_in(segment)
        return segment

    def _rewrite(self, segment: Segment, budget: int, messages: int) -> int:
        """Move some of a segment, up to so many bytes and messages; say how many messages."""
        log = self._log
        end = log.position + budget
        moved = 0
        while log.position < end and moved < messages:
            portion = self._next_portion(messages - moved)
            if not portion:
                break
            moved += len(portion)
            stored = log.read_many([message_id for message_id, _ in portion])
            for message, (_, place) in zip(stored, portion, strict=True):
                log.append_moved(message, log.index.owners(place.owners, place.rank))
        else:
            return moved
        if log.move_definitions(segment, max(end - log.position, 1)) and not segment.empty:
            raise RuntimeError(f"{segment} was rewritten and is not empty")
        return moved

    def _next_portion(self, messages: int) -> list[tuple[int, Place]]:
        portion: list[tuple[int, Place]] = []
        size = 0
        for found in self._messages:
            portion.append(found)
            size += TYPICAL_SIZES[found[1].size_class]
            if size >= _PORTION or len(portion) == messages:
                break
        return portion

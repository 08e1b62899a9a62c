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
_PORTION = 256 * 1024

# Small messages cost more than their bytes: a step takes at most so many.
_MESSAGES = 1000

# And this part of what has been appended since the last step, for it must keep up with that.
_APPENDED = 4

# An oldest segment is rewritten in any case when at most this part of it lives.
_LITTLE = 8


class Rewriter:
    """Rewrites the oldest segments of one log; `trouble` is why it stopped for good, if it did."""

    __slots__ = (
        "_log",
        "_messages",
        "_next_id",
        "_position",
        "_segment",
        "_stale",
        "_steps",
        "rewritten_bytes",
        "trouble",
    )

    def __init__(self, log: Log) -> None:
        self._log = log
        self._segment: Segment | None = None
        self._messages: Iterator[tuple[int, Place]] = iter(())
        self._next_id = log.next_id
        self._position = log.position
        # Steps since all segments were last looked at; there may be thousands of them.
        self._steps = 0
        # They have changed since, or were never looked at.
        self._stale = len(log.segments) > 1
        self.trouble: Damaged | OSError | None = None
        self.rewritten_bytes = 0

    @property
    def wanted(self) -> bool:
        """Would a step, without anything else happening, find something to do?"""
        return self.trouble is None and (self._segment is not None or self._stale)

    def step(self, *, idle: bool) -> None:
        """Rewrite a bit if that is worth while. Look more closely when there is nothing else."""
        if self.trouble is not None:
            return
        log = self._log
        appended, self._next_id = log.next_id - self._next_id, log.next_id
        appended_bytes, self._position = log.position - self._position, log.position
        segment = self._segment
        if segment is None:
            if not self._worth_while(idle=idle):
                return
            segment = self._segment = log.oldest
            self._messages = log.index.live_in(segment)
        try:
            done = self._rewrite(
                segment,
                log.settings.rewrite_bytes + appended_bytes // _APPENDED,
                _MESSAGES + appended // _APPENDED,
            )
        except (Damaged, OSError) as trouble:
            # The segment stays as it is, and with it everything behind it.
            self.trouble = trouble
            done = True
        self._position = log.position
        if done:
            self._segment = None
            self._stale = True

    def _worth_while(self, *, idle: bool) -> bool:
        log = self._log
        count = len(log.segments)
        self._steps += 1
        if count < 2 or log.oldest.empty:
            # An empty one is about to go: then there is another oldest one to look at.
            self._stale = count > 1
            return False
        oldest = log.oldest
        if count > 2 and oldest.live_bytes * _LITTLE <= oldest.size:
            return True
        self._stale = not idle and self._steps * 16 < count
        if self._stale:
            return False
        self._steps = 0
        live_bytes = sum(segment.live_bytes for segment in log.segments.values())
        slack_bytes = log.settings.slack_segments * log.settings.segment_bytes
        return log.size > 2 * live_bytes + slack_bytes

    def _rewrite(self, segment: Segment, budget: int, messages: int) -> bool:
        log = self._log
        before = log.position
        while log.position - before < budget and messages > 0:
            portion = self._next_portion(messages)
            if not portion:
                break
            messages -= len(portion)
            stored = log.read_many([message_id for message_id, _ in portion])
            for message, (_, place) in zip(stored, portion, strict=True):
                log.append_moved(message, log.index.owners(place.owners))
        else:
            self.rewritten_bytes += log.position - before
            return False
        done = log.move_definitions(segment, max(before + budget - log.position, 1))
        self.rewritten_bytes += log.position - before
        if done and not segment.empty:
            raise RuntimeError(f"{segment} was rewritten and is not empty")
        return done

    def _next_portion(self, messages: int) -> list[tuple[int, Place]]:
        portion: list[tuple[int, Place]] = []
        size = 0
        for found in self._messages:
            portion.append(found)
            size += TYPICAL_SIZES[found[1].size_class]
            if size >= _PORTION or len(portion) == messages:
                break
        return portion

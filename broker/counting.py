"""Counting the bytes of a queue that is long already when a limit in bytes is set for it.

What is in memory is counted at once. Backlogs are read a bit in each turn, from their ends, while
messages come and go: `Backlog.uncounted` tells how many at the front are not counted yet, and those
that are read to go out are counted then. Until all is counted the count is too low, and so what it
says is too much is too much.
"""

from collections.abc import Iterable
from operator import attrgetter

from .limits import Limits
from .line import Line

COUNTED_AT_ONCE = 500
"""How many messages of a backlog are read in one turn."""

body_bytes_of = attrgetter("body_bytes")


def begin_count(limits: Limits, lines: Iterable[Line]) -> bool:
    """Count what is in memory; True if there is more on disk."""
    more = False
    for line in lines:
        limits.ready_bytes += sum(map(body_bytes_of, line.ready))
        limits.ready_bytes += sum(message.body_bytes for _, message in line.returned)
        if line.backlog is not None:
            line.backlog.uncounted = len(line.backlog)
            more = True
    return more


def count_some(limits: Limits, lines: Iterable[Line]) -> bool:
    """Count some messages that are on disk; False if none remain."""
    for line in lines:
        backlog = line.backlog
        if backlog is not None and backlog.uncounted:
            count = min(backlog.uncounted, COUNTED_AT_ONCE)
            messages = line.read_last(backlog.part(backlog.uncounted - count, count))
            limits.ready_bytes += sum(map(body_bytes_of, messages))
            backlog.uncounted -= len(messages)
            return True
    return False

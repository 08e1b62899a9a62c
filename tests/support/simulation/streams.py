"""Streams: the oracle for offsets, filters, reading from anywhere, retention by size and by age.

Every message has an offset, counted from 0, which it keeps over restarts. A consumer gets one
message after the other from where it asks for, and takes nothing away from others: it misses only
what retention has dropped. That drops segments from the front; where they end the model does not
know, so where a stream begins is seen on the broker, and checked to be within bounds.
"""

from collections.abc import Container, Sequence
from datetime import datetime

from fake_client import Received

from .names import name_of
from .queues import STREAM_POLICY, STREAM_POLICY_BYTES
from .things import Entry, MConsumer, MQueue, Violation

HEADER = "x-stream-offset"


def put(stream: MQueue, entry: Entry) -> None:
    """A message comes to the end of a stream."""
    entry.offset = stream.next_offset
    stream.next_offset += 1


def start_offset(stream: MQueue, asked: str | int | datetime | None, now_ms: int) -> int:
    """Where a consumer begins, which has asked for this."""
    first = stream.ready[0].offset if stream.ready else stream.next_offset
    match asked:
        case int():
            return max(asked, first)
        case "first":
            return first
        case "last":
            return max(stream.next_offset - 1, first)
        case "1s":
            return _offset_at(stream, now_ms - 1000)
        case datetime():
            return _offset_at(stream, int(asked.timestamp() * 1000))
        case _:
            return stream.next_offset


def pass_one(consumer: MConsumer, got: Received, first: int) -> Entry:
    """A consumer gets a message of a stream that begins at the offset `first` by now. Returns its
    entry. Raises Violation.
    """
    stream, offset = consumer.queue, (got.headers or {}).get(HEADER)
    if not isinstance(offset, int):
        raise Violation(f"stream: {name_of(got)} of {stream.name} has no offset")
    missed = [entry for entry in stream.stored if first <= entry.offset < offset]
    if offset < consumer.position or any(map(consumer.wants, missed)):
        raise Violation(
            f"stream: {consumer.tag} got offset {offset} of {stream.name}, at {consumer.position}"
        )
    found = [entry for entry in stream.stored if entry.offset == offset]
    if found and not consumer.wants(found[-1]):
        raise Violation(f"stream: {consumer.tag} got {found[-1].name}, which it does not want")
    if not found or found[-1].name != name_of(got):
        raise Violation(f"stream: {name_of(got)} has the offset {offset} of {stream.name}")
    if found[-1].settled_in is not None:
        raise Violation(f"risen: {found[-1].name} of {stream.name} had been dropped")
    consumer.position = offset + 1
    return found[-1]


def _offset_at(stream: MQueue, when_ms: int) -> int:
    """The first message that is not older than that."""
    late = (entry.offset for entry in stream.ready if entry.came_ms >= when_ms)
    return next(late, stream.next_offset)


def retains(stream: MQueue, policies: Container[str]) -> bool:
    """Whether it drops messages."""
    return bool(stream.traits.retained_s) or most_bytes(stream, policies) is not None


def most_bytes(stream: MQueue, policies: Container[str]) -> int | None:
    """How much is to be kept of a stream."""
    by_policy = stream.traits.stream and STREAM_POLICY in policies
    return STREAM_POLICY_BYTES if by_policy else stream.traits.retained_bytes


def retain(stream: MQueue, most_bytes: int | None, first: int, batch: int) -> None:
    """A stream, of which so much is to be kept, begins at the offset `first` now: that must be
    right. Raises Violation.
    """
    dropped = [entry for entry in stream.ready if entry.offset < first]
    before = stream.ready
    if dropped:
        kept = stream.ready = before[len(dropped) :]
        if most_bytes is None or _bytes(before) <= most_bytes:
            raise Violation(f"retention: {stream.name} has dropped {dropped[0].name}")
        if not kept or _bytes(kept) + _segment_bytes(stream, dropped) <= most_bytes:
            raise Violation(f"retention: {stream.name} has dropped {dropped[-1].name}, too")
        for entry in dropped:
            entry.settled_in = batch
    elif most_bytes is not None:
        newest = _segment_bytes(stream, before)
        if _bytes(before) > most_bytes + newest:
            raise Violation(f"retention: {stream.name} holds {_bytes(before)} bytes")


def retain_young(stream: MQueue, first: int, now_ms: int, batch: int) -> None:
    """The same for a stream that is to keep what is not too old."""
    dropped = [entry for entry in stream.ready if entry.offset < first]
    for entry in dropped:
        if not _is_old(stream, entry, now_ms):
            raise Violation(f"retention: {stream.name} has dropped {entry.name} too early")
        entry.settled_in = batch
    stream.ready = stream.ready[len(dropped) :]


def check_age(stream: MQueue, now_ms: int) -> None:
    """After a start no segment must be too old, except for the last one. Raises Violation."""
    old = [entry for entry in stream.ready if _is_old(stream, entry, now_ms)]
    if _bytes(old) > 2 * _segment_bytes(stream, old) + max((_bytes([e]) for e in old), default=0):
        raise Violation(f"retention: {stream.name} keeps {old[0].name} for too long")


def _is_old(stream: MQueue, entry: Entry, now_ms: int) -> bool:
    age_s = stream.traits.retained_s
    return age_s is not None and entry.came_ms < now_ms - 1000 * age_s


def _bytes(entries: Sequence[Entry]) -> int:
    return sum(entry.sent.content_bytes for entry in entries)


def _segment_bytes(stream: MQueue, entries: Sequence[Entry]) -> int:
    """How large the last segment of these can be: its last message has made it full. After a crash
    in the moment when it was, there may have come one more.
    """
    last = 2 if entries and not entries[-1].published_in else 1
    return stream.traits.segment_bytes + _bytes(entries[-last:])


def begin_again(stream: MQueue) -> None:
    """After a restart it goes on behind what it holds."""
    stream.next_offset = stream.ready[-1].offset + 1 if stream.ready else 0

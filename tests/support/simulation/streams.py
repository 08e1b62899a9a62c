"""Streams: the oracle for offsets, reading from anywhere, and retention by x-max-length-bytes.

Every message has an offset, counted from 0, which it keeps over restarts. A consumer gets one
message after the other from where it asks for, and takes nothing away from others: it misses only
what retention has dropped. That drops segments from the front; where they end the model does not
know, so where a stream begins is seen on the broker, and checked to be within bounds.
"""

from collections.abc import Container, Sequence

from fake_client import Received

from .names import name_of
from .queues import STREAM_POLICY, STREAM_POLICY_BYTES
from .things import Entry, MConsumer, MQueue, Violation

HEADER = "x-stream-offset"


def put(stream: MQueue, entry: Entry) -> None:
    """A message comes to the end of a stream."""
    entry.offset = stream.next_offset
    stream.next_offset += 1


def start_offset(stream: MQueue, asked: str | int | None, now_ms: int) -> int:
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
            late = (entry.offset for entry in stream.ready if entry.came_ms >= now_ms - 1000)
            return next(late, stream.next_offset)
        case _:
            return stream.next_offset


def pass_one(consumer: MConsumer, got: Received, first: int) -> Entry:
    """A consumer gets a message of a stream that begins at the offset `first` by now. Returns its
    entry. Raises Violation.
    """
    stream, offset = consumer.queue, (got.headers or {}).get(HEADER)
    if not isinstance(offset, int):
        raise Violation(f"stream: {name_of(got)} of {stream.name} has no offset")
    if offset != consumer.position and not consumer.position < offset <= first:
        raise Violation(
            f"stream: {consumer.tag} got offset {offset} of {stream.name}, not {consumer.position}"
        )
    found = [entry for entry in stream.stored if entry.offset == offset]
    if not found or found[-1].name != name_of(got):
        raise Violation(f"stream: {name_of(got)} has the offset {offset} of {stream.name}")
    if found[-1].settled_in is not None:
        raise Violation(f"risen: {found[-1].name} of {stream.name} had been dropped")
    consumer.position = offset + 1
    return found[-1]


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

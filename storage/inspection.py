"""Looking at a journal nobody has open: is it whole, what is in it, how much of it lives.

Nothing is changed, and nothing is assumed: what one record says is shown even where the journal
could not be opened. Text for people comes line by line; the directory must be locked (shared) by
the caller.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .disk import Disk, File
from .errors import JournalError, UnknownVersion
from .journal import PREFIX
from .records import (
    JOURNAL_MAGIC,
    OPEN,
    RECORD_SIZE,
    SEGMENT_HEADER_SIZE,
    SYNCED,
    U32,
    U64,
    Kind,
    SegmentHeader,
    checksum_seed,
    numbers_from_bytes,
    segment_name,
    segment_number,
    stored_message,
    walk,
)
from .recovery import Recovery, recover
from .scanning import BadBlock, next_block, read_blocks, read_header


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `verify`; `problem` if it is why the journal is not whole."""

    text: str
    problem: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a segment file in which no good block begins."""

    start: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """A good block: its offset in the file, its flags, and its records as `walk` takes them."""

    offset: int
    flags: int
    window: bytes
    at: int
    end: int


def segments(disk: Disk) -> list[int]:
    """The numbers of the segments there are."""
    numbers = (segment_number(PREFIX, name) for name in disk.names())
    return sorted(number for number in numbers if number is not None)


def verify(disk: Disk) -> Iterator[Finding]:
    """Check every block of every segment, then whether the journal could be opened."""
    for number in segments(disk):
        yield from _verify_segment(disk, number)
    try:
        recovery = recover(disk, snapshot=False)
    except JournalError as error:
        yield from _refusal(disk, error)
        return
    if recovery is None:
        yield Finding("there is no journal here")
        return
    if recovery.cut is not None:
        name = segment_name(PREFIX, recovery.cut.number)
        yield Finding(
            f"ends in an unfinished write, at byte {recovery.cut.offset} of {name}: "
            f"{recovery.cut.reason}; it was never confirmed, and opening takes it off"
        )
    how = "a clean stop" if recovery.clean else "a crash, or it was never stopped"
    yield Finding(f"can be opened after {how}: {_summary(recovery)}")


def _refusal(disk: Disk, error: JournalError) -> Iterator[Finding]:
    yield Finding(f"cannot be opened: {error}", problem=True)
    try:
        recovery = recover(disk)
    except JournalError:
        # The same again: there is no snapshot to go by.
        return
    if recovery is not None:
        yield Finding(
            "its last clean stop left a snapshot, so a broker will open it all the same, and "
            "fail to read what is damaged"
        )


def _verify_segment(disk: Disk, number: int) -> Iterator[Finding]:
    name = segment_name(PREFIX, number)
    file = disk.open(name)
    blocks = records = messages = 0
    seed: int | None = None
    try:
        seed = checksum_seed(read_header(file, name, JOURNAL_MAGIC, number).salt, number)
    except (BadBlock, UnknownVersion) as error:
        yield Finding(f"{name}: {error}", problem=True)
    for found in _go_through(file, seed):
        if isinstance(found, Gap):
            yield Finding(
                f"{name}: bytes {found.start} to {found.end} are unreadable: {found.reason}",
                # At the very end it may be an unfinished write; that is told in the end.
                problem=found.end < file.size(),
            )
            continue
        blocks += 1
        for _, _, kind, _, _ in walk(found.window, found.at, found.end):
            records += 1
            messages += kind in (Kind.MESSAGE, Kind.MOVED)
    yield Finding(
        f"{name}: {file.size()} bytes, {blocks} good blocks, {records} records, {messages} messages"
    )


def _go_through(file: File, seed: int | None) -> Iterator[Block | Gap]:
    """All good blocks of a file, and the gaps between them."""
    size = file.size()
    at = min(SEGMENT_HEADER_SIZE, size)
    if seed is None:
        # Without the salt of the header no checksum can be looked at.
        yield Gap(0, size, "the salt in the segment header is unknown")
        return
    while at < size:
        try:
            for window, start, end, offset, flags in read_blocks(file, at, size, seed):
                yield Block(offset, flags, window, start, end)
            return
        except BadBlock as bad:
            at = next_block(file, bad.offset + 1, size, seed)
            if at < 0:
                at = size
            yield Gap(bad.offset, at, bad.reason)


def dump(disk: Disk, *, blob_bytes: int = 32) -> Iterator[str]:
    """Every record of every segment, one a line, with so many bytes of blobs and values."""
    for number in segments(disk):
        name = segment_name(PREFIX, number)
        file = disk.open(name)
        header = SegmentHeader.decode(file.pread(SEGMENT_HEADER_SIZE, 0))
        if header is None:
            yield f"{name}:0 the segment header is not whole"
        else:
            yield (
                f"{name}:0 version {header.version}, salt {header.salt:08x}, "
                f"segment {header.number}, oldest {header.oldest}, base {header.base}, "
                f"next id {header.next_id}"
            )
        seed = checksum_seed(header.salt, number) if header else None
        for found in _go_through(file, seed):
            if isinstance(found, Gap):
                yield f"{name}:{found.start} unreadable up to byte {found.end}: {found.reason}"
                continue
            marks = [
                text for flag, text in ((SYNCED, " SYNCED"), (OPEN, " OPEN")) if found.flags & flag
            ]
            yield f"{name}:{found.offset} block, {found.end - found.at} bytes{''.join(marks)}"
            for at, length, kind, _, number_in in walk(found.window, found.at, found.end):
                yield "  " + _describe(found.window, at, length, kind, number_in, blob_bytes)


def _describe(window: bytes, at: int, length: int, kind: int, number: int, blob_bytes: int) -> str:
    body = window[at + RECORD_SIZE : at + length]
    match kind:
        case Kind.MESSAGE | Kind.MOVED:
            message = stored_message(window, at)
            owners = ", ".join(map(str, message.owners))
            more = f", rank {message.rank}" if message.rank else ""
            more += f", attributes {message.attributes!r}" if message.attributes else ""
            word = "message" if kind == Kind.MESSAGE else "moved message"
            return f"{word} {number} for {owners}{more}: {_shown(message.blob, blob_bytes)}"
        case Kind.SETTLED:
            return f"settled by {number}: {_runs(list(numbers_from_bytes('Q', body)))}"
        case Kind.DELIVERED:
            middle = len(body) // 12 * 8
            ids = numbers_from_bytes("Q", body[:middle])
            counts = numbers_from_bytes("I", body[middle:])
            pairs = ", ".join(f"{n} ({count})" for n, count in zip(ids, counts, strict=True))
            return f"delivered to {number} (times): {pairs}"
        case Kind.NOTED:
            (message_id,) = U64.unpack_from(body)
            return f"noted by {number} of {message_id}: {body[U64.size :]!r}"
        case Kind.DROPPED:
            return f"dropped owner {number}"
        case Kind.DEFINED:
            return f"defined {body[:number]!r} as {_shown(body[number:], blob_bytes)}"
        case Kind.UNDEFINED:
            return f"undefined {body!r}"
        case Kind.TRIMMED:
            return f"segments below {number} are needed no longer"
        case _:
            return _describe_mark(kind, number, body)


def _describe_mark(kind: int, number: int, body: bytes) -> str:
    match kind:
        case Kind.STARTED:
            return "started"
        case Kind.STOPPED:
            return f"stopped, snapshot of {number} bytes with CRC {U32.unpack(body)[0]:08x}"
        case _:
            return f"unknown kind {kind}, {RECORD_SIZE + len(body)} bytes"


def _shown(data: bytes, limit: int) -> str:
    dots = "..." if len(data) > limit else ""
    return f"{len(data)} bytes {data[:limit]!r}{dots}"


def _runs(numbers: list[int]) -> str:
    """Numbers with consecutive ones drawn together: 1-3, 7."""
    texts: list[str] = []
    at = 0
    while at < len(numbers):
        last = at
        while last + 1 < len(numbers) and numbers[last + 1] == numbers[last] + 1:
            last += 1
        texts.append(str(numbers[at]) if last == at else f"{numbers[at]}-{numbers[last]}")
        at = last + 1
    return ", ".join(texts)


def stats(disk: Disk) -> dict[str, int | bool]:
    """Figures of a journal that can be opened. Raises what opening it would raise."""
    recovery = recover(disk)
    if recovery is None:
        return {"segments": 0}
    state = recovery.state
    by_owner = state.index.by_owner()
    return {
        "segments": len(state.segments),
        "segments to remove": len(recovery.stale),
        "bytes": sum(segment.size for segment in state.segments.values()),
        "live bytes (estimate)": sum(s.live_bytes for s in state.segments.values()),
        "messages": sum(s.messages - s.dead for s in state.segments.values()),
        "owners": len(by_owner),
        "longest owner": max(map(len, by_owner.values()), default=0),
        "definitions": len(state.definitions),
        "next message id": state.next_id,
        "stopped cleanly": recovery.clean,
        "unfinished write": recovery.cut is not None,
    }


def _summary(recovery: Recovery) -> str:
    segments = recovery.state.segments.values()
    messages = sum(segment.messages - segment.dead for segment in segments)
    owners = len(recovery.state.index.by_owner())
    definitions = len(recovery.state.definitions)
    return f"{messages} messages of {owners} owners, {definitions} definitions"

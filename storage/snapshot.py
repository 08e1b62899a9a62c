"""The snapshot a clean stop leaves behind: the state, so that the next start need not read the log.

It is believed only if the log's last record is the clean stop that names its length and its
CRC, and if the segments are as long as it says. Otherwise the log is read as if it were not there.

    journal.snapshot: magic 8s "leveretS", version u16, CRC-32 u32 of the rest, length u32 of the
    tables, the tables (JSON), then for each chunk its offsets, codes, sizes and, if it is sparse,
    ordinals, as in memory.
"""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any
from zlib import crc32

from .chunk import Chunk, Remaining
from .disk import Disk
from .index import Index
from .records import numbers_from_bytes, numbers_to_bytes
from .segments import Segment
from .state import State

SNAPSHOT_NAME = "journal.snapshot"
TEMPORARY_NAME = "journal.snapshot.new"

_MAGIC = b"leveretS"
_VERSION = 2
_OLDEST_VERSION = 1
"""In which there are no ranks."""
_HEADER = Struct("<8sHI")
_LENGTH = Struct("<I")

# The parts of a state as JSON has them: lists of integers and strings.
_Tables = dict[str, Any]


@dataclass(slots=True)
class Loaded:
    """A snapshot that is whole, with what the clean stop must say of it."""

    state: State
    size: int
    crc: int


def save_snapshot(disk: Disk, state: State, next_id: int) -> tuple[int, int]:
    """Write the snapshot, in place of any earlier one; return its length and CRC."""
    chunks = [
        chunk for chunk in state.index.chunks.values() if chunk.live or chunk is state.index.head
    ]
    tables = json.dumps(_tables(state, next_id, chunks), separators=(",", ":")).encode()
    pieces = [_LENGTH.pack(len(tables)), tables]
    for chunk in chunks:
        pieces += (
            numbers_to_bytes(chunk.offsets),
            numbers_to_bytes(chunk.states),
            bytes(chunk.sizes),
            numbers_to_bytes(chunk.ordinals or array("H")),
        )
    body = b"".join(pieces)
    crc = crc32(body)
    file = disk.open(TEMPORARY_NAME, write=True)
    try:
        file.truncate(0)
        file.pwrite([_HEADER.pack(_MAGIC, _VERSION, crc), body], 0)
        file.fdatasync()
    finally:
        file.close()
    disk.rename(TEMPORARY_NAME, SNAPSHOT_NAME)
    disk.sync_directory()
    return len(body), crc


def _tables(state: State, next_id: int, chunks: list[Chunk]) -> _Tables:
    return {
        "salt": state.salt,
        "next_id": next_id,
        "segments": [
            [s.number, s.base, s.size, s.messages, s.message_bytes, s.dead, s.dead_bytes]
            for s in state.segments.values()
        ],
        "definitions": [
            [key.decode("latin-1"), location, size]
            for key, (location, size) in state.definitions.items()
        ],
        "deliveries": [
            [owner, list(counts), list(counts.values())]
            for owner, counts in state.deliveries.items()
        ],
        "notes": [
            [owner, list(notes), [note.decode("latin-1") for note in notes.values()]]
            for owner, notes in state.notes.items()
        ],
        "chunks": [
            [
                chunk.number,
                len(chunk.states),
                chunk.dead,
                chunk.ordinals is not None,
                [segment.number for segment in chunk.segments[1:]],
                [[r.owners.numbers, r.mask, r.owners.rank] for r in chunk.remaining[1:]],
            ]
            for chunk in chunks
        ],
    }


def load_snapshot(disk: Disk) -> Loaded | None:
    """The snapshot, None if there is none or it is not whole."""
    if SNAPSHOT_NAME not in disk.names():
        return None
    file = disk.open(SNAPSHOT_NAME)
    try:
        data = file.pread(file.size(), 0)
    finally:
        file.close()
    if len(data) < _HEADER.size + _LENGTH.size:
        return None
    magic, version, crc = _HEADER.unpack_from(data)
    body = memoryview(data)[_HEADER.size :]
    known = _OLDEST_VERSION <= version <= _VERSION
    if magic != _MAGIC or not known or crc32(body) != crc:
        return None
    (length,) = _LENGTH.unpack_from(body)
    tables: _Tables = json.loads(bytes(body[_LENGTH.size : _LENGTH.size + length]))
    return Loaded(_state(tables, body[_LENGTH.size + length :]), len(body), crc)


def _state(tables: _Tables, arrays: memoryview) -> State:
    state = State.empty(tables["salt"], tables["next_id"])
    for number, base, size, messages, message_bytes, dead, dead_bytes in tables["segments"]:
        segment = state.segments[number] = Segment(number, base)
        segment.size = size
        segment.messages = messages
        segment.message_bytes = message_bytes
        segment.dead = dead
        segment.dead_bytes = dead_bytes
    for key, location, size in tables["definitions"]:
        state.define(key.encode("latin-1"), location, size)
    for owner, ids, counts in tables["deliveries"]:
        state.deliveries[owner] = dict(zip(ids, counts, strict=True))
    for owner, ids, notes in tables.get("notes", ()):
        encoded = (note.encode("latin-1") for note in notes)
        state.notes[owner] = dict(zip(ids, encoded, strict=True))
    for chunk in _chunks(tables, arrays, state):
        state.index.chunks[chunk.number] = chunk
    newest = state.index.chunks[max(state.index.chunks)]
    state.index.head = newest
    return state


def _chunks(tables: _Tables, arrays: memoryview, state: State) -> Iterator[Chunk]:
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return bytes(arrays[at - size : at])

    # A segment that is gone may still stand in a table; no live message is in it.
    gone = Segment(0, 0)
    for number, entries, dead, sparse, segments, owners in tables["chunks"]:
        chunk = Chunk(number)
        chunk.dead = dead
        chunk.offsets = numbers_from_bytes("I", take(4 * entries))
        chunk.states = numbers_from_bytes("H", take(2 * entries))
        chunk.sizes = bytearray(take(entries))
        if sparse:
            chunk.ordinals = numbers_from_bytes("H", take(2 * entries))
        chunk.restore(
            [state.segments.get(segment, gone) for segment in segments],
            [_remaining(state.index, *each) for each in owners],
        )
        yield chunk


def _remaining(index: Index, numbers: list[int], mask: int, rank: int = 0) -> Remaining:
    owners = index.owners(tuple(numbers), rank)
    return owners.full if owners.full.mask == mask else Remaining(owners, mask)

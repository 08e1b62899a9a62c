"""An append-only log of messages in segments, in memory: what journal and page files share.

Appending puts a record's pieces on a list, the open block. A full block is sealed (joined and
checksummed) and waits to be handed to the disk; until it has been written it is read from
memory. This is the hot path, so `append_message` does one comparison for everything rare: `_fence`
is an offset up to which no block, chunk or segment can be full, and it lies behind the end
while no block is open.
"""

from array import array
from collections.abc import Sequence

from .batch import Write
from .blocks import Blocks
from .chunk import CHUNK_BITS, CHUNK_MASK, CHUNK_SIZE, Owners, Route
from .disk import Buffer, Disk
from .index import Index
from .log_files import LogFiles
from .reading import Read
from .records import (
    BLANK_BLOCK_HEADER,
    BLOCK_HEADER_SIZE,
    GREATEST_RECORD_SIZE,
    LEAST_MESSAGE_SIZE,
    MOST_ATTRIBUTES,
    MOST_OWNERS,
    OPEN,
    RECORD,
    RECORD_SIZE,
    SYNCED,
    Kind,
    StoredMessage,
    checksum_seed,
    message_start,
    record,
    seal_block,
    with_attributes,
)
from .segments import SMALL_SIZE, SMALL_SIZE_CLASSES, Segment, size_class
from .settings import Settings

# Large enough to make what is done per block vanish, small enough to read for one message's sake.
BLOCK_BYTES = 64 * 1024

_MESSAGE = int(Kind.MESSAGE)
_pack = RECORD.pack


class Log:
    """See the head of this module."""

    __slots__ = (
        "_append_part",
        "_append_size",
        "_append_state",
        "_block_first_id",
        "_block_moved",
        "_block_other",
        "_block_start",
        "_blocks",
        "_chained",
        "_end",
        "_fence",
        "_files",
        "_group",
        "_head",
        "_next_id",
        "_parts",
        "_routes",
        "disk",
        "index",
        "salt",
        "settings",
    )

    def __init__(
        self, disk: Disk, settings: Settings, files: LogFiles, index: Index, next_id: int
    ) -> None:
        """A log that goes on behind what its files have; messages to come have ids from `next_id`
        on. If there are no files yet the first is begun with the first record.
        """
        self.disk = disk
        self.settings = settings
        self.salt = files.salt
        self.index = index
        self._next_id = next_id
        # The open block: pieces of records behind a blank header; empty if none is open.
        self._parts: list[Buffer] = []
        self._append_part = self._parts.append
        self._block_start = 0
        self._block_first_id = next_id
        self._block_moved = 0
        self._block_other = 0
        self._group = False
        self._chained = False
        self._blocks = Blocks(disk, files.prefix, files.salt)
        self._files = files
        self._head = files.newest
        self._end = self._head.size
        self._fence = -1
        index.skip_to(next_id)
        self._use_chunk()

    @property
    def position(self) -> int:
        """The log position behind the last record."""
        return self._head.base + self._end

    @property
    def segments(self) -> dict[int, Segment]:
        """By their numbers, which ascend."""
        return self._files.segments

    @property
    def newest(self) -> Segment:
        """The one that is appended to."""
        return self._head

    @property
    def size(self) -> int:
        """Bytes on disk once everything is written."""
        return self.position - self._files.oldest.base if self.segments else 0

    @property
    def unwritten(self) -> bool:
        """Is there anything for a batch?"""
        return bool(self._parts) or self._files.unwritten

    @property
    def next_id(self) -> int:
        """The id of the message to come: all that are stored are below it."""
        return self._next_id

    def append_message(
        self, owners: tuple[int, ...], blob: bytes, more: bytes = b"", attributes: bytes = b""
    ) -> int:
        """Append a message (`blob` followed by `more`) that belongs to `owners`; return its id.

        The owners, u32 numbers, must be distinct, and at least one. `attributes` are at most 65535
        bytes that are read back apart from the blob.
        """
        try:
            code, pack, encoded, size = self._routes[owners]
        except KeyError:
            code, pack, encoded, size = self._route(owners)
        size += len(blob) + len(more)
        end = self._end + size
        if end > self._fence or attributes:
            return self._append_slowly(self._owners(owners), blob, more, attributes)
        message_id = self._next_id
        self._next_id = message_id + 1
        self._end = end
        # One call of a bound method is cheaper than extending the list by a tuple.
        append_part = self._append_part
        append_part(pack(size, _MESSAGE, message_id, encoded))
        append_part(blob)
        if more:
            append_part(more)
        self._append_state(code)
        try:
            self._append_size(SMALL_SIZE_CLASSES[size])
        except IndexError:
            self._append_size(size_class(size))
        return message_id

    def append_ranked(
        self, rank: int, owners: tuple[int, ...], blob: bytes, more: bytes, attributes: bytes
    ) -> int:
        """As `append_message`, with a rank (0 to 65535) that opening tells without reading it."""
        return self._append_slowly(self._owners(owners, rank), blob, more, attributes)

    def append_messages(
        self, owners: tuple[int, ...], beginning: bytes, blobs: Sequence[bytes]
    ) -> int:
        """As `append_message` for each of the blobs, with the same beginning in front of it; return
        the first one's id, which the others' follow.
        """
        first = self._next_id
        done = 0
        while done < len(blobs):
            done += self._append_fitting(owners, beginning, blobs[done:] if done else blobs)
            if done < len(blobs):
                self.append_message(owners, beginning, blobs[done])
                done += 1
        return first

    def _append_fitting(
        self, owners: tuple[int, ...], beginning: bytes, blobs: Sequence[bytes]
    ) -> int:
        """Append as many messages as fit before the fence, and return their number."""
        try:
            code, _, encoded, _ = self._routes[owners]
        except KeyError:
            code, _, encoded, _ = self._route(owners)
        encoded += beginning
        pack, overhead = message_start(len(encoded)).pack, RECORD_SIZE + len(encoded)
        append_part, append_size = self._append_part, self._append_size
        first = message_id = self._next_id
        end, fence = self._end, self._fence
        for blob in blobs:
            size = overhead + len(blob)
            end += size
            if end > fence:
                end -= size
                break
            append_part(pack(size, _MESSAGE, message_id, encoded))
            append_part(blob)
            append_size(SMALL_SIZE_CLASSES[size] if size < SMALL_SIZE else size_class(size))
            message_id += 1
        count = message_id - first
        self.index.head.states.extend(array("H", (code,)) * count)
        self._next_id = message_id
        self._end = end
        return count

    def _owners(self, numbers: tuple[int, ...], rank: int = 0) -> Owners:
        if not 1 <= len(numbers) <= MOST_OWNERS:
            raise ValueError(f"a message has 1 to {MOST_OWNERS} owners, not {len(numbers)}")
        return self.index.owners(numbers, rank)

    def _route(self, numbers: tuple[int, ...]) -> Route:
        owners = self._owners(numbers)
        code = self.index.head.code(self._head, owners.full)
        pack = message_start(len(owners.encoded)).pack
        route = code, pack, owners.encoded, RECORD_SIZE + len(owners.encoded)
        self._routes[numbers] = route
        return route

    def _append_slowly(self, owners: Owners, blob: bytes, more: bytes, attributes: bytes) -> int:
        if len(attributes) > MOST_ATTRIBUTES:
            raise ValueError(f"{len(attributes)} bytes of attributes are too many")
        encoded, flags = with_attributes(owners.encoded, owners.flags, attributes)
        size = RECORD_SIZE + len(encoded) + len(blob) + len(more)
        if size > GREATEST_RECORD_SIZE:
            raise ValueError(f"a message of {size} bytes is too large to be stored")
        if self._end + size > self._fence:
            self._make_room(size)
        if not flags:
            return self.append_message(owners.numbers, blob, more)
        message_id = self._next_id
        self._next_id = message_id + 1
        self._end += size
        self._parts += (_pack(size, _MESSAGE, flags, message_id) + encoded, blob, more)
        self._append_state(self.index.head.code(self._head, owners.full))
        self._append_size(size_class(size))
        return message_id

    def append_moved(self, message: StoredMessage, owners: Owners) -> None:
        """Append a live message again, with the owners that remain; it keeps its id."""
        encoded, flags = with_attributes(owners.encoded, owners.flags, message.attributes)
        size = RECORD_SIZE + len(encoded) + len(message.blob)
        if self._end + size > self._fence:
            self._make_room(size)
        self._end += size
        self._parts += (_pack(size, Kind.MOVED, flags, message.message_id) + encoded, message.blob)
        self._block_moved += 1
        self.index.move(message.message_id, self._head, owners, self._block_start, size)

    def append_record(self, kind: Kind, number: int, body: bytes = b"") -> int:
        """Append any other record; return the location of its block."""
        data = record(kind, number, body)
        if self._end + len(data) > self._fence:
            self._make_room(len(data))
        self._end += len(data)
        self._parts.append(data)
        self._block_other += len(data)
        return self._head.number << 32 | self._block_start

    def _make_room(self, size: int) -> None:
        """Let a record of `size` bytes come next: seal, roll or advance as needed."""
        if self._parts and self._end + size > self._block_start + BLOCK_BYTES:
            self.seal()
        if self._next_id >> CHUNK_BITS != self.index.head.number:
            self.seal()
            self.index.advance(self._next_id)
            self._use_chunk()
        if not self._parts:
            self._open_block()
        ids_left = CHUNK_SIZE - (self._next_id & CHUNK_MASK)
        fence = min(self._block_start + BLOCK_BYTES, self._end + ids_left * LEAST_MESSAGE_SIZE)
        self._fence = max(fence, self._end + size)

    def _open_block(self) -> None:
        if self._files.full:
            self._head = self._files.begin(self._next_id)
            self._end = self._head.size
            self._routes.clear()
        self._block_start = self._end
        self._block_first_id = self._next_id
        self._parts.append(BLANK_BLOCK_HEADER)
        self._end += BLOCK_HEADER_SIZE

    def _use_chunk(self) -> None:
        chunk = self.index.head
        self._routes = chunk.routes
        self._append_state = chunk.states.append
        self._append_size = chunk.sizes.append

    def seal(self) -> None:
        """Close the open block, if there is one: from now on it can be written and read."""
        parts = self._parts
        if not parts:
            return
        head = self._head
        start = self._block_start
        flags = OPEN if self._group else 0
        self._chained = self._group
        if not self._files.unwritten:
            # The first block of a batch: the batch before it, on which it follows, was synced.
            flags |= SYNCED
        block = seal_block(parts, start, flags, checksum_seed(self.salt, head.number))
        self._files.add(block, start)
        self._blocks.add(head.number << 32 | start, block)
        count = self._next_id - self._block_first_id
        if count:
            self.index.head.offsets.extend(array("I", (start,)) * count)
        head.messages += count + self._block_moved
        head.message_bytes += self._end - start - BLOCK_HEADER_SIZE - self._block_other
        head.size = self._end
        self._block_first_id = self._next_id
        self._block_moved = self._block_other = 0
        parts.clear()
        self._fence = -1

    def begin_group(self) -> None:
        """What is appended up to `end_group` survives a crash as a whole or not at all."""
        if self._group:
            raise RuntimeError("groups do not nest")
        self._group = True

    def end_group(self) -> None:
        """The group is whole. Raises RuntimeError if none was begun."""
        if not self._group:
            raise RuntimeError("no group was begun")
        self._group = False
        if self._chained and not self._parts:
            # Its last block was sealed as open: an empty one ends the chain.
            self._open_block()

    def take_writes(self) -> list[Write]:
        """All that has been appended and not taken yet; `written` must follow before the next."""
        self.seal()
        self._blocks.taken()
        return self._files.take()

    def written(self) -> None:
        """What was taken last can be read from the files now."""
        self._blocks.written()

    def trim(self) -> list[Segment]:
        """Forget the oldest segments if nothing in them lives, and return them."""
        trimmed = self._files.trim()
        for segment in trimmed:
            self._blocks.forget(segment.number)
        return trimmed

    def prepare_read(self, ids: Sequence[int]) -> Read:
        """Messages to be read; the result's `run` does it, in any thread. Raises NoSuchMessage."""
        read = Read(ids, self.salt, self.disk.path)
        self.add_to(read, ids)
        return read

    def add_to(self, read: Read, ids: Sequence[int]) -> None:
        """Let a read know where these messages are. Raises NoSuchMessage."""
        locations = self._locate(ids)
        read.take_places(ids, locations)
        self._blocks.add_to(read, locations)

    def read_many(self, ids: Sequence[int]) -> list[StoredMessage]:
        """Messages in the order asked for. Raises NoSuchMessage, Damaged or OSError."""
        return self.prepare_read(ids).run()

    def read(self, message_id: int) -> StoredMessage:
        """One message; its neighbours come cheaper. Raises as `read_many` does."""
        (location,) = self._locate((message_id,))
        return self._blocks.message(location, message_id)

    def load_block(self, location: int) -> bytes:
        """The block at `append_record`'s location. Raises Damaged or OSError."""
        if location == (self._head.number << 32 | self._block_start):
            self.seal()
        return self._blocks.load(location)

    def _locate(self, ids: Sequence[int]) -> list[int]:
        # The open block cannot be read, and its new messages have no offset yet.
        if self._parts and ids and max(ids) >= self._block_first_id:
            self.seal()
        locations = self.index.locations(ids)
        if self._parts and (self._head.number << 32 | self._block_start) in locations:
            self.seal()
        return locations

    def move_definitions(self, segment: Segment, limit_bytes: int) -> bool:
        """Append a segment's live definitions again, up to a limit; are there none left?"""
        return not segment.definitions

    def close_files(self) -> None:
        """Nothing is read or written any more."""
        self._blocks.close()

"""Doing again, on an empty state, what the records of a log say."""

from array import array
from collections.abc import Callable

from .chunk import CHUNK_BITS
from .records import (
    BLOCK_HEADER_SIZE,
    RANKED,
    RECORD,
    RECORD_SIZE,
    U16,
    U32,
    U64,
    Kind,
    numbers_from_bytes,
    stored_message,
)
from .scanning import BadRecord
from .segments import SMALL_SIZE_CLASSES, Segment, size_class
from .state import State

_MESSAGE = int(Kind.MESSAGE)
# Where a record's owners end if there is one (the count and the number), and its rank behind them.
_ONE_OWNER = RECORD_SIZE + U16.size + U32.size
_ONE_RANKED = _ONE_OWNER + U16.size
_unpack = RECORD.unpack_from


class Replay:
    """Applies blocks to `state`, in their order. Raises BadRecord for what makes no sense.

    Dropping owners is put off to `finish`: it looks through the whole index, once.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        # Below this number no segment is needed.
        self.oldest = 0
        # The log ends, as far as it was replayed, in a clean stop, whose snapshot was this.
        self.stopped = False
        self.snapshot = (0, 0)
        self.records = 0
        self._segment = Segment(0, 0)
        self._codes: dict[bytes, int] = {}
        self._codes_of: list[Segment] = []
        # Owner to the first message id after its latest drop.
        self._dropped: dict[int, int] = {}
        self._rare: dict[int, Callable[[bytes, int, int, int], None]] = {
            Kind.MOVED: self._moved,
            Kind.SETTLED: self._settled,
            Kind.DELIVERED: self._delivered,
            Kind.DROPPED: self._owner_dropped,
            Kind.DEFINED: self._defined,
            Kind.UNDEFINED: self._undefined,
            Kind.TRIMMED: self._trimmed,
            Kind.STARTED: self._started,
            Kind.STOPPED: self._clean_stop,
            Kind.NOTED: self._noted,
        }
        self._offset = 0

    def begin_segment(self, segment: Segment) -> None:
        """The records that follow stand in this segment."""
        self._segment = segment
        self.state.segments[segment.number] = segment
        self._codes.clear()

    def block(self, window: bytes, at: int, end: int, offset: int) -> None:
        """The records of one block, which stand between `at` and `end` in the window."""
        self._offset = offset
        self._segment.size = offset + BLOCK_HEADER_SIZE + end - at
        while at < end:
            at = self._messages(window, at, end)
            if at >= end:
                break
            length, kind, _, number = _unpack(window, at)
            if length < RECORD_SIZE or at + length > end:
                raise BadRecord(offset, "a record is longer than its block")
            self.records += 1
            if kind == _MESSAGE:
                self.skip_to(number)
                continue
            rare = self._rare.get(kind)
            if rare is None:
                raise BadRecord(offset, f"records of kind {kind} are unknown to this leveret")
            self.stopped = False
            rare(window, at, length, number)
            at += length

    def _messages(self, window: bytes, at: int, end: int) -> int:
        """A run of messages with consecutive ids in one chunk; return where it ends."""
        state = self.state
        chunk = state.index.head
        if chunk.segments is not self._codes_of:
            self._codes.clear()
            self._codes_of = chunk.segments
        codes = self._codes
        append_code = chunk.states.append
        append_size = chunk.sizes.append
        start = at
        first = next_id = state.next_id
        last = chunk.number + 1 << CHUNK_BITS
        length: int
        while at < end and next_id < last:
            length, kind, flags, number = _unpack(window, at)
            if kind != _MESSAGE or number != next_id:
                break
            owners_end = at + (_ONE_RANKED if flags & RANKED else _ONE_OWNER)
            code = codes.get(window[at + RECORD_SIZE : owners_end], -1)
            if code < 0:
                code = self._code(window, at)
            append_code(code)
            append_size(SMALL_SIZE_CLASSES[length] if length < 65536 else size_class(length))
            next_id += 1
            at += length
        count = next_id - first
        if count:
            chunk.offsets.extend(array("I", (self._offset,)) * count)
            state.next_id = next_id
            self._segment.messages += count
            self._segment.message_bytes += at - start
            self.records += count
            self.stopped = False
        return at

    def _code(self, window: bytes, at: int) -> int:
        chunk = self.state.index.head
        message = stored_message(window, at)
        owners = self.state.index.owners(message.owners, message.rank)
        code = chunk.code(self._segment, owners.full)
        if chunk.segments is not self._codes_of:
            self._codes.clear()
            self._codes_of = chunk.segments
        if len(owners.numbers) == 1:
            self._codes[owners.encoded] = code
        return code

    def skip_to(self, message_id: int) -> None:
        """The next message is not the next of its chunk: there is a gap, or the chunk is full."""
        if message_id < self.state.next_id:
            raise BadRecord(self._offset, f"message {message_id} comes after later ones")
        self.state.next_id = message_id
        self.state.index.skip_to(message_id)

    def _moved(self, window: bytes, at: int, length: int, message_id: int) -> None:
        if message_id >= self.state.next_id:
            raise BadRecord(self._offset, f"message {message_id} was moved before it was stored")
        message = stored_message(window, at)
        owners = self.state.index.owners(message.owners, message.rank)
        self.state.index.move(message_id, self._segment, owners, self._offset, length)
        self._segment.messages += 1
        self._segment.message_bytes += length

    def _settled(self, window: bytes, at: int, length: int, owner: int) -> None:
        ids = numbers_from_bytes("Q", window[at + RECORD_SIZE : at + length])
        self.state.index.settle(owner, ids)
        self.state.forget(owner, ids)

    def _delivered(self, window: bytes, at: int, length: int, owner: int) -> None:
        start = at + RECORD_SIZE
        middle = start + (length - RECORD_SIZE) // 12 * 8
        ids = numbers_from_bytes("Q", window[start:middle])
        counts = numbers_from_bytes("I", window[middle : at + length])
        known = self.state.deliveries.setdefault(owner, {})
        known.update(zip(ids, counts, strict=True))

    def _noted(self, window: bytes, at: int, length: int, owner: int) -> None:
        start = at + RECORD_SIZE
        (message_id,) = U64.unpack_from(window, start)
        note = window[start + U64.size : at + length]
        self.state.notes.setdefault(owner, {})[message_id] = note

    def _owner_dropped(self, window: bytes, at: int, length: int, owner: int) -> None:
        self._dropped[owner] = self.state.next_id
        self.state.forget_all(owner)

    def _defined(self, window: bytes, at: int, length: int, key_length: int) -> None:
        key = window[at + RECORD_SIZE : at + RECORD_SIZE + key_length]
        self.state.define(key, self._segment.number << 32 | self._offset, length)

    def _undefined(self, window: bytes, at: int, length: int, key_length: int) -> None:
        self.state.undefine(window[at + RECORD_SIZE : at + RECORD_SIZE + key_length])

    def _trimmed(self, window: bytes, at: int, length: int, oldest: int) -> None:
        self.oldest = max(self.oldest, oldest)

    def _started(self, window: bytes, at: int, length: int, _: int) -> None:
        pass

    def _clean_stop(self, window: bytes, at: int, length: int, size: int) -> None:
        self.stopped = True
        self.snapshot = size, U32.unpack_from(window, at + RECORD_SIZE)[0]

    def finish(self) -> None:
        """Everything has been replayed: do what was put off."""
        state = self.state
        if self._dropped:
            state.index.settle_before(self._dropped)
        for owners in (state.deliveries, state.notes):
            for owner, said in list(owners.items()):
                for message_id in [n for n in said if not state.index.lives(n)]:
                    del said[message_id]
                if not said:
                    del owners[owner]

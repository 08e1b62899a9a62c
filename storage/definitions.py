"""Definitions: keys and values, of which memory has only where in the log each one stands.

The latest record of a key counts. Before its segment goes it is appended again.
"""

from collections.abc import Iterable

from .log import Log
from .records import BLOCK_HEADER_SIZE, RECORD_SIZE, Kind, walk
from .segments import Segment
from .state import State


class Definitions:
    """Those of one log, whose `state` knows their places."""

    __slots__ = ("_log", "_state")

    def __init__(self, log: Log, state: State) -> None:
        self._log = log
        self._state = state

    def define(self, key: bytes, value: bytes) -> None:
        """Set what a key stands for."""
        location = self._log.append_record(Kind.DEFINED, len(key), key + value)
        self._state.define(key, location, RECORD_SIZE + len(key) + len(value))

    def undefine(self, key: bytes) -> None:
        """The key stands for nothing any more; if it never did, nothing happens."""
        if self._state.undefine(key):
            self._log.append_record(Kind.UNDEFINED, len(key), key)

    def read(self, keys: Iterable[bytes] | None = None) -> dict[bytes, bytes]:
        """Keys and values, of all definitions or of some. Raises Damaged or OSError."""
        known = self._state.definitions
        wanted = known if keys is None else {key: known[key] for key in keys}
        by_location: dict[int, None] = {location: None for location, _ in wanted.values()}
        found: dict[bytes, bytes] = {}
        for location in by_location:
            block = self._log.load_block(location)
            for at, length, kind, _, number in walk(block, BLOCK_HEADER_SIZE, len(block)):
                if kind == Kind.DEFINED:
                    key_from = at + RECORD_SIZE
                    key = block[key_from : key_from + number]
                    # The same key may stand in the block twice; the later one counts.
                    if wanted.get(key, (-1, 0))[0] == location:
                        found[key] = block[key_from + number : at + length]
        return found

    def move(self, segment: Segment, limit_bytes: int) -> bool:
        """Append those of a segment again, up to a limit; are there none left?"""
        if not segment.definitions:
            return True
        keys: list[bytes] = []
        for key, (location, size) in self._state.definitions.items():
            if location >> 32 == segment.number:
                keys.append(key)
                limit_bytes -= size
                if limit_bytes <= 0:
                    break
        for key, value in self.read(keys).items():
            self.define(key, value)
        return not segment.definitions

"""What a journal keeps in memory, as recovery finds it and a snapshot stores it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .index import Index
from .segments import Segment

# For each definition's key: location of its block, size of its record.
Definitions = dict[bytes, tuple[int, int]]
# For each owner: message id to how often it was delivered.
Deliveries = dict[int, dict[int, int]]
# For each owner: message id to what was noted of it.
Notes = dict[int, dict[int, bytes]]


@dataclass(slots=True)
class State:
    """`segments` ascend; the last one is the one to go on with."""

    salt: int
    next_id: int
    index: Index
    segments: dict[int, Segment] = field(default_factory=dict[int, Segment])
    definitions: Definitions = field(default_factory=dict[bytes, tuple[int, int]])
    deliveries: Deliveries = field(default_factory=dict[int, dict[int, int]])
    notes: Notes = field(default_factory=dict[int, dict[int, bytes]])

    @classmethod
    def empty(cls, salt: int, next_id: int = 1) -> "State":
        """Of a journal in which there is nothing."""
        return cls(salt, next_id, Index(next_id))

    def define(self, key: bytes, location: int, size: int) -> None:
        """The definition of a key stands at a location; the one before counts no more."""
        self.undefine(key)
        self.definitions[key] = location, size
        segment = self.segments[location >> 32]
        segment.definitions += 1
        segment.definition_bytes += size

    def undefine(self, key: bytes) -> bool:
        """Was there a definition?"""
        location, size = self.definitions.pop(key, (0, 0))
        if not size:
            return False
        segment = self.segments[location >> 32]
        segment.definitions -= 1
        segment.definition_bytes -= size
        return True

    def forget(self, owner: int, ids: Iterable[int]) -> None:
        """An owner has settled messages: what was said of them counts no more."""
        for said in (self.deliveries.get(owner), self.notes.get(owner)):
            if said:
                for message_id in ids:
                    said.pop(message_id, None)

    def forget_all(self, owner: int) -> None:
        """An owner has settled all its messages."""
        self.deliveries.pop(owner, None)
        self.notes.pop(owner, None)

"""Where messages stand in a quorum queue after a restart: those that came back, in the order in
which they did, before those that never came back. Some of the former had gone to the end of the
queue: they stand between the messages published before and those published after that.

What has waited for a retry stands as it came back, not as it became ready.
"""

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from .returns import read_place


class Places(NamedTuple):
    """The places of a queue's messages that came back, which are given by their ids."""

    first: "array[int]"
    """Those before all others, in order."""
    at_end: list[tuple[int, int, int]]
    """Those that went to the end, in order: before which one each stands, its turn, its id."""

    def without_those(self, ids: "array[int]") -> "array[int]":
        """The others of all messages, in the order of their ids."""
        if not (self.first or self.at_end):
            return ids
        came_back = {*self.first, *(stored for _, _, stored in self.at_end)}
        return array("Q", (each for each in ids if each not in came_back))

    def with_those_at_end(self, ids: "array[int]") -> "array[int]":
        """Messages that never came back, which are in the order of their ids, and among them those
        that went to the end.
        """
        if not self.at_end:
            return ids
        placed, done = array("Q"), 0
        for before, _, stored in self.at_end:
            at = bisect_left(ids, before, done)
            placed += ids[done:at]
            placed.append(stored)
            done = at
        return placed + ids[done:]


def places_of(ids: "array[int]", notes: Mapping[int, bytes]) -> Places:
    """The places of those messages, which are in the order of their ids, that have notes."""
    first: list[tuple[int, int]] = []
    at_end: list[tuple[int, int, int]] = []
    for stored, note in notes.items():
        at = bisect_left(ids, stored)
        if at == len(ids) or ids[at] != stored:
            continue  # it waits for a retry
        turn, before = read_place(note)
        if before:
            at_end.append((before, turn, stored))
        else:
            first.append((turn, stored))
    return Places(array("Q", (stored for _, stored in sorted(first))), sorted(at_end))

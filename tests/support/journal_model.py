"""What a journal has been told, as a plain model to compare it with."""

from __future__ import annotations

from typing import Any

from leveret.storage.journal import Journal
from leveret.storage.opening import Recovered

Step = tuple[Any, ...]
Frozen = tuple[Any, ...]


class Model:
    """What the records of a log mean, as dictionaries."""

    def __init__(self) -> None:
        self.messages: dict[int, dict[int, tuple[bytes, bytes, int]]] = {}
        self.definitions: dict[bytes, bytes] = {}
        self.deliveries: dict[int, dict[int, int]] = {}
        self.notes: dict[int, dict[int, bytes]] = {}

    def copy(self) -> Model:
        other = Model()
        other.messages = {owner: dict(held) for owner, held in self.messages.items()}
        other.definitions = dict(self.definitions)
        other.deliveries = {owner: dict(counts) for owner, counts in self.deliveries.items()}
        other.notes = {owner: dict(notes) for owner, notes in self.notes.items()}
        return other

    def apply(self, step: Step) -> None:
        """Do what one record says: its kind, then what stands in it."""
        match step:
            case ("message", message_id, owners, blob, attributes, rank):
                for owner in owners:
                    self.messages.setdefault(owner, {})[message_id] = blob, attributes, rank
            case ("settled", owner, ids):
                for message_id in ids:
                    self.messages.get(owner, {}).pop(message_id, None)
                    self.deliveries.get(owner, {}).pop(message_id, None)
                    self.notes.get(owner, {}).pop(message_id, None)
            case ("dropped", owner):
                self.messages.pop(owner, None)
                self.deliveries.pop(owner, None)
                self.notes.pop(owner, None)
            case ("delivered", owner, counts):
                self.deliveries.setdefault(owner, {}).update(counts)
            case ("noted", owner, message_id, note):
                self.notes.setdefault(owner, {})[message_id] = note
            case ("defined", key, value):
                self.definitions[key] = value
            case ("undefined", key):
                self.definitions.pop(key, None)
            case _:
                raise AssertionError(step)

    def frozen(self) -> Frozen:
        """All of it, to compare with what is `observed`."""
        return (
            {owner: sorted(held.items()) for owner, held in self.messages.items() if held},
            self.definitions,
            {owner: counts for owner, counts in self.deliveries.items() if counts},
            {owner: notes for owner, notes in self.notes.items() if notes},
        )


def observed(journal: Journal, recovered: Recovered) -> Frozen:
    """What a journal that was opened has, in the same form."""
    messages: dict[int, list[tuple[int, tuple[bytes, bytes, int]]]] = {}
    for owner, ids in recovered.messages.items():
        assert list(ids) == sorted(set(ids))
        messages[owner] = [
            (message.message_id, (message.blob, message.attributes, message.rank))
            for message in journal.read_many(ids)
        ]
        by_rank: dict[int, list[int]] = {}
        for message_id, (_, _, rank) in messages[owner]:
            by_rank.setdefault(rank, []).append(message_id)
        told = recovered.ranked.get(owner, {0: ids})
        assert {rank: list(some) for rank, some in told.items()} == by_rank
    return messages, recovered.definitions, recovered.deliveries, recovered.notes

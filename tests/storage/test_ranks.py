"""Ranks: numbers that come with messages and are known after opening without these being read."""

import pytest

from leveret.storage import log_files, segments
from leveret.storage.chunk import CHUNK_BITS
from leveret.storage.journal import Journal
from leveret.storage.opening import Recovered, open_journal
from leveret.storage.records import (
    BLOCK_HEADER_SIZE,
    SEGMENT_HEADER_SIZE,
    SegmentHeader,
    segment_name,
)
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk

HIGH, LOW, NONE = 10, 1, 0


def sync(journal: Journal) -> None:
    while batch := journal.take_batch():
        batch.write_and_sync()
        journal.synced(batch)


def append(journal: Journal, *ranks: int, owners: tuple[int, ...] = (1,)) -> list[int]:
    return [journal.append_ranked(rank, owners, b"%d" % rank, b"", b"") for rank in ranks]


def told(recovered: Recovered) -> dict[int, dict[int, list[int]]]:
    return {
        owner: {rank: list(ids) for rank, ids in by_rank.items()}
        for owner, by_rank in recovered.ranked.items()
    }


@pytest.mark.parametrize("snapshots", [True, False])
@pytest.mark.parametrize("clean", [True, False])
def test_ranks_are_told_without_messages_being_read(clean: bool, snapshots: bool) -> None:
    disk, settings = MemoryDisk(), Settings(snapshots=snapshots)
    journal, _ = open_journal(disk, settings)
    low, high, second_high = append(journal, LOW, HIGH, HIGH)
    none = journal.append_message((1,), b"none")
    journal.append_message((2,), b"of an owner without ranks")
    sync(journal)
    if clean:
        journal.close()
    else:
        disk = disk.crash(lambda choices: 0)
    journal, recovered = open_journal(disk, settings)
    assert recovered.from_snapshot is (clean and snapshots)
    assert told(recovered) == {1: {LOW: [low], HIGH: [high, second_high], NONE: [none]}}
    assert list(recovered.messages[1]) == [low, high, second_high, none]
    assert [message.rank for message in journal.read_many([low, high, none])] == [LOW, HIGH, NONE]


def test_ranks_are_told_apart_where_very_many_messages_have_one_owner() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    ids = append(journal, *[LOW, HIGH] * (1 << CHUNK_BITS))
    sync(journal)
    journal.close()
    _, recovered = open_journal(disk)
    assert told(recovered) == {1: {LOW: ids[::2], HIGH: ids[1::2]}}


def test_each_owner_is_told_ranks_of_what_it_has_left() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    both, first = append(journal, HIGH, LOW, owners=(1, 2))
    journal.settle(2, first)
    sync(journal)
    _, recovered = open_journal(disk.crash(lambda choices: 0))
    assert told(recovered) == {1: {HIGH: [both], LOW: [first]}, 2: {HIGH: [both]}}


def test_a_message_that_is_rewritten_keeps_its_rank() -> None:
    disk, small = MemoryDisk(), Settings(segment_bytes=1024, slack_segments=1)
    journal, _ = open_journal(disk, small)
    old = append(journal, HIGH, NONE, LOW)
    for _ in range(30):
        passing = journal.append_message((2,), bytes(500))
        sync(journal)
        journal.settle(2, passing)
    sync(journal)
    assert journal.statistics().rewritten_bytes > 0
    assert segment_name("journal", 1) not in disk.names()
    expected = {1: {HIGH: old[:1], NONE: old[1:2], LOW: old[2:]}}
    _, recovered = open_journal(disk.crash(lambda choices: 0), small)
    assert told(recovered) == expected


def test_a_message_without_a_rank_is_written_as_before() -> None:
    written: list[bytes] = []
    for append_one in (
        lambda journal: journal.append_message((1,), b"x"),
        lambda journal: journal.append_ranked(NONE, (1,), b"x", b"", b""),
    ):
        disk = MemoryDisk()
        journal, _ = open_journal(disk)
        append_one(journal)
        sync(journal)
        written.append(disk.files()[segment_name("journal", 1)])
    assert written[0] == written[1]
    head = bytes([21, 0, 0, 0, 1, 0]) + (1).to_bytes(8, "little")
    assert head + bytes([1, 0, 1, 0, 0, 0]) + b"x" in written[0]


@pytest.mark.parametrize("clean", [True, False])
def test_a_journal_of_version_2_is_read_and_gone_on_with_in_a_new_file(
    clean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = MemoryDisk()
    with monkeypatch.context() as patch:
        patch.setattr(log_files, "VERSION", 2)
        patch.setattr(segments, "VERSION", 2)
        journal, _ = open_journal(disk, Settings(snapshots=False))
        old = journal.append_message((1,), b"old")
        sync(journal)
        if clean:
            journal.close()
        else:
            disk.unlock()
    before = disk.files()
    journal, recovered = open_journal(disk)
    assert not recovered.ranked
    (new,) = append(journal, HIGH)
    sync(journal)
    after = disk.files()
    names = [segment_name("journal", number) for number in (1, 2)]
    versions = [SegmentHeader.decode(after[name][:SEGMENT_HEADER_SIZE]) for name in names]
    assert [header and header.version for header in versions] == [2, 3]
    kept = after[names[0]]
    assert before[names[0]].startswith(kept)
    assert len(kept) > SEGMENT_HEADER_SIZE + BLOCK_HEADER_SIZE
    _, recovered = open_journal(disk.crash(lambda choices: 0))
    assert told(recovered) == {1: {NONE: [old], HIGH: [new]}}

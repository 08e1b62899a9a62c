"""What is found after a file was cut, changed, or lost, at every place where that can happen."""

from typing import Any, cast

import pytest

from leveret.storage.errors import Damaged, DirectoryLocked, UnknownVersion
from leveret.storage.journal import Journal
from leveret.storage.opening import Recovered, open_journal
from leveret.storage.records import (
    JOURNAL_MAGIC,
    SEGMENT_HEADER_SIZE,
    SPARE_NAME,
    VERSION,
    Kind,
    SegmentHeader,
    segment_name,
)
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk

FIRST = segment_name("journal", 1)

View = tuple[Any, ...]


def sync(journal: Journal) -> None:
    batch = journal.take_batch()
    if batch is not None:
        batch.write_and_sync()
        journal.synced(batch)


def view(journal: Journal, recovered: Recovered) -> View:
    """All that a caller can see, as plain values."""
    blobs = {
        owner: [message.blob for message in journal.read_many(ids)]
        for owner, ids in recovered.messages.items()
    }
    return recovered.definitions, blobs, recovered.deliveries, recovered.notes


def opened(files: dict[str, bytes], settings: Settings | None = None) -> tuple[View, Recovered]:
    journal, recovered = open_journal(MemoryDisk(files), settings)
    return view(journal, recovered), recovered


def story() -> tuple[bytes, list[View]]:
    """A bit of everything, in batches: the file, and what is to be seen after each batch."""
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    views: list[View] = [({}, {}, {}, {})]

    def done() -> None:
        sync(journal)
        copy, recovered = open_journal(MemoryDisk(disk.files()))
        views.append(view(copy, recovered))

    journal.define(b"queue 1", b"one")
    first = journal.append_message((1,), b"first")
    done()
    second = journal.append_message((1, 2, 3), b"second", b" and more", b"attributes")
    journal.define(b"queue 2", b"two")
    done()
    journal.settle(1, first)
    journal.undefine(b"queue 1")
    journal.note_deliveries(2, {second: 3})
    journal.note(3, second, b"noted")
    done()
    journal.begin_group()
    journal.append_message((3,), b"third")
    journal.settle(1, second)
    journal.append_message((2,), b"fourth")
    journal.end_group()
    done()
    journal.append_message((3,), b"large" * 500)
    journal.drop_owner(2)
    journal.append_message((2,), b"fifth")
    done()
    return disk.files()[FIRST], views


@pytest.mark.slow
def test_a_log_cut_at_any_byte_gives_the_state_after_some_batch() -> None:
    data, views = story()
    reached = 0
    for size in range(len(data) + 1):
        seen, recovered = opened({FIRST: data[:size]})
        assert seen in views[reached:], size
        reached = views.index(seen)
        assert not recovered.clean or size < SEGMENT_HEADER_SIZE
        if recovered.torn is not None:
            assert recovered.torn.offset + recovered.torn.size == size
            assert recovered.torn.file == FIRST
    assert reached == len(views) - 1


def test_a_cut_tail_is_kept_aside_byte_for_byte() -> None:
    data, _ = story()
    disk = MemoryDisk({FIRST: data[:-7]})
    _, recovered = open_journal(disk)
    torn = recovered.torn
    assert torn is not None
    (kept,) = torn.kept_in
    assert disk.files()[kept] == data[torn.offset : -7]
    assert disk.files()[FIRST].startswith(data[: torn.offset])


@pytest.mark.slow
def test_any_changed_byte_is_noticed() -> None:
    data, views = story()
    last_batch = data.rindex(b"\x8bLvB")
    for at in range(len(data)):
        change = 1 << at % 8
        changed = {FIRST: data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]}
        if at < last_batch:
            with pytest.raises(Damaged, match="leveret journal verify memory") as caught:
                opened(changed)
            assert caught.value.file == FIRST
            assert caught.value.offset <= at
        else:
            # What was written last looks like a write that a crash cut short.
            seen, recovered = opened(changed)
            assert recovered.torn is not None
            assert seen == views[-2]


def test_zeros_behind_the_end_are_cut() -> None:
    data, views = story()
    seen, recovered = opened({FIRST: data + bytes(5000)})
    assert seen == views[-1]
    assert recovered.torn is not None
    assert recovered.torn.size == 5000


def test_the_log_goes_on_after_a_cut() -> None:
    data, _ = story()
    disk = MemoryDisk({FIRST: data[:-1]})
    journal, recovered = open_journal(disk)
    before, *_ = view(journal, recovered)
    message_id = journal.append_message((9,), b"new")
    sync(journal)
    seen, again = opened(disk.files())
    assert seen[0] == before
    assert again.torn is None
    assert list(again.messages[9]) == [message_id]


SMALL = Settings(segment_bytes=1024, slack_segments=50)


def many_segments(count: int = 5) -> MemoryDisk:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    for n in range(count * 4):
        journal.append_message((1,), bytes([n]) * 300)
        sync(journal)
    assert len(journal.segments) >= count
    return disk


def test_damage_in_a_segment_that_is_not_the_last_refuses_to_open() -> None:
    files = many_segments().files()
    name = segment_name("journal", 2)
    data = files[name]
    for at in range(0, len(data), 7):
        changed = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
        with pytest.raises(Damaged) as caught:
            opened(files | {name: changed}, SMALL)
        assert caught.value.file == name


def test_a_segment_cut_between_blocks_refuses_to_open() -> None:
    files = many_segments().files()
    name = segment_name("journal", 2)
    end = files[name].rindex(b"\x8bLvB")
    with pytest.raises(Damaged, match="too early or too late"):
        opened(files | {name: files[name][:end]}, SMALL)


def test_a_missing_segment_refuses_to_open() -> None:
    files = many_segments().files()
    for number in (1, 2, 3):
        name = segment_name("journal", number)
        rest = {other: data for other, data in files.items() if other != name}
        with pytest.raises(Damaged, match="missing") as caught:
            opened(rest, SMALL)
        assert caught.value.file == name


def test_a_segment_of_another_journal_refuses_to_open() -> None:
    files = many_segments().files()
    name = segment_name("journal", 3)
    header = SegmentHeader.decode(files[name])
    assert header is not None
    other = header._replace(salt=header.salt + 1).encode() + files[name][SEGMENT_HEADER_SIZE:]
    with pytest.raises(Damaged, match="another journal"):
        opened(files | {name: other}, SMALL)


def test_a_last_segment_whose_header_is_cut_short_is_taken_off() -> None:
    files = many_segments().files()
    last = max(name for name in files if name.startswith("journal-"))
    seen, _ = opened(files, SMALL)
    for size in (0, 1, SEGMENT_HEADER_SIZE - 1):
        disk = MemoryDisk(files | {last: files[last][:size]})
        journal, recovered = open_journal(disk, SMALL)
        assert recovered.torn is not None
        assert recovered.torn.file == last
        blobs = view(journal, recovered)[1][1]
        assert seen[1][1][: len(blobs)] == blobs
        journal.append_message((1,), b"x" * 2000)
        sync(journal)
        again, _ = opened(disk.files(), SMALL)
        assert again[1][1] == [*blobs, b"x" * 2000]


def test_a_damaged_header_before_later_batches_refuses_to_open() -> None:
    data, _ = story()
    for at in range(SEGMENT_HEADER_SIZE):
        changed = data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :]
        with pytest.raises(Damaged):
            opened({FIRST: changed})


@pytest.mark.parametrize("version", [0, VERSION + 1, 65535])
def test_an_unknown_version_refuses_to_open(version: int) -> None:
    header = SegmentHeader(JOURNAL_MAGIC, version, 1, 1, 1, 0, 1)
    with pytest.raises(UnknownVersion, match=f"{FIRST} has format version {version}"):
        opened({FIRST: header.encode()})


def test_an_unknown_kind_of_record_refuses_to_open() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    journal.append_record(cast(Kind, 99), 0)
    sync(journal)
    with pytest.raises(Damaged, match="kind 99"):
        opened(disk.files())


def test_segments_whose_removal_was_lost_are_removed_again() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    old: dict[str, bytes] = {}
    for n in range(40):
        message_id = journal.append_message((1,), bytes([n]) * 300)
        journal.settle(1, message_id)
        old |= disk.files()
        sync(journal)
    journal.append_message((1,), b"last")
    sync(journal)
    files = disk.files()
    assert len(old) > len(files) + 5
    numbers = sorted(old)
    for returned in ({numbers[0]}, {numbers[1], numbers[3]}, set(numbers[:5]), set(numbers)):
        disk = MemoryDisk({name: old[name] for name in returned} | files)
        journal, recovered = open_journal(disk, SMALL)
        assert view(journal, recovered)[1] == {1: [b"last"]}
        assert set(disk.files()) == set(files) - {SPARE_NAME}


def test_a_transaction_counts_only_as_a_whole_even_across_segments() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    journal.append_message((1,), b"before")
    sync(journal)
    before = disk.files()
    journal.begin_group()
    for n in range(40):
        journal.append_message((1,), bytes([n]) * 9000)
    journal.settle(1, 1)
    journal.end_group()
    sync(journal)
    after = disk.files()
    assert len(after) > 5
    whole, _ = opened(after, SMALL)
    assert len(whole[1][1]) == 40
    names = sorted(name for name in after if name.startswith("journal-"))
    for at, name in enumerate(names):
        start = len(before.get(name, b""))
        for size in range(start, len(after[name]), 3001):
            files = {other: after[other] for other in names[:at]} | {name: after[name][:size]}
            seen, recovered = opened(files, SMALL)
            assert seen[1] == {1: [b"before"]}
            assert (recovered.torn is None) == (size == start == len(before.get(name, b"-")))


def test_the_same_directory_cannot_be_opened_twice() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    with pytest.raises(DirectoryLocked):
        open_journal(disk)
    journal.close()
    open_journal(disk)


@pytest.mark.slow
def test_progress_is_told_while_a_long_log_is_read() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    for _ in range(20):
        journal.append_message((1,), bytes(1 << 20))
    sync(journal)
    told: list[tuple[int, int]] = []
    open_journal(MemoryDisk(disk.files()), progress=lambda done, total: told.append((done, total)))
    assert len(told) >= 4
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert all(done <= total == disk.used_bytes for done, total in told)

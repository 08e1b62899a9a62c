"""What `leveret journal` says of a directory nobody has open."""

from leveret.storage.inspection import dump, stats, verify
from leveret.storage.journal import Journal
from leveret.storage.opening import open_journal
from leveret.storage.records import SEGMENT_HEADER_SIZE, segment_name
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk

SMALL = Settings(segment_bytes=1024, slack_segments=500)


def sync(journal: Journal) -> None:
    batch = journal.take_batch()
    assert batch is not None
    batch.write_and_sync()
    journal.synced(batch)


def filled(*, stop: bool = True) -> MemoryDisk:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    for n in range(12):
        journal.append_message((1, 2), bytes([n]) * 300, attributes=b"a")
        sync(journal)
    journal.append_message((1,), b"short")
    journal.append_ranked(10, (2,), b"ranked", b"", b"")
    journal.define(b"key", b"value" * 20)
    journal.define(b"gone", b"")
    journal.undefine(b"gone")
    journal.note_deliveries(1, {3: 2})
    journal.note(2, 3, b"noted")
    journal.settle_many(1, [1, 2, 4])
    sync(journal)
    journal.begin_group()
    for _ in range(5):
        journal.append_message((3,), bytes(20_000))
    journal.end_group()
    journal.drop_owner(3)
    sync(journal)
    if stop:
        journal.close()
    else:
        disk.unlock()
    return disk


def lines(disk: MemoryDisk) -> tuple[str, int]:
    findings = list(verify(disk))
    return "\n".join(finding.text for finding in findings), sum(f.problem for f in findings)


def changed(disk: MemoryDisk, number: int, at: int) -> MemoryDisk:
    files = disk.files()
    data = files[segment_name("journal", number)]
    at %= len(data)
    files[segment_name("journal", number)] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    return MemoryDisk(files)


def test_a_whole_journal_verifies() -> None:
    disk = filled()
    before = disk.files()
    text, problems = lines(disk)
    assert problems == 0
    assert "journal-0000000001.log: " in text
    assert "can be opened after a clean stop: 14 messages of 2 owners, 1 definitions" in text
    assert disk.files() == before


def test_a_crash_is_told_from_a_clean_stop() -> None:
    text, problems = lines(filled(stop=False))
    assert problems == 0
    assert "can be opened after a crash, or it was never stopped" in text


def test_an_unfinished_write_is_no_problem() -> None:
    disk = filled(stop=False)
    files = disk.files()
    last = max(name for name in files if name.startswith("journal-"))
    text, problems = lines(MemoryDisk(files | {last: files[last][:-3]}))
    assert problems == 0
    assert "ends in an unfinished write" in text


def test_damage_is_shown_with_what_can_still_be_read_behind_it() -> None:
    disk = filled()
    text, problems = lines(changed(disk, 2, SEGMENT_HEADER_SIZE + 30))
    assert problems == 2
    assert "journal-0000000002.log: bytes 48 to " in text
    assert "cannot be opened: journal-0000000002.log is damaged at byte 48" in text
    shown = "\n".join(dump(changed(disk, 2, SEGMENT_HEADER_SIZE + 30)))
    assert "journal-0000000002.log:48 unreadable up to byte" in shown
    assert shown.count("message ") >= 15


def test_a_damaged_header_is_shown() -> None:
    disk = changed(filled(), 2, 20)
    text, problems = lines(disk)
    assert problems == 2
    assert "journal-0000000002.log: the segment header is not whole" in text
    assert "segment header is not whole" in "\n".join(dump(disk))


def test_a_dump_shows_every_kind_of_record() -> None:
    text = "\n".join(dump(filled(), blob_bytes=5))
    for expected in (
        "journal-0000000001.log:0 version 3, salt 00005eed, segment 1, oldest 1, base 0, next id 1",
        "  started",
        "SYNCED",
        "OPEN",
        "  message 1 for 1, 2, attributes b'a': 300 bytes b'\\x00\\x00\\x00\\x00\\x00'...",
        "  message 13 for 1: 5 bytes b'short'\n",
        "  message 14 for 2, rank 10: 6 bytes b'ranke'...",
        "  defined b'key' as 100 bytes b'value'...",
        "  undefined b'gone'",
        "  delivered to 1 (times): 3 (2)",
        "  noted by 2 of 3: b'noted'",
        "  settled by 1: 1-2, 4",
        "  dropped owner 3",
        "  stopped, snapshot of ",
    ):
        assert expected in text, expected


def test_a_dump_shows_moved_messages_and_trimmed_segments() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, Settings(segment_bytes=1024, slack_segments=1))
    journal.append_message((1,), b"old")
    for _ in range(10):
        message_id = journal.append_message((2,), bytes(2000))
        sync(journal)
        journal.settle(2, message_id)
    while batch := journal.take_batch():
        batch.write_and_sync()
        journal.synced(batch)
    disk.unlock()
    text = "\n".join(dump(disk))
    assert "moved message 1 for 1: 3 bytes b'old'" in text
    assert "are needed no longer" in text


def test_stats_are_those_of_the_open_journal() -> None:
    figures = stats(filled())
    assert figures["messages"] == 14
    assert figures["owners"] == 2
    assert figures["longest owner"] == 13
    assert figures["definitions"] == 1
    assert figures["stopped cleanly"] is True
    assert figures["unfinished write"] is False
    assert int(figures["live bytes (estimate)"]) < int(figures["bytes"])


def test_an_empty_directory_is_no_problem() -> None:
    assert lines(MemoryDisk()) == ("there is no journal here", 0)
    assert list(dump(MemoryDisk())) == []
    assert stats(MemoryDisk()) == {"segments": 0}

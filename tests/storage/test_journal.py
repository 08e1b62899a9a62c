"""What a journal promises its caller, one thing at a time."""

from array import array

import pytest

from leveret.storage import journal as journal_module
from leveret.storage.journal import Journal
from leveret.storage.opening import Recovered, open_journal
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk


def sync(journal: Journal) -> None:
    batch = journal.take_batch()
    assert batch is not None
    batch.write_and_sync()
    journal.synced(batch)


def after_crash(disk: MemoryDisk) -> tuple[Journal, Recovered]:
    """The journal as it is found when nothing unsynced survived."""
    return open_journal(disk.crash(lambda n: 1 if n == 3 else 0))


def ids_of(recovered: Recovered) -> dict[int, list[int]]:
    return {owner: list(ids) for owner, ids in recovered.messages.items()}


def test_a_new_journal_is_empty_and_clean() -> None:
    journal, recovered = open_journal(MemoryDisk())
    assert recovered.messages == {}
    assert recovered.definitions == {}
    assert recovered.clean
    assert recovered.torn is None
    assert journal.next_id == 1


def test_very_many_settled_messages_do_not_wait_for_the_next_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "_SETTLED_MAX", 10)
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    ids = [journal.append_message((1,), b"m") for _ in range(30)]
    before = journal.position
    journal.settle_many(1, ids[:10])
    assert journal.position == before
    journal.settle_many(1, ids[10:25])
    assert journal.position > before
    sync(journal)
    assert ids_of(after_crash(disk)[1]) == {1: ids[25:]}


def test_messages_come_back_to_each_owner_in_the_order_they_were_stored() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    owners = [(1,), (2,), (1, 2), (3, 1), (2,)]
    ids = [journal.append_message(numbers, b"%d" % n) for n, numbers in enumerate(owners)]
    sync(journal)
    journal, recovered = after_crash(disk)
    assert ids == [1, 2, 3, 4, 5]
    assert ids_of(recovered) == {1: [1, 3, 4], 2: [2, 3, 5], 3: [4]}
    assert not recovered.clean
    assert journal.read(4).blob == b"3"
    assert journal.read(4).owners == (3, 1)
    assert journal.next_id == 6


def test_many_messages_are_written_just_as_one_by_one() -> None:
    disks, blobs = (MemoryDisk(), MemoryDisk()), [bytes(n * 37 % 3001) for n in range(20_000)]
    blobs[5000] = bytes(300_000)
    one_by_one, at_once = (open_journal(disk)[0] for disk in disks)
    ids = [one_by_one.append_message((1, 2), b"begin", blob) for blob in blobs]
    assert at_once.append_messages((1, 2), b"begin", blobs[:9]) == ids[0]
    assert at_once.append_messages((1, 2), b"begin", blobs[9:]) == ids[9]
    assert at_once.append_messages((1, 2), b"begin", []) == one_by_one.next_id
    for journal in (one_by_one, at_once):
        sync(journal)
        assert [message.blob for message in journal.read_many(ids)] == [
            b"begin" + blob for blob in blobs
        ]
    assert one_by_one.statistics() == at_once.statistics()
    assert one_by_one.fitting(ids, 10_000_000) == at_once.fitting(ids, 10_000_000)


def test_a_message_lives_until_its_last_owner_settles_it() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    message_id = journal.append_message((1, 2, 3), b"x")
    journal.settle(2, message_id)
    sync(journal)
    assert set(ids_of(after_crash(disk)[1])) == {1, 3}
    journal.settle(1, message_id)
    journal.settle(1, message_id)
    journal.settle(9, message_id)
    sync(journal)
    assert set(ids_of(after_crash(disk)[1])) == {3}
    journal.settle(3, message_id)
    sync(journal)
    assert not journal.index.lives(message_id)
    assert ids_of(after_crash(disk)[1]) == {}


def test_a_settle_that_was_not_synced_may_be_forgotten() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    message_id = journal.append_message((1,), b"x")
    sync(journal)
    journal.settle(1, message_id)
    assert ids_of(after_crash(disk)[1]) == {1: [message_id]}


def test_settles_of_one_batch_share_a_record() -> None:
    journal, _ = open_journal(MemoryDisk())
    ids = [journal.append_message((1,), b"x") for _ in range(1000)]
    sync(journal)
    before = journal.position
    for message_id in ids[:500]:
        journal.settle(1, message_id)
    journal.settle_many(1, array("Q", ids[500:]))
    journal.settle_many(1, [])
    sync(journal)
    assert journal.position - before < 8 * 1000 + 60


def test_dropping_an_owner_takes_all_it_has_and_nothing_later() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    shared = journal.append_message((1, 2), b"shared")
    alone = journal.append_message((1,), b"alone")
    journal.settle(1, alone)
    journal.drop_owner(1)
    later = journal.append_message((1,), b"later")
    sync(journal)
    assert ids_of(after_crash(disk)[1]) == {2: [shared], 1: [later]}


def test_dropping_an_owner_whose_messages_are_known_gives_the_same() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    ids = [journal.append_message((1, 2), b"x") for _ in range(10)]
    journal.drop_owner(1, ids)
    sync(journal)
    assert ids_of(after_crash(disk)[1]) == {2: ids}
    assert journal.statistics().messages == 10
    journal.drop_owner(2, ids)
    assert journal.statistics().messages == 0


def test_the_last_definition_of_a_key_counts() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    journal.define(b"a", b"1")
    journal.define(b"b", b"")
    journal.define(b"a", b"2" * 100_000)
    journal.define(b"c", b"3")
    journal.undefine(b"c")
    journal.undefine(b"never defined")
    expected = {b"a": b"2" * 100_000, b"b": b""}
    assert journal.definitions() == expected
    sync(journal)
    assert journal.definitions() == expected
    assert after_crash(disk)[1].definitions == expected


def test_a_definition_is_on_disk_before_the_messages_after_it() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    journal.define(b"queue 1", b"")
    journal.append_message((1,), b"x")
    batch = journal.take_batch()
    assert batch is not None
    batch.write_and_sync()
    ((name, data),) = disk.files().items()
    for size in range(len(data)):
        _, recovered = open_journal(MemoryDisk({name: data[:size]}))
        assert not recovered.messages or recovered.definitions


def test_delivery_counts_stay_until_the_message_is_settled() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    ids = [journal.append_message((1, 2), b"x") for _ in range(5000)]
    journal.note_deliveries(1, dict.fromkeys(ids, 3))
    journal.note_deliveries(1, {ids[0]: 4, 99_999: 1})
    journal.note_deliveries(2, {ids[1]: 1})
    journal.settle_many(1, ids[2:])
    sync(journal)
    expected = {1: {ids[0]: 4, ids[1]: 3}, 2: {ids[1]: 1}}
    assert after_crash(disk)[1].deliveries == expected
    journal.close()
    journal, recovered = open_journal(disk)
    assert recovered.deliveries == expected
    journal.drop_owner(1)
    sync(journal)
    assert after_crash(disk)[1].deliveries == {2: {ids[1]: 1}}


def test_what_is_noted_last_stays_until_the_message_is_settled() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    ids = [journal.append_message((1, 2), b"x") for _ in range(3)]
    for message_id in ids:
        journal.note(1, message_id, b"first")
    journal.note(1, ids[0], b"second")
    journal.note(2, ids[0], b"other")
    journal.note(1, 99_999, b"no message")
    journal.settle(1, ids[1])
    sync(journal)
    assert journal.noted(1, ids[0]) == b"second"
    assert journal.noted(1, ids[1]) == journal.noted(1, 99_999) == b""
    expected = {1: {ids[0]: b"second", ids[2]: b"first"}, 2: {ids[0]: b"other"}}
    assert after_crash(disk)[1].notes == expected
    journal.close()
    journal, recovered = open_journal(disk)
    assert recovered.notes == expected
    journal.drop_owner(1)
    sync(journal)
    assert after_crash(disk)[1].notes == {2: {ids[0]: b"other"}}


def test_a_clean_stop_is_told_from_a_crash() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    journal.append_message((1,), b"x")
    journal.close()
    journal, recovered = open_journal(disk)
    assert recovered.clean
    # Delivering without writing anything must not look like a clean stop after a crash.
    assert not after_crash(disk)[1].clean
    journal.close(clean=False)
    _, recovered = open_journal(disk)
    assert not recovered.clean


def test_closing_cleanly_writes_what_was_left() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    message_id = journal.append_message((1,), b"x")
    other = journal.append_message((1,), b"y")
    journal.settle(1, other)
    journal.close()
    _, recovered = after_crash(disk)
    assert ids_of(recovered) == {1: [message_id]}
    assert recovered.clean


def test_ids_go_on_after_everything_was_settled_and_removed() -> None:
    disk = MemoryDisk()
    settings = Settings(segment_bytes=1024)
    journal, _ = open_journal(disk, settings)
    message_id = 0
    for _ in range(20):
        message_id = journal.append_message((1,), bytes(2000))
        sync(journal)
        journal.settle(1, message_id)
    sync(journal)
    journal.close()
    journal, recovered = open_journal(disk, settings)
    assert recovered.messages == {}
    assert journal.append_message((1,), b"x") == message_id + 1


def test_attributes_come_back_apart_from_the_blob() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    attributes = bytes(range(256)) * 255
    one = journal.append_message((1,), b"blob", b"", attributes)
    two = journal.append_message((1, 2), b"", b"", b"a")
    sync(journal)
    journal, _ = after_crash(disk)
    assert journal.read(one)[2:4] == (attributes, b"blob")
    assert journal.read(two)[1:4] == ((1, 2), b"a", b"")
    with pytest.raises(ValueError, match="too many"):
        journal.append_message((1,), b"", b"", bytes(65536))


def test_a_message_of_many_owners_is_stored_once() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk)
    owners = tuple(range(5000))
    message_id = journal.append_message(owners, bytes(100_000))
    sync(journal)
    assert disk.used_bytes < 125_000
    _, recovered = after_crash(disk)
    assert len(recovered.messages) == 5000
    for owner in owners[1:]:
        journal.settle(owner, message_id)
    sync(journal)
    assert ids_of(after_crash(disk)[1]) == {0: [message_id]}


def test_statistics_count() -> None:
    journal, _ = open_journal(MemoryDisk())
    for _ in range(10):
        journal.append_message((1,), bytes(1000))
    journal.define(b"key", b"value")
    pending = journal.statistics()
    assert pending.pending_bytes > 10_000
    sync(journal)
    journal.settle_many(1, range(1, 9))
    sync(journal)
    statistics = journal.statistics()
    assert statistics.messages == 2
    assert statistics.definitions == 1
    assert statistics.pending_bytes == 0
    assert statistics.syncs == 3
    assert statistics.segments == 1
    assert 1700 < statistics.live_bytes < 2400
    assert statistics.bytes == journal.position
    assert statistics.rewriting_stopped == ""


@pytest.mark.parametrize(
    ("segment_bytes", "slack_segments"), [(100, 4), (1 << 31, 4), (1 << 20, 0)]
)
def test_settings_that_make_no_sense_are_refused(segment_bytes: int, slack_segments: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Settings(segment_bytes, slack_segments)

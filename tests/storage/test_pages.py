"""Messages paged out of memory: read back like stored ones, never synced, gone when opened."""

from leveret.storage.journal import Journal
from leveret.storage.opening import open_journal
from leveret.storage.pages import FIRST_PAGED_ID
from leveret.storage.settings import Settings
from memory_disk import MemoryDisk

SMALL = Settings(segment_bytes=64 * 1024, slack_segments=2, rewrite_bytes=16 * 1024)


def sync(journal: Journal) -> None:
    batch = journal.take_batch()
    if batch is not None:
        batch.write_and_sync()
        journal.synced(batch)


def pages(disk: MemoryDisk) -> list[str]:
    return [name for name in disk.names() if name.startswith("page-")]


def test_paged_and_stored_messages_are_read_together() -> None:
    journal, _ = open_journal(MemoryDisk())
    ids: list[int] = []
    for n in range(100):
        append = journal.page if n % 3 else journal.append_message
        ids.append(append((1, 2), b"%d" % n, b"!", b"a"))
        if n % 10 == 0:
            sync(journal)
    found = journal.read_many(ids)
    assert [m.message_id for m in found] == ids
    assert [m.blob for m in found] == [b"%d!" % n for n in range(100)]
    assert {m.attributes for m in found} == {b"a"}
    assert journal.read(ids[1]).blob == b"1!"
    assert ids[1] >= FIRST_PAGED_ID > ids[0]


def test_pages_cost_no_sync() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    syncs = disk.syncs
    for _ in range(20):
        for _ in range(20):
            journal.page((1,), bytes(1000))
        sync(journal)
    assert disk.syncs == syncs
    assert len(pages(disk)) == 5
    assert journal.statistics().page_bytes > 400_000


def test_pages_go_as_they_empty_when_stopped_and_when_opened() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    ids = [journal.page((1,), bytes(1000)) for _ in range(1000)]
    sync(journal)
    full = len(pages(disk))
    journal.settle_many(1, ids[:500])
    sync(journal)
    assert len(pages(disk)) <= full // 2 + 1
    left = disk.files()
    journal.close()
    assert not pages(disk)
    disk = MemoryDisk(left)
    assert pages(disk)
    _, recovered = open_journal(disk, SMALL)
    assert not pages(disk)
    assert recovered.messages == {}


def test_a_few_old_pages_do_not_pin_the_rest() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    old = [journal.page((2,), b"old %d" % n) for n in range(10)]
    for _ in range(100):
        ids = [journal.page((1,), bytes(1000)) for _ in range(30)]
        sync(journal)
        journal.settle_many(1, ids)
    while journal.has_work:
        sync(journal)
    assert len(pages(disk)) < 5
    assert [m.blob for m in journal.read_many(old)] == [b"old %d" % n for n in range(10)]


def test_dropping_an_owner_drops_its_pages() -> None:
    disk = MemoryDisk()
    journal, _ = open_journal(disk, SMALL)
    paged = [journal.page((1,), bytes(1000)) for _ in range(300)]
    stored = journal.append_message((1,), b"stored")
    shared = journal.page((1, 2), b"shared")
    sync(journal)
    journal.drop_owner(1)
    sync(journal)
    assert not any(journal.pages.index.lives(message_id) for message_id in paged)
    assert not journal.index.lives(stored)
    assert journal.read(shared).blob == b"shared"
    journal.drop_owner(2, [shared])
    assert not journal.pages.index.lives(shared)

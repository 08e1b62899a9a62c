"""Opening a journal: lock, recover, repair what a crash left, mark the log as in use."""

import errno
from array import array
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from .disk import Disk
from .errors import DirectoryNotWritable, DiskFull, JournalError, JournalFailed
from .index import in_order
from .journal import PREFIX, Journal
from .pages import PREFIX as PAGE_PREFIX
from .records import SPARE_NAME, segment_name, segment_number
from .recovery import Cut, Progress, Recovery, recover
from .settings import Settings
from .snapshot import SNAPSHOT_NAME, TEMPORARY_NAME
from .state import Deliveries, Notes, State


@dataclass(frozen=True, slots=True)
class TornTail:
    """A write that a crash cut short: taken off the log, and kept in files of its own.

    It began at byte `offset` of `file` and was `size` bytes long. Nothing in it was ever confirmed.
    """

    file: str
    offset: int
    size: int
    reason: str
    kept_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the journal held when it was opened.

    `messages` has for each owner the ids of its messages in the order they were stored, all below
    the ids to come, `ranked` the same by their ranks for owners that have some with a rank, 0 being
    those without. `deliveries` and `notes` are what `note_deliveries` and `note` were told about
    them. `clean` is false after a crash: then any message may have been delivered without this
    being known.
    """

    definitions: dict[bytes, bytes]
    messages: "dict[int, array[int]]"
    ranked: "dict[int, dict[int, array[int]]]"
    deliveries: Deliveries
    notes: Notes
    clean: bool
    torn: TornTail | None
    bytes: int
    records_read: int
    from_snapshot: bool


def open_journal(
    disk: Disk, settings: Settings | None = None, progress: Progress | None = None
) -> tuple[Journal, Recovered]:
    """Open the journal in a directory, or begin one; blocks for as long as the log is long.

    `progress` is called with the bytes read and all bytes, every few megabytes. Raises
    DirectoryLocked, DirectoryNotWritable, UnknownVersion, Damaged, DiskFull or JournalFailed, and
    leaves the directory unlocked then.
    """
    disk.lock()
    try:
        with _errors_as_ours(disk):
            return _open(disk, settings or Settings(), progress)
    except BaseException:
        disk.unlock()
        raise


def _open(disk: Disk, settings: Settings, progress: Progress | None) -> tuple[Journal, Recovered]:
    recovery = recover(disk, progress)
    torn = None
    if recovery is None:
        recovery = Recovery(State.empty(disk.token()), [], None, True, 0, 0)
    else:
        torn = _repair(disk, recovery)
    _remove(disk, lambda name: segment_number(PAGE_PREFIX, name) is not None)
    _remove(disk, lambda name: name in (TEMPORARY_NAME, SPARE_NAME))
    state = recovery.state
    journal = Journal(disk, settings, state)
    by_rank = state.index.by_rank()
    recovered = Recovered(
        definitions=journal.definitions(),
        messages={owner: in_order(ids) for owner, ids in by_rank.items()},
        ranked={owner: ids for owner, ids in by_rank.items() if ids.keys() != {0}},
        deliveries={owner: dict(counts) for owner, counts in state.deliveries.items()},
        notes={owner: dict(notes) for owner, notes in state.notes.items()},
        clean=recovery.clean,
        torn=torn,
        bytes=journal.size,
        records_read=recovery.records,
        from_snapshot=recovery.from_snapshot,
    )
    journal.start()
    _remove(disk, lambda name: name == SNAPSHOT_NAME)
    return journal, recovered


def _repair(disk: Disk, recovery: Recovery) -> TornTail | None:
    """Make the files what recovery found them to be, so that a crash meanwhile changes nothing."""
    for number in recovery.unused:
        disk.unlink(segment_name(PREFIX, number))
    if recovery.unused:
        disk.sync_directory()
    torn = None
    if recovery.cut is not None:
        torn = _cut(disk, recovery.cut)
    if not recovery.state.segments:
        recovery.state = State.empty(disk.token())
        return torn
    last = recovery.state.segments[max(recovery.state.segments)]
    file = disk.open(segment_name(PREFIX, last.number), write=True)
    # If the last sync failed, the kernel may show us bytes that it will not try to write again.
    # Written once more, they reach the disk with this sync.
    file.pwrite(
        [file.pread(last.size - recovery.last_batch, recovery.last_batch)], recovery.last_batch
    )
    if file.size() > last.size:
        file.truncate(last.size)
    file.fdatasync()
    file.close()
    for number in recovery.stale:
        disk.unlink(segment_name(PREFIX, number))
    disk.sync_directory()
    return torn


def _cut(disk: Disk, cut: Cut) -> TornTail:
    """End the log at the cut; what stood behind it is copied to other files first."""
    numbers = sorted(
        number
        for name in disk.names()
        if (number := segment_number(PREFIX, name)) is not None and number >= cut.number
    )
    kept: list[str] = []
    size = 0
    for number in numbers:
        offset = cut.offset if number == cut.number else 0
        file = disk.open(segment_name(PREFIX, number))
        data = file.pread(file.size() - offset, offset)
        file.close()
        if data:
            kept.append(_keep(disk, f"torn-{number:010d}-{offset}.bin", data))
            size += len(data)
    disk.sync_directory()
    for number in reversed(numbers):
        if number > cut.number or not cut.offset:
            disk.unlink(segment_name(PREFIX, number))
            disk.sync_directory()
    if cut.offset:
        file = disk.open(segment_name(PREFIX, cut.number), write=True)
        file.truncate(cut.offset)
        file.fdatasync()
        file.close()
    return TornTail(segment_name(PREFIX, cut.number), cut.offset, size, cut.reason, tuple(kept))


def _keep(disk: Disk, name: str, data: bytes) -> str:
    file = disk.open(name, write=True)
    file.truncate(0)
    file.pwrite([data], 0)
    file.fdatasync()
    file.close()
    return name


def _remove(disk: Disk, matches: Callable[[str], bool]) -> None:
    for name in disk.names():
        if matches(name):
            disk.unlink(name)


@contextmanager
def _errors_as_ours(disk: Disk) -> Generator[None]:
    try:
        yield
    except JournalError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise DirectoryNotWritable(
                f"cannot write in the data directory {disk.path}: {reason}"
            ) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(disk.path, reason, nothing_durable=True) from error
        raise JournalFailed(f"cannot open the journal in {disk.path}: {reason}") from error

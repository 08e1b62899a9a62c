"""What the log hands to the disk: bytes for files, a sync, files to remove. Run in a thread.

A batch knows nothing of the journal's memory and may therefore be written in another thread while
the journal goes on. There is one batch in flight at a time. All writes are positional, so a batch
that found no room can be written again.
"""

import errno
from dataclasses import dataclass, field

from .disk import Buffer, Disk, File
from .errors import DiskFull, JournalFailed
from .records import SPARE_NAME

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class Write:
    """Consecutive bytes for one file, which is created first if `create` says so; with `recycle`
    it is the spare file.
    """

    name: str
    offset: int
    create: bool
    recycle: bool = False
    buffers: list[Buffer] = field(default_factory=list[Buffer])


class Writer:
    """The files that batches are being written to. Used only by the batch in flight."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._name = ""
        self._file: File | None = None

    def file(self, name: str) -> File:
        """Open a file and close the one used before: logs are written file by file."""
        if self._file is None or self._name != name:
            self.close()
            self._file = self.disk.open(name, write=True)
            self._name = name
        return self._file

    def close(self) -> None:
        """Close the file that was written last."""
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(slots=True)
class Batch:
    """All that was appended between two syncs.

    `end` is the log position that is durable once it has been written. `retired` is a file to keep
    as the spare one. After the first error
    other than DiskFull, `failure` holds it for good.
    """

    end: int
    log_writer: Writer
    page_writer: Writer
    log_writes: list[Write]
    page_writes: list[Write]
    unlinks: list[str]
    retired: str = ""
    written: bool = False
    failure: JournalFailed | None = None
    # Some of it is on disk for good, so the rest failing is not as if nothing had happened.
    _partly_durable: bool = False

    def write_and_sync(self) -> None:
        """Write everything, sync it, then remove files that nothing needs any more.

        Raises DiskFull if there was no room: call it again when there is some. Raises
        JournalFailed if a write or a sync failed: the journal is finished and must be opened anew.
        """
        if self.failure is not None:
            raise self.failure
        if self.written:
            raise RuntimeError("a batch is written once")
        disk = self.log_writer.disk
        for write in self.page_writes:
            self._write(self.page_writer, write)
        for write in self.log_writes:
            if write.recycle:
                self._recycle(write)
            self._write(self.log_writer, write)
            # A segment is on disk before the next one is begun: damage in any but the last one
            # can therefore not come from a crash.
            self._sync(self.log_writer, write)
        for name in self.unlinks:
            try:
                disk.unlink(name)
            except FileNotFoundError:
                # Somebody was quicker; nothing in it is needed.
                continue
            except OSError as error:
                raise self._failed(f"cannot remove {name}", error) from error
        if self.retired:
            self._rename(self.retired, SPARE_NAME)
        self.written = True

    @property
    def size(self) -> int:
        """Bytes to write."""
        return sum(
            len(buffer)
            for writes in (self.log_writes, self.page_writes)
            for write in writes
            for buffer in write.buffers
        )

    def _recycle(self, write: Write) -> None:
        """Give the spare file its new name for good before anything in it changes: until then it
        may still be found under the old one.
        """
        if self._rename(SPARE_NAME, write.name):
            try:
                self.log_writer.disk.sync_directory()
            except OSError as error:
                raise self._failed(f"cannot sync {write.name}", error) from error

    def _rename(self, old: str, new: str) -> bool:
        """Rename a file if it is there: it is not when a batch is written again."""
        try:
            self.log_writer.disk.rename(old, new)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in _NO_ROOM:  # some file systems need room for new names
                why = error.strerror or "no space left"
                raise DiskFull(old, why, nothing_durable=not self._partly_durable) from error
            raise self._failed(f"cannot rename {old}", error) from error
        return True

    def _write(self, writer: Writer, write: Write) -> None:
        try:
            writer.file(write.name).pwrite(write.buffers, write.offset)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise self._failed(f"cannot write {write.name}", error) from error
            clean = self._take_back(writer, write)
            raise DiskFull(
                write.name,
                error.strerror or "no space left",
                nothing_durable=clean and not self._partly_durable,
            ) from error

    def _take_back(self, writer: Writer, write: Write) -> bool:
        try:
            if write.create:
                writer.close()
                if write.name in writer.disk.names():
                    writer.disk.unlink(write.name)
            else:
                writer.file(write.name).truncate(write.offset)
        except OSError:
            # The caller is told that bytes may be left; they are written over, or cut as a torn
            # tail when the journal is opened.
            return False
        return True

    def _sync(self, writer: Writer, write: Write) -> None:
        try:
            writer.file(write.name).fdatasync()
            if write.create:
                writer.disk.sync_directory()
        except OSError as error:
            raise self._failed(f"cannot sync {write.name}", error) from error
        self._partly_durable = True

    def _failed(self, what: str, error: OSError) -> JournalFailed:
        self.failure = JournalFailed(f"{what}: {error.strerror or error}")
        return self.failure

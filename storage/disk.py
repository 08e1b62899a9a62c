"""The directory a journal lives in, as the few operations it needs; replaceable in tests.

Everything is positional (pwrite, pread), so that writing the same bytes again after a failure is
harmless and a reader never disturbs a writer. Errors are plain OSErrors; their meaning is
decided by the caller, except for the lock and a directory that cannot be used at all.
"""

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from .errors import DirectoryLocked, DirectoryNotWritable

Buffer = bytes | bytearray

LOCK_NAME = "lock"

# One system call takes at most this many buffers and, on Linux, a little less than 2 GiB.
_MAX_BUFFERS = 1024
_MAX_BYTES = 1 << 30


class Space(NamedTuple):
    """Free and total bytes of the file system, as an unprivileged process sees them."""

    free_bytes: int
    total_bytes: int


class File(Protocol):
    """One file of the directory. It closes with its last reference, or by `close`."""

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all the buffers one after the other, beginning at `offset`."""
        ...

    def pread(self, size: int, offset: int) -> bytes:
        """Read `size` bytes, fewer only at the end of the file."""
        ...

    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    def fdatasync(self) -> None:
        """Return when the contents and the length are on the medium."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """A directory."""

    @property
    def path(self) -> str:
        """For messages to people."""
        ...

    def lock(self, *, exclusive: bool = True) -> None:
        """Take the directory or raise DirectoryLocked; shared locks exclude only a broker."""
        ...

    def unlock(self) -> None: ...

    def names(self) -> list[str]: ...

    def open(self, name: str, *, write: bool = False) -> File:
        """Open a file; with `write` it is created if it is missing."""
        ...

    def unlink(self, name: str) -> None: ...

    def rename(self, old: str, new: str) -> None: ...

    def sync_directory(self) -> None:
        """Return when creations, renames and removals are on the medium."""
        ...

    def space(self) -> Space: ...

    def token(self) -> int:
        """32 random bits that mark the files of one journal."""
        ...


def _sync_data(descriptor: int) -> None:
    # On macOS fsync leaves the bytes in the drive's cache, and there is no fdatasync.
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        fcntl.fcntl(descriptor, full)
    else:
        os.fdatasync(descriptor)


class RealFile:
    """A file by its descriptor."""

    __slots__ = ("__weakref__", "_descriptor")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> None:
        left: list[Buffer | memoryview] = [buffer for buffer in buffers if buffer]
        first = 0
        while first < len(left):
            some = _up_to_limits(left, first)
            written = os.pwritev(self._descriptor, some, offset)
            offset += written
            while first < len(left) and written >= len(left[first]):
                written -= len(left[first])
                first += 1
            if written:
                left[first] = memoryview(left[first])[written:]

    def pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        if len(data) == size or not data:
            return data
        pieces = [data]
        got = len(data)
        while got < size and (data := os.pread(self._descriptor, size - got, offset + got)):
            pieces.append(data)
            got += len(data)
        return b"".join(pieces)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def fdatasync(self) -> None:
        _sync_data(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __del__(self) -> None:
        # A read under way in another thread may hold the last reference to a dropped segment.
        self.close()


def _up_to_limits(buffers: list[Buffer | memoryview], first: int) -> list[Buffer | memoryview]:
    some = buffers[first : first + _MAX_BUFFERS]
    total = 0
    for count, buffer in enumerate(some):
        total += len(buffer)
        if total > _MAX_BYTES:
            if count:
                return some[:count]
            return [memoryview(buffer)[:_MAX_BYTES]]
    return some


class RealDisk:
    """A directory of the file system, created if it is missing."""

    def __init__(self, directory: str | os.PathLike[str], *, create: bool = True) -> None:
        self._path = Path(directory)
        self._lock = -1
        try:
            if create:
                self._make(self._path)
            self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DirectoryNotWritable(
                f"cannot use the data directory {self._path}: {error.strerror}"
            ) from error

    @property
    def path(self) -> str:
        return str(self._path)

    def lock(self, *, exclusive: bool = True) -> None:
        flags = os.O_RDWR | os.O_CREAT if exclusive else os.O_RDONLY
        try:
            descriptor = os.open(LOCK_NAME, flags | os.O_CLOEXEC, 0o600, dir_fd=self._directory)
        except FileNotFoundError:
            # Nobody ever opened a journal here, or the files were copied without the lock.
            return
        except OSError as error:
            raise DirectoryNotWritable(
                f"cannot write in the data directory {self._path}: {error.strerror}"
            ) from error
        try:
            how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                by = f" (process {owner})" if owner else ""
                raise DirectoryLocked(
                    f"the data directory {self._path} is in use by another broker{by}"
                ) from error
            raise DirectoryNotWritable(
                f"cannot lock the data directory {self._path}: {error.strerror}"
            ) from error
        if exclusive:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        self._lock = descriptor

    def unlock(self) -> None:
        if self._lock >= 0:
            descriptor, self._lock = self._lock, -1
            os.close(descriptor)

    def names(self) -> list[str]:
        return os.listdir(self._directory)

    def open(self, name: str, *, write: bool = False) -> RealFile:
        flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        return RealFile(os.open(name, flags | os.O_CLOEXEC, 0o600, dir_fd=self._directory))

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self._directory)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def sync_directory(self) -> None:
        os.fsync(self._directory)

    def space(self) -> Space:
        figures = os.statvfs(self._directory)
        return Space(figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize)

    def token(self) -> int:
        return int.from_bytes(os.urandom(4), "little")  # noqa: TID251 - the disk is the edge

    def __del__(self) -> None:
        self.unlock()
        descriptor = getattr(self, "_directory", -1)
        if descriptor >= 0:
            self._directory = -1
            os.close(descriptor)

    @staticmethod
    def _make(path: Path) -> None:
        """Create a directory and those above it that are missing, each on the medium."""
        missing = [parent for parent in (path, *path.parents) if not parent.exists()]
        for directory in reversed(missing):
            directory.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

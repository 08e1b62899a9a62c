"""A directory in memory that can lose what was not synced: for tests and simulations.

It behaves like a file system that promises nothing more than POSIX does. What was written since
the last sync of a file survives a crash wholly, not at all, or in some of its sectors, each write
on its own; what was done to the directory since its last sync likewise, each step on its own. After
a sync that failed, the bytes can still be read and will never be written.
"""

import errno
import os
from collections.abc import Callable, Sequence

from leveret.storage.disk import Buffer, Space
from leveret.storage.errors import DirectoryLocked

# Given n, pick one of 0 .. n-1.
Choose = Callable[[int], int]
# Called before an operation on a file ("" for the directory); raise OSError to make it fail.
Fault = Callable[[str, str], None]

_KEEP, _LOSE, _TEAR = range(3)


class _Inode:
    """A file's contents: as seen, as on the medium, and the steps in between."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.durable = bytearray(data)
        # Offset and bytes written there, or a length and None: truncated to it.
        self.unsynced: list[tuple[int, bytes | None]] = []

    def do(self, offset: int, data: bytes | None) -> None:
        _apply(self.data, offset, data)
        self.unsynced.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _apply(self.durable, offset, data)
        self.unsynced.clear()

    def after_crash(self, choose: Choose, sector: int) -> bytes:
        survived = bytearray(self.durable)
        for offset, data in self.unsynced:
            fate = choose(3) if data else choose(2)
            if fate == _KEEP:
                _apply(survived, offset, data)
            elif fate == _TEAR and data is not None:
                for piece_offset, piece in _sectors(offset, data, sector):
                    if choose(2):
                        _apply(survived, piece_offset, piece)
        return bytes(survived)


def _apply(contents: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del contents[offset:]
        contents.extend(bytes(offset - len(contents)))
        return
    if offset > len(contents):
        contents.extend(bytes(offset - len(contents)))
    contents[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes, sector: int) -> list[tuple[int, bytes]]:
    pieces: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        size = sector - (offset + at) % sector
        pieces.append((offset + at, data[at : at + size]))
        at += size
    return pieces


class MemoryFile:
    """A file of a MemoryDisk."""

    def __init__(self, disk: "MemoryDisk", name: str, inode: _Inode, *, writable: bool) -> None:
        self._disk = disk
        self._name = name
        self._inode = inode
        self._writable = writable

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> None:
        assert self._writable
        data = b"".join(buffers)
        self._disk.before("write", self._name)
        room = self._disk.capacity_bytes - self._disk.used_bytes
        new = max(offset + len(data) - len(self._inode.data), 0)
        if new > room:
            data = data[: len(data) - (new - room)]
            self._inode.do(offset, data)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._inode.do(offset, data)

    def pread(self, size: int, offset: int) -> bytes:
        self._disk.before("read", self._name)
        return bytes(self._inode.data[offset : offset + size])

    def size(self) -> int:
        return len(self._inode.data)

    def truncate(self, size: int) -> None:
        assert self._writable
        self._disk.before("truncate", self._name)
        self._inode.do(size, None)

    def fdatasync(self) -> None:
        try:
            self._disk.before("sync", self._name)
        except OSError:
            self._inode.unsynced.clear()
            raise
        self._inode.sync()

    def close(self) -> None:
        pass


class MemoryDisk:
    """See the head of this module. `fault` may make any operation fail, `capacity_bytes` writes."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._inodes = {name: _Inode(data) for name, data in (files or {}).items()}
        self._durable = dict(self._inodes)
        # Old name and new name: None is a file that is made or removed.
        self._unsynced: list[tuple[str | None, str | None, _Inode]] = []
        self._locked = False
        self.fault: Fault | None = None
        self.capacity_bytes = 1 << 40
        self.operations = 0
        self.syncs = 0

    @property
    def path(self) -> str:
        return "memory"

    @property
    def used_bytes(self) -> int:
        return sum(len(inode.data) for inode in self._inodes.values())

    def before(self, operation: str, name: str) -> None:
        """Count an operation and let it fail if it is to."""
        self.operations += 1
        self.syncs += operation == "sync"
        if self.fault is not None:
            self.fault(operation, name)

    def lock(self, *, exclusive: bool = True) -> None:
        if self._locked:
            raise DirectoryLocked("the data directory memory is in use by another broker")
        self._locked = exclusive

    def unlock(self) -> None:
        self._locked = False

    def names(self) -> list[str]:
        return list(self._inodes)

    def open(self, name: str, *, write: bool = False) -> MemoryFile:
        inode = self._inodes.get(name)
        if inode is None:
            if not write:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            self.before("create", name)
            inode = self._inodes[name] = _Inode()
            self._unsynced.append((None, name, inode))
        return MemoryFile(self, name, inode, writable=write)

    def unlink(self, name: str) -> None:
        self.before("unlink", name)
        inode = self._inodes.pop(name, None)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        self._unsynced.append((name, None, inode))

    def rename(self, old: str, new: str) -> None:
        self.before("rename", old)
        if old not in self._inodes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        inode = self._inodes[new] = self._inodes.pop(old)
        self._unsynced.append((old, new, inode))

    def sync_directory(self) -> None:
        self.before("sync", "")
        for step in self._unsynced:
            _step(self._durable, step)
        self._unsynced.clear()

    def space(self) -> Space:
        return Space(self.capacity_bytes - self.used_bytes, self.capacity_bytes)

    def token(self) -> int:
        return 0x5EED

    def files(self) -> dict[str, bytes]:
        """All contents as they are seen, synced or not."""
        return {name: bytes(inode.data) for name, inode in self._inodes.items()}

    def crash(self, choose: Choose, *, sector: int = 512) -> "MemoryDisk":
        """The disk after losing power now, `choose` deciding what of the unsynced survives."""
        survivors = dict(self._durable)
        for step in self._unsynced:
            if choose(2):
                _step(survivors, step)
        # One contents, even if two names of it survive.
        return MemoryDisk(
            {name: inode.after_crash(choose, sector) for name, inode in survivors.items()}
        )


def _step(names: dict[str, _Inode], step: tuple[str | None, str | None, _Inode]) -> None:
    old, new, inode = step
    if old is not None and names.get(old) is inode:
        del names[old]
    if new is not None:
        names[new] = inode

"""The real directory: its lock, its errors, and writing and reading in pieces."""

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from leveret.storage import disk as disk_module
from leveret.storage.disk import RealDisk
from leveret.storage.errors import DirectoryLocked, DirectoryNotWritable
from leveret.storage.opening import open_journal


def test_a_journal_in_a_real_directory_survives_closing(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "as needed"
    journal, _ = open_journal(RealDisk(directory))
    journal.define(b"key", b"value")
    ids = [journal.append_message((1, 2), bytes([n]) * 1000) for n in range(100)]
    journal.close()
    journal, recovered = open_journal(RealDisk(directory))
    assert recovered.clean
    assert recovered.definitions == {b"key": b"value"}
    assert list(recovered.messages[1]) == list(recovered.messages[2]) == ids
    assert [m.blob[0] for m in journal.read_many(ids)] == list(range(100))
    batch = journal.take_batch()
    assert batch is None
    journal.close()


def test_the_lock_keeps_another_process_out_and_goes_with_its_owner(tmp_path: Path) -> None:
    code = (
        "import sys; from leveret.storage.disk import RealDisk;"
        "disk = RealDisk(sys.argv[1]); disk.lock(); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(DirectoryLocked, match=f"process {process.pid}"):
            open_journal(RealDisk(tmp_path))
        with pytest.raises(DirectoryLocked):
            RealDisk(tmp_path).lock(exclusive=False)
        process.kill()
    journal, _ = open_journal(RealDisk(tmp_path))
    journal.close()


def test_a_stopped_directory_can_be_looked_at_by_several(tmp_path: Path) -> None:
    open_journal(RealDisk(tmp_path))[0].close()
    first = RealDisk(tmp_path, create=False)
    first.lock(exclusive=False)
    RealDisk(tmp_path, create=False).lock(exclusive=False)
    with pytest.raises(DirectoryLocked):
        open_journal(RealDisk(tmp_path))


def test_a_missing_directory_is_made_only_if_asked(tmp_path: Path) -> None:
    with pytest.raises(DirectoryNotWritable, match="missing"):
        RealDisk(tmp_path / "missing", create=False)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DirectoryNotWritable, match="file"):
        RealDisk(tmp_path / "file" / "directory")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_directory_without_write_access_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real_open = os.open

    def read_only(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & (os.O_RDWR | os.O_CREAT):
            raise OSError(number, os.strerror(number), path)
        return real_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(DirectoryNotWritable, match=f"{tmp_path}: {os.strerror(number)}"):
        open_journal(RealDisk(tmp_path))


def test_a_write_the_system_takes_in_pieces_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stingy(descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
        assert len(buffers) <= 4
        return os.pwrite(descriptor, b"".join(buffers)[:5], offset)

    monkeypatch.setattr(os, "pwritev", stingy)
    monkeypatch.setattr(disk_module, "_MAX_BUFFERS", 4)
    monkeypatch.setattr(disk_module, "_MAX_BYTES", 16)
    pieces = [b"", b"one", b"two" * 10, b"", b"three", bytes(7), b"x"]
    file = RealDisk(tmp_path).open("file", write=True)
    file.pwrite(pieces, 3)
    assert file.pread(1000, 0) == bytes(3) + b"".join(pieces)
    assert file.size() == 3 + sum(map(len, pieces))


def test_a_read_the_system_gives_in_pieces_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RealDisk(tmp_path).open("file", write=True)
    file.pwrite([b"0123456789"], 0)
    real_pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: real_pread(fd, min(n, 3), at))
    assert file.pread(8, 1) == b"12345678"
    assert file.pread(8, 7) == b"789"
    assert file.pread(8, 10) == b""


def test_a_file_being_read_stays_open_when_its_segment_is_removed(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.open("file", write=True).pwrite([b"contents"], 0)
    file = disk.open("file")
    disk.unlink("file")
    assert file.pread(8, 0) == b"contents"
    file.close()
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.pread(8, 0)


def test_names_space_rename_and_token(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.open("old", write=True).truncate(5)
    disk.rename("old", "new")
    disk.sync_directory()
    assert disk.names() == ["new"]
    assert 0 < disk.space().free_bytes <= disk.space().total_bytes
    assert 0 <= disk.token() < 1 << 32
    assert disk.path == str(tmp_path)

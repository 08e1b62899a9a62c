"""`leveret journal` as somebody at a shell sees it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from leveret.broker.journal_cli import journal
from leveret.storage.disk import RealDisk
from leveret.storage.opening import open_journal


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    stored, _ = open_journal(RealDisk(tmp_path))
    for n in range(3):
        stored.append_message((1,), b"message %d" % n)
    stored.define(b"queue", b"definition")
    stored.close()
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(journal, arguments)
    return result.exit_code, result.output


def test_verify_says_that_all_is_well(directory: Path) -> None:
    status, text = run("verify", str(directory))
    assert status == 0
    assert "can be opened after a clean stop: 3 messages" in text


def test_verify_fails_on_damage(directory: Path) -> None:
    (file,) = directory.glob("journal-*.log")
    data = file.read_bytes()
    file.write_bytes(data.replace(b"message 1", b"massage 1"))
    status, text = run("verify", str(directory))
    assert status == 1
    assert "a broker will open it all the same" in text
    assert f"run: leveret journal verify {directory}" in text


def test_dump_prints_records(directory: Path) -> None:
    status, text = run("dump", str(directory), "--blob-bytes", "4")
    assert status == 0
    assert "message 2 for 1: 9 bytes b'mess'..." in text
    assert "defined b'queue' as 10 bytes b'defi'..." in text


def test_stats_prints_figures(directory: Path) -> None:
    status, text = run("stats", str(directory))
    assert status == 0
    assert "messages: 3\n" in text
    assert "stopped cleanly: yes\n" in text


@pytest.mark.parametrize("command", ["verify", "dump", "stats"])
def test_a_directory_in_use_is_left_alone(directory: Path, command: str) -> None:
    stored, _ = open_journal(RealDisk(directory))
    status, text = run(command, str(directory))
    assert status == 1
    assert "in use by another broker" in text
    stored.close()


@pytest.mark.parametrize("command", ["verify", "dump", "stats"])
def test_a_missing_directory_is_an_error(tmp_path: Path, command: str) -> None:
    status, text = run(command, str(tmp_path / "missing"))
    assert status == 2
    assert "does not exist" in text

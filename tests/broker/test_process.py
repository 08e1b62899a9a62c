"""The broker as a process of its own: what an init system and a shell see of it."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leveret.broker import __version__

Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.slow


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `leveret serve` on a free port and with a data directory of its own, with more flags
    if given; ends it after the test.
    """
    processes: list[subprocess.Popen[str]] = []

    def start_one(*flags: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-P", "-m", "leveret.broker", "serve", "--port", "0"]
        command += ["--data-dir", str(tmp_path / str(len(processes))), *flags]
        processes.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield start_one
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def ready_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_accepts_once_it_says_so_and_stops_when_told(start: Start, stop: signal.Signals) -> None:
    process = start()
    line = ready_line(process)
    assert line.startswith(f"leveret {__version__} ready on 127.0.0.1:")
    with socket.create_connection(("127.0.0.1", int(line.rpartition(":")[2])), timeout=10):
        pass
    process.send_signal(stop)
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "")


def test_a_port_in_use_is_one_line_and_status_1(start: Start) -> None:
    port = ready_line(start()).strip().rpartition(":")[2]
    second = start("--port", port, "--log-level", "error")
    out, err = second.communicate(timeout=10)
    assert (second.returncode, out) == (1, "")
    assert err == (
        f"leveret: cannot listen on 127.0.0.1:{port}: "
        "the address is in use; is another broker running?\n"
    )


def test_a_host_without_an_address_is_one_line_and_status_1(start: Start) -> None:
    process = start("--host", "no-such-host.invalid", "--log-level", "error")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("leveret: cannot listen on no-such-host.invalid:0: the host's name can't")
    assert err.count("\n") == 1

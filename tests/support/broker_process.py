"""leveret as a process of its own, started and waited for by a Trio test."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

_PATIENCE_S = 20.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class BrokerProcess:
    """A broker that accepts connections on `port`."""

    def __init__(self, process: trio.Process, port: int):
        self.port = port
        self._process = process

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; the exit status, negative if a signal was the cause."""
        return await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def rss_bytes(self) -> int:
        """The memory that it occupies at the moment."""
        with open(f"/proc/{self._process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES

    @property
    def open_descriptors(self) -> int:
        """How many file descriptors it has open."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))


@asynccontextmanager
async def broker_process(*flags: str, open_files_max: int = 0) -> AsyncIterator[BrokerProcess]:
    """A broker on a free port and with a data directory of its own, stopped at the end if it
    is still there.

    `open_files_max` is its limit of file descriptors, 0 for the test's own.
    """
    directory = tempfile.TemporaryDirectory(prefix="leveret-test-")
    command = [sys.executable, "-P", "-m", "leveret.broker", "serve", "--port", "0"]
    command += ["--data-dir", directory.name, "--log-level", "error", *flags]
    if open_files_max:
        command = ["sh", "-c", f'ulimit -n {open_files_max} && exec "$@"', "sh", *command]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with process.stdout as output:
            line = b""
            while not line.endswith(b"\n"):
                more = await output.receive_some()
                assert more, "the broker did not start"
                line += more
            yield BrokerProcess(process, int(line.rpartition(b":")[2]))
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
            with trio.move_on_after(_PATIENCE_S):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
        directory.cleanup()

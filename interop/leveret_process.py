"""A leveret of one's own on a data directory of its own, to be killed and started again."""

import os
import queue
import signal
import subprocess
import threading
from pathlib import Path

READY_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10


class LeveretProcess:
    """`leveret serve` with everything it keeps in `folder`; its log is appended to `log`.

    `options` are further ones of the command. With `port` 0 every start finds a free one.
    `settings` are further lines of its configuration file.
    """

    def __init__(
        self, leveret: str, folder: Path, *options: str, port: int = 0, settings: str = ""
    ):
        self.data_dir = folder / "data"
        self.log = folder / "broker.log"
        configuration = folder / "leveret.toml"
        # Clients that block don't answer connection.close while they don't listen.
        configuration.write_text("shutdown_timeout_s = 0.5\n" + settings)
        self._command = [leveret, "serve", "--config", str(configuration)]
        self._command += ["--host", "127.0.0.1", "--data-dir", str(self.data_dir), *options]
        self._process: subprocess.Popen[str] | None = None
        self.port = self._asked_port = port

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def launch(self) -> None:
        """Start it in a process group of its own, without waiting for anything."""
        assert self._process is None, "it runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--port", str(self._asked_port)],
                cwd=self.data_dir.parent,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start it and wait until clients can connect."""
        self.launch()
        assert self._process is not None
        assert self._process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        output = self._process.stdout
        threading.Thread(target=lambda: lines.put(output.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=READY_TIMEOUT_S)
        except queue.Empty:
            self.kill()
            raise AssertionError(f"not ready after {READY_TIMEOUT_S} s, see {self.log}") from None
        if " ready on " not in line:
            self.kill()
            raise AssertionError(f"it did not start:\n{self.log.read_text()[-2000:]}")
        self.port = int(line.rpartition(":")[2])

    def kill(self) -> None:
        """kill -9 to its whole process group."""
        if self._process is not None:
            process, self._process = self._process, None
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def stop(self) -> None:
        """SIGTERM, and wait for an orderly end."""
        assert self._process is not None, "it does not run"
        process, self._process = self._process, None
        process.terminate()
        try:
            process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        assert process.returncode == 0, f"exit status {process.returncode}, see {self.log}"

"""Starting and stopping the brokers to compare, each in a directory and on ports of its own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from client import BrokerError
from measure import Processes, process_name, process_tree

import wire

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
HALT_TIMEOUT_S = 120.0
LOOK_EVERY_S = 0.002


class Broker(ABC):
    """A running broker: starts when made, stops on `stop` or at the end of a with block.

    `started` is the time of its exec (perf_counter), `start_s` the time from there to a connection
    that was accepted and greeted. `halt` and `start` start it anew with the data that it has.
    """

    name: str

    def __init__(self) -> None:
        self._cleanup = ExitStack()
        try:
            directory = self._cleanup.enter_context(
                tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True)
            )
            # Closed first, so that nothing runs any more when the directory goes.
            self._running = self._cleanup.enter_context(ExitStack())
            self._directory = Path(directory)
            self._output = self._directory / "output"
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Starts it, in a directory that is empty or holds what it stored before."""
        self._output.unlink(missing_ok=True)
        command, environment = self._prepare()
        self.started = time.perf_counter()
        self._process = self._run(command, environment)
        self.port, self.version = self._wait_for_greeting()
        self.start_s = time.perf_counter() - self.started
        self.processes = self._measured()
        self.start_cpu_s = self.processes.cpu_s()

    def halt(self, number: signal.Signals) -> None:
        """Signals the broker and waits for its end; its data stays for the next `start`."""
        for pid in self.processes.roots:
            os.kill(pid, number)
        deadline = time.perf_counter() + HALT_TIMEOUT_S
        while self.alive:
            if time.perf_counter() > deadline:
                raise BrokerError(f"{self.name} does not end on {number.name}")
            time.sleep(LOOK_EVERY_S)
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._cleanup.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @abstractmethod
    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        """Writes what the broker needs; the command that starts it, and the environment for it."""

    @abstractmethod
    def _listening_port(self) -> int | None:
        """The port, as soon as it is known."""

    def _measured(self) -> Processes:
        return Processes([self._process.pid])

    def _run(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Runs a command until the broker stops, apart from the terminal's signals."""
        with self._output.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self._directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._running.callback(_stop, process)
        return process

    def _wait_for_greeting(self) -> tuple[int, str]:
        """The port, once it greets, and the version that it says it is."""
        deadline = time.perf_counter() + START_TIMEOUT_S
        while self.alive and time.perf_counter() < deadline:
            port = self._listening_port()
            if port is not None:
                with suppress(ConnectionRefusedError):
                    return port, _greeted_version(port)
            time.sleep(LOOK_EVERY_S)
        output = self._output.read_text(errors="replace")[-2000:]
        raise BrokerError(f"{self.name} did not start:\n{output}")


class Leveret(Broker):
    name = "leveret"

    def __init__(self, executable: Path, options: Sequence[str]) -> None:
        self._executable = executable
        self._options = options
        super().__init__()

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        directory = str(self._directory)
        options = [option.replace("{directory}", directory) for option in self._options]
        command = [str(self._executable), "serve", "--host", HOST, "--port", "0"]
        command += ["--data-dir", f"{directory}/data", *options]
        return command, {**os.environ, "HOME": directory}

    def _listening_port(self) -> int | None:
        return int(ready[2]) if (ready := self._ready()) else None

    def _ready(self) -> re.Match[str] | None:
        output = self._output.read_text(errors="replace")
        return re.search(r"^leveret (\S+) ready on \S+:(\d+)$", output, re.MULTILINE)

    def _wait_for_greeting(self) -> tuple[int, str]:
        port, claimed = super()._wait_for_greeting()
        ready = self._ready()
        return port, ready[1] if ready else claimed


class RabbitMQ(Broker):
    """A node from Debian's package, without plugins, with its own Erlang port mapper."""

    name = "RabbitMQ"

    def __init__(self, executable: Path) -> None:
        self._executable = executable
        super().__init__()

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        self._port, distribution_port, mapper_port = _free_ports(3)
        (self._directory / "rabbitmq.conf").write_text(f"listeners.tcp.1 = {HOST}:{self._port}\n")
        (self._directory / "plugins").write_text("[].\n")
        (self._directory / "environment").touch()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "ERL_"))
        }
        environment = inherited | {
            "HOME": str(self._directory),
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(mapper_port),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._directory / "none.config"),
            "RABBITMQ_CONFIG_FILE": str(self._directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self._directory / "environment"),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._directory / "plugins"),
            "RABBITMQ_LOG_BASE": str(self._directory / "log"),
            "RABBITMQ_MNESIA_BASE": str(self._directory / "mnesia"),
            "RABBITMQ_NODENAME": f"benchmark-{os.getpid()}@localhost",
        }
        mapper = shutil.which("epmd")
        if mapper is None:
            raise BrokerError("epmd, the Erlang port mapper, is not installed")
        # In the foreground: the one that a node starts for itself would stay behind.
        self._run([mapper, "-address", HOST, "-port", str(mapper_port)], environment)
        return [str(self._executable)], environment

    def _listening_port(self) -> int:
        return self._port

    def _measured(self) -> Processes:
        tree = process_tree([self._process.pid])
        machines = [pid for pid in tree if process_name(pid) == "beam.smp"]
        if len(machines) != 1:
            raise BrokerError(f"RabbitMQ runs {len(machines)} Erlang virtual machines, not one")
        return Processes(machines)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stops a process that leads its own group, and what it started."""
    started = process_tree([process.pid])
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.perf_counter() + STOP_TIMEOUT_S
        while time.perf_counter() < deadline:
            process.poll()
            if not process_tree(started):
                return
            time.sleep(0.02)
    raise BrokerError(f"these processes do not stop: {sorted(process_tree(started))}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def _greeted_version(port: int) -> str:
    """Connects and waits for connection.start, whose server properties hold a version."""
    with socket.create_connection((HOST, port), START_TIMEOUT_S) as connection:
        connection.sendall(wire.PROTOCOL_HEADER)
        start = connection.recv(4096)
    if wire.Method.CONNECTION_START.to_bytes(4, "big") not in start:
        raise BrokerError(f"greeted with {start[:64].hex(' ')}")
    version = re.search(rb"\x07versionS\0\0\0.([\w.+-]*)", start, re.DOTALL)
    return version[1].decode() if version else "?"

"""The command in this process, with a stand-in for the server, and once as a process of its own."""

import errno
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from leveret.broker import __version__
from leveret.broker.cli import main
from leveret.broker.configuration import Configuration, Listen, Log

Ready = Callable[[str, int], None]


class Server(ModuleType):
    """Stands in for `leveret.broker.process`: announces an address, or fails to listen on it."""

    def __init__(self) -> None:
        super().__init__("leveret.broker.process")
        self.address: tuple[str, int] | None = ("127.0.0.1", 5672)
        self.error: BaseException | None = None
        self.configuration: Configuration | None = None

    def serve(self, configuration: Configuration, *, ready: Ready) -> Awaitable[None]:
        return self._serve(configuration, ready)

    async def _serve(self, configuration: Configuration, ready: Ready) -> None:
        self.configuration = configuration
        if self.address is not None:
            ready(*self.address)
        if self.error is not None:
            raise self.error


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    logger = logging.getLogger("leveret")
    before = (logger.handlers, logger.level, logger.propagate)
    stand_in = Server()
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    yield stand_in
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_one_line_on_standard_output_says_that_it_is_ready(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve"]) == 0
    assert capsys.readouterr() == (f"leveret {__version__} ready on 127.0.0.1:5672\n", "")
    assert server.configuration == Configuration()


def test_an_ipv6_address_is_shown_in_brackets(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.address = ("::1", 5672)
    assert main(["serve"]) == 0
    assert capsys.readouterr().out == f"leveret {__version__} ready on [::1]:5672\n"


def test_flags_override_the_file(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "leveret.toml"
    file.write_text("listen = { host = '::1', port = 1 }\nlog = { level = 'info' }")
    flags = ["--port", "2", "--log-level", "error", "--log-format", "json"]
    assert main(["serve", "--config", str(file), *flags]) == 0
    assert server.configuration == Configuration(
        listen=Listen(host="::1", port=2), log=Log(level="error", format="json")
    )


def test_logs_are_set_up_before_the_server_starts(server: Server) -> None:
    assert main(["serve", "--log-level", "error"]) == 0
    assert logging.getLogger("leveret").getEffectiveLevel() == logging.ERROR


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)),
            "127.0.0.1:5672: the address is in use; is another broker running?",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
            "127.0.0.1:5672: permission denied; ports below 1024 need privileges",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)),
            "127.0.0.1:5672: this machine has no such address",
        ),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "127.0.0.1:5672: the host's name can't be resolved (Name or service not known)",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "127.0.0.1:5672: Too many open files"),
        (OSError("no idea"), "127.0.0.1:5672: no idea"),
        (UnicodeError("label too long"), "127.0.0.1:5672: that is no host's name"),
    ],
)
def test_what_keeps_it_from_listening_is_one_line_and_status_1(
    server: Server, capsys: pytest.CaptureFixture[str], error: Exception, reason: str
) -> None:
    server.address, server.error = None, error
    assert main(["serve"]) == 1
    assert capsys.readouterr() == ("", f"leveret: cannot listen on {reason}\n")


def test_an_error_after_it_was_ready_is_not_taken_for_a_failure_to_listen(server: Server) -> None:
    server.error = OSError(errno.EIO, "I/O error")
    with pytest.raises(OSError, match="I/O error"):
        main(["serve"])


def test_an_interrupt_before_the_server_handles_it_is_status_130(server: Server) -> None:
    server.error = KeyboardInterrupt()
    assert main(["serve"]) == 130


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Missing command. Try 'leveret --help'."),
        (["sevre"], "No such command 'sevre'."),
        (["serve", "--prot", "1"], "No such option"),
        (["serve", "--port", "65536"], "Invalid value for '--port': 65536 is not in the range"),
        (["serve", "--port", "amqp"], "Invalid value for '--port': 'amqp' is not a valid integer"),
        (["serve", "--log-level", "loud"], "Invalid value for '--log-level': 'loud' is not one of"),
        (["serve", "here"], "Got unexpected extra argument (here)"),
    ],
)
def test_a_bad_command_line_is_one_line_and_status_1(
    server: Server, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"leveret: {complaint}")
    assert err.count("\n") == 1
    assert server.configuration is None


@pytest.mark.parametrize("command", [["serve", "--config"], ["config-check"]])
def test_a_bad_configuration_file_is_one_line_and_status_1(
    server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    file = tmp_path / "leveret.toml"
    file.write_text("[listen]\nport = 'x'")
    assert main([*command, str(file)]) == 1
    assert capsys.readouterr() == ("", f"leveret: {file}: listen.port: expected int, got str\n")
    assert server.configuration is None


def test_a_good_configuration_file_is_said_to_be_good(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "leveret.toml"
    file.write_text("[listen]\nport = 5673")
    assert main(["config-check", str(file)]) == 0
    assert capsys.readouterr() == (f"{file}: ok\n", "")


def test_help_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    assert "--config FILE" in capsys.readouterr().out


def test_the_module_is_the_command_and_its_version_needs_nothing_slow() -> None:
    program = (
        "import runpy, sys\n"
        "try:\n"
        "    runpy.run_module('leveret.broker', run_name='__main__')\n"
        "finally:\n"
        "    print(sorted({'trio', 'msgspec', 'leveret.broker.server'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"leveret {__version__}\n[]\n"

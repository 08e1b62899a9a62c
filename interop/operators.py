"""A broker and somebody who operates it, with rabbitmqctl's commands: while clients are connected.

leveret gets them from a program that embeds it (`operated_leveret.py`), another broker from the
command in RABBITMQCTL (see `administered.py`); without that the tests are skipped.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import pytest
from administered import RABBITMQCTL
from conftest import Broker
from pika.exceptions import ConnectionClosedByBroker
from restarting import LEVERET

PASSWORD = "secret"
PROGRAM = Path(__file__).parent / "operated_leveret.py"
Rows = list[list[str]]
Operator = Callable[..., Rows]
"""Takes the words of a command, and returns the rows of what it lists."""


class CommandError(Exception):
    """The broker has refused a command, and says why."""


@contextmanager
def operated(broker: Broker) -> Iterator[tuple[Broker, Operator]]:
    """The broker and what to operate it with."""
    if LEVERET:
        with _operated_leveret(broker) as both:
            yield both
    elif RABBITMQCTL:
        yield broker, _rabbitmqctl
    else:
        pytest.skip("not run: RABBITMQCTL, to operate the broker with, is not given")


def _rabbitmqctl(command: str, *words: str) -> Rows:
    options = ["--no-table-headers"] if command.startswith("list_") else []
    done = subprocess.run(
        [*RABBITMQCTL, "-q", command, *options, *words], capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise CommandError(done.stderr or done.stdout)
    return [line.split("\t") for line in done.stdout.splitlines() if command.startswith("list_")]


@contextmanager
def _operated_leveret(broker: Broker) -> Iterator[tuple[Broker, Operator]]:
    python = Path(LEVERET).parent / "python"
    with (
        tempfile.TemporaryDirectory(prefix="leveret-operated-") as folder,
        (Path(folder) / "broker.log").open("wb") as log,
        subprocess.Popen(
            [python, "-P", PROGRAM, Path(folder) / "data"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        commands, answers = process.stdin, process.stdout

        def operate(*words: str) -> Rows:
            commands.write(json.dumps(words) + "\n")
            commands.flush()
            answer = json.loads(answers.readline())
            if isinstance(answer, str):
                raise CommandError(answer)
            return answer

        try:
            port = int(answers.readline().rpartition(":")[2])
            yield broker._replace(host="127.0.0.1", port=port), operate
            commands.close()
            assert process.wait(timeout=10) == 0, (Path(folder) / "broker.log").read_text()
        finally:
            process.kill()


def told_to_close(connection: pika.BlockingConnection) -> tuple[int, str]:
    """The code and the text that the broker closes a connection with."""
    with pytest.raises(ConnectionClosedByBroker) as closed:
        connection.process_data_events(time_limit=5)
    return closed.value.args

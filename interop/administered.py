"""A broker with a definitions file in force: users, limits, policies, tracing.

Another broker than leveret gets the same by the command in RABBITMQCTL, for example
`rabbitmqctl -n rabbit@localhost`; without that its tests are skipped.
"""

import json
import os
import shlex
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
from conftest import Broker
from leveret_process import LeveretProcess
from restarting import LEVERET

RABBITMQCTL = shlex.split(os.environ.get("RABBITMQCTL", ""))
Definitions = dict[str, list[dict[str, Any]]]


@contextmanager
def administered(
    broker: Broker, define: Callable[[str], Definitions], *options: str, settings: str = ""
) -> Iterator[Broker]:
    """A broker in whose vhost, which is the tests' own, everything is as `define(its name)` says;
    a leveret has further `options` and lines of its configuration file, `settings`.

    `broker` is the one under test, whose user gets all permissions in every vhost of the
    definitions.
    """
    vhost = f"own-{uuid.uuid4().hex[:8]}"
    definitions = define(vhost)
    vhosts = definitions.setdefault("vhosts", [])
    if all(each["name"] != vhost for each in vhosts):
        vhosts.append({"name": vhost})
    everything = {"user": broker.user, "configure": ".*", "write": ".*", "read": ".*"}
    definitions["permissions"] = definitions.get("permissions", []) + [
        {**everything, "vhost": each["name"]} for each in vhosts
    ]
    with (
        ExitStack() as stack,
        tempfile.TemporaryDirectory(prefix="leveret-definitions-") as folder,
    ):
        file = Path(folder) / "definitions.json"
        file.write_text(json.dumps(definitions))
        if LEVERET:
            options = (*options, "--definitions", str(file))
            process = LeveretProcess(LEVERET, Path(folder), *options, settings=settings)
            process.start()
            stack.callback(process.kill)
            broker = broker._replace(host="127.0.0.1", port=process.port)
        elif RABBITMQCTL:
            for each in vhosts:
                stack.callback(control, "delete_vhost", each["name"])
            for each in definitions.get("users", []):
                stack.callback(control, "delete_user", each["name"])
            Path(folder).chmod(0o755)
            control("import_definitions", str(file))
        else:
            pytest.skip("not run: RABBITMQCTL, to load definitions with, is not given")
        login = f"{broker.user}:{broker.password}@{broker.host}:{broker.port}"
        yield broker._replace(url=f"amqp://{login}/{vhost}", vhost=vhost)


def control(*arguments: str) -> None:
    """Run RABBITMQCTL."""
    subprocess.run([*RABBITMQCTL, *arguments], check=True, capture_output=True, timeout=60)


class Connections:
    """Opens connections to a broker, as its user or as another one, and closes them in the end."""

    def __init__(self, broker: Broker):
        self._broker = broker
        self._stack = ExitStack()

    def open(
        self, user: str = "", password: str = "", vhost: str = "", **parameters: Any
    ) -> pika.BlockingConnection:
        broker = self._broker
        credentials = pika.PlainCredentials(user or broker.user, password or broker.password)
        connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                broker.host, broker.port, vhost or broker.vhost, credentials, **parameters
            )
        )
        self._stack.callback(lambda: connection.is_open and connection.close())
        return connection

    def close(self) -> None:
        self._stack.close()

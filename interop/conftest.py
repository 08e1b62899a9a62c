"""What the tests of every client share: where the broker is, and names nobody else uses."""

import os
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pika
import pytest
from proxy import CuttableProxy

NOT_RUN = "not run: "


class Broker(NamedTuple):
    """The broker under test, as a URL and taken apart."""

    url: str
    host: str
    port: int
    user: str
    password: str
    vhost: str


@pytest.fixture(scope="session")
def broker() -> Broker:
    url = os.environ.get("BROKER")
    if not url:
        pytest.exit("BROKER is not set: start these tests with interop/run", returncode=2)
    parts = urlsplit(url)
    return Broker(
        url=url,
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 5672,
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        vhost=unquote(parts.path.removeprefix("/")) or "/",
    )


@pytest.fixture(scope="session")
def janitor(broker: Broker) -> Iterator[pika.BlockingConnection]:
    """A connection to clean up with: it sends no heartbeats, for it rests for most of the time."""
    parameters = pika.URLParameters(broker.url)
    parameters.heartbeat = 0
    connection = pika.BlockingConnection(parameters)
    yield connection
    connection.close()


@pytest.fixture
def unique(janitor: pika.BlockingConnection) -> Iterator[Callable[[str], str]]:
    """Makes names that no other test has; what is declared under them is deleted afterwards.

    They are short, as reply texts are cut to 255 bytes.
    """
    names: list[str] = []

    def make(word: str) -> str:
        names.append(f"{word}-{uuid.uuid4().hex[:12]}")
        return names[-1]

    yield make
    for name in names:
        channel = janitor.channel()
        try:
            channel.exchange_delete(name)
            channel.queue_delete(name)
            channel.close()
        except pika.exceptions.ChannelClosedByBroker as error:
            # 405: still exclusive to a connection of the test, and gone when that closes.
            if error.reply_code != 405:
                raise


@pytest.fixture
def proxy(broker: Broker) -> Iterator[CuttableProxy]:
    """A TCP proxy before the broker, whose connections the test can cut."""
    with CuttableProxy(broker.host, broker.port) as cuttable:
        yield cuttable


@pytest.fixture
def proxy_url(broker: Broker, proxy: CuttableProxy) -> str:
    address = f"{broker.host}:{broker.port}"
    return broker.url.replace(address, f"{proxy.host}:{proxy.port}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says loudly which files did not run because something is not installed."""
    skipped: dict[tuple[str, str], int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(NOT_RUN):
            key = (report.nodeid.split("::")[0], reason.removeprefix(NOT_RUN))
            skipped[key] = skipped.get(key, 0) + 1
    if skipped:
        terminalreporter.section("NOT RUN", red=True, bold=True)
        for (file, reason), count in skipped.items():
            terminalreporter.line(f"{file}: {count} tests, as {reason}", red=True)

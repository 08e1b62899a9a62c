"""Who may not come from everywhere, and who comes and says nothing; with pika and a bare socket."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from leveret_process import LeveretProcess
from restarting import LEVERET, needs_leveret

pytestmark = needs_leveret


def outer_address() -> str:
    """An address of this machine that others know; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return asking.getsockname()[0]


@pytest.fixture
def own_broker() -> Iterator[LeveretProcess]:
    settings = "[connection]\nfailed_login_delay_s = 0.1\nhandshake_timeout_s = 0.5\n"
    with tempfile.TemporaryDirectory(prefix="leveret-loopback-") as folder:
        process = LeveretProcess(LEVERET, Path(folder), "--host", "0.0.0.0", settings=settings)
        process.start()
        yield process
        process.kill()


def test_guest_comes_from_the_same_machine_only(own_broker):
    address = outer_address()
    if address.startswith("127."):
        pytest.skip("not run: this machine has no other address")
    pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", own_broker.port)).close()
    with pytest.raises(pika.exceptions.ProbableAuthenticationError, match="ACCESS_REFUSED"):
        pika.BlockingConnection(pika.ConnectionParameters(address, own_broker.port))


def test_who_says_nothing_is_hung_up_on(own_broker):
    for sent in (b"", b"AMQP", b"AMQP\0\0\x09\1"):
        with socket.create_connection(("127.0.0.1", own_broker.port), 5) as silent:
            silent.sendall(sent)
            while silent.recv(4096):
                pass  # connection.start, if it has heard enough for that

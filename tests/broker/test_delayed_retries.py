"""x-delayed-retry-type, x-delayed-retry-min and x-delayed-retry-max."""

from typing import Any

import pytest
from pamqp.commands import Basic, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer
from leveret.broker import delayed_retries

KINDS = ("classic", "quorum")


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    return server.connect()


def declare(
    client: FakeClient, kind: str, retry: str = "all", more: dict[str, Any] | None = None
) -> None:
    arguments = {
        "x-queue-type": kind,
        "x-delayed-retry-type": retry,
        "x-delayed-retry-min": 1000,
        "x-delayed-retry-max": 2500,
    }
    client.declare(durable=True, arguments=arguments | (more or {}))


def give_back(client: FakeClient, *, reject: bool = True) -> None:
    """Get the first message and return it."""
    tag = client.get().call.delivery_tag
    method = Basic.Reject if reject else Basic.Nack
    client.send(method(delivery_tag=tag, requeue=True))


@pytest.mark.parametrize("kind", KINDS)
def test_messages_wait_longer_each_time_up_to_the_maximum(
    server: FakeServer, client: FakeClient, kind: str
):
    declare(client, kind)
    client.publish(b"x", "q")
    for wait_s in (1.0, 2.0, 2.5, 2.5):
        give_back(client)
        server.advance(wait_s - 0.01)
        assert client.ready_in("q") == 0
        server.advance(0.02)
        assert client.ready_in("q") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_waiting_consumer_gets_it_then(server: FakeServer, client: FakeClient, kind: str):
    declare(client, kind)
    client.consume()
    client.publish(b"x", "q")
    client.send(Basic.Reject(delivery_tag=1, requeue=True))
    assert client.bodies() == [b"x"]
    server.advance(1.01)
    (again,) = client.deliveries()
    assert again.call.redelivered


@pytest.mark.parametrize(
    ("retry", "reject", "waits"),
    [
        ("all", True, True),
        ("all", False, True),
        ("failed", True, True),
        ("failed", False, False),
        ("returned", True, False),
        ("returned", False, True),
        ("disabled", True, False),
        ("nonsense", True, False),
    ],
)
def test_type_says_which_returns_wait(client: FakeClient, retry: str, reject: bool, waits: bool):
    declare(client, "quorum", retry)
    client.publish(b"x", "q")
    give_back(client, reject=reject)
    assert client.ready_in("q") == (0 if waits else 1)


def test_message_comes_back_to_its_place(server: FakeServer, client: FakeClient):
    declare(client, "quorum")
    client.publish(b"1", "q")
    client.publish(b"2", "q")
    give_back(client)
    server.advance(1.01)
    assert [client.get().body for _ in range(2)] == [b"1", b"2"]


def test_limit_counts_before_the_delay(server: FakeServer, client: FakeClient):
    declare(client, "quorum", "all", {"x-delivery-limit": 1})
    client.publish(b"x", "q")
    give_back(client)
    server.advance(1.01)
    give_back(client)
    server.advance(10)
    assert client.ready_in("q") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_purging_drops_what_waits(kind: str):
    server = DurableServer()
    client = server.connect()
    declare(client, kind)
    client.publish(b"x", "q", delivery_mode=2)
    give_back(client)
    client.request(Queue.Purge(queue="q"), Queue.PurgeOk)
    server.advance(5)
    assert client.ready_in("q") == 0
    assert server.restarted().connect().ready_in("q") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_deleting_the_queue_drops_what_waits(server: FakeServer, client: FakeClient, kind: str):
    declare(client, kind)
    client.publish(b"x", "q")
    give_back(client)
    client.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    server.advance(5)
    declare(client, kind)
    assert client.ready_in("q") == 0


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_survives_a_restart(kind: str, clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, kind)
    client.publish(b"x", "q", delivery_mode=2)
    give_back(client)
    again = server.restarted(clean=clean).connect().get()
    assert again.body == b"x"
    assert again.call.redelivered


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("bound", "most"), [("WAITING_MAX", 2), ("WAITING_MAX_BYTES", 3000)])
def test_what_is_too_much_to_wait_is_ready_at_once(
    server: FakeServer,
    client: FakeClient,
    kind: str,
    bound: str,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(delayed_retries, bound, most)
    declare(client, kind)
    for _ in range(4):
        client.publish(bytes(1000), "q")
    tags = [client.get().call.delivery_tag for _ in range(4)]
    for tag in tags:
        client.send(Basic.Reject(delivery_tag=tag, requeue=True))
    assert client.ready_in("q") == 2
    server.advance(1.01)
    assert client.ready_in("q") == 4
    give_back(client)
    assert client.ready_in("q") == 3

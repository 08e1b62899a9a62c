"""x-delayed-retry-type, x-delayed-retry-min and x-delayed-retry-max."""

from typing import Any

import pytest
from pamqp.commands import Basic, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer
from leveret.broker.delayed_retries import DelayedRetries
from leveret.broker.policy import Policy

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
def test_the_minimum_may_come_from_a_policy(server: FakeServer, client: FakeClient, kind: str):
    client.declare(durable=True, arguments={"x-queue-type": kind, "x-delayed-retry-type": "all"})
    client.publish(b"x", "q")
    give_back(client)
    assert client.ready_in("q") == 1
    server.broker.vhosts["/"].policies.set(Policy("p", "^q$", {"delayed-retry-min": 1000}))
    give_back(client)
    assert client.ready_in("q") == 0
    server.advance(3.0)
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
def test_message_waits_for_what_remains_after_a_restart(kind: str, clean: bool):
    server = DurableServer(epoch_ms=1_700_000_000_000)
    client = server.connect()
    declare(client, kind)
    client.publish(b"x", "q", delivery_mode=2)
    give_back(client)
    server.advance(0.2)
    server = server.restarted(after_s=0.3, clean=clean)
    client = server.connect()
    server.advance(0.45)
    assert client.ready_in("q") == 0
    server.advance(0.1)
    again = client.get()
    assert again.body == b"x"
    assert again.call.redelivered


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_counts_go_on_after_a_restart(kind: str, clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, kind)
    client.publish(b"x", "q", delivery_mode=2)
    give_back(client)
    server.advance(1.01)
    server = server.restarted(clean=clean)
    client = server.connect()
    give_back(client)
    server = server.restarted(clean=clean)
    server.advance(1.9)
    assert server.connect().ready_in("q") == 0
    server.advance(0.2)
    assert server.connect().ready_in("q") == 1


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_became_due_meanwhile_has_its_place_after_a_restart(kind: str, clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, kind)
    for body in (b"1", b"2", b"3"):
        client.publish(body, "q", delivery_mode=2)
    give_back(client)
    client = server.restarted(after_s=5, clean=clean).connect()
    assert [client.get().body for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_released_after_a_restart_comes_before_what_was_never_delivered(kind: str):
    server = DurableServer()
    client = server.connect()
    declare(client, kind)
    for body in (b"1", b"2", b"3"):
        client.publish(body, "q", delivery_mode=2)
    give_back(client)
    server = server.restarted()
    server.advance(1.01)
    client = server.connect()
    assert [client.get().body for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("kind", KINDS)
def test_transient_message_is_gone_with_a_classic_queue_only(kind: str):
    server = DurableServer()
    client = server.connect()
    declare(client, kind)
    client.publish(b"x", "q")
    give_back(client)
    server = server.restarted(after_s=5)
    assert server.connect().ready_in("q") == (1 if kind == "quorum" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_queue_that_delays_no_more_has_all_of_it_ready_after_a_restart(kind: str):
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True, arguments={"x-queue-type": kind})
    delay = {"delayed-retry-type": "all", "delayed-retry-min": 60_000}
    policies = server.broker.vhosts["/"].policies
    policies.set(Policy("p", "q", delay))
    client.publish(b"x", "q", delivery_mode=2)
    give_back(client)
    policies.delete("p")
    assert server.restarted().connect().ready_in("q") == 1


# --- when memory is short ---------------------------------------------------------------------


def wait_for_retry(client: FakeClient, count: int, delivery_mode: int) -> None:
    """Publish messages and have all of them wait."""
    for number in range(count):
        client.publish(b"%d" % number, "q", delivery_mode=delivery_mode)
    client.consume("q", "tag")
    last = client.deliveries()[-1].call.delivery_tag
    client.request(Basic.Cancel("tag"), Basic.CancelOk)
    client.send(Basic.Nack(last, multiple=True, requeue=True))


def retries_of(server: FakeServer) -> DelayedRetries:
    retries = server.broker.vhosts["/"].queues["q"].retries
    assert retries is not None
    return retries


def page_out(server: FakeServer) -> None:
    retries = retries_of(server)
    before = retries.memory_bytes
    retries.page_out()
    assert retries.memory_bytes * 10 < before


@pytest.mark.parametrize("count", [10, 3000])
@pytest.mark.parametrize("delivery_mode", [1, 2])
@pytest.mark.parametrize("kind", [*KINDS, "priority"])
def test_what_is_paged_out_comes_back_in_order(kind: str, delivery_mode: int, count: int):
    server = DurableServer()
    client = server.connect()
    if kind == "priority":
        declare(client, "classic", "all", {"x-max-priority": 3})
    else:
        declare(client, kind)
    wait_for_retry(client, count, delivery_mode)
    page_out(server)
    assert client.ready_in("q") == 0
    server.advance(1.1)
    assert client.ready_in("q") == count
    got = [client.get(no_ack=True) for _ in range(count)]
    assert [each.body for each in got] == [b"%d" % number for number in range(count)]
    assert all(each.call.redelivered for each in got)
    if kind == "quorum":
        assert all(each.headers == {"x-delivery-count": 1} for each in got)


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_counts_in_the_memory_budget(kind: str):
    server = DurableServer()
    server.broker.memory.budget_bytes = 1 << 20
    client = server.connect()
    declare(client, kind)
    wait_for_retry(client, 2000, 2)
    retries = retries_of(server)
    assert retries.memory_bytes > 300_000
    server.broker.memory.budget_bytes = 100_000
    server.broker.memory.look()
    assert retries.memory_bytes < 70_000
    server.advance(1.1)
    assert client.ready_in("q") == 2000


def test_without_a_journal_what_waits_raises_the_alarm(server: FakeServer, client: FakeClient):
    declare(client, "quorum")
    wait_for_retry(client, 1000, 1)
    server.broker.memory.budget_bytes = 100_000
    server.broker.memory.look()
    assert server.broker.alarms
    server.advance(1.1)
    assert client.ready_in("q") == 1000


@pytest.mark.parametrize("kind", KINDS)
def test_purging_drops_what_is_paged_out(kind: str):
    server = DurableServer()
    client = server.connect()
    declare(client, kind)
    wait_for_retry(client, 10, 2)
    page_out(server)
    client.request(Queue.Purge(queue="q"), Queue.PurgeOk)
    server.advance(5)
    assert client.ready_in("q") == 0
    assert server.restarted(after_s=5).connect().ready_in("q") == 0


def test_bytes_of_what_is_ready_again_count_towards_the_limit():
    server = DurableServer()
    client = server.connect()
    declare(client, "classic", "all", {"x-max-length-bytes": 30})
    wait_for_retry(client, 10, 2)
    page_out(server)
    for _ in range(30):
        client.publish(b"x", "q")
    assert client.ready_in("q") == 30
    server.advance(1.1)
    assert client.ready_in("q") == 30


@pytest.mark.parametrize("kind", [*KINDS, "priority"])
@pytest.mark.parametrize("count", [1, 1000])
def test_what_waited_too_long_for_its_expiration_expires(kind: str, count: int):
    server = DurableServer()
    client = server.connect()
    if kind == "priority":
        declare(client, "classic", "all", {"x-max-priority": 3})
    else:
        declare(client, kind)
    for _ in range(count):
        client.publish(b"x", "q", delivery_mode=2, expiration="1500")
    client.consume("q", "tag")
    last = client.deliveries()[-1].call.delivery_tag
    client.request(Basic.Cancel("tag"), Basic.CancelOk)
    client.send(Basic.Nack(last, multiple=True, requeue=True))
    page_out(server)
    server.advance(1.1)
    assert client.ready_in("q") == count
    server.advance(0.5)
    assert client.ready_in("q") == 0

"""What takes long on long queues is done bit by bit, and others are served in between."""

from random import Random
from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Exchange, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.broker import clearing, counting, features
from leveret.broker.backlog import BLOCK_MESSAGES, Backlog
from leveret.broker.policy_checks import checked_policy


@pytest.fixture(autouse=True)
def little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "CLEARED_AT_ONCE", 10)
    monkeypatch.setattr(clearing, "IDS_PER_MESSAGE", 2)
    monkeypatch.setattr(counting, "COUNTED_AT_ONCE", 10)
    monkeypatch.setattr(features, "DROPPED_AT_ONCE", 10)
    monkeypatch.setattr(features, "DEAD_AT_ONCE", 10)


def set_policy(server: FakeServer, **definition: int) -> None:
    """Not yet with the end of the turn."""
    named = {key.replace("_", "-"): value for key, value in definition.items()}
    server.broker.vhosts["/"].policies.set(checked_policy("policy", "^q", named))


def bytes_counted(server: FakeServer) -> int:
    features = server.broker.vhosts["/"].queues["q"].features
    assert features is not None
    assert features.limits is not None
    return features.limits.ready_bytes


def stored_messages(server: DurableServer) -> int:
    return server.journal.statistics().messages


def fill(client: FakeClient, count: int, queue: str = "q", **options: Any) -> None:
    client.feed(b"".join(message(b"%03d" % n, queue, **options) for n in range(count)))


@pytest.mark.parametrize("priorities", [{}, {"x-max-priority": 3}])
@pytest.mark.parametrize("call", [Queue.Purge(queue="q"), Queue.Delete(queue="q")])
def test_long_queue_is_empty_at_once_and_done_with_in_several_turns(
    call: Queue.Purge | Queue.Delete, priorities: dict[str, int]
):
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True, arguments=priorities)
    fill(client, 35, delivery_mode=2)
    client.get()
    client.connection.receive(encoded(call))
    turns = 0
    while not turns or server.broker.dirty:
        server.broker.finish_turn()
        turns += 1
    assert turns == 3
    server.end_turn()
    assert client.connection.touched is False
    assert client.received()[-1].call.message_count == 34
    assert stored_messages(server) == 1
    client.send(Basic.Ack(1))
    server.end_turn()
    assert stored_messages(server) == 0


def turns_to_clear(server: DurableServer) -> int:
    """How many turns it takes until there is nothing left to do."""
    turns = 0
    while not turns or server.broker.dirty:
        server.broker.finish_turn()
        turns += 1
    server.end_turn()
    return turns


@pytest.mark.parametrize(("paged", "turns"), [(False, 3), (True, 1)])
@pytest.mark.parametrize("call", [Queue.Purge(queue="q"), Queue.Delete(queue="q")])
def test_what_waits_for_a_retry_is_cleared_in_several_turns(
    call: Queue.Purge | Queue.Delete, paged: bool, turns: int
):
    server = DurableServer()
    client = server.connect()
    arguments = {"x-delayed-retry-type": "all", "x-delayed-retry-min": 60_000}
    client.declare(durable=True, arguments=arguments)
    fill(client, 35, delivery_mode=2)
    client.consume()
    client.send(Basic.Cancel("c"), Basic.Nack(0, multiple=True, requeue=True))
    queue = server.broker.vhosts["/"].queues["q"]
    assert queue.retries is not None
    if paged:
        queue.retries.page_out()
    client.connection.receive(encoded(call))
    assert queue.message_count == 0
    assert server.broker.dirty
    assert turns_to_clear(server) == turns
    assert stored_messages(server) == 0
    server.advance(100)
    assert server.connect().declare(durable=True, arguments=arguments).message_count == 0


@pytest.mark.parametrize(("paged", "turns"), [(False, 3), (True, 1)])
def test_a_delayed_exchange_is_deleted_at_once_and_done_with_in_several_turns(
    paged: bool, turns: int
):
    server = DurableServer()
    client = server.connect()
    declare_delayed(client)
    fill(client, 35, "q", exchange="delayed", delivery_mode=2, headers={"x-delay": 60_000})
    if paged:
        server = server.restarted()
        client = server.connect()
    client.connection.receive(encoded(Exchange.Delete(exchange="delayed")))
    assert server.broker.dirty
    assert turns_to_clear(server) == turns
    assert stored_messages(server) == 0


@pytest.mark.parametrize("clean", [True, False])
def test_nothing_of_a_deleted_delayed_exchange_comes_back(clean: bool):
    server = DurableServer()
    client = server.connect()
    declare_delayed(client)
    fill(client, 35, "q", exchange="delayed", delivery_mode=2, headers={"x-delay": 60_000})
    client.connection.receive(encoded(Exchange.Delete(exchange="delayed")))
    server.broker.finish_turn()
    batch = server.journal.take_batch()
    assert batch is not None
    batch.write_and_sync()
    server.journal.synced(batch)
    server = server.restarted(clean=clean)
    declare_delayed(server.connect())
    assert stored_messages(server) == 0


def declare_delayed(client: FakeClient) -> None:
    arguments: Any = {"x-delayed-type": "direct"}
    arguments = {"x-delayed-type": "direct"}
    client.send(
        Exchange.Declare(0, "delayed", "x-delayed-message", durable=True, arguments=arguments)
    )
    client.expect(Exchange.DeclareOk)


def test_a_stop_in_between_brings_nothing_of_a_purged_queue_back():
    server = DurableServer()
    client = server.connect()
    for queue in ("q", "deleted"):
        client.declare(queue, durable=True)
        fill(client, 55, queue, delivery_mode=2)
        server.page_out(queue)
    client.connection.receive(encoded(Queue.Purge(queue="q"), Queue.Delete(queue="deleted")))
    server.broker.finish_turn()
    assert server.broker.dirty
    fill(client, 1, delivery_mode=2)
    server = server.restarted()
    client = server.connect()
    assert client.ready_in("q") == 1
    assert stored_messages(server) == 1


def test_a_crash_in_between_brings_nothing_of_a_deleted_queue_back():
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True)
    fill(client, 55, delivery_mode=2)
    client.connection.receive(encoded(Queue.Delete(queue="q")))
    server.broker.finish_turn()
    batch = server.journal.take_batch()
    assert batch is not None
    batch.write_and_sync()
    server.broker.synced(server.journal.synced(batch))
    server = server.restarted(clean=False)
    server.connect().declare(durable=True)
    assert stored_messages(server) == 0


def test_bytes_of_a_backlog_are_counted_in_several_turns():
    server = DurableServer()
    client = server.connect()
    client.declare()
    fill(client, 600)
    server.page_out("q")
    set_policy(server, max_length_bytes=10_000)
    server.broker.finish_turn()
    assert bytes_counted(server) == 1530
    server.end_turn()
    assert bytes_counted(server) == 1800


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("priorities", [{}, {"x-max-priority": 3}])
def test_bytes_are_right_in_the_end_whatever_happens_while_they_are_counted(
    seed: int, priorities: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    random = Random(seed)
    monkeypatch.setattr("leveret.broker.line.LOADED_BYTES", 1000)
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True, arguments=priorities)
    queue = server.broker.vhosts["/"].queues["q"]

    def publish() -> None:
        options: dict[str, Any] = {
            "priority": random.randrange(4),
            "delivery_mode": random.choice((1, 2)),
        }
        client.connection.receive(message(bytes(random.randrange(50)), "q", **options))

    def get() -> None:
        client.connection.receive(encoded(Basic.Get(queue="q", no_ack=random.random() < 0.5)))

    def give_back() -> None:
        client.connection.receive(encoded(Basic.Nack(0, multiple=True, requeue=True)))

    def limit() -> None:
        set_policy(server, max_length_bytes=random.choice((500, 3000, 100_000)))

    def page_out() -> None:
        queue.page_out()

    for _ in range(300):
        publish()
    server.end_turn()
    page_out()
    for _ in range(120):
        random.choices((publish, get, give_back, limit, page_out), (9, 9, 1, 1, 1))[0]()
        if random.random() < 0.3:
            server.broker.finish_turn()
    set_policy(server, max_length_bytes=1000)
    server.end_turn()
    assert bytes_counted(server) == sum(each.body_bytes for each in queue.waiting()) <= 1000


def test_a_queue_far_beyond_a_limit_still_drops_as_many_as_come_in():
    server = FakeServer()
    client = server.connect()
    client.declare()
    fill(client, 500)
    set_policy(server, max_length=20)
    queue = server.broker.vhosts["/"].queues["q"]
    for _ in range(5):
        client.connection.receive(message(b"", "q") * 100)
        before = queue.message_count
        server.broker.finish_turn()
        assert queue.message_count == before - 110
    server.end_turn()
    assert client.ready_in("q") == 20


def test_limit_of_a_new_queue_holds_within_the_turn():
    client = FakeServer().connect()
    client.declare(arguments={"x-max-length": 1})
    client.feed(message(b"", "q") * 100 + message(b"last", "q") + encoded(Basic.Get(queue="q")))
    assert client.expect_content(Basic.GetOk).body == b"last"


def test_limit_of_a_queue_holds_within_the_turn_after_a_restart():
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True, arguments={"x-max-length": 50})
    fill(client, 50, delivery_mode=2)
    client = server.restarted().connect()
    client.feed(message(b"", "q") * 49 + message(b"last", "q") + encoded(Basic.Get(queue="q")))
    assert client.expect_content(Basic.GetOk).call.message_count == 49


def test_get_passes_over_expired_messages_and_never_gives_one_out():
    server = FakeServer()
    client = server.connect()
    client.declare()
    client.publish(b"first", "q")
    client.feed(message(b"late", "q", expiration="5") * 150 + message(b"last", "q"))
    client.get()
    client.send(Basic.Nack(1, requeue=True))
    server.advance(1)
    client.feed(encoded(Basic.Get(queue="q"), Basic.Get(queue="q")))
    assert client.expect_content(Basic.GetOk).body == b"first"
    client.expect(Basic.GetEmpty)
    assert client.get().body == b"last"


def test_refused_publishes_are_nacked_while_bytes_are_being_counted():
    server = DurableServer()
    client = server.connect()
    client.declare(arguments={"x-overflow": "reject-publish"})
    fill(client, 600)
    server.page_out("q")
    set_policy(server, max_length_bytes=100)
    server.broker.finish_turn()
    client.send(Confirm.Select())
    client.expect(Confirm.SelectOk)
    client.publish(b"1", "q")
    client.expect(Basic.Nack)
    assert client.ready_in("q") == 600


@pytest.mark.parametrize("count", [0, 1, 5, BLOCK_MESSAGES, BLOCK_MESSAGES + 7, 3 * BLOCK_MESSAGES])
def test_backlog_is_parted(count: int):
    ids = list(range(10, 10 + 3 * BLOCK_MESSAGES))
    backlog = Backlog(ids, 6)
    backlog.drop(3)
    taken = backlog.take(count)
    backlog.append(7)
    rest = [*ids[3:], 7]
    assert list(taken.first(1 << 20)) == rest[: len(taken)]
    assert list(backlog.first(1 << 20)) == rest[len(taken) :]
    assert len(taken) == min(count, len(ids) - 3)
    assert backlog.delivered == max(3 - count, 0)

"""Very much that comes in one read is done bit by bit, and others are served in between."""

from collections.abc import Sequence
from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Connection, Queue, Tx

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.broker.administration import Administration
from leveret.broker.remainder import CLEARED_PER_EFFORT, METHOD_EFFORT
from leveret.broker.turn_bounds import TurnBounds

TEN_METHODS = 10 * METHOD_EFFORT
COUNT = 35
ALL = [b"%02d" % number for number in range(COUNT)]


@pytest.fixture
def server() -> DurableServer:
    return DurableServer(turn_bounds=TurnBounds(effort=TEN_METHODS))


def one_turn(server: FakeServer) -> None:
    server.broker.finish_turn()
    for connection in server.broker.take_touched():
        connection.transport.flush()


def turns_for(client: FakeClient, data: bytes) -> int:
    """How many turns it takes to do what comes in one read."""
    client.connection.receive(data)
    turns = 0
    while not turns or client.server.broker.dirty or client.server.broker.wants_turn:
        one_turn(client.server)
        turns += 1
    client.server.end_turn()
    return turns


def holder_of_all(server: FakeServer, **arguments: Any) -> FakeClient:
    """A client that has got all messages of q and settled none."""
    client = server.connect()
    client.declare("dead", durable=True)
    client.declare("q", durable=True, arguments=arguments)
    for body in ALL:
        client.publish(body, "q", delivery_mode=2)
    client.consume("q")
    client.send(Basic.Cancel("c"))
    assert [each.body for each in client.received()][:COUNT] == ALL
    return client


def drained(client: FakeClient, queue: str = "q") -> list[bytes]:
    return [client.get(queue, no_ack=True).body for _ in range(client.ready_in(queue))]


def single(kind: Any, **options: Any) -> bytes:
    return encoded(*(kind(tag, **options) for tag in range(1, COUNT + 1)))


# --- methods ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "left", "dead"),
    [
        (single(Basic.Reject, requeue=False), [], ALL),
        (single(Basic.Nack, requeue=False), [], ALL),
        (single(Basic.Nack, requeue=True), ALL, []),
        (single(Basic.Ack, multiple=True), [], []),
    ],
    ids=["reject", "nack", "give back", "ack"],
)
def test_many_deliveries_settled_one_by_one_take_several_turns(
    server: DurableServer, calls: bytes, left: list[bytes], dead: list[bytes]
) -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client = holder_of_all(server, **arguments)
    assert turns_for(client, calls) == 4
    assert drained(client) == left
    assert drained(client, "dead") == dead


def test_what_comes_in_small_portions_is_done_at_once(server: DurableServer) -> None:
    client = holder_of_all(server)
    for tag in range(1, COUNT + 1):
        assert turns_for(client, encoded(Basic.Reject(tag, requeue=True))) == 1


def test_others_are_served_in_between(server: DurableServer) -> None:
    client, other = holder_of_all(server), server.connect()
    client.connection.receive(single(Basic.Reject, requeue=True))
    one_turn(server)
    other.connection.receive(encoded(Queue.Declare(queue="q", passive=True)))
    one_turn(server)
    assert other.expect(Queue.DeclareOk).message_count == 10
    server.end_turn()
    assert other.ready_in("q") == COUNT


def test_a_client_is_not_read_from_until_all_is_done(server: DurableServer) -> None:
    client = holder_of_all(server)
    client.connection.receive(single(Basic.Reject, requeue=True))
    one_turn(server)
    assert client.connection.waiting
    client.connection.receive(encoded(Queue.Declare(queue="q", passive=True)))
    server.end_turn()
    assert not client.connection.waiting
    assert client.expect(Queue.DeclareOk).message_count == COUNT


def test_an_error_ends_a_channel_where_it_occurs(server: DurableServer) -> None:
    client = holder_of_all(server)
    calls: Sequence[Any] = [Basic.Reject(tag, requeue=False) for tag in (*range(1, 16), 1, 20)]
    assert turns_for(client, encoded(*calls)) == 2
    client.expect_channel_closed(406, "PRECONDITION_FAILED - unknown delivery tag 1", (60, 90))
    assert drained(server.connect()) == ALL[15:]


def test_a_client_that_leaves_has_the_rest_not_done(server: DurableServer) -> None:
    client = holder_of_all(server)
    client.connection.receive(single(Basic.Reject, requeue=False))
    one_turn(server)
    client.disconnect()
    assert not server.broker.dirty
    assert drained(server.connect()) == ALL[10:]


def test_a_connection_that_is_closed_in_between_gets_its_answer(server: DurableServer) -> None:
    client = holder_of_all(server)
    close = encoded(Connection.Close(200, "", 0, 0), channel=0)
    client.feed(single(Basic.Reject, requeue=False) + close)
    client.expect(Connection.CloseOk, 0)
    assert drained(server.connect()) == []


def test_a_method_counts_more_if_it_puts_an_end_to_many_messages(server: DurableServer) -> None:
    client = server.connect()
    for queue in "abc":
        client.declare(queue)
        client.feed(message(b"x", queue) * (TEN_METHODS * CLEARED_PER_EFFORT))
    purges = [Queue.Purge(queue=queue, nowait=True) for queue in "abc"]
    assert turns_for(client, encoded(*purges)) == 3
    assert [client.ready_in(queue) for queue in "abc"] == [0, 0, 0]


# --- messages ---------------------------------------------------------------------------------


def test_many_messages_that_are_looked_at_one_by_one_take_several_turns(
    server: DurableServer,
) -> None:
    client = server.connect()
    client.request(Confirm.Select(), Confirm.SelectOk)
    client.declare("q", durable=True, arguments={"x-message-ttl": 60_000})
    data = b"".join(message(b"%03d" % number, "q", delivery_mode=2) for number in range(100))
    assert turns_for(client, data) == 3
    acks = client.received()
    assert max(ack.call.delivery_tag for ack in acks) == 100
    assert drained(client) == [b"%03d" % number for number in range(100)]


def test_messages_to_very_many_queues_count_more(server: DurableServer) -> None:
    client = server.connect()
    for number in range(160):
        client.declare(f"q{number}")
        client.bind(f"q{number}", "amq.fanout")
    data = b"".join(message(b"x", key, exchange="amq.fanout") for key in "abababab")
    assert turns_for(client, data) == 4  # 21 for each
    assert {client.ready_in(f"q{number}") for number in range(160)} == {8}


def test_many_messages_in_a_transaction_take_several_turns(server: DurableServer) -> None:
    client = server.connect()
    client.declare()
    client.request(Tx.Select(), Tx.SelectOk)
    assert turns_for(client, message(b"x", "q") * 100) == 3
    client.request(Tx.Commit(), Tx.CommitOk)
    assert client.ready_in("q") == 100


# --- dead letters -----------------------------------------------------------------------------

DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ({"x-max-length": 2}, ALL[-2:]),
        ({"x-max-length-bytes": 4}, ALL[-2:]),
        ({"x-max-length": 2, "x-overflow": "reject-publish-dlx"}, ALL[:2]),
        ({"x-message-ttl": 0}, []),
    ],
    ids=["length", "bytes", "refused", "time"],
)
def test_publishes_that_make_dead_letters_are_taken_in_several_turns(
    server: DurableServer, arguments: dict[str, Any], left: list[bytes]
) -> None:
    client = server.connect()
    client.declare("dead", durable=True)
    declare = Queue.Declare(queue="q", durable=True, arguments=DEAD | arguments, nowait=True)
    published = b"".join(message(body, "q", delivery_mode=2) for body in ALL)
    assert turns_for(client, encoded(declare) + published) == 3
    assert drained(client) == left
    assert drained(client, "dead") == [body for body in ALL if body not in left]


def test_publishes_to_a_queue_with_much_room_are_taken_at_once(server: DurableServer) -> None:
    client = server.connect()
    client.declare("q", durable=True, arguments=DEAD | {"x-max-length": 2000})
    assert turns_for(client, message(b"m", "q", delivery_mode=2) * COUNT) == 1
    client.declare("other", durable=True, arguments={"x-max-length": 2})
    assert turns_for(client, message(b"m", "other", delivery_mode=2) * COUNT) == 1
    assert client.ready_in("other") == 2


def test_a_queue_is_handed_many_messages_together_again_when_it_is_not_nearly_full(
    server: DurableServer, client_of_full: FakeClient
) -> None:
    features = server.broker.vhosts["/"].queues["q"].features
    assert features is not None
    assert features.singly
    client_of_full.send(Queue.Purge(queue="q"))
    client_of_full.publish(b"m", "q")
    assert not features.singly


@pytest.fixture
def client_of_full(server: DurableServer) -> FakeClient:
    """A client that has filled a queue up to less than is looked at one by one."""
    client = server.connect()
    client.declare("q", durable=True, arguments=DEAD | {"x-max-length": 1010})
    client.feed(message(b"m", "q") * 20)
    return client


def test_limits_that_a_policy_takes_away_are_forgotten(server: DurableServer) -> None:
    client = server.connect()
    client.declare("q", durable=True, arguments=DEAD)
    administration = Administration(server.broker)
    administration.set_policy("/", "limit", "q", {"max-length": 2})
    client.publish(b"m", "q")
    assert turns_for(client, message(b"m", "q") * COUNT) == 3
    administration.delete_policy("/", "limit")
    client.publish(b"m", "q")
    assert turns_for(client, message(b"m", "q") * COUNT) == 1

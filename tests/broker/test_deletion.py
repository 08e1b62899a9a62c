"""Very many queues that are deleted at once go bit by bit, and so does what was in them."""

import pytest
from pamqp.commands import Connection, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.broker import clearing, deletion
from leveret.broker.administration import Administration

QUEUES = [f"q{number}" for number in range(35)]
CLOSE = encoded(Connection.Close(200, "", 0, 0), channel=0)


@pytest.fixture(autouse=True)
def ten_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "DELETED_AT_ONCE", 10)
    monkeypatch.setattr(deletion, "CLEARED_AT_ONCE", 10)
    monkeypatch.setattr(clearing, "CLEARED_AT_ONCE", 10)


def owner_of_many(server: FakeServer) -> FakeClient:
    """A client with exclusive queues."""
    client = server.connect()
    for queue in QUEUES:
        client.declare(queue, exclusive=True)
    return client


def left(server: FakeServer) -> int:
    return len(server.broker.vhosts["/"].queues)


def bound(server: FakeServer, exchange: str) -> int:
    return len(server.broker.vhosts["/"].exchanges[exchange].bindings)


def one_turn(server: FakeServer) -> None:
    server.broker.finish_turn()
    for connection in server.broker.take_touched():
        connection.transport.flush()


def test_exclusive_queues_are_gone_before_close_ok_if_they_are_many_too(
    server: FakeServer,
) -> None:
    client = owner_of_many(server)
    client.connection.receive(CLOSE)
    seen = list[int]()
    while left(server):
        assert not client.received()
        seen.append(left(server))
        one_turn(server)
    assert seen == [25, 15, 5]
    server.end_turn()
    client.expect(Connection.CloseOk, 0)
    assert not server.broker.dirty


def test_others_are_served_while_the_queues_of_a_lost_connection_go(server: FakeServer) -> None:
    client, other = owner_of_many(server), server.connect()
    client.connection.lost("the client closed the TCP connection")
    one_turn(server)
    other.connection.receive(encoded(Queue.Declare(queue=QUEUES[0], exclusive=True)))
    one_turn(server)
    other.expect(Queue.DeclareOk)
    server.end_turn()
    assert left(server) == 1


def test_a_vhost_that_is_deleted_meanwhile_takes_them_along(server: FakeServer) -> None:
    client = owner_of_many(server)
    client.connection.lost("the client closed the TCP connection")
    vhost = server.broker.vhosts["/"]
    Administration(server.broker).delete_vhost("/")
    server.end_turn()
    assert not vhost.queues
    assert not server.broker.dirty


def test_what_was_in_queues_is_settled_so_much_in_each_turn_for_all_of_them() -> None:
    server = DurableServer()
    client = server.connect()
    for queue in QUEUES[:3]:
        client.declare(queue, durable=True)
        client.feed(message(b"x", queue, delivery_mode=2) * 25)
    Administration(server.broker).delete_vhost("/")
    turns = 0
    while server.broker.dirty:
        one_turn(server)
        turns += 1
    assert turns == 7  # a queue's last five leave room for the first ten of the next one
    server.end_turn()
    assert not server.journal.index.by_owner()
    assert not server.restarted(clean=False).broker.vhosts


def test_what_is_bound_to_exclusive_queues_counts_like_queues(server: FakeServer) -> None:
    client = owner_of_many(server)
    for number in range(15):
        client.bind(QUEUES[0], "amq.topic", f"a.{number}")
    client.connection.receive(CLOSE)
    assert (left(server), bound(server, "amq.topic")) == (35, 5)
    one_turn(server)
    assert (left(server), bound(server, "amq.topic")) == (30, 0)
    server.end_turn()
    client.expect(Connection.CloseOk, 0)
    assert left(server) == 0

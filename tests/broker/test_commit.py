"""A transaction with very much in it is carried out bit by bit, and is still all or nothing."""

from typing import Any

import pytest
from pamqp.commands import Basic, Channel, Confirm, Queue, Tx

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp.errors import PreconditionFailed
from leveret.broker.queue import Queue as BrokerQueue
from leveret.broker.turn_bounds import TurnBounds

COUNT = 35
ALL = [b"%02d" % number for number in range(COUNT)]
DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
TEN_AT_ONCE = TurnBounds(acknowledged=10, settled=10, published=10)


@pytest.fixture
def server() -> DurableServer:
    return DurableServer(turn_bounds=TEN_AT_ONCE)


def transactional(server: DurableServer, **arguments: Any) -> FakeClient:
    """A client in a transaction, with the durable queues q and dead."""
    client = server.connect()
    client.declare("dead", durable=True)
    client.declare("q", durable=True, arguments=arguments)
    client.request(Tx.Select(), Tx.SelectOk)
    return client


def publisher(server: DurableServer, **arguments: Any) -> FakeClient:
    """The same, which has published all."""
    client = transactional(server, **arguments)
    client.feed(b"".join(message(body, "q", delivery_mode=2) for body in ALL))
    return client


def consumer(server: DurableServer, *calls: Any) -> FakeClient:
    """The same, which has got all, settled it like that, and consumes no more."""
    client = publisher(server, **DEAD)
    client.request(Tx.Commit(), Tx.CommitOk)
    client.consume("q")
    client.send(Basic.Cancel("c"))
    assert [each.body for each in client.received()][:COUNT] == ALL
    client.send(*calls)
    return client


def begin(client: FakeClient, *calls: Any) -> None:
    """Commit, and have two turns."""
    client.connection.receive(encoded(Tx.Commit(), *calls))
    one_turn(client.server)
    one_turn(client.server)
    assert client.server.broker.dirty
    assert not client.received()


def one_turn(server: Any) -> None:
    server.broker.finish_turn()
    for connection in server.broker.take_touched():
        connection.transport.flush()


def drained(client: FakeClient, queue: str = "q") -> list[bytes]:
    return [client.get(queue, no_ack=True).body for _ in range(client.ready_in(queue))]


def killed(server: DurableServer) -> FakeClient:
    """A client of the server that comes up after a crash, when all that can be written has been."""
    assert not server.journal.has_work
    return server.restarted(clean=False).connect()


# --- bit by bit -------------------------------------------------------------------------------


def test_publishes_are_carried_out_in_several_turns(server: DurableServer) -> None:
    client = publisher(server)
    client.connection.receive(encoded(Tx.Commit()))
    turns = 0
    while not turns or server.broker.dirty:
        one_turn(server)
        turns += 1
    assert turns == 4
    assert not client.received()
    server.end_turn()
    client.expect(Tx.CommitOk)
    assert drained(server.connect()) == ALL


@pytest.mark.parametrize(
    ("calls", "left", "dead"),
    [
        ([Basic.Ack(0, multiple=True)], [], []),
        ([Basic.Ack(30, multiple=True)], ALL[30:], []),
        ([Basic.Nack(0, multiple=True, requeue=False)], [], ALL),
        ([Basic.Nack(0, multiple=True, requeue=True)], ALL, []),
        (
            [Basic.Ack(12, multiple=True), Basic.Nack(30, multiple=True, requeue=False)],
            ALL[30:],
            ALL[12:30],
        ),
        ([Basic.Ack(tag) for tag in range(1, 21)], ALL[20:], []),
    ],
)
def test_settlements_are_carried_out_in_several_turns(
    server: DurableServer, calls: list[Any], left: list[bytes], dead: list[bytes]
) -> None:
    client = consumer(server, *calls)
    client.connection.receive(encoded(Tx.Commit()))
    one_turn(server)
    assert server.broker.dirty
    server.end_turn()
    client.expect(Tx.CommitOk)
    client.disconnect()
    other = server.connect()
    assert drained(other) == left
    assert drained(other, "dead") == dead


def test_what_the_client_sends_is_carried_out_after_it(server: DurableServer) -> None:
    client = publisher(server)
    begin(client, Queue.Declare(queue="q", passive=True))
    client.connection.receive(message(b"next", "q") + encoded(Tx.Commit()))
    server.end_turn()
    client.expect(Tx.CommitOk)
    assert client.expect(Queue.DeclareOk).message_count == COUNT
    client.expect(Tx.CommitOk)
    assert drained(client) == [*ALL, b"next"]


def test_a_refused_message_closes_the_channel_when_all_is_carried_out(
    server: DurableServer,
) -> None:
    client = publisher(server, **{"x-max-length": 33, "x-overflow": "reject-publish"})
    client.send(Tx.Commit())
    client.expect_channel_closed(406, "PRECONDITION_FAILED - partial tx completion", (90, 20))
    assert drained(server.connect()) == ALL[:33]


def test_others_are_served_and_wait_for_the_disk_only(server: DurableServer) -> None:
    client, other = publisher(server), server.connect()
    begin(client)
    other.connection.receive(encoded(Queue.Declare(queue="r")))
    one_turn(server)
    other.expect(Queue.DeclareOk)
    other.connection.receive(encoded(Queue.Declare(queue="s", durable=True)))
    one_turn(server)
    assert not other.received()
    server.end_turn()
    other.expect(Queue.DeclareOk)
    client.expect(Tx.CommitOk)


def test_two_are_carried_out_one_after_the_other(server: DurableServer) -> None:
    client, other = publisher(server), server.connect()
    other.send(Tx.Select())
    other.feed(b"".join(message(b"m" + body, "q", delivery_mode=2) for body in ALL))
    other.received()
    begin(client)
    other.connection.receive(encoded(Tx.Commit()))
    server.end_turn()
    client.expect(Tx.CommitOk)
    other.expect(Tx.CommitOk)
    assert drained(server.connect()) == [*ALL, *(b"m" + body for body in ALL)]


# --- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["lost", "stop"])
def test_what_has_begun_is_carried_out_though_the_client_or_the_broker_goes(
    server: DurableServer, end: str
) -> None:
    client = publisher(server)
    begin(client)
    if end == "lost":
        client.disconnect()
    else:
        server = server.restarted()
    other = server.connect()
    assert drained(other) == ALL
    other.publish(b"next", "q", delivery_mode=2)
    assert drained(server.restarted().connect()) == [b"next"]


def test_settlements_hold_though_the_client_goes(server: DurableServer) -> None:
    client = consumer(server, Basic.Nack(30, multiple=True, requeue=False))
    begin(client)
    client.disconnect()
    other = server.connect()
    assert drained(other) == ALL[30:]
    assert drained(other, "dead") == ALL[:30]


def test_a_crash_leaves_nothing_of_publishes(server: DurableServer) -> None:
    begin(publisher(server))
    assert drained(killed(server)) == []


def test_a_crash_leaves_nothing_of_settlements(server: DurableServer) -> None:
    begin(consumer(server, Basic.Nack(0, multiple=True, requeue=False)))
    client = killed(server)
    assert drained(client) == ALL
    assert drained(client, "dead") == []


def test_what_others_publish_meanwhile_is_confirmed_with_it(server: DurableServer) -> None:
    client, other = publisher(server), server.connect()
    other.request(Confirm.Select(), Confirm.SelectOk)
    begin(client)
    other.connection.receive(message(b"other", "q", delivery_mode=2))
    one_turn(server)
    assert not other.received()
    server.end_turn()
    other.expect(Basic.Ack)
    assert set(drained(server.restarted(clean=False).connect())) == {*ALL, b"other"}


def test_a_channel_that_the_broker_closes_meanwhile_gets_no_other_answer(
    server: DurableServer,
) -> None:
    client = publisher(server)
    begin(client)
    client.connection.close_channel(1, PreconditionFailed("by hand", at=(0, 0)))
    server.end_turn()
    assert [type(each.call) for each in client.received()] == [Channel.Close]
    assert drained(server.connect()) == ALL


@pytest.mark.parametrize("make", [FakeServer, DurableServer], ids=["no journal", "journal"])
def test_the_second_one_need_not_wait_for_the_disk_if_nothing_goes_there(
    make: type[FakeServer],
) -> None:
    server = make()
    clients = [server.connect(), server.connect()]
    for client in clients:
        client.declare("t")
        client.request(Tx.Select(), Tx.SelectOk)
        client.feed(b"".join(message(body, "t") for body in ALL))
    for client in clients:
        client.connection.receive(encoded(Tx.Commit()))
    server.end_turn()
    for client in clients:
        client.expect(Tx.CommitOk)
    assert clients[0].ready_in("t") == 2 * COUNT


def test_a_bug_in_carrying_it_out_holds_no_queue_back_for_ever(
    server: DurableServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = consumer(server, Basic.Nack(0, multiple=True, requeue=True))
    other = server.connect()

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(BrokerQueue, "requeue", fails)
    client.send(Tx.Commit())
    client.expect_connection_closed(541, "INTERNAL_ERROR - internal error", (90, 20))
    other.feed(message(b"new", "q"))
    assert other.get("q").body == b"new"


def alternating() -> list[Any]:
    """Acknowledgements and rejections in turn."""
    return [
        Basic.Nack(tag, requeue=False) if tag % 2 else Basic.Ack(tag) for tag in range(1, COUNT + 1)
    ]


def test_settlements_that_alternate_take_as_many_turns_as_others(server: DurableServer) -> None:
    client = consumer(server, *alternating())
    client.connection.receive(encoded(Tx.Commit()))
    turns = 0
    while server.broker.dirty:
        one_turn(server)
        turns += 1
    assert turns == 4
    server.end_turn()
    client.expect(Tx.CommitOk)
    assert drained(client) == []
    assert drained(client, "dead") == ALL[::2]


def test_what_takes_longer_to_settle_counts_more() -> None:
    server = DurableServer(turn_bounds=TurnBounds(acknowledged=20, settled=5, published=20))
    client = consumer(server, *alternating())
    client.connection.receive(encoded(Tx.Commit()))
    turns = 0
    while server.broker.dirty:
        one_turn(server)
        turns += 1
    assert turns == 5  # eight of them in each, for every other one counts as four
    server.end_turn()
    client.expect(Tx.CommitOk)
    assert drained(client, "dead") == ALL[::2]


def test_deliveries_that_come_back_are_looked_at_so_many_in_each_turn() -> None:
    bounds = TurnBounds(acknowledged=10, settled=10, published=10, looked_at=5)
    server = DurableServer(turn_bounds=bounds)
    client = consumer(server, Basic.Nack(0, multiple=True, requeue=True))
    client.connection.receive(encoded(Tx.Commit()))
    turns = 0
    while server.broker.dirty:
        one_turn(server)
        turns += 1
    assert turns == 10  # six to look at them, and four to settle them
    server.end_turn()
    client.expect(Tx.CommitOk)
    assert drained(client) == ALL

"""What very much is bound to is deleted bit by bit: first its bindings go, then itself."""

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Exchange, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, Sendable, encoded, message
from leveret.broker import deletion
from leveret.broker.administration import Administration
from leveret.broker.turn_bounds import TurnBounds

KEYS = [f"a.{number}.b" for number in range(35)]


@pytest.fixture(autouse=True)
def ten_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "UNBOUND_AT_ONCE", 10)


@pytest.fixture
def server() -> DurableServer:
    return DurableServer()


@pytest.fixture
def client(server: DurableServer) -> FakeClient:
    """Of a broker in which a queue is bound to an exchange with very many keys."""
    client = server.connect()
    client.request(Exchange.Declare(exchange="x", exchange_type="topic", durable=True), DECLARED)
    client.declare("q", durable=True)
    bind(client)
    return client


DECLARED = Exchange.DeclareOk
DELETE_QUEUE = encoded(Queue.Delete(queue="q"))
DELETE_EXCHANGE = encoded(Exchange.Delete(exchange="x"))


def bind(client: FakeClient, queue: str = "q", **arguments: str) -> None:
    for key in KEYS:
        client.bind(queue, "x", key, **arguments)


def bound(server: FakeServer, exchange: str = "x") -> int:
    found = server.broker.vhosts["/"].exchanges.get(exchange)
    return -1 if found is None else len(found.bindings)


def sync(server: DurableServer) -> None:
    """Have all that is done on disk, without another turn."""
    while (batch := server.journal.take_batch()) is not None:
        batch.write_and_sync()
        server.broker.synced(server.journal.synced(batch))


def bindings_on_disk(server: DurableServer) -> int:
    return sum(b'"binding"' in key for key in server.journal.definitions())


def test_a_queue_loses_so_many_bindings_in_each_turn(
    server: DurableServer, client: FakeClient
) -> None:
    client.feed(message(b"m", "q") * 3)
    client.connection.receive(DELETE_QUEUE + encoded(Queue.Declare(queue="q", passive=True)))
    seen = list[int]()
    while bound(server):
        assert not client.received()
        seen.append(bound(server))
        server.one_turn()
    assert seen == [25, 15, 5]
    server.end_turn()
    assert client.expect(Queue.DeleteOk).message_count == 3
    client.expect_channel_closed(404, "NOT_FOUND - no queue 'q' in vhost '/'", (50, 10))
    assert not bindings_on_disk(server)
    assert not server.broker.dirty


def test_an_exchange_loses_so_many_bindings_in_each_turn(
    server: DurableServer, client: FakeClient
) -> None:
    client.request(Exchange.Declare(exchange="y", exchange_type="topic", durable=True), DECLARED)
    for key in KEYS[:5]:
        client.request(Exchange.Bind(destination="x", source="y", routing_key=key), Exchange.BindOk)
    client.connection.receive(DELETE_EXCHANGE)
    seen = list[tuple[int, int]]()
    while bound(server) > 0:
        assert not client.received()
        seen.append((bound(server, "y"), bound(server)))
        server.one_turn()
    assert seen == [(0, 30), (0, 20), (0, 10)]
    server.end_turn()
    client.expect(Exchange.DeleteOk)
    assert bound(server) == -1
    assert not server.broker.vhosts["/"].queues["q"].destination_of
    assert not bindings_on_disk(server)


def test_others_are_served_and_find_it_until_it_goes(
    server: DurableServer, client: FakeClient
) -> None:
    other = server.connect()
    client.connection.receive(DELETE_QUEUE)
    other.connection.receive(message(b"lost", KEYS[-1], exchange="x"))
    other.connection.receive(message(b"returned", KEYS[0], exchange="x", mandatory=True))
    server.one_turn()
    assert other.expect_content(Basic.Return).body == b"returned"
    server.end_turn()
    assert client.expect(Queue.DeleteOk).message_count == 1


def test_what_is_bound_meanwhile_goes_with_it(server: DurableServer, client: FakeClient) -> None:
    other = server.connect()
    client.connection.receive(DELETE_QUEUE)
    for key in KEYS:
        other.connection.receive(encoded(Queue.Bind(queue="q", exchange="x", routing_key=key)))
    server.end_turn()
    client.expect(Queue.DeleteOk)
    assert bound(server) == 0


def test_two_clients_can_delete_it(server: DurableServer, client: FakeClient) -> None:
    other = server.connect()
    client.connection.receive(DELETE_QUEUE)
    other.connection.receive(DELETE_QUEUE)
    server.end_turn()
    client.expect(Queue.DeleteOk)
    other.expect(Queue.DeleteOk)
    assert "q" not in server.broker.vhosts["/"].queues


def test_it_goes_though_its_client_has_gone(server: DurableServer, client: FakeClient) -> None:
    client.connection.receive(DELETE_QUEUE)
    client.connection.lost("the client closed the TCP connection")
    server.end_turn()
    assert "q" not in server.broker.vhosts["/"].queues
    assert bound(server) == 0


def test_an_auto_delete_exchange_goes_with_its_last_binding(server: DurableServer) -> None:
    client = server.connect()
    declare = Exchange.Declare(exchange="x", exchange_type="topic", auto_delete=True, durable=True)
    client.request(declare, DECLARED)
    client.declare("q", durable=True)
    bind(client)
    client.connection.receive(DELETE_QUEUE)
    server.end_turn()
    assert bound(server) == -1
    assert not bindings_on_disk(server)


@pytest.mark.parametrize("turns", range(4))
def test_a_crash_meanwhile_leaves_no_auto_delete_exchange_behind(
    server: DurableServer, turns: int
) -> None:
    client = server.connect()
    for exchange in ("x", "y", "z"):
        client.request(
            Exchange.Declare(
                exchange=exchange, exchange_type="topic", auto_delete=True, durable=True
            ),
            DECLARED,
        )
    client.declare("q", durable=True)
    client.declare("r", durable=True)
    bind(client)
    for source, destination in (("y", "x"), ("z", "x")):
        client.request(Exchange.Bind(destination=destination, source=source), Exchange.BindOk)
    client.bind("r", "z")
    client.request(
        Exchange.Declare(exchange="new", exchange_type="topic", auto_delete=True, durable=True),
        DECLARED,
    )
    client.connection.receive(DELETE_QUEUE)
    for _ in range(turns):
        server.one_turn()
    sync(server)
    server = server.restarted(clean=False)
    exchanges = server.broker.vhosts["/"].exchanges
    assert sorted(exchanges.keys() & {"x", "y", "z", "new"}) == ["new", "z"]
    assert bindings_on_disk(server) == bound(server, "z") == 1


@pytest.mark.parametrize("delete", [DELETE_QUEUE, DELETE_EXCHANGE])
@pytest.mark.parametrize("turns", range(4))
def test_no_restart_brings_it_back_with_some_of_its_bindings(
    server: DurableServer, client: FakeClient, delete: bytes, turns: int
) -> None:
    client.publish(b"m", "q", delivery_mode=2)
    client.connection.receive(delete)
    for _ in range(turns):
        server.one_turn()
    sync(server)
    server = server.restarted(clean=False)
    vhost = server.broker.vhosts["/"]
    assert ("q" in vhost.queues, "x" in vhost.exchanges) == (
        delete is DELETE_EXCHANGE,
        delete is DELETE_QUEUE,
    )
    assert not bindings_on_disk(server)
    again = server.connect()
    again.request(Exchange.Declare(exchange="x", exchange_type="topic", durable=True), DECLARED)
    again.declare("q", durable=True)
    server = server.restarted(clean=False)
    assert bound(server) == 0
    assert server.connect().ready_in("q") == (delete is DELETE_EXCHANGE)


def test_a_deletion_with_a_condition_is_done_at_once(
    server: DurableServer, client: FakeClient
) -> None:
    client.connection.receive(encoded(Queue.Delete(queue="q", if_empty=True, if_unused=True)))
    assert bound(server) == 0
    server.end_turn()
    client.expect(Queue.DeleteOk)


@pytest.mark.parametrize(
    ("leave", "left"),
    [
        (Basic.Cancel("c"), Basic.CancelOk),
        (Channel.Close(200, "", 0, 0), Channel.CloseOk),
    ],
)
def test_an_auto_delete_queue_goes_bit_by_bit_before_its_consumer_is_answered(
    server: DurableServer, client: FakeClient, leave: Sendable, left: type[Frame]
) -> None:
    client.declare("auto", auto_delete=True)
    bind(client, "auto")
    client.consume("auto")
    client.connection.receive(encoded(leave))
    assert bound(server) == len(KEYS) * 2 - 10
    while "auto" in server.broker.vhosts["/"].queues:
        assert not client.received()
        server.one_turn()
    server.end_turn()
    assert bound(server) == len(KEYS)
    client.expect(left)


def test_a_deletion_of_an_exchange_with_a_condition_is_done_at_once(
    server: DurableServer, client: FakeClient
) -> None:
    client.request(Exchange.Declare(exchange="y", exchange_type="topic"), DECLARED)
    for key in KEYS:
        client.request(Exchange.Bind(destination="y", source="x", routing_key=key), Exchange.BindOk)
    client.connection.receive(encoded(Exchange.Delete(exchange="y", if_unused=True)))
    assert bound(server, "y") == -1
    server.end_turn()
    client.expect(Exchange.DeleteOk)


def test_what_a_conditional_deletion_unbinds_counts_as_effort() -> None:
    server = DurableServer(turn_bounds=TurnBounds(effort=len(KEYS)))
    client = server.connect()
    client.request(Exchange.Declare(exchange="x", exchange_type="topic", durable=True), DECLARED)
    client.declare("q")
    bind(client)
    client.connection.receive(
        encoded(Queue.Delete(queue="q", if_empty=True), Queue.Declare(queue="next"))
    )
    assert not server.broker.vhosts["/"].queues
    server.end_turn()
    assert [*server.broker.vhosts["/"].queues] == ["next"]


def test_a_queue_that_nobody_uses_goes_bit_by_bit(
    server: DurableServer, client: FakeClient
) -> None:
    client.declare("expires", arguments={"x-expires": 1000})
    bind(client, "expires")
    server.advance(1.5)
    server.end_turn()
    assert bound(server) == len(KEYS)
    assert "expires" not in server.broker.vhosts["/"].queues


def test_operators_can_delete_bit_by_bit_too(server: DurableServer, client: FakeClient) -> None:
    operator = Administration(server.broker)
    client.feed(message(b"m", "q") * 3)
    gone = list[object]()
    operator.delete_queue_in_turns("/", "q", gone.append)
    assert (bound(server), gone) == (25, [])
    server.end_turn()
    assert (bound(server), gone) == (0, [3])
    client.declare("q")
    bind(client)
    operator.delete_exchange_in_turns("/", "x", lambda: gone.append("x"))
    assert (bound(server), gone) == (25, [3])
    server.end_turn()
    assert (bound(server), gone) == (-1, [3, "x"])

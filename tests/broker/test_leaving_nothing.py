"""What is left in the core when a client is gone, however it went: nothing."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from pamqp.commands import Basic, Channel, Confirm, Connection, Exchange, Queue, Tx

from fake_client import PROTOCOL_HEADER, FakeClient, FakeServer, encoded, message, start_ok
from leveret.amqp.errors import ConnectionForced
from leveret.broker.alarms import Alarm
from leveret.broker.timers import Timer

LARGE = b"x" * 100_000


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """The garbage collector comes rarely in a broker: what only it frees is as good as left."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def host(server: FakeServer) -> FakeServer:
    """A server with one client that stays, whose queues q and r hold three messages each."""
    client = server.connect()
    for queue in "qr":
        client.declare(queue)
        client.feed(message(b"a", queue) * 3)
    return server


def visit(host: FakeServer) -> FakeClient:
    """A client with heartbeats and open channels 1 and 2."""
    visitor = host.connect(heartbeat=10)
    visitor.open_channel(2)
    return visitor


# --- what a client may be at ------------------------------------------------------------------


def in_the_middle_of_a_frame(client: FakeClient) -> None:
    client.feed(message(b"abc", "q")[:20])


def in_the_middle_of_a_message(client: FakeClient) -> None:
    client.feed(message(b"x" * 300_000, "q")[:-10])


def with_unacked_messages(client: FakeClient) -> None:
    client.get("q")
    client.consume("q", "c")
    client.send(Basic.Consume(queue="r", consumer_tag="d"), channel=2)


def with_prefetch_used_up(client: FakeClient) -> None:
    client.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    client.request(Basic.Qos(prefetch_count=2, global_=True), Basic.QosOk)
    client.consume("q", "c")
    client.send(Basic.Consume(queue="r", consumer_tag="d"))


def with_own_queues(client: FakeClient) -> None:
    client.declare("mine", exclusive=True)
    client.declare("", exclusive=True)
    client.declare("passing", auto_delete=True)
    client.consume("passing", "c")
    client.consume("mine", "d")
    client.request(Exchange.Declare(exchange="passing", auto_delete=True), Exchange.DeclareOk)
    client.bind("mine", "passing", "k")
    client.bind("mine", "amq.topic", "#")
    client.bind("mine", "amq.headers", "", a=1)
    client.feed(message(b"a", "mine") * 3)


def with_queues_that_expire(client: FakeClient) -> None:
    client.declare("mine", exclusive=True, arguments={"x-expires": 60_000})
    client.declare("yours", exclusive=True, arguments={"x-message-ttl": 60_000})
    client.feed(message(b"a", "yours", expiration="50000") * 3)
    client.consume("mine", "c")


def confirming(client: FakeClient) -> None:
    client.request(Confirm.Select(), Confirm.SelectOk)
    client.feed(message(b"a", "q") * 3 + message(b"b", "nowhere", mandatory=True))


def in_a_transaction(client: FakeClient) -> None:
    client.request(Tx.Select(), Tx.SelectOk)
    client.get("q")
    client.feed(message(b"a", "q") + encoded(Basic.Ack(1)) + message(b"b", "q")[:-3])


def waiting_for_replies(client: FakeClient) -> None:
    client.consume("amq.rabbitmq.reply-to", "c", no_ack=True)
    client.publish(b"a", "nowhere", reply_to="amq.rabbitmq.reply-to")


def not_reading(client: FakeClient) -> None:
    client.feed(message(LARGE, "q") * 30)
    client.reading = False
    client.send(Basic.Consume(queue="q", consumer_tag="c"))
    client.send(*[Basic.Get(queue="r")] * 3, channel=2)


def with_a_closing_channel(client: FakeClient) -> None:
    client.consume("q", "c")
    client.send(Basic.Get(queue="nope"))
    client.send(Basic.Get(queue="nope"), channel=2)


def blocked(client: FakeClient) -> None:
    client.server.broker.alarms.set(Alarm.MEMORY, True)
    client.feed(message(b"a", "q"))


SITUATIONS = [
    in_the_middle_of_a_frame,
    in_the_middle_of_a_message,
    with_unacked_messages,
    with_prefetch_used_up,
    with_own_queues,
    with_queues_that_expire,
    confirming,
    in_a_transaction,
    waiting_for_replies,
    not_reading,
    with_a_closing_channel,
    blocked,
]


# --- how it may go ----------------------------------------------------------------------------


def lost(client: FakeClient) -> None:
    client.disconnect()


def closed_by_itself(client: FakeClient) -> None:
    client.connection.receiver._rest = b""  # whatever it was at, what follows must be a frame
    client.reading = True
    client.send(Connection.Close(200, "", 0, 0), channel=0)
    client.disconnect()


def closed_for_a_fault(client: FakeClient) -> None:
    client.connection.receiver._rest = b""
    client.send(Channel.Open(), channel=0)
    client.reading = True
    client.send(Connection.CloseOk(), channel=0)


def missed(client: FakeClient) -> None:
    client.server.advance(40)


def shut(client: FakeClient) -> None:
    client.connection.shut(ConnectionForced("shutdown", at=(0, 0)))
    client.server.advance(31)


WAYS = [lost, closed_by_itself, closed_for_a_fault, missed, shut]


def objects() -> Counter[str]:
    """How many of the broker's objects there are, by type; timers go later."""
    return Counter(
        type(each).__name__
        for each in gc.get_objects()
        if type(each).__module__.startswith("leveret.broker") and not isinstance(each, Timer)
    )


def assert_nothing_is_left(server: FakeServer, ready: int) -> None:
    broker, vhost = server.broker, server.broker.vhosts["/"]
    assert len(broker.connections) == 1
    assert set(vhost.queues) == {"q", "r"}
    assert not vhost.reply_queues
    assert all(name[:4] in ("", "amq.") for name in vhost.exchanges)
    for exchange in vhost.exchanges.values():
        assert not exchange.bindings
        assert not exchange.destination_of
    for queue in vhost.queues.values():
        assert not queue.consumers.all
        assert not queue.consumers.rotation
        assert not queue.consumers.exclusive
        assert not queue.destination_of
        assert not queue.dirty
    assert sum(queue.message_count for queue in vhost.queues.values()) == ready
    assert not broker.dirty
    assert not broker.touched
    assert not broker.confirming
    assert not broker.wants_turn
    assert broker.timers.next_deadline() is None


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_nothing_is_left(
    host: FakeServer, situation: Callable[[FakeClient], None], leave: Callable[[FakeClient], None]
) -> None:
    before = objects()
    visitor = visit(host)
    situation(visitor)
    queues = [host.broker.vhosts["/"].queues[name] for name in "qr"]
    ready = sum(queue.message_count for queue in queues)
    unsettled = sum(
        queue in queues
        for channel in visitor.connection.channels.values()
        for _, queue, _ in channel.unsettled.deliveries.values()
    )
    if situation is in_a_transaction:
        unsettled += 1  # what was acked, and not committed
    leave(visitor)
    assert visitor.hung_up
    assert_nothing_is_left(host, ready + unsettled)
    del visitor.connection, visitor
    assert objects() == before


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"AMQ",
        PROTOCOL_HEADER,
        PROTOCOL_HEADER + encoded(start_ok(), channel=0)[:30],
        PROTOCOL_HEADER + encoded(start_ok(), channel=0),
        PROTOCOL_HEADER + encoded(start_ok("guest", "wrong"), channel=0),
        PROTOCOL_HEADER + encoded(start_ok(), Connection.TuneOk(10, 4096, 10), channel=0),
    ],
)
@pytest.mark.parametrize("leave", [lost, missed])
def test_nothing_is_left_of_a_handshake(
    server: FakeServer, sent: bytes, leave: Callable[[FakeClient], None]
) -> None:
    before = objects()
    stranger = server.accept()
    stranger.feed(sent)
    leave(stranger)
    assert stranger.hung_up
    assert not server.broker.connections
    assert not server.broker.touched
    assert server.broker.timers.next_deadline() is None
    del stranger.connection, stranger
    assert objects() == before


def test_nothing_is_left_of_closed_channels(host: FakeServer) -> None:
    visitor = visit(host)
    before = objects()
    for number in range(10, 60):
        visitor.open_channel(number)
        visitor.send(
            Queue.Declare(queue="own", auto_delete=True, nowait=True),
            Basic.Consume(queue="own", consumer_tag="c", nowait=True),
            Basic.Consume(queue="q", consumer_tag="d", nowait=True),
            Channel.Close(200, "", 0, 0),
            channel=number,
        )
        assert isinstance(visitor.received()[-1].call, Channel.CloseOk)
    assert objects() == before
    assert set(visitor.connection.channels) == {1, 2}
    assert not visitor.connection.closing_channels
    assert not visitor.connection.stalled

"""Very many deliveries are settled bit by bit, and others are served in between."""

from typing import Any

import pytest
from pamqp import commands
from pamqp.commands import Basic, Channel, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp.errors import ConnectionForced
from leveret.broker import line
from leveret.broker.queue import Queue as BrokerQueue
from leveret.broker.turn_bounds import TurnBounds

COUNT = 35
ALL = [b"%02d" % number for number in range(COUNT)]
DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
NACK = Basic.Nack(0, multiple=True, requeue=False)
GIVE_BACK = Basic.Nack(0, multiple=True, requeue=True)
TEN_AT_ONCE = TurnBounds(acknowledged=10, settled=10)


@pytest.fixture
def server() -> DurableServer:
    return DurableServer(turn_bounds=TEN_AT_ONCE)


def consumer_of_all(server: FakeServer, arguments: dict[str, Any] | None = None) -> FakeClient:
    """A client that has got all messages of q, acknowledged none and consumes no more."""
    client = server.connect()
    client.declare("dead", durable=True)
    client.declare("q", durable=True, arguments=arguments or {})
    client.feed(b"".join(message(body, "q", delivery_mode=2) for body in ALL))
    client.consume("q")
    client.send(Basic.Cancel("c"))
    assert [each.body for each in client.received()][:COUNT] == ALL
    return client


def begin(client: FakeClient, *calls: Any) -> None:
    """Send something, and have the first turn after it."""
    client.connection.receive(encoded(*calls))
    one_turn(client.server)
    assert client.server.broker.dirty


def one_turn(server: FakeServer) -> None:
    server.broker.finish_turn()
    for connection in server.broker.take_touched():
        connection.transport.flush()


def queue_of(server: FakeServer) -> BrokerQueue:
    return server.broker.vhosts["/"].queues["q"]


def drained(client: FakeClient, queue: str = "q") -> list[bytes]:
    return [client.get(queue, no_ack=True).body for _ in range(client.ready_in(queue))]


def crashed(server: DurableServer) -> DurableServer:
    """The server that comes up after a crash that follows the writing of all that was done."""
    batch = server.journal.take_batch()
    assert batch is not None
    batch.write_and_sync()
    server.journal.synced(batch)
    return server.restarted(clean=False)


# --- bit by bit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "left", "dead"),
    [
        (Basic.Ack(0, multiple=True), [], []),
        (Basic.Ack(30, multiple=True), ALL[30:], []),
        (NACK, [], ALL),
        (Basic.Nack(30, multiple=True, requeue=False), ALL[30:], ALL[:30]),
        (GIVE_BACK, ALL, []),
        (Basic.Recover(requeue=True), ALL, []),
        (Channel.Close(200, "", 0, 0), ALL, []),
    ],
    ids=["ack all", "ack", "nack all", "nack", "give back", "recover", "close"],
)
def test_many_deliveries_are_settled_in_several_turns(
    server: DurableServer, call: Any, left: list[bytes], dead: list[bytes]
) -> None:
    client = consumer_of_all(server, DEAD)
    client.connection.receive(encoded(call))
    turns = 0
    while not turns or server.broker.dirty:
        one_turn(server)
        turns += 1
    assert turns == (2 if "30" in str(dict(call)) else 3)
    server.end_turn()
    other = server.connect()
    client.disconnect()
    assert drained(other) == left
    assert drained(other, "dead") == dead


def test_an_unknown_tag_settles_nothing(server: DurableServer) -> None:
    client = consumer_of_all(server)
    client.send(Basic.Nack(COUNT + 1, multiple=True))
    client.expect_channel_closed(
        406, f"PRECONDITION_FAILED - unknown delivery tag {COUNT + 1}", (60, 120)
    )
    assert drained(server.connect()) == ALL


def test_deliveries_that_are_behind_the_tag_stay_outstanding(server: DurableServer) -> None:
    client = consumer_of_all(server)
    client.send(Basic.Ack(3), Basic.Ack(25, multiple=True), Basic.Ack(26), GIVE_BACK)
    assert drained(client) == ALL[26:]


def test_a_delivery_limit_holds_for_what_a_lost_connection_leaves(server: DurableServer) -> None:
    arguments = {**DEAD, "x-queue-type": "quorum", "x-delivery-limit": 0}
    client = consumer_of_all(server, arguments)
    client.disconnect()
    other = server.connect()
    assert drained(other) == []
    assert drained(other, "dead") == ALL


# --- the client -------------------------------------------------------------------------------


def test_what_the_client_sends_is_carried_out_when_all_is_settled(server: DurableServer) -> None:
    client = consumer_of_all(server)
    begin(client, GIVE_BACK, Queue.Declare(queue="q", passive=True))
    client.connection.receive(encoded(Basic.Get(queue="q")))
    assert not client.received()
    server.end_turn()
    assert client.expect(Queue.DeclareOk).message_count == COUNT
    assert client.expect_content(Basic.GetOk).body == ALL[0]


def test_recover_is_answered_when_all_is_back(server: DurableServer) -> None:
    client = consumer_of_all(server)
    begin(client, Basic.Recover(requeue=True))
    assert not client.received()
    server.end_turn()
    client.expect(Basic.RecoverOk)


def test_an_ack_timeout_waits_for_the_answer_that_is_due(server: DurableServer) -> None:
    client = consumer_of_all(server, {"x-consumer-timeout": 60_000})
    timers = server.broker.timers
    timers.now += 50
    timers.run()
    begin(client, Basic.Recover(requeue=True))
    timers.now += 70
    timers.run()
    assert not client.received()
    server.end_turn()
    client.expect(Basic.RecoverOk)


def test_a_channel_is_closed_when_all_is_back(server: DurableServer) -> None:
    client = consumer_of_all(server)
    begin(client, Channel.Close(200, "", 0, 0))
    assert not client.received()
    server.end_turn()
    client.expect(Channel.CloseOk)
    client.open_channel(1)
    assert drained(client) == ALL


def test_nothing_is_carried_out_before_what_a_failed_channel_had_is_back(
    server: DurableServer,
) -> None:
    client = consumer_of_all(server)
    client.open_channel(2)
    client.feed(message(b"m", "dead"))
    bad_ack, consume = encoded(Basic.Ack(COUNT + 1)), Basic.Consume(queue="dead")
    client.connection.receive(bad_ack + encoded(consume, channel=2))
    one_turn(server)
    client.expect(Channel.Close)
    assert not client.received()
    server.end_turn()
    client.expect(Basic.ConsumeOk, 2)
    assert client.bodies(2) == [b"m"]


def test_a_connection_is_closed_when_all_is_back(server: DurableServer) -> None:
    client = consumer_of_all(server)
    client.connection.receive(encoded(commands.Connection.Close(200, "", 0, 0), channel=0))
    one_turn(server)
    assert not client.received()
    server.end_turn()
    client.expect(commands.Connection.CloseOk, 0)
    assert drained(server.connect()) == ALL


def test_a_connection_that_the_broker_closes_meanwhile_is_told_so(server: DurableServer) -> None:
    client = consumer_of_all(server)
    begin(client, GIVE_BACK, Queue.Declare(queue="q", passive=True))
    client.connection.shut(ConnectionForced("by hand", at=(0, 0)))
    server.end_turn()
    client.expect_connection_closed(320, "CONNECTION_FORCED - by hand", (0, 0))
    assert drained(server.connect()) == ALL


def test_acknowledgements_hold_though_the_connection_is_lost_meanwhile(
    server: DurableServer,
) -> None:
    client = consumer_of_all(server)
    begin(client, Basic.Ack(30, multiple=True))
    client.disconnect()
    assert drained(server.connect()) == ALL[30:]


def test_a_closed_connection_is_forgotten_in_the_end(server: DurableServer) -> None:
    client = consumer_of_all(server)
    channel = client.connection.channels[1]
    client.connection.lost("")
    assert channel.settling is not None
    server.end_turn()
    assert channel.settling is None
    assert not channel.unsettled.deliveries


# --- others -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"x-queue-type": "quorum", "x-delivery-limit": 9},
        {"x-max-priority": 3},
        {"x-message-ttl": 1_000_000},
    ],
    ids=["plain", "quorum", "priorities", "ttl"],
)
@pytest.mark.parametrize("call", [GIVE_BACK, Channel.Close(200, "", 0, 0)], ids=["nack", "close"])
def test_new_messages_do_not_overtake_what_is_on_its_way_back(
    server: DurableServer, arguments: dict[str, Any], call: Any
) -> None:
    client = consumer_of_all(server, arguments)
    other, publisher = server.connect(), server.connect()
    other.consume("q")
    begin(client, call)
    publisher.connection.receive(message(b"new", "q"))
    one_turn(server)
    assert not other.received()
    server.end_turn()
    assert other.bodies() == [*ALL, b"new"]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_what_comes_back_keeps_its_order_while_memory_is_short(
    server: DurableServer, monkeypatch: pytest.MonkeyPatch, queue_type: str
) -> None:
    monkeypatch.setattr(line, "LOADED_MESSAGES", 3)
    client = consumer_of_all(server, {"x-queue-type": queue_type})
    begin(client, GIVE_BACK)
    server.broker.memory.budget_bytes = 1
    server.broker.memory.look()
    server.end_turn()
    assert drained(client) == ALL


def test_what_is_not_back_yet_still_counts_in_the_memory_budget() -> None:
    server = FakeServer(turn_bounds=TEN_AT_ONCE)
    client = consumer_of_all(server)
    held = client.connection.channels[1].unsettled.held
    server.broker.memory.budget_bytes = held.memory_bytes // 2
    begin(client, Channel.Close(200, "", 0, 0))
    server.broker.memory.look()
    assert server.broker.alarms


def test_get_finds_nothing_rather_than_a_newer_message(server: DurableServer) -> None:
    client = consumer_of_all(server)
    other = server.connect()
    begin(client, GIVE_BACK)
    other.connection.receive(message(b"new", "q") + encoded(Basic.Get(queue="q")))
    one_turn(server)
    other.expect(Basic.GetEmpty)
    server.end_turn()
    assert drained(other) == [*ALL, b"new"]


def test_what_expires_meanwhile_dies_after_what_comes_back(server: DurableServer) -> None:
    client = consumer_of_all(server, {**DEAD, "x-message-ttl": 100})
    other = server.connect()
    begin(client, GIVE_BACK)
    other.connection.receive(message(b"new", "q"))
    one_turn(server)
    server.broker.timers.now += 0.2
    other.connection.receive(encoded(Queue.Declare(queue="q", passive=True)))
    server.end_turn()
    other.received()
    assert drained(other, "dead") == [*ALL, b"new"]


def test_others_are_served_and_the_queue_delivers_while_many_die(server: DurableServer) -> None:
    client = consumer_of_all(server, DEAD)
    other = server.connect()
    other.consume("q")
    begin(client, NACK)
    other.connection.receive(message(b"new", "q") + encoded(Queue.Declare(queue="r")))
    one_turn(server)
    assert server.broker.dirty
    other.expect(Queue.DeclareOk)
    assert other.bodies() == [b"new"]


def test_two_channels_of_one_connection_settle_at_the_same_time(server: DurableServer) -> None:
    client = consumer_of_all(server)
    client.open_channel(2)
    client.feed(b"".join(message(b"m%02d" % n, "q", channel=2) for n in range(COUNT)))
    client.consume("q", channel=2)
    client.received()
    other = server.connect()
    other.consume("q")
    begin(client, GIVE_BACK)
    client.connection.lost("")
    one_turn(server)
    assert not other.received()
    server.end_turn()
    assert other.bodies() == [*ALL, *(b"m%02d" % n for n in range(COUNT))]


def test_a_queue_that_is_deleted_meanwhile_gets_nothing_back(server: DurableServer) -> None:
    client = consumer_of_all(server)
    other = server.connect()
    begin(client, GIVE_BACK, Queue.Declare(queue="q", durable=True))
    other.send(Queue.Delete(queue="q"))
    server.end_turn()
    assert client.expect(Queue.DeclareOk).message_count == 0
    assert server.journal.statistics().messages == 0


def test_a_queue_is_as_before_in_the_end(server: DurableServer) -> None:
    client = consumer_of_all(server)
    begin(client, GIVE_BACK)
    assert queue_of(server).features is not None
    server.end_turn()
    assert queue_of(server).features is None


# --- the end of the broker --------------------------------------------------------------------


def test_a_stop_meanwhile_settles_the_rest(server: DurableServer) -> None:
    client = consumer_of_all(server, DEAD)
    begin(client, NACK)
    other = server.restarted().connect()
    assert drained(other) == []
    assert drained(other, "dead") == ALL


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_stop_meanwhile_has_all_flagged_and_counted(
    server: DurableServer, queue_type: str
) -> None:
    client = consumer_of_all(server, {"x-queue-type": queue_type})
    begin(client, GIVE_BACK)
    other = server.restarted().connect()
    got = [other.get() for _ in ALL]
    assert [each.body for each in got] == ALL
    assert all(each.call.redelivered for each in got)
    if queue_type == "quorum":
        assert {each.headers["x-delivery-count"] for each in got} == {1}


def test_a_turn_after_the_stop_finds_nothing_to_do(
    server: DurableServer, caplog: pytest.LogCaptureFixture
) -> None:
    begin(consumer_of_all(server), GIVE_BACK)
    server.broker.note_deliveries()
    one_turn(server)
    assert "internal error" not in caplog.text


def test_a_crash_meanwhile_loses_no_dead_letter(server: DurableServer) -> None:
    client = consumer_of_all(server, DEAD)
    begin(client, NACK)
    other = crashed(server).connect()
    dead = drained(other, "dead")
    assert 0 < len(dead) < COUNT
    assert dead + drained(other) == ALL


def test_a_crash_meanwhile_leaves_what_is_not_acknowledged_yet(server: DurableServer) -> None:
    client = consumer_of_all(server)
    begin(client, Basic.Ack(0, multiple=True))
    left = drained(crashed(server).connect())
    assert 0 < len(left) < COUNT
    assert left == ALL[-len(left) :]


def test_queues_that_very_many_come_back_to_are_found_in_several_turns() -> None:
    server = DurableServer(turn_bounds=TurnBounds(settled=10, looked_at=10))
    client, other = consumer_of_all(server), server.connect()
    client.connection.receive(encoded(GIVE_BACK))
    turns = 0
    while server.broker.dirty or not turns:
        one_turn(server)
        other.connection.receive(encoded(Basic.Get(queue="q")))
        turns += 1
    assert turns == 6  # of 35 deliveries, the first ones are looked at and settled at once
    server.end_turn()
    found = [each.body for each in other.received()]
    assert found[:-1] == [b""] * (len(found) - 1)  # nothing before all was back
    assert found[-1] in (b"", ALL[0])

from collections.abc import Callable

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Queue, Tx

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.broker import memory as memory_module

NOT_TRANSACTIONAL = "PRECONDITION_FAILED - channel is not transactional"


@pytest.fixture
def transactional(client: FakeClient) -> FakeClient:
    """A client with channel 1 in tx mode, an ordinary channel 2, and a queue q with 0 and 1."""
    client.declare("q")
    client.open_channel(2)
    client.feed(message(b"0", "q") + message(b"1", "q"))
    client.request(Tx.Select(), Tx.SelectOk)
    return client


def commit(client: FakeClient) -> None:
    client.request(Tx.Commit(), Tx.CommitOk)


def rollback(client: FakeClient) -> None:
    client.request(Tx.Rollback(), Tx.RollbackOk)


def drained(client: FakeClient, queue: str = "q") -> str:
    """What a queue holds, in order; a * behind what is redelivered."""
    count = client.ready_in(queue, channel=2)
    taken = [client.get(queue, channel=2, no_ack=True) for _ in range(count)]
    return "".join(got.body.decode() + "*" * got.call.redelivered for got in taken)


@pytest.mark.parametrize(("call", "at"), [(Tx.Commit(), (90, 20)), (Tx.Rollback(), (90, 30))])
def test_other_channels_have_nothing_to_commit(
    client: FakeClient, call: Frame, at: tuple[int, int]
) -> None:
    client.send(call)
    client.expect_channel_closed(406, NOT_TRANSACTIONAL, at)


def test_select_twice_is_fine_and_keeps_what_is_held(transactional: FakeClient) -> None:
    transactional.publish(b"2", "q")
    transactional.request(Tx.Select(), Tx.SelectOk)
    commit(transactional)
    assert drained(transactional) == "012"


def test_an_empty_transaction_ends_as_well(transactional: FakeClient) -> None:
    for _ in range(2):
        commit(transactional)
        rollback(transactional)


# --- publishing -------------------------------------------------------------------------------


def test_messages_are_published_at_commit_in_order(transactional: FakeClient) -> None:
    transactional.publish(b"2", "q")
    transactional.publish(b"3" * 300_000, "q")
    transactional.publish(b"4", "q", headers={"CC": ["r"]})
    transactional.publish(b"x", "q", channel=2)
    assert transactional.ready_in("q", channel=2) == 3
    commit(transactional)
    assert drained(transactional).replace("3" * 300_000, "3") == "01x234"


def test_the_fast_way_of_publishing_is_not_taken_before_or_after(
    transactional: FakeClient,
) -> None:
    publish = message(b"2", "q")
    transactional.feed(encoded(Channel.Close(200, "", 0, 0), Channel.Open()) + publish * 2)
    transactional.received()
    transactional.feed(publish + encoded(Tx.Select()) + publish * 2)
    transactional.expect(Tx.SelectOk)
    assert transactional.ready_in("q", channel=2) == 5


def test_messages_are_dropped_by_rollback(transactional: FakeClient) -> None:
    transactional.publish(b"2", "q")
    rollback(transactional)
    commit(transactional)
    assert drained(transactional) == "01"


def test_messages_are_dropped_by_close(transactional: FakeClient) -> None:
    transactional.publish(b"2", "q")
    transactional.request(Channel.Close(200, "", 0, 0), Channel.CloseOk)
    assert drained(transactional) == "01"


def test_messages_come_back_at_commit_before_its_answer(transactional: FakeClient) -> None:
    transactional.feed(message(b"2", "nowhere", mandatory=True) + message(b"3", "q"))
    assert not transactional.received()
    transactional.send(Tx.Commit())
    assert transactional.expect_content(Basic.Return).body == b"2"
    transactional.expect(Tx.CommitOk)


@pytest.mark.parametrize("exchange", ["nope", "amq.rabbitmq.trace"])
def test_faults_are_found_when_publishing(transactional: FakeClient, exchange: str) -> None:
    transactional.publish(b"2", "q")
    transactional.publish(b"3", "q", exchange=exchange)
    assert transactional.expect(Channel.Close).reply_code in (403, 404)
    assert drained(transactional) == "01"


def test_what_was_routed_to_a_queue_that_is_gone_comes_back(transactional: FakeClient) -> None:
    transactional.declare("r", channel=2)
    transactional.feed(
        message(b"2", "r", mandatory=True)
        + message(b"3", "r")
        + message(b"4", "q", mandatory=True, headers={"CC": ["r"]})
    )
    transactional.request(Queue.Delete(queue="r"), Queue.DeleteOk, channel=2)
    transactional.send(Tx.Commit())
    assert transactional.expect_content(Basic.Return).body == b"2"
    transactional.expect(Tx.CommitOk)
    assert drained(transactional) == "014"


# --- settling ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settle", "left"),
    [
        (Basic.Ack(1), ""),
        (Basic.Ack(2, multiple=True), ""),
        (Basic.Nack(2, multiple=True, requeue=True), "0*1*"),
        (Basic.Nack(1, requeue=False), ""),
        (Basic.Reject(2, requeue=True), "1*"),
    ],
)
def test_settlements_count_at_commit(transactional: FakeClient, settle: Frame, left: str) -> None:
    transactional.get("q")
    transactional.get("q")
    transactional.send(settle)
    assert transactional.ready_in("q", channel=2) == 0
    commit(transactional)
    assert drained(transactional) == left


def test_settlements_make_room_at_commit(transactional: FakeClient) -> None:
    transactional.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    transactional.consume("q")
    assert transactional.bodies() == [b"0"]
    transactional.send(Basic.Ack(1))
    assert not transactional.received()
    transactional.send(Tx.Commit())
    transactional.expect(Tx.CommitOk)
    assert transactional.bodies() == [b"1"]


def test_what_was_settled_is_outstanding_again_after_rollback(transactional: FakeClient) -> None:
    transactional.consume("q")
    transactional.deliveries()
    transactional.send(Basic.Ack(1), Basic.Nack(2, requeue=True))
    rollback(transactional)
    assert not transactional.received()
    transactional.send(Basic.Ack(2, multiple=True))
    commit(transactional)
    transactional.request(Channel.Close(200, "", 0, 0), Channel.CloseOk)
    assert drained(transactional) == ""


@pytest.mark.parametrize("end", ["channel", "connection"])
def test_what_was_settled_goes_back_if_nobody_commits(
    transactional: FakeClient, other: FakeClient, end: str
) -> None:
    other.open_channel(2)
    transactional.get("q")
    transactional.get("q")
    transactional.send(Basic.Ack(2, multiple=True))
    transactional.publish(b"2", "q")
    if end == "channel":
        transactional.request(Channel.Close(200, "", 0, 0), Channel.CloseOk)
    else:
        transactional.disconnect()
    assert drained(other) == "0*1*"


def test_a_tag_is_settled_once(transactional: FakeClient) -> None:
    transactional.get("q")
    transactional.send(Basic.Ack(1))
    transactional.send(Basic.Ack(1))
    transactional.expect_channel_closed(
        406, "PRECONDITION_FAILED - unknown delivery tag 1", (60, 80)
    )


def test_recovering_leaves_what_was_settled(transactional: FakeClient) -> None:
    transactional.get("q")
    transactional.get("q")
    transactional.send(Basic.Ack(1))
    transactional.request(Basic.Recover(requeue=True), Basic.RecoverOk)
    assert transactional.ready_in("q", channel=2) == 1
    commit(transactional)
    assert drained(transactional) == "1*"


def test_publishes_and_settlements_are_committed_together(transactional: FakeClient) -> None:
    transactional.feed(
        encoded(Basic.Get(queue="q"))
        + message(b"2", "q")
        + encoded(Basic.Ack(1))
        + message(b"3", "q")
        + encoded(Tx.Commit(), Basic.Get(queue="q"))
    )
    assert transactional.expect_content(Basic.GetOk).body == b"0"
    transactional.expect(Tx.CommitOk)
    assert transactional.expect_content(Basic.GetOk).body == b"1"
    assert drained(transactional) == "23"


# --- with a journal ---------------------------------------------------------------------------


@pytest.fixture
def waiting() -> FakeClient:
    """A client whose commit waits for the disk."""
    server = DurableServer()
    client = server.connect()
    client.declare("q", durable=True)
    client.request(Tx.Select(), Tx.SelectOk)
    client.publish(b"a", "q", delivery_mode=2)
    client.connection.receive(encoded(Tx.Commit()))
    FakeServer.end_turn(server)
    assert not client.received()
    return client


def test_commit_is_answered_once_everything_is_on_disk(waiting: FakeClient) -> None:
    waiting.server.end_turn()
    waiting.expect(Tx.CommitOk)
    waiting.publish(b"b", "q", delivery_mode=2)
    waiting.request(Tx.Commit(), Tx.CommitOk)
    assert waiting.ready_in("q") == 2


def test_what_is_sent_while_a_commit_waits_is_done_after_it(waiting: FakeClient) -> None:
    waiting.connection.receive(encoded(Basic.Get(queue="missing")))
    FakeServer.end_turn(waiting.server)
    assert not waiting.received()
    waiting.server.end_turn()
    kinds = [type(each.call) for each in waiting.received()]
    assert kinds == [Tx.CommitOk, Channel.Close]


def test_publishes_sent_while_a_commit_waits_are_of_the_next_transaction(
    waiting: FakeClient,
) -> None:
    later = message(b"b", "q") + encoded(Tx.Rollback())
    waiting.connection.receive(later[:20])
    waiting.connection.receive(later[20:])
    waiting.server.end_turn()
    kinds = [type(each.call) for each in waiting.received()]
    assert kinds == [Tx.CommitOk, Tx.RollbackOk]
    assert waiting.ready_in("q") == 1


def test_a_channel_that_closes_while_a_commit_waits_is_told_of_it_first(
    waiting: FakeClient,
) -> None:
    waiting.connection.receive(encoded(Channel.Close(200, "", 0, 0)))
    waiting.server.end_turn()
    kinds = [type(each.call) for each in waiting.received()]
    assert kinds == [Tx.CommitOk, Channel.CloseOk]


# --- how much is held -------------------------------------------------------------------------

HELD_MAX_BYTES = 10_000
TOO_MUCH = f"uncommitted transactions hold more than {HELD_MAX_BYTES} bytes; commit more often"


@pytest.fixture
def bounded(
    server: FakeServer, transactional: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> FakeClient:
    """A transactional client of a broker whose transactions may hold ten thousand bytes."""
    monkeypatch.setattr(memory_module, "_TRANSACTIONS_MIN_BYTES", 0)
    server.broker.memory.budget_bytes = 4 * HELD_MAX_BYTES
    return transactional


def test_a_publish_that_would_hold_too_much_is_refused_and_its_transaction_is_gone(
    server: FakeServer, bounded: FakeClient
) -> None:
    for _ in range(12):
        bounded.publish(bytes(1000), "q")
    bounded.expect_channel_closed(406, f"PRECONDITION_FAILED - {TOO_MUCH}", (60, 40))
    assert server.broker.memory.transaction_bytes == 0
    assert drained(bounded) == "01"


def test_all_transactions_together_are_bounded(server: FakeServer, bounded: FakeClient) -> None:
    other = server.connect()
    other.request(Tx.Select(), Tx.SelectOk)
    for _ in range(5):
        bounded.publish(bytes(1000), "q")
    for _ in range(5):
        other.publish(bytes(1000), "q")
    other.expect_channel_closed(406, f"PRECONDITION_FAILED - {TOO_MUCH}", (60, 40))
    commit(bounded)
    assert bounded.ready_in("q", channel=2) == 7


@pytest.mark.parametrize("end", [commit, rollback])
def test_transactions_that_end_make_room(
    server: FakeServer, bounded: FakeClient, end: Callable[[FakeClient], None]
) -> None:
    for _ in range(4):
        for _ in range(6):
            bounded.publish(bytes(1000), "q")
        end(bounded)
    assert server.broker.memory.transaction_bytes == 0


def test_a_client_that_vanishes_gives_back_what_its_transaction_held(
    server: FakeServer, bounded: FakeClient
) -> None:
    bounded.publish(bytes(1000), "q")
    assert server.broker.memory.transaction_bytes > 1000
    bounded.disconnect()
    assert server.broker.memory.transaction_bytes == 0

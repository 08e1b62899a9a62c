import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Connection, Queue

from fake_client import FakeClient, FakeServer, encoded, message, start_ok
from leveret.amqp.connection_methods import ConnectionClose
from leveret.amqp.errors import ConnectionForced
from leveret.broker.connection import Connection as Session
from leveret.broker.receiver import State

CLOSE = Connection.Close(200, "bye", 0, 0)


# --- closed by the client ---------------------------------------------------------------------


def test_a_client_closes_and_hangs_up(server: FakeServer, client: FakeClient) -> None:
    client.send(CLOSE, channel=0)
    client.expect(Connection.CloseOk, 0)
    assert not client.hung_up
    client.disconnect()
    assert client.hung_up
    assert not server.broker.connections


def test_what_comes_after_close_is_dropped(client: FakeClient) -> None:
    client.feed(encoded(CLOSE, channel=0) + encoded(Queue.Declare(queue="late"), channel=1))
    client.expect(Connection.CloseOk, 0)
    client.send(Queue.Declare(queue="later"))
    client.feed(b"garbage")
    assert not client.received()
    assert not client.connection.broker.vhosts["/"].queues


def test_a_client_that_closes_twice_is_answered_twice(client: FakeClient) -> None:
    client.feed(encoded(CLOSE, channel=0) * 2)
    client.expect(Connection.CloseOk, 0)
    client.expect(Connection.CloseOk, 0)
    client.send(CLOSE, channel=0)
    client.expect(Connection.CloseOk, 0)
    assert not client.hung_up


def test_a_client_that_closes_and_confirms_is_hung_up_on(client: FakeClient) -> None:
    client.feed(encoded(CLOSE, channel=0) + encoded(Connection.CloseOk(), channel=0))
    client.expect(Connection.CloseOk, 0)
    assert client.hung_up


def test_a_client_that_does_not_hang_up_is_hung_up_on_after_30_s(
    server: FakeServer, client: FakeClient
) -> None:
    client.send(CLOSE, channel=0)
    server.advance(29.9)
    assert not client.hung_up
    server.advance(0.1)
    assert client.hung_up
    assert server.broker.timers.next_deadline() is None


def test_unacked_messages_are_back_before_close_ok(client: FakeClient, other: FakeClient) -> None:
    client.declare("q")
    client.publish(b"a", "q")
    client.consume("q")
    client.deliveries()
    client.reading = False
    client.send(CLOSE, channel=0)
    assert [len(client.connection.output), other.ready_in("q")] == [1, 1]
    assert other.get("q").call.redelivered


def test_exclusive_queues_are_gone_before_close_ok(client: FakeClient, other: FakeClient) -> None:
    client.declare("mine", exclusive=True)
    client.reading = False
    client.send(CLOSE, channel=0)
    assert len(client.connection.output) == 1
    other.send(Queue.Declare(queue="mine", passive=True))
    other.expect_channel_closed(404, "NOT_FOUND - no queue 'mine' in vhost '/'", (50, 10))


def test_confirms_that_are_due_come_before_close_ok(client: FakeClient) -> None:
    client.request(Confirm.Select(), Confirm.SelectOk)
    client.feed(message(b"a", "nowhere") + encoded(CLOSE, channel=0))
    assert client.expect(Basic.Ack).delivery_tag == 1
    client.expect(Connection.CloseOk, 0)


# --- closed by the broker ---------------------------------------------------------------------


@pytest.fixture
def closing(client: FakeClient) -> FakeClient:
    """A client that has been sent connection.close and has not answered."""
    client.send(Channel.Flow(active=False))
    close = client.expect(Connection.Close, 0)
    assert (close.reply_code, close.reply_text) == (540, "NOT_IMPLEMENTED - active=false")
    assert (close.class_id, close.method_id) == (20, 20)
    return client


def test_nothing_but_close_and_close_ok_matters_while_closing(
    server: FakeServer, closing: FakeClient
) -> None:
    closing.send(Queue.Declare(queue="late"), channel=1)
    closing.send(Queue.Declare(queue="late"), channel=0)
    closing.feed(message(b"a", "late") + b"\1\0\0\0\0\0\0\xce")
    assert not closing.received()
    assert not server.broker.vhosts["/"].queues
    closing.send(CLOSE, channel=0)
    closing.expect(Connection.CloseOk, 0)
    assert not closing.hung_up
    closing.send(Connection.CloseOk(), channel=0)
    assert closing.hung_up
    assert not server.broker.connections


def test_close_ok_is_found_behind_other_frames(closing: FakeClient) -> None:
    closing.feed(message(b"abc", "q") + encoded(Connection.CloseOk(), channel=0))
    assert closing.hung_up


def test_broken_frames_while_closing_do_not_matter(closing: FakeClient) -> None:
    closing.feed(b"\x09\0\0\0\0\0\1a\xce" + encoded(Connection.CloseOk(), channel=0))
    assert not closing.received()
    assert not closing.hung_up
    closing.send(Connection.CloseOk(), channel=0)
    assert closing.hung_up


def test_a_client_that_does_not_answer_close_is_hung_up_on_after_30_s(
    server: FakeServer, closing: FakeClient
) -> None:
    server.advance(29.9)
    assert not closing.hung_up
    server.advance(0.1)
    assert closing.hung_up


def test_after_a_frame_error_it_is_hung_up_on_after_3_s(
    server: FakeServer, client: FakeClient
) -> None:
    client.feed(b"\x09\0\1\0\0\0\1a\xce")
    client.expect(Connection.Close, 0)
    server.advance(2.9)
    assert not client.hung_up
    server.advance(0.1)
    assert client.hung_up


def test_channels_and_exclusive_queues_are_gone_before_close(
    closing: FakeClient, server: FakeServer
) -> None:
    assert not closing.connection.channels
    client = server.connect()
    client.declare("mine", exclusive=True)
    client.send(Channel.Flow(active=False))
    assert not server.broker.vhosts["/"].queues


# --- closed from outside ----------------------------------------------------------------------

SHUTDOWN = ConnectionForced("broker forced connection closure with reason 'shutdown'", at=(0, 0))


def test_an_open_connection_is_shut_with_a_reason(client: FakeClient) -> None:
    client.connection.shut(SHUTDOWN)
    client.connection.shut(SHUTDOWN)
    client.server.end_turn()
    client.expect_connection_closed(
        320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'", (0, 0)
    )


def test_a_connection_that_is_not_open_yet_is_shut_without_a_word(server: FakeServer) -> None:
    for sent in (b"", b"AMQP\0\0\x09\1"):
        client = server.accept()
        client.feed(sent)
        client.received()
        client.connection.shut(SHUTDOWN)
        server.end_turn()
        assert client.hung_up
        assert not client.received()


def test_a_connection_that_its_client_has_closed_is_shut_without_a_word(
    client: FakeClient,
) -> None:
    client.send(CLOSE, channel=0)
    client.expect(Connection.CloseOk, 0)
    client.connection.shut(SHUTDOWN)
    client.server.end_turn()
    assert client.hung_up
    assert not client.received()


def test_a_lost_connection_is_lost_once(client: FakeClient) -> None:
    client.disconnect()
    client.disconnect()
    assert client.connection.state is State.CLOSED
    client.connection.close(SHUTDOWN)
    assert not client.received()


def test_a_finished_connection_takes_nothing_more(client: FakeClient) -> None:
    client.disconnect()
    client.send(Queue.Declare(queue="late"))
    assert not client.received()
    assert not client.server.broker.vhosts["/"].queues


# --- channel 0 of an open connection ----------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (Connection.TuneOk(1, 4096, 0), (10, 31)),
        (Connection.Open("/"), (10, 40)),
        (Connection.Blocked("x"), (10, 60)),
        (Connection.CloseOk(), (10, 51)),
        (start_ok(), (10, 11)),
        (Channel.Open(), (20, 10)),
        (Queue.Declare(queue="q"), (50, 10)),
    ],
)
def test_other_methods_on_channel_0_are_channel_errors(
    client: FakeClient, call: Frame, at: tuple[int, int]
) -> None:
    client.send(call, channel=0)
    client.expect_connection_closed(
        504, "CHANNEL_ERROR - unexpected method in connection state running", at
    )


def test_a_new_secret_is_taken(client: FakeClient) -> None:
    client.send(Connection.UpdateSecret("new", "expired"), channel=0)
    client.expect(Connection.UpdateSecretOk, 0)


def test_connection_methods_on_other_channels_are_not_methods_of_channels(
    client: FakeClient,
) -> None:
    client.send(CLOSE)
    client.expect_connection_closed(503, "COMMAND_INVALID - unimplemented method", (10, 50))


# --- when leveret itself is wrong -------------------------------------------------------------


def test_an_internal_error_costs_one_connection(
    client: FakeClient, other: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session, call: ConnectionClose) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Session, "client_closed", fail)
    client.send(CLOSE, channel=0)
    client.expect_connection_closed(541, "INTERNAL_ERROR - internal error", (10, 50))
    other.declare("q")


def test_a_bug_in_what_one_has_put_off_harms_no_other(
    client: FakeClient, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    client.declare("q")
    client.consume("q", no_ack=True)
    server.broker.later(lambda: [][0])
    client.publish(b"served", "q")
    assert [each.body for each in client.received()] == [b"served"]
    assert "internal error" in caplog.text

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Exchange, Queue

from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp.connection_methods import AccessRequest, AccessRequestOk

CLOSE = Channel.Close(200, "bye", 0, 0)
NOT_OPEN = "CHANNEL_ERROR - expected 'channel.open'"
OPEN_TWICE = "CHANNEL_ERROR - second 'channel.open' seen"


# --- opening ----------------------------------------------------------------------------------


def test_any_number_is_a_channel(client: FakeClient) -> None:
    for number in (2, 2047, 65_535):
        client.open_channel(number)
        assert client.declare("q", channel=number).queue == "q"


def test_channels_are_counted_whatever_their_numbers(server: FakeServer) -> None:
    client = server.connect(channel_max=2)
    client.open_channel(9)
    client.send(Channel.Open(), channel=2)
    client.expect_connection_closed(
        530,
        "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)",
        (0, 0),
    )


def test_a_closed_channel_makes_room_for_another(server: FakeServer) -> None:
    client = server.connect(channel_max=1)
    client.request(CLOSE, Channel.CloseOk)
    client.open_channel(2)


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (Queue.Declare(queue="q"), (50, 10)),
        (Basic.Publish(routing_key="q"), (60, 40)),
        (Basic.Ack(1), (60, 80)),
        (CLOSE, (20, 40)),
        (Channel.CloseOk(), (20, 41)),
    ],
)
def test_nothing_goes_before_open(client: FakeClient, call: Frame, at: tuple[int, int]) -> None:
    client.send(call, channel=3)
    client.expect_connection_closed(504, NOT_OPEN, at)


def test_a_channel_is_opened_once(client: FakeClient) -> None:
    client.send(Channel.Open())
    client.expect_connection_closed(504, OPEN_TWICE, (20, 10))


# --- closing ----------------------------------------------------------------------------------


def test_a_closed_channel_can_be_opened_again(client: FakeClient) -> None:
    client.request(CLOSE, Channel.CloseOk)
    client.send(Basic.Get(queue="q"), channel=1)
    client.expect_connection_closed(504, NOT_OPEN, (60, 70))


def test_nothing_of_a_closed_channel_is_left_in_its_successor(client: FakeClient) -> None:
    client.declare("q")
    client.publish(b"a", "q")
    client.send(Confirm.Select(), Basic.Qos(prefetch_count=1), Basic.Consume(queue="q"))
    client.send(CLOSE)
    client.received()
    client.open_channel(1)
    client.publish(b"b", "q")
    client.request(Basic.Consume(queue="q", consumer_tag="c"), Basic.ConsumeOk)
    first, second = client.deliveries()
    assert (first.call.delivery_tag, first.body, first.call.redelivered) == (1, b"a", True)
    assert (second.call.delivery_tag, second.body, second.call.redelivered) == (2, b"b", False)
    client.send(Basic.Get(queue=""))
    client.expect_channel_closed(404, "NOT_FOUND - no previously declared queue", (60, 70))


def test_unacked_messages_are_back_before_close_ok(client: FakeClient) -> None:
    client.open_channel(2)
    client.declare("q", channel=2)
    client.feed(message(b"a", "q") + message(b"b", "q") + message(b"c", "q"))
    client.send(Basic.Get(queue="q"), Basic.Get(queue="q"))
    client.received()
    client.feed(
        encoded(CLOSE)
        + encoded(Queue.Declare(queue="q", passive=True), Basic.Get(queue="q"), channel=2)
    )
    client.expect(Channel.CloseOk)
    assert client.expect(Queue.DeclareOk, 2).message_count == 3
    got = [client.expect_content(Basic.GetOk, 2)]
    got += [client.get("q", channel=2) for _ in range(2)]
    assert [answer.body for answer in got] == [b"a", b"b", b"c"]
    assert [answer.call.redelivered for answer in got] == [True, True, False]


def test_consumers_are_gone_before_close_ok(client: FakeClient, other: FakeClient) -> None:
    client.declare("q", auto_delete=True)
    client.consume("q")
    client.request(CLOSE, Channel.CloseOk)
    other.send(Queue.Declare(queue="q", passive=True))
    other.expect_channel_closed(404, "NOT_FOUND - no queue 'q' in vhost '/'", (50, 10))


@pytest.fixture
def failed(client: FakeClient) -> FakeClient:
    """A client that has been sent channel.close on channel 1, has a channel 2, and a queue q."""
    client.open_channel(2)
    client.declare("q", channel=2)
    client.send(Basic.Get(queue="nope"))
    close = client.expect(Channel.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (404, 60, 70)
    assert close.reply_text == "NOT_FOUND - no queue 'nope' in vhost '/'"
    return client


def test_until_close_ok_everything_on_that_channel_is_dropped(failed: FakeClient) -> None:
    failed.feed(message(b"a", "q") + encoded(Queue.Declare(queue="late"), Basic.Ack(7)))
    failed.feed(message(b"b", "q", channel=2))
    assert not failed.received()
    assert failed.ready_in("q", channel=2) == 1
    failed.send(Channel.CloseOk())
    failed.open_channel(1)


def test_a_close_that_crosses_is_answered(failed: FakeClient) -> None:
    failed.request(CLOSE, Channel.CloseOk)
    failed.send(Queue.Declare(queue="late"))
    assert not failed.received()
    failed.send(Channel.CloseOk())
    failed.open_channel(1)


def test_opening_before_close_ok_is_opening_twice(failed: FakeClient) -> None:
    failed.send(Channel.Open())
    failed.expect_connection_closed(504, OPEN_TWICE, (20, 10))


def test_methods_that_cannot_be_decoded_matter_also_while_closing(failed: FakeClient) -> None:
    failed.feed(b"\1\0\1\0\0\0\6\0\x32\0\x0a\0\0\xce")
    failed.expect_connection_closed(501, "FRAME_ERROR - cannot decode <<0,0>>", (50, 10))


def test_the_rest_of_a_message_whose_publish_failed_is_dropped(client: FakeClient) -> None:
    data = message(b"abc" * 10, "q", exchange="nope", payload_max=10)
    for cut in range(len(data)):
        client.feed(data[:cut])
        client.feed(data[cut:])
        client.expect_channel_closed(404, "NOT_FOUND - no exchange 'nope' in vhost '/'", (60, 40))
        client.open_channel(1)


# --- other methods ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (Channel.CloseOk(), (20, 41)),
        (Basic.CancelOk("c"), (60, 31)),
        (Channel.FlowOk(active=True), (20, 21)),
        (Channel.OpenOk(), (20, 11)),
        (Queue.DeclareOk("q", 0, 0), (50, 11)),
        (Basic.GetEmpty(), (60, 72)),
        (Exchange.DeclareOk(), (40, 11)),
    ],
)
def test_answers_that_nobody_asked_for_are_not_implemented(
    client: FakeClient, call: Frame, at: tuple[int, int]
) -> None:
    client.send(call)
    client.expect_connection_closed(503, "COMMAND_INVALID - unimplemented method", at)


def test_flow_is_always_on(client: FakeClient) -> None:
    assert client.request(Channel.Flow(active=True), Channel.FlowOk).active
    client.send(Channel.Flow(active=False))
    client.expect_connection_closed(540, "NOT_IMPLEMENTED - active=false", (20, 20))


def test_access_is_granted_to_everyone(client: FakeClient) -> None:
    assert (
        client.request(
            AccessRequest("/data", False, False, True, True, True), AccessRequestOk
        ).ticket
        == 1
    )


# --- the queue declared last ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (Basic.Get(queue=""), (60, 70)),
        (Basic.Consume(queue=""), (60, 20)),
        (Queue.Delete(queue=""), (50, 40)),
        (Queue.Purge(queue=""), (50, 30)),
        (Queue.Bind(queue="", exchange="amq.direct", routing_key="k"), (50, 20)),
        (Queue.Unbind(queue="", exchange="amq.direct", routing_key="k"), (50, 50)),
    ],
)
def test_there_may_be_no_queue_declared_last(
    client: FakeClient, call: Frame, at: tuple[int, int]
) -> None:
    client.send(call)
    client.expect_channel_closed(404, "NOT_FOUND - no previously declared queue", at)


@pytest.mark.parametrize(
    "declare",
    [
        Queue.Declare(queue="q"),
        Queue.Declare(queue="q", passive=True),
        Queue.Declare(queue="q", nowait=True),
    ],
)
def test_the_empty_name_is_the_queue_declared_last(client: FakeClient, declare: Frame) -> None:
    client.open_channel(2)
    client.declare("q", channel=2)
    client.declare("before")
    client.feed(message(b"a", "q") + message(b"b", "q") + message(b"c", "q"))
    client.send(declare)
    client.received()
    assert client.get("").body == b"a"
    client.request(Basic.Consume(queue="", consumer_tag="c", no_ack=True), Basic.ConsumeOk)
    assert client.bodies() == [b"b", b"c"]
    client.request(Basic.Cancel("c"), Basic.CancelOk)
    client.publish(b"d", "q")
    assert client.request(Queue.Purge(queue=""), Queue.PurgeOk).message_count == 1
    client.request(Queue.Delete(queue=""), Queue.DeleteOk)
    client.send(Basic.Get(queue=""))
    client.expect_channel_closed(404, "NOT_FOUND - no queue 'q' in vhost '/'", (60, 70))


def test_every_channel_has_a_queue_declared_last_of_its_own(client: FakeClient) -> None:
    client.open_channel(2)
    client.declare("one", channel=1)
    client.declare("two", channel=2)
    client.feed(message(b"1", "one") + message(b"2", "two"))
    for number, body in ((1, b"1"), (2, b"2")):
        assert client.get("", channel=number).body == body


def test_binding_neither_queue_nor_key_binds_the_last_queue_by_its_name(
    client: FakeClient,
) -> None:
    client.declare("q")
    client.bind("", "amq.direct", "")
    client.publish(b"by name", "q", exchange="amq.direct")
    client.publish(b"by nothing", "", exchange="amq.direct")
    assert client.ready_in("q") == 1
    client.request(Queue.Unbind(queue="", exchange="amq.direct", routing_key=""), Queue.UnbindOk)
    client.publish(b"by name", "q", exchange="amq.direct")
    assert client.ready_in("q") == 1


def test_an_empty_key_stays_empty_if_the_queue_is_named(client: FakeClient) -> None:
    client.declare("q")
    client.bind("q", "amq.direct", "")
    client.publish(b"by name", "q", exchange="amq.direct")
    assert client.ready_in("q") == 0
    client.publish(b"by nothing", "", exchange="amq.direct")
    assert client.ready_in("q") == 1

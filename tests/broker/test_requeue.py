import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel

from fake_client import FakeClient, encoded, message
from leveret.amqp import methods as m

ACK, NACK, REJECT = (60, 80), (60, 120), (60, 90)


@pytest.fixture
def full(client: FakeClient) -> FakeClient:
    """A client with a queue q that holds the messages 0 to 4."""
    client.declare("q")
    client.feed(b"".join(message(b"%d" % number, "q") for number in range(5)))
    return client


def drained(client: FakeClient, queue: str = "q") -> str:
    """What a queue holds, in order; a * behind what is redelivered."""
    taken = [client.get(queue, no_ack=True) for _ in range(client.ready_in(queue))]
    return "".join(got.body.decode() + "*" * got.call.redelivered for got in taken)


# --- settling ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settle", "left"),
    [
        ((), ""),
        ((Basic.Ack(1),), ""),
        ((Basic.Ack(3, multiple=True),), ""),
        ((Basic.Nack(2, requeue=False),), ""),
        ((Basic.Reject(2, requeue=False),), ""),
        ((Basic.Nack(2, requeue=True),), "1*"),
        ((Basic.Reject(4, requeue=True),), "3*"),
        ((Basic.Reject(3, requeue=True), Basic.Reject(1, requeue=True)), "0*2*"),
        ((Basic.Nack(3, multiple=True, requeue=True),), "0*1*2*"),
        ((Basic.Ack(2), Basic.Nack(4, multiple=True, requeue=True)), "0*2*3*"),
        ((Basic.Nack(0, multiple=True, requeue=True),), "0*1*2*3*4*"),
        ((Basic.Ack(5), Basic.Ack(1), Basic.Nack(0, multiple=True, requeue=True)), "1*2*3*"),
        ((m.BasicRecoverAsync(True),), "0*1*2*3*4*"),
    ],
)
def test_what_goes_back_goes_to_its_place(
    full: FakeClient, settle: tuple[Frame, ...], left: str
) -> None:
    for _ in range(5):
        full.get("q")
    full.send(*settle)
    assert not full.received()
    assert drained(full) == left


def test_what_goes_back_goes_before_what_was_never_delivered(full: FakeClient) -> None:
    for _ in range(3):
        full.get("q")
    full.publish(b"5", "q")
    full.send(Basic.Nack(2, requeue=True))
    assert drained(full) == "1*345"


def test_what_goes_back_comes_to_another_channel_in_order(
    full: FakeClient, other: FakeClient
) -> None:
    full.consume("q")
    full.deliveries()
    other.consume("q")
    full.request(Channel.Close(200, "", 0, 0), Channel.CloseOk)
    came = other.deliveries()
    assert [each.body for each in came] == [b"0", b"1", b"2", b"3", b"4"]
    assert all(each.call.redelivered for each in came)


def test_a_lone_consumer_gets_it_straight_back(full: FakeClient) -> None:
    full.consume("q")
    full.deliveries()
    full.send(Basic.Nack(2, requeue=True))
    (again,) = full.deliveries()
    assert (again.call.delivery_tag, again.body, again.call.redelivered) == (6, b"1", True)


def test_whoever_needs_no_ack_gets_it_once(full: FakeClient, other: FakeClient) -> None:
    full.consume("q")
    full.deliveries()
    full.disconnect()
    other.consume("q", no_ack=True)
    assert len(other.deliveries()) == 5
    assert other.ready_in("q") == 0


def test_a_message_of_several_queues_goes_back_to_the_one_it_came_from(full: FakeClient) -> None:
    for name in ("a", "b"):
        full.declare(name)
        full.bind(name, "amq.fanout")
    full.publish(b"x", exchange="amq.fanout")
    full.get("a")
    full.send(Basic.Nack(1, requeue=True))
    assert [drained(full, "a"), drained(full, "b")] == ["x*", "x"]


# --- recover ----------------------------------------------------------------------------------


def test_recover_brings_everything_again_behind_its_answer(full: FakeClient) -> None:
    full.request(Basic.Qos(prefetch_count=2), Basic.QosOk)
    full.consume("q")
    full.deliveries()
    full.request(Basic.Recover(requeue=True), Basic.RecoverOk)
    came = full.deliveries()
    assert [(each.call.delivery_tag, each.body) for each in came] == [(3, b"0"), (4, b"1")]
    full.send(Basic.Ack(1))
    full.expect_channel_closed(406, "PRECONDITION_FAILED - unknown delivery tag 1", ACK)


@pytest.mark.parametrize(
    ("call", "at"),
    [(Basic.Recover(requeue=False), (60, 110)), (m.BasicRecoverAsync(False), (60, 100))],
)
def test_recovering_to_the_same_consumer_is_not_implemented(
    client: FakeClient, call: Frame, at: tuple[int, int]
) -> None:
    client.send(call)
    client.expect_connection_closed(540, "NOT_IMPLEMENTED - requeue=false", at)


# --- unknown tags -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settle", "at"),
    [
        (Basic.Ack(0), ACK),
        (Basic.Ack(2), ACK),
        (Basic.Ack(9), ACK),
        (Basic.Ack(2, multiple=True), ACK),
        (Basic.Ack(9, multiple=True), ACK),
        (Basic.Nack(0), NACK),
        (Basic.Nack(2), NACK),
        (Basic.Nack(9, multiple=True), NACK),
        (Basic.Reject(0), REJECT),
        (Basic.Reject(2), REJECT),
    ],
)
def test_a_tag_that_is_not_outstanding_closes_the_channel(
    full: FakeClient, settle: Frame, at: tuple[int, int]
) -> None:
    for _ in range(3):
        full.get("q")
    full.send(Basic.Ack(2))
    tag = dict(settle)["delivery_tag"]
    full.send(settle)
    full.expect_channel_closed(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}", at)
    full.open_channel(1)
    assert drained(full) == "0*2*34"


@pytest.mark.parametrize("all_of_them", [Basic.Ack(0, multiple=True), Basic.Nack(0, multiple=True)])
def test_all_of_them_may_be_none(client: FakeClient, all_of_them: Frame) -> None:
    client.send(all_of_them, all_of_them)
    assert not client.received()


def test_tags_of_another_channel_are_unknown(full: FakeClient) -> None:
    full.open_channel(2)
    full.get("q")
    full.send(Basic.Ack(1), channel=2)
    full.expect_channel_closed(406, "PRECONDITION_FAILED - unknown delivery tag 1", ACK, channel=2)
    full.send(Basic.Ack(1))
    assert not full.received()


def test_a_run_of_acks_counts_up_to_the_bad_one(full: FakeClient) -> None:
    full.consume("q")
    full.deliveries()
    full.feed(
        encoded(Basic.Ack(1), Basic.Ack(2), Basic.Ack(2), Basic.Ack(3)) + message(b"late", "q")
    )
    full.expect_channel_closed(406, "PRECONDITION_FAILED - unknown delivery tag 2", ACK)
    full.open_channel(1)
    assert drained(full) == "2*3*4*"


def test_a_run_of_acks_may_change_channels(full: FakeClient) -> None:
    full.open_channel(2)
    full.get("q")
    full.get("q", channel=2)
    full.get("q")
    full.feed(
        encoded(Basic.Ack(1))
        + encoded(Basic.Ack(1), channel=2)
        + encoded(Basic.Ack(2), Basic.Qos())
    )
    full.expect(Basic.QosOk)
    assert not full.connection.channels[1].unsettled.deliveries
    assert not full.connection.channels[2].unsettled.deliveries


def test_a_broken_ack_in_a_run_is_a_broken_frame(full: FakeClient) -> None:
    full.get("q")
    full.feed(encoded(Basic.Ack(1), Basic.Ack(2))[:-1] + b"\0")
    full.expect_connection_closed(
        501,
        "FRAME_ERROR - type 1, all octets = <<0,60,0,80,0,0,0,0,0,0,0,2,0>>:"
        " {invalid_frame_end_marker,0}",
        (0, 0),
    )

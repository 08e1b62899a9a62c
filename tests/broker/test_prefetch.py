import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel

from fake_client import FakeClient, message


@pytest.fixture
def full(client: FakeClient) -> FakeClient:
    """A client with a queue q that holds the messages 0 to 9."""
    client.declare("q")
    client.feed(b"".join(message(b"%d" % number, "q") for number in range(10)))
    return client


def qos(client: FakeClient, count: int, *, globally: bool = False) -> None:
    client.request(Basic.Qos(prefetch_count=count, global_=globally), Basic.QosOk)


def digits(client: FakeClient, channel: int = 1) -> str:
    return b"".join(client.bodies(channel)).decode()


# --- a limit for each consumer ----------------------------------------------------------------


def test_a_consumer_gets_as_many_as_it_may_hold(full: FakeClient) -> None:
    qos(full, 2)
    full.consume("q")
    assert digits(full) == "01"


@pytest.mark.parametrize(
    ("settle", "then"),
    [
        (Basic.Ack(1), "2"),
        (Basic.Ack(2, multiple=True), "23"),
        (Basic.Ack(0, multiple=True), "23"),
        (Basic.Nack(1, requeue=False), "2"),
        (Basic.Nack(2, multiple=True, requeue=False), "23"),
        (Basic.Nack(2, multiple=True, requeue=True), "01"),
        (Basic.Reject(2, requeue=False), "2"),
        (Basic.Reject(2, requeue=True), "1"),
    ],
)
def test_what_it_settles_makes_room(full: FakeClient, settle: Frame, then: str) -> None:
    qos(full, 2)
    full.consume("q")
    full.deliveries()
    full.send(settle)
    assert digits(full) == then


def test_recovering_makes_room(full: FakeClient) -> None:
    qos(full, 2)
    full.consume("q")
    full.deliveries()
    full.request(Basic.Recover(requeue=True), Basic.RecoverOk)
    assert digits(full) == "01"


def test_zero_is_no_limit(full: FakeClient) -> None:
    qos(full, 0)
    full.consume("q")
    assert digits(full) == "0123456789"


def test_a_limit_holds_for_consumers_that_start_later(full: FakeClient) -> None:
    qos(full, 1)
    full.consume("q", "a")
    assert digits(full) == "0"
    qos(full, 3)
    assert digits(full) == ""
    full.consume("q", "b")
    assert digits(full) == "123"
    full.send(Basic.Ack(1))
    assert digits(full) == "4"


def test_every_consumer_has_a_limit_of_its_own(full: FakeClient) -> None:
    qos(full, 2)
    full.consume("q", "a")
    assert digits(full) == "01"
    full.consume("q", "b")
    assert digits(full) == "23"


def test_a_limit_is_its_channels(full: FakeClient) -> None:
    qos(full, 1)
    full.open_channel(2)
    full.consume("q", channel=2)
    assert digits(full, 2) == "0123456789"


def test_who_needs_no_ack_has_no_limit(full: FakeClient) -> None:
    qos(full, 1)
    qos(full, 1, globally=True)
    full.consume("q", no_ack=True)
    assert digits(full) == "0123456789"


def test_a_new_consumer_starts_with_nothing_held(full: FakeClient) -> None:
    qos(full, 2)
    full.consume("q", "a")
    assert digits(full) == "01"
    full.request(Basic.Cancel("a"), Basic.CancelOk)
    full.consume("q", "a")
    assert digits(full) == "23"
    full.send(Basic.Ack(1))
    assert digits(full) == ""
    full.send(Basic.Ack(3))
    assert digits(full) == "4"


# --- a limit for the channel ------------------------------------------------------------------


def test_a_channels_limit_is_shared_by_its_consumers(full: FakeClient) -> None:
    qos(full, 3, globally=True)
    full.consume("q", "a")
    assert digits(full) == "012"
    full.consume("q", "b")
    full.send(Basic.Ack(1))
    assert digits(full) == "3"
    full.send(Basic.Ack(4, multiple=True))
    assert digits(full) == "456"


def test_a_channels_limit_counts_at_once(full: FakeClient) -> None:
    qos(full, 1, globally=True)
    full.consume("q")
    assert digits(full) == "0"
    qos(full, 4, globally=True)
    assert digits(full) == "123"
    qos(full, 2, globally=True)
    full.send(Basic.Ack(1), Basic.Ack(2))
    assert digits(full) == ""
    full.send(Basic.Ack(3))
    assert digits(full) == "4"
    qos(full, 0, globally=True)
    assert digits(full) == "56789"


def test_a_channels_limit_counts_what_was_delivered_before_it(full: FakeClient) -> None:
    qos(full, 3)
    full.consume("q", "a")
    assert digits(full) == "012"
    qos(full, 3, globally=True)
    full.consume("q", "b")
    assert digits(full) == ""
    full.send(Basic.Ack(1))
    assert len(digits(full)) == 1


def test_a_limit_for_each_consumer_switches_the_channels_off(full: FakeClient) -> None:
    qos(full, 2, globally=True)
    full.consume("q", "a")
    assert digits(full) == "01"
    qos(full, 1)
    assert digits(full) == "23456789"


def test_both_limits_hold_together(full: FakeClient) -> None:
    qos(full, 2)
    qos(full, 3, globally=True)
    full.consume("q", "a")
    assert digits(full) == "01"
    full.consume("q", "b")
    assert digits(full) == "2"
    full.send(Basic.Ack(1), Basic.Ack(2))
    full.send(Basic.Ack(3))
    held = digits(full)
    assert held == "345"


def test_what_was_got_does_not_count_for_the_channel(full: FakeClient) -> None:
    full.get("q")
    full.get("q")
    qos(full, 2, globally=True)
    full.consume("q")
    assert digits(full) == "23"
    full.send(Basic.Ack(1), Basic.Ack(2))
    assert digits(full) == ""
    full.send(Basic.Ack(3))
    assert digits(full) == "4"


def test_a_cancelled_consumer_still_holds_its_share_of_the_channels_limit(
    full: FakeClient,
) -> None:
    qos(full, 2, globally=True)
    full.consume("q", "a")
    assert digits(full) == "01"
    full.request(Basic.Cancel("a"), Basic.CancelOk)
    full.consume("q", "b")
    assert digits(full) == ""
    full.send(Basic.Ack(1))
    assert digits(full) == "2"


def test_a_channels_limit_wakes_consumers_of_every_queue(full: FakeClient) -> None:
    full.declare("r")
    full.feed(message(b"x", "r") * 2)
    qos(full, 1, globally=True)
    full.consume("q", "a")
    assert digits(full) == "0"
    full.consume("r", "b")
    assert digits(full) == ""
    full.request(Basic.Cancel("a"), Basic.CancelOk)
    full.send(Basic.Ack(1))
    assert digits(full) == "x"


def test_a_channels_limit_is_shared_fairly_by_consumers_of_different_queues(
    client: FakeClient,
) -> None:
    for queue in "ab":
        client.declare(queue)
        client.feed(message(queue.encode(), queue) * 20)
    qos(client, 1, globally=True)
    for queue in "ab":
        client.send(Basic.Consume(queue=queue, consumer_tag=queue, nowait=True))
    taken = ""
    for tag in range(1, 21):
        (delivery,) = client.deliveries()
        taken += delivery.body.decode()
        client.send(Basic.Ack(tag))
    assert 9 <= taken.count("a") <= 11


# --- what there is not ------------------------------------------------------------------------


def test_prefetch_by_size_is_not_implemented(client: FakeClient) -> None:
    client.send(Basic.Qos(prefetch_size=10))
    client.expect_connection_closed(540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)", (60, 10))


def test_limits_go_with_their_channel(full: FakeClient) -> None:
    qos(full, 1)
    qos(full, 1, globally=True)
    full.request(Channel.Close(200, "", 0, 0), Channel.CloseOk)
    full.open_channel(1)
    full.consume("q")
    assert digits(full) == "0123456789"

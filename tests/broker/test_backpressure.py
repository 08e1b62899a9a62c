"""What happens when a client does not read, or publishes faster than others take. That the edge
really stops reading is in test_server_output.py and test_server_load.py.
"""

import pytest
from pamqp.commands import Basic, Connection, Queue

from fake_client import FakeClient, FakeServer, encoded, message
from leveret.broker.alarms import Alarm
from leveret.broker.congestion import is_congested, waiting_messages
from leveret.broker.connection import ANSWERS_MAX_BYTES
from leveret.broker.consumer import OUTPUT_MARK_BYTES
from leveret.broker.queue import CONGESTED_MESSAGES

LARGE = b"x" * 100_000
"""A body of which eleven are more than the mark."""


@pytest.fixture
def consumer(client: FakeClient) -> FakeClient:
    """A client that consumes from q without acks and has stopped reading."""
    client.declare("q")
    client.consume("q", "c", no_ack=True)
    client.reading = False
    return client


# --- consumers that do not read ---------------------------------------------------------------


def test_deliveries_stop_at_the_mark_and_go_on_when_it_reads(
    consumer: FakeClient, other: FakeClient
) -> None:
    bodies = [b"%d " % number + LARGE for number in range(30)]
    for body in bodies:
        other.publish(body, "q")
    assert consumer.connection.output_bytes >= OUTPUT_MARK_BYTES
    assert consumer.connection.output_bytes < OUTPUT_MARK_BYTES + 2 * len(LARGE)
    assert other.ready_in("q") == 19
    consumer.read_again()
    assert consumer.bodies() == bodies
    assert not consumer.connection.stalled


def test_in_the_meantime_the_others_get_it(consumer: FakeClient, other: FakeClient) -> None:
    other.consume("q", no_ack=True)
    for _ in range(60):
        other.publish(LARGE, "q")
    stalled = 60 - len(other.deliveries())
    assert stalled == 11
    consumer.read_again()
    assert len(consumer.deliveries()) == 11
    other.feed(message(b"", "q") * 4)
    assert [len(consumer.deliveries()), len(other.deliveries())] == [2, 2]


@pytest.mark.parametrize("multiple", [False, True])
def test_whoever_acks_without_reading_gets_nothing_more(
    client: FakeClient, other: FakeClient, multiple: bool
) -> None:
    client.declare("q")
    client.consume("q", "c")
    client.reading = False
    for _ in range(60):
        other.publish(LARGE, "q")
    full = client.connection.output_bytes
    for tag in range(1, 11):
        client.send(Basic.Ack(tag, multiple=multiple))
    assert client.connection.output_bytes == full
    assert other.ready_in("q") == 49
    client.read_again()
    assert len(client.deliveries()) == 60


def test_a_new_consumer_of_a_client_that_does_not_read_waits_too(
    consumer: FakeClient, other: FakeClient
) -> None:
    for _ in range(20):
        other.publish(LARGE, "q")
    for number in range(20):
        consumer.send(Basic.Consume(queue="q", consumer_tag=f"d{number}", no_ack=True))
    assert consumer.connection.output_bytes < OUTPUT_MARK_BYTES + 2 * len(LARGE)
    consumer.read_again()
    received = [each.call for each in consumer.received()]
    assert sum(isinstance(each, Basic.Deliver) for each in received) == 20


def test_what_comes_back_waits_too(client: FakeClient, other: FakeClient) -> None:
    client.declare("q")
    other.consume("q")
    for _ in range(30):
        client.publish(LARGE, "q")
    assert len(other.deliveries()) == 30
    client.consume("q", "c")
    client.reading = False
    other.disconnect()
    assert client.connection.output_bytes < OUTPUT_MARK_BYTES + 2 * len(LARGE)
    client.read_again()
    assert len(client.deliveries()) == 30


def test_a_stalled_consumer_can_be_cancelled(consumer: FakeClient, other: FakeClient) -> None:
    for _ in range(20):
        other.publish(LARGE, "q")
    consumer.send(Basic.Cancel("c"))
    consumer.read_again()
    received = consumer.received()
    assert [type(each.call) for each in received] == [Basic.Deliver] * 11 + [Basic.CancelOk]
    assert other.ready_in("q") == 9


def test_a_stalled_consumer_of_a_deleted_queue_is_forgotten(
    consumer: FakeClient, other: FakeClient
) -> None:
    for _ in range(20):
        other.publish(LARGE, "q")
    other.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    consumer.read_again()
    assert isinstance(consumer.received()[-1].call, Basic.Cancel)


def test_a_client_that_is_lost_while_stalled_gives_back_what_it_has(
    client: FakeClient, other: FakeClient
) -> None:
    client.declare("q")
    client.consume("q")
    client.reading = False
    for _ in range(20):
        other.publish(LARGE, "q")
    client.disconnect()
    assert other.ready_in("q") == 20
    assert not client.connection.stalled


# --- answers that are not read ----------------------------------------------------------------


def test_whoever_does_not_read_answers_is_not_answered_further(
    client: FakeClient, other: FakeClient
) -> None:
    client.declare("q")
    for _ in range(60):
        other.publish(LARGE, "q")
    client.reading = False
    client.send(*[Basic.Get(queue="q", no_ack=True)] * 60)
    assert client.connection.is_full
    assert client.connection.output_bytes < ANSWERS_MAX_BYTES + 2 * len(LARGE)
    assert other.ready_in("q") == 18
    client.read_again()
    assert [each.body for each in client.received()] == [LARGE] * 60
    assert not client.connection.is_full


def test_a_client_that_reads_gets_more_answers_than_that_in_one_go(
    client: FakeClient, other: FakeClient
) -> None:
    client.declare("q")
    for _ in range(150):
        other.publish(LARGE, "q")
    client.send(*[Basic.Get(queue="q", no_ack=True)] * 150)
    assert [each.body for each in client.received()] == [LARGE] * 150


# --- publishers that are too fast -------------------------------------------------------------


def test_a_publisher_is_congested_if_consumers_do_not_keep_up(
    client: FakeClient, other: FakeClient
) -> None:
    client.declare("q")
    publish = message(b"", "q")
    client.feed(publish * (CONGESTED_MESSAGES + 1))
    assert not is_congested(client.connection)  # nobody consumes
    assert waiting_messages(client.connection) == CONGESTED_MESSAGES + 1
    other.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    other.consume("q")
    assert not is_congested(client.connection)
    client.feed(publish)
    assert is_congested(client.connection)
    assert not is_congested(other.connection)
    other.feed(encoded(Basic.Ack(1)))
    assert not is_congested(client.connection)


def test_a_publisher_that_consumes_is_never_held_up(client: FakeClient) -> None:
    client.declare("q")
    client.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    client.consume("q")
    client.feed(message(b"", "q") * (2 * CONGESTED_MESSAGES))
    assert not is_congested(client.connection)


def test_only_what_was_published_to_last_counts(client: FakeClient, other: FakeClient) -> None:
    client.declare("q")
    client.declare("r")
    other.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    other.consume("q")
    client.feed(message(b"", "q") * (2 * CONGESTED_MESSAGES))
    assert is_congested(client.connection)
    client.publish(b"", "r")
    assert not is_congested(client.connection)
    assert waiting_messages(client.connection) == 1


# --- alarms -----------------------------------------------------------------------------------


@pytest.fixture
def publisher(server: FakeServer) -> FakeClient:
    """A client that wants to know of alarms."""
    publisher = server.connect(capabilities=("connection.blocked",))
    publisher.declare("q")
    return publisher


def raised(server: FakeServer, *alarms: Alarm) -> None:
    for alarm in alarms:
        server.broker.alarms.set(alarm, True)


def over(server: FakeServer, *alarms: Alarm) -> None:
    for alarm in alarms:
        server.broker.alarms.set(alarm, False)
    if not server.broker.alarms:
        for connection in server.broker.connections:
            connection.unblock()
        server.end_turn()


@pytest.mark.parametrize(
    ("alarms", "reason"),
    [
        ([Alarm.MEMORY], "low on memory"),
        ([Alarm.DISK], "low on disk"),
        ([Alarm.MEMORY, Alarm.DISK], "low on disk & memory"),
    ],
)
def test_whoever_publishes_during_an_alarm_is_blocked_once(
    server: FakeServer, publisher: FakeClient, alarms: list[Alarm], reason: str
) -> None:
    raised(server, *alarms)
    publisher.declare("q")
    assert not publisher.connection.blocked
    publisher.feed(message(b"a", "q") * 2)
    assert publisher.expect(Connection.Blocked, 0).reason == reason
    assert publisher.connection.blocked
    publisher.publish(b"b" * 300_000, "q")
    assert not publisher.received()
    over(server, *alarms)
    publisher.expect(Connection.Unblocked, 0)
    assert not publisher.connection.blocked
    publisher.publish(b"c", "q")
    assert not publisher.received()
    assert publisher.ready_in("q") == 4


def test_the_last_alarm_must_be_over(server: FakeServer, publisher: FakeClient) -> None:
    raised(server, Alarm.MEMORY, Alarm.DISK, Alarm.DISK)
    publisher.publish(b"a", "q")
    publisher.expect(Connection.Blocked, 0)
    over(server, Alarm.MEMORY)
    assert not publisher.received()
    over(server, Alarm.DISK)
    publisher.expect(Connection.Unblocked, 0)
    over(server, Alarm.DISK)
    assert not publisher.received()


def test_a_client_that_does_not_want_to_know_is_blocked_in_silence(
    server: FakeServer, client: FakeClient
) -> None:
    raised(server, Alarm.MEMORY)
    client.publish(b"a", "nowhere")
    assert client.connection.blocked
    assert not client.received()
    over(server, Alarm.MEMORY)
    assert not client.connection.blocked
    assert not client.received()


def test_consumers_are_served_during_an_alarm(
    server: FakeServer, publisher: FakeClient, client: FakeClient
) -> None:
    publisher.publish(b"a", "q")
    raised(server, Alarm.MEMORY)
    client.consume("q")
    assert client.bodies() == [b"a"]
    client.send(Basic.Ack(1))
    server.connect().declare("another")
    assert not client.connection.blocked


def test_a_lost_client_is_not_told_that_an_alarm_is_over(
    server: FakeServer, publisher: FakeClient
) -> None:
    raised(server, Alarm.MEMORY)
    publisher.publish(b"a", "q")
    publisher.expect(Connection.Blocked, 0)
    publisher.disconnect()
    publisher.connection.unblock()
    over(server, Alarm.MEMORY)
    assert not publisher.received()

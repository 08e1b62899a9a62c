"""Deliveries that are not acknowledged in time."""

from dataclasses import replace
from typing import Any

import pytest
from pamqp.commands import Basic, Channel, Queue, Tx

from fake_client import FakeClient, FakeServer
from leveret.amqp.fields import Field
from leveret.broker.administration import Administration
from leveret.broker.configuration import Configuration, Connection
from leveret.broker.policy import Policy

MINUTE_S = 60


def limited_to(timeout_ms: int) -> FakeServer:
    return FakeServer(Configuration(connection=Connection(consumer_timeout_ms=timeout_ms)))


def text(timeout_ms: int, channel: int = 1) -> str:
    return (
        f"PRECONDITION_FAILED - delivery acknowledgement on channel {channel} timed out. Timeout"
        f" value used: {timeout_ms} ms. This timeout value can be configured, see consumers doc"
        " guide to learn more"
    )


@pytest.fixture
def server() -> FakeServer:
    return limited_to(600_000)


def test_it_is_off_by_default() -> None:
    server = FakeServer()
    client = server.connect()
    client.declare()
    client.publish(b"", "q")
    client.get()
    assert server.broker.timers.next_deadline() is None
    server.advance(365 * 24 * 3600)
    client.send(Basic.Ack(1))
    assert not client.received()


@pytest.mark.parametrize("how", ["consume", "get"])
def test_a_delivery_that_stays_unacknowledged_closes_its_channel(
    server: FakeServer, client: FakeClient, other: FakeClient, how: str
) -> None:
    client.declare()
    client.publish(b"late", "q")
    if how == "get":
        client.get()
    else:
        client.consume()
        client.deliveries()
    server.advance(600)  # exactly, and nobody has looked yet since it was due
    assert not client.received()
    server.advance(MINUTE_S)
    client.expect_channel_closed(406, text(600_000), (0, 0))
    again = other.get()
    assert (again.body, again.call.redelivered) == (b"late", True)
    client.open_channel(1)


def test_time_begins_with_the_delivery(server: FakeServer, client: FakeClient) -> None:
    client.declare()
    server.advance(599)
    client.publish(b"", "q")
    client.get()
    server.advance(599)
    client.send(Basic.Ack(1))
    server.advance(24 * 3600)
    assert not client.received()


def test_whoever_keeps_acknowledging_is_left_alone(server: FakeServer, client: FakeClient) -> None:
    client.declare()
    client.consume()
    for tag in range(1, 50):
        client.publish(b"", "q")
        assert len(client.deliveries()) == 1
        server.advance(100)
        if tag > 1:
            client.send(Basic.Ack(tag - 1))
    assert not client.received()


def test_other_channels_live_on(server: FakeServer, client: FakeClient) -> None:
    client.open_channel(2)
    client.declare()
    client.publish(b"", "q")
    client.get("q", channel=2)
    server.advance(700)
    client.expect_channel_closed(406, text(600_000, 2), (0, 0), channel=2)
    client.declare("r")


def test_what_needs_no_ack_cannot_time_out(server: FakeServer, client: FakeClient) -> None:
    client.declare()
    client.consume(no_ack=True)
    client.publish(b"", "q")
    server.advance(3600)
    assert len(client.deliveries()) == 1
    assert not client.received()


def test_the_consumers_argument_counts_before_the_queues_and_that_before_the_default(
    server: FakeServer, client: FakeClient
) -> None:
    for number, (queue, consumer, timeout_ms) in enumerate(
        [
            ({}, {}, 600_000),
            ({"x-consumer-timeout": 60_000}, {}, 60_000),
            ({"x-consumer-timeout": 60_000}, {"x-consumer-timeout": 10_000}, 10_000),
        ],
        start=2,
    ):
        client.open_channel(number)
        client.declare("q", channel=number, arguments=queue)
        client.consume("q", "c", channel=number, arguments=consumer)
        client.publish(b"", "q")
        assert len(client.deliveries(number)) == 1
        server.advance(timeout_ms / 1000 - 0.001)
        assert not client.received()
        server.advance(timeout_ms / 1000)
        client.expect_channel_closed(406, text(timeout_ms, number), (0, 0), channel=number)
        client.request(Queue.Delete(queue="q"), Queue.DeleteOk)


def test_a_policy_counts_for_consumers_that_are_there() -> None:
    server = FakeServer()
    client = server.connect()
    client.declare()
    client.consume()
    client.publish(b"", "q")
    assert len(client.deliveries()) == 1
    server.advance(3600)
    policies = server.broker.vhosts["/"].policies
    policies.set(Policy("p", "^q$", {"consumer-timeout": 5000}))
    server.advance(4)
    assert not client.received()
    server.advance(6)
    client.expect_channel_closed(406, text(5000), (0, 0))


BAD = [("soon", '"expected integer, got longstr"'), (-5, "{value_negative,-5}")]


@pytest.mark.parametrize(("value", "why"), BAD)
def test_a_queues_argument_must_be_a_number_that_is_not_negative(
    client: FakeClient, value: object, why: str
) -> None:
    arguments: Any = {"x-consumer-timeout": value}
    client.send(Queue.Declare(queue="q", arguments=arguments))
    text = f"invalid arg 'x-consumer-timeout' for queue 'q' in vhost '/': {why}"
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (50, 10))


@pytest.mark.parametrize(("value", "why"), BAD)
def test_a_consumers_argument_must_be_a_number_that_is_not_negative(
    client: FakeClient, value: object, why: str
) -> None:
    client.declare()
    arguments: Any = {"x-consumer-timeout": value}
    client.send(Basic.Consume(queue="q", arguments=arguments))
    text = f"invalid arg 'x-consumer-timeout' for queue 'q' in vhost '/': {why}"
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (60, 20))


def test_zero_is_no_time_at_all(server: FakeServer, client: FakeClient) -> None:
    client.declare()
    client.consume(arguments={"x-consumer-timeout": 0})
    client.publish(b"", "q")
    assert len(client.deliveries()) == 1
    server.advance(0.25)
    client.expect_channel_closed(406, text(0), (0, 0))


def test_a_long_timeout_keeps_few_marks(server: FakeServer, client: FakeClient) -> None:
    server.broker.ack_timeouts.watch(1)
    client.declare()
    client.consume()
    for _ in range(1500):
        client.publish(b"", "q")
        server.advance(0.25)
    assert len(client.deliveries()) == 1500
    [marks] = server.broker.ack_timeouts._marks.values()  # pyright: ignore[reportPrivateUsage] - what is left shows nowhere else
    assert len(marks) <= 1001
    server.advance(601 - 375)
    client.expect_channel_closed(406, text(600_000), (0, 0))


def test_nothing_is_left_of_a_channel_that_is_gone(server: FakeServer, client: FakeClient) -> None:
    client.declare()
    client.publish(b"", "q")
    client.get()
    server.advance(MINUTE_S)
    client.request(Channel.Close(200, "", 0, 0), Channel.CloseOk)
    server.advance(MINUTE_S)
    assert not server.broker.ack_timeouts._marks  # pyright: ignore[reportPrivateUsage] - what is left shows nowhere else


# --- from RabbitMQ 4.3 on ----------------------------------------------------------------------


def test_from_4_3_on_classic_queues_have_none() -> None:
    settings = Connection(consumer_timeout_ms=1000)
    server = FakeServer(Configuration(emulate="4.3", connection=settings))
    client = server.connect()
    client.declare(durable=True)
    client.publish(b"", "q")
    client.get()
    server.advance(3600)
    assert not client.received()
    arguments: Any = {"x-consumer-timeout": 1000}
    refusal = (
        "PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue '{}' in vhost '/'"
        " of queue type rabbit_classic_queue"
    )
    client.send(Basic.Consume(queue="q", arguments=arguments))
    client.expect_channel_closed(406, refusal.format("q"), (60, 20))
    client.open_channel(1)
    client.send(Queue.Declare(queue="r", durable=True, arguments=arguments))
    client.expect_channel_closed(406, refusal.format("r"), (50, 10))


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("quorum", -1, ": {value_negative,-1}"),
        ("quorum", "x", ': "expected integer, got longstr"'),
        ("classic", 1000, " of queue type rabbit_classic_queue"),
    ],
)
def test_from_4_3_on_a_timeout_for_disconnected_consumers_must_make_sense(
    kind: str, value: Any, why: str
) -> None:
    client = FakeServer(Configuration(emulate="4.3")).connect()
    name = "x-consumer-disconnected-timeout"
    arguments: Any = {"x-queue-type": kind, name: value}
    client.send(Queue.Declare(queue="q", durable=True, arguments=arguments))
    text = f"PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/'{why}"
    client.expect_channel_closed(406, text, (50, 10))
    client.open_channel(1)
    client.declare(durable=True, arguments={"x-queue-type": "quorum", name: 0})


def test_from_4_3_on_a_quorum_queue_takes_its_messages_back_and_cancels_the_consumer() -> None:
    server = FakeServer(Configuration(emulate="4.3"))
    client = server.connect()
    client.declare(durable=True)
    queue = server.broker.vhosts["/"].queues["q"]
    queue.arguments = {"x-queue-type": Field("S", b"quorum")}
    queue.settings = replace(queue.settings, consumer_timeout_ms=1000)
    server.broker.ack_timeouts.watch(1000)
    client.consume("q", "c")
    client.publish(b"a", "q")
    client.publish(b"b", "q")
    assert len(client.deliveries()) == 2
    server.advance(2)
    assert client.expect(Basic.Cancel).consumer_tag == "c"
    assert queue.message_count == 2
    assert client.get().body == b"a"


def test_from_4_3_on_what_a_cancelled_consumer_has_settled_in_a_transaction_still_counts() -> None:
    server = FakeServer(Configuration(emulate="4.3"))
    client = server.connect()
    client.declare(durable=True, arguments={"x-queue-type": "quorum"})
    client.publish(b"settled", "q")
    client.publish(b"late", "q")
    client.consume("q", "c", arguments={"x-consumer-timeout": 1000})
    client.send(Tx.Select(), Basic.Ack(1))
    server.advance(2)
    statistics = Administration(server.broker).queue_statistics("/")[0]
    assert (statistics.messages_ready, statistics.messages_unacknowledged) == (1, 1)


def test_from_4_3_on_deliveries_that_cannot_time_out_do_not_hide_others() -> None:
    server = FakeServer(Configuration(emulate="4.3"))
    client = server.connect()
    client.declare("c", durable=True)
    quorum: Any = {"x-queue-type": "quorum"}
    for name in ("q", "r"):
        client.declare(name, durable=True, arguments=quorum)
    arguments: Any = {"x-consumer-timeout": 1000}
    client.consume("c", "never")
    client.consume("q", "late", arguments={"x-consumer-timeout": 60_000})
    client.consume("r", "soon", arguments=arguments)
    for name in ("c", "q", "r"):
        client.publish(b"", name)
        assert len(client.deliveries()) == 1
    server.advance(2)
    assert client.expect(Basic.Cancel).consumer_tag == "soon"
    assert not client.received()
    client.send(Basic.Ack(1))
    client.send(Basic.Ack(2))
    assert not client.received()
    assert client.get("r").call.redelivered

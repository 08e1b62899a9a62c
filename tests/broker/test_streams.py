"""x-queue-type stream: declaring, publishing, reading from anywhere."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, Received, encoded, message
from leveret.broker.configuration import Configuration

STREAM: dict[str, Any] = {"x-queue-type": "stream"}
Q = "queue 'q' in vhost '/'"


@pytest.fixture(params=[FakeServer, DurableServer])
def server(request: pytest.FixtureRequest) -> FakeServer:
    return request.param()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    return server.connect()


def declare(client: FakeClient, **more: Any) -> None:
    arguments = {name.replace("_", "-"): value for name, value in more.items()}
    client.declare(durable=True, arguments=STREAM | arguments)


def publish(client: FakeClient, *bodies: str, **options: Any) -> None:
    for body in bodies:
        client.publish(body.encode(), "q", **options)


def read(client: FakeClient, offset: Any = "first", prefetch: int = 10_000, **more: Any) -> None:
    """Start a consumer."""
    arguments = {name.replace("_", "-"): value for name, value in more.items()}
    client.request(Basic.Qos(prefetch_count=prefetch), Basic.QosOk)
    client.consume(arguments={"x-stream-offset": offset} | arguments)


def texts(client: FakeClient) -> str:
    return b"".join(client.bodies()).decode()


def offset_of(received: Received) -> Any:
    return received.headers["x-stream-offset"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"durable": False}, "non-durable"),
        ({"durable": True, "auto_delete": True}, "auto-delete"),
        ({"durable": True, "exclusive": True}, "exclusive-owner"),
    ],
)
def test_it_must_be_durable_and_neither_exclusive_nor_auto_delete(
    client: FakeClient, options: dict[str, bool], name: str
):
    client.send(Queue.Declare(queue="q", arguments=STREAM, **options))
    client.expect_channel_closed(
        406, f"PRECONDITION_FAILED - invalid property '{name}' for {Q}", (50, 10)
    )


def test_it_must_have_a_name(client: FakeClient):
    client.send(Queue.Declare(queue="", durable=True, arguments=STREAM))
    text = "Cannot declare a server-named queue for type rabbit_stream_queue"
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (50, 10))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-max-length", -1),
        ("x-message-ttl", 1),
        ("x-expires", 1),
        ("x-dead-letter-exchange", ""),
        ("x-overflow", "drop-head"),
        ("x-single-active-consumer", True),
        ("x-delivery-limit", 1),
        ("x-max-priority", 1),
        ("x-queue-mode", "lazy"),
    ],
)
def test_arguments_of_other_types_are_refused(client: FakeClient, name: str, value: Any):
    client.send(Queue.Declare(queue="q", durable=True, arguments=STREAM | {name: value}))
    text = f"invalid arg '{name}' for {Q} of queue type rabbit_stream_queue"
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (50, 10))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("x-max-age", "5x", "invalid_max_age"),
        ("x-max-age", "0D", "invalid_max_age"),
        ("x-max-age", 70_000, "{unacceptable_type,signedint}"),
        ("x-max-length-bytes", -1, "{value_negative,-1}"),
        ("x-stream-max-segment-size-bytes", -1, "{value_negative,-1}"),
        ("x-initial-cluster-size", 0, "{value_zero,0}"),
        ("x-initial-cluster-size", "1", '"expected integer, got longstr"'),
        ("x-stream-max-segment-size-bytes", "1", '"expected integer, got longstr"'),
        ("x-queue-leader-locator", "x", "invalid_queue_locator_arg"),
    ],
)
def test_bad_values_are_refused(client: FakeClient, name: str, value: Any, why: str):
    client.send(Queue.Declare(queue="q", durable=True, arguments=STREAM | {name: value}))
    text = f"PRECONDITION_FAILED - invalid arg '{name}' for {Q}: {why}"
    client.expect_channel_closed(406, text, (50, 10))


def test_other_values_are_not_equivalent(client: FakeClient):
    declare(client, x_max_age="1D")
    client.send(Queue.Declare(queue="q", durable=True, arguments=STREAM | {"x-max-age": "2D"}))
    text = f"inequivalent arg 'x-max-age' for {Q}: received '2D' but current is '1D'"
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (50, 10))


@pytest.mark.parametrize("size", [15, 256])
def test_filters_have_a_smallest_and_a_largest_size(client: FakeClient, size: int):
    arguments = STREAM | {"x-stream-filter-size-bytes": size}
    client.send(Queue.Declare(queue="q", durable=True, arguments=arguments))
    text = "PRECONDITION_FAILED - Invalid value for  x-stream-filter-size-bytes"  # RabbitMQ's text
    client.expect_channel_closed(406, text, (50, 10))


def test_there_is_a_largest_segment(client: FakeClient):
    arguments = STREAM | {"x-stream-max-segment-size-bytes": 10**10}
    client.send(Queue.Declare(queue="q", durable=True, arguments=arguments))
    text = "Exceeded max value for x-stream-max-segment-size-bytes"
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (50, 10))


def test_deliveries_tell_their_offset(client: FakeClient):
    declare(client)
    publish(client, "a", headers={"x": 1})
    publish(client, "b")
    read(client)
    first, second = client.deliveries()
    assert first.headers == {"x-stream-offset": 0, "x": 1}
    assert (second.body, second.headers) == (b"b", {"x-stream-offset": 1})
    assert not second.call.redelivered


@pytest.mark.parametrize(
    ("offset", "read_texts"),
    [("first", "abcde"), ("last", "e"), ("next", ""), (3, "de"), (-5, "abcde")],
)
def test_a_consumer_begins_where_it_likes(client: FakeClient, offset: Any, read_texts: str):
    declare(client)
    publish(client, *"abcde")
    read(client, offset)
    assert texts(client) == read_texts
    publish(client, "f")
    assert texts(client) == "f"


@pytest.mark.parametrize(
    ("interval", "read_texts"),
    [("1s", ""), ("59s", ""), ("61s", "c"), ("2m", "bc"), ("1h", "abc"), ("1D", "abc")],
)
def test_a_consumer_begins_so_long_ago(
    server: FakeServer, client: FakeClient, interval: str, read_texts: str
):
    declare(client)
    for text in "abc":
        publish(client, text)
        server.advance(60)
    read(client, interval)
    assert texts(client) == read_texts


def test_an_offset_past_the_end_is_waited_for(client: FakeClient):
    declare(client)
    publish(client, *"abc")
    read(client, 5)
    publish(client, *"def")
    assert texts(client) == "f"
    publish(client, "g")
    assert texts(client) == "g"


def test_a_consumer_begins_at_a_time(server: FakeServer, client: FakeClient):
    declare(client)
    for text in "abc":
        publish(client, text)
        server.advance(60)
    read(client, datetime.fromtimestamp(60, UTC))
    assert texts(client) == "bc"
    other = server.connect()
    read(other, "90s")
    assert texts(other) == "c"


@pytest.mark.parametrize(
    ("offset", "shown"),
    [("soon", '{longstr,<<"soon">>}'), (True, "{bool,true}"), (1.5, "{float,1.5}")],
)
def test_nonsense_is_no_offset(client: FakeClient, offset: Any, shown: str):
    declare(client)
    client.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    client.send(Basic.Consume(queue="q", arguments={"x-stream-offset": offset}))
    text = f"invalid arg 'x-stream-offset' for {Q}: {{invalid_stream_offset_arg,{shown}}}"
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (60, 20))


def test_without_an_offset_only_what_comes_is_read(client: FakeClient):
    declare(client)
    publish(client, "a")
    client.request(Basic.Qos(prefetch_count=10), Basic.QosOk)
    client.consume()
    publish(client, "b")
    assert texts(client) == "b"


@pytest.mark.parametrize("outcome", ["ack", "nack", "requeue", "reject"])
def test_settling_gives_credit_and_removes_nothing(client: FakeClient, outcome: str):
    declare(client)
    publish(client, *"abcd")
    read(client, prefetch=2)
    assert texts(client) == "ab"
    client.send(
        {
            "ack": Basic.Ack(2, multiple=True),
            "nack": Basic.Nack(2, multiple=True, requeue=False),
            "requeue": Basic.Nack(2, multiple=True, requeue=True),
            "reject": Basic.Reject(2, requeue=False),
        }[outcome]
    )
    assert texts(client) == ("c" if outcome == "reject" else "cd")
    assert client.ready_in("q") == 4


def test_each_consumer_reads_everything(server: FakeServer, client: FakeClient):
    declare(client)
    publish(client, *"abc")
    others = [server.connect() for _ in range(3)]
    for other in others:
        read(other, prefetch=3)
    assert [texts(other) for other in others] == ["abc"] * 3
    others[0].disconnect()
    again = server.connect()
    read(again)
    assert texts(again) == "abc"


def test_long_streams_are_read_from_disk(client: FakeClient):
    declare(client)
    count = 3000
    client.send(Confirm.Select())
    for number in range(count):
        publish(client, str(number))
    client.received()
    client.server.broker.vhosts["/"].queues["q"].page_out()
    read(client, 10)
    deliveries = client.deliveries()
    assert [offset_of(each) for each in deliveries] == list(range(10, count))
    assert [each.body for each in deliveries] == [b"%d" % n for n in range(10, count)]


def test_filters_let_only_their_messages_through(server: FakeServer, client: FakeClient):
    declare(client)
    for text, value in ("a", "x"), ("b", "y"), ("c", None), ("d", "z"):
        headers = {} if value is None else {"x-stream-filter-value": value}
        publish(client, text, headers=headers)
    read(client, x_stream_filter="x")
    assert texts(client) == "a"
    several, unfiltered = server.connect(), server.connect()
    read(several, x_stream_filter=["x", "z"])
    assert texts(several) == "ad"
    read(unfiltered, x_stream_filter="y", x_stream_match_unfiltered=True)
    assert texts(unfiltered) == "bc"


def test_the_firehose_sees_deliveries(server: FakeServer, client: FakeClient):
    declare(client)
    publish(client, "a")
    server.broker.vhosts["/"].tracing = True
    client.declare("trace")
    client.bind("trace", "amq.rabbitmq.trace", "deliver.#")
    reader = server.connect()
    read(reader)
    assert texts(reader) == "a"
    assert client.get("trace").call.routing_key == "deliver.q"


@pytest.mark.parametrize("traced", [False, True])
def test_looking_into_it_behind_a_publish_takes_nothing_away(
    server: FakeServer, client: FakeClient, traced: bool
):
    declare(client)
    server.broker.vhosts["/"].tracing = traced
    reader = server.connect()
    read(reader)
    client.feed(message(b"a", "q") + encoded(Queue.Declare(queue="q", passive=True)))
    assert client.expect(Queue.DeclareOk).message_count == 1
    assert texts(reader) == "a"


VERSIONS = [
    (
        "3.13",
        f"consumer prefetch count is not set for '{Q}'",
        f"supported by stream queues {Q}",
    ),
    ("4.0", f"consumer prefetch count not set for stream {Q}", f"supported by stream {Q}"),
]


@pytest.mark.parametrize(("version", "no_prefetch", "refused"), VERSIONS)
def test_what_streams_cannot_do_is_refused(version: Any, no_prefetch: str, refused: str):
    server = FakeServer(Configuration(emulate=version))
    client = server.connect()
    declare(client)
    client.send(Basic.Consume(queue="q"))
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {no_prefetch}", (60, 20))
    for call, what, at in (
        (Basic.Consume(queue="q", no_ack=True), "automatic acknowledgement not", (60, 20)),
        (Basic.Get(queue="q"), "basic.get not", (60, 70)),
        (Queue.Purge(queue="q"), "queue.purge not", (50, 30)),
    ):
        client = server.connect()
        client.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
        client.send(call)
        client.expect_connection_closed(540, f"NOT_IMPLEMENTED - {what} {refused}", at)


@pytest.mark.parametrize("priority", [1, "high"])
def test_consumers_have_no_priority(client: FakeClient, priority: Any):
    declare(client)
    client.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    client.send(Basic.Consume(queue="q", arguments={"x-priority": priority}))
    text = f"invalid arg 'x-priority' for {Q} of queue type rabbit_stream_queue"
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", (60, 20))


def test_conditions_of_deletion_are_ignored(client: FakeClient):
    declare(client)
    publish(client, "a")
    deleted = client.request(Queue.Delete(queue="q", if_empty=True), Queue.DeleteOk)
    assert deleted.message_count == 0
    declare(client)
    read(client)
    assert texts(client) == ""

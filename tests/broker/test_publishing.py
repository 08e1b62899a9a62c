from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from pamqp.commands import Basic, Exchange, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp.fields import Field, Table, encode_table
from leveret.amqp.frames import BODY, HEADER, frame
from leveret.broker.configuration import Configuration
from leveret.broker.configuration import Connection as ConnectionSettings

PUBLISH = (60, 40)


def with_properties(properties: bytes, routing_key: str = "q") -> bytes:
    """An empty message whose properties (flags and list) are given as bytes."""
    head = b"\0\x3c\0\0" + bytes(8)
    return encoded(Basic.Publish(routing_key=routing_key)) + frame(HEADER, 1, head + properties)


# --- one message ------------------------------------------------------------------------------


def test_a_message_arrives_as_it_was_sent(client: FakeClient) -> None:
    client.declare("q")
    client.bind("q", "amq.topic", "a.#")
    client.publish(
        b"body",
        "a.b",
        exchange="amq.topic",
        content_type="text/plain",
        content_encoding="utf-8",
        headers={"n": 1, "s": "x", "d": Decimal("1.5"), "l": [1, {"deep": True}], "v": None},
        delivery_mode=1,
        priority=3,
        correlation_id="c",
        reply_to="me",
        message_id="id",
        timestamp=datetime(2026, 1, 2, tzinfo=UTC),
        message_type="t",
        user_id="guest",
        app_id="app",
    )
    got = client.get("q")
    assert (got.call.exchange, got.call.routing_key, got.call.redelivered) == (
        "amq.topic",
        "a.b",
        False,
    )
    assert got.body == b"body"
    properties = {name: value for name, value in got.properties if value}
    assert properties == {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "headers": {"n": 1, "s": "x", "d": Decimal("1.5"), "l": [1, {"deep": True}], "v": None},
        "delivery_mode": 1,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "me",
        "message_id": "id",
        "timestamp": datetime(2026, 1, 2, tzinfo=UTC),
        "message_type": "t",
        "user_id": "guest",
        "app_id": "app",
    }


EXOTIC: Table = {
    tag: Field(tag, value)
    for tag, value in {
        "t": True,
        "b": -1,
        "B": 200,
        "s": -300,
        "u": 60_000,
        "I": -70_000,
        "i": 4_000_000_000,
        "l": -(1 << 40),
        "L": 1 << 40,
        "f": 0.5,
        "d": 0.1,
        "D": (2, 314),
        "S": b"\xff\xfe",
        "x": b"\0\1",
        "T": 1_700_000_000,
        "V": None,
        "A": [Field("A", []), Field("F", {})],
        "F": {"": Field("V", None)},
    }.items()
}


@pytest.mark.parametrize("number", [1, 2])
def test_properties_arrive_byte_for_byte(client: FakeClient, number: int) -> None:
    client.declare("q")
    client.open_channel(2)
    properties = b"\x20\0" + encode_table(EXOTIC)
    client.feed(with_properties(properties))
    client.wire.clear()
    client.connection.output.clear()
    client.reading = False
    client.send(Basic.Get(queue="q"), channel=number)
    sent = b"".join(client.connection.output)
    assert sent.endswith(frame(HEADER, number, b"\0\x3c\0\0" + bytes(8) + properties))


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 8176, 8177, 100_000])
@pytest.mark.parametrize("sent_by", [4096, 131_072])
@pytest.mark.parametrize("taken_by", [4096, 131_072])
def test_bodies_are_cut_to_what_the_consumer_takes(
    server: FakeServer, size: int, sent_by: int, taken_by: int
) -> None:
    publisher, consumer = server.connect(frame_max=sent_by), server.connect(frame_max=taken_by)
    publisher.declare("q")
    body = bytes(number % 251 for number in range(size))
    for _ in range(2):
        publisher.publish(body, "q")
    consumer.wire.clear()
    assert consumer.get("q").body == body
    consumer.consume("q")
    assert consumer.bodies() == [body]
    at, largest = 0, 0
    while at < len(consumer.wire):
        payload_bytes = int.from_bytes(consumer.wire[at + 3 : at + 7])
        largest = max(largest, payload_bytes)
        at += payload_bytes + 8
    assert largest <= max(min(sent_by, taken_by) - 8, 20)


def test_a_body_may_come_in_any_pieces(client: FakeClient) -> None:
    client.declare("q")
    head = encoded(Basic.Publish(routing_key="q")) + frame(
        HEADER, 1, b"\0\x3c\0\0" + (6).to_bytes(8) + b"\0\0"
    )
    for pieces in ((b"abcdef",), (b"a", b"bcdef"), (b"", b"abc", b"", b"def")):
        client.feed(head + b"".join(frame(BODY, 1, piece) for piece in pieces))
        assert client.get("q").body == b"abcdef"


def test_messages_framed_alike_arrive_however_the_bytes_are_cut(client: FakeClient) -> None:
    client.declare("q")
    bodies = [b"one", b"two", b"six", b"seven", b"eight", b"", b"", b"nine", b"last"]
    data = b"".join(message(body, "q", delivery_mode=1 + (body > b"t")) for body in bodies)
    for cut in range(len(data)):
        client.feed(data[:cut])
        client.feed(data[cut:])
        assert [client.get("q").body for _ in bodies] == bodies
    client.get_nothing("q")


def test_messages_of_several_channels_may_come_interleaved(client: FakeClient) -> None:
    client.declare("q")
    client.open_channel(2)
    one = message(b"111222333", "q", payload_max=3)
    two = message(b"aaabbbccc", "q", payload_max=3, channel=2)
    cuts = [0]
    while cuts[-1] < len(one):
        cuts.append(cuts[-1] + 8 + int.from_bytes(one[cuts[-1] + 3 : cuts[-1] + 7]))
    pairs = pairwise(cuts)
    client.feed(b"".join(one[start:end] + two[start:end] for start, end in pairs))
    assert [client.get("q").body for _ in range(2)] == [b"111222333", b"aaabbbccc"]


def test_a_message_waits_for_its_last_byte(client: FakeClient) -> None:
    client.declare("q")
    for body in (b"", b"abc"):
        data = message(body, "q")
        for byte in data[:-1]:
            client.feed(bytes((byte,)))
        assert not client.connection.vhost.queue("q").message_count
        client.feed(data[-1:])
        assert client.get("q").body == body


def test_more_addresses_than_are_remembered_are_fine(client: FakeClient) -> None:
    client.declare("q")
    client.bind("q", "amq.fanout")
    client.consume("q", no_ack=True)
    client.feed(b"".join(message(b"", f"key {n}", exchange="amq.fanout") for n in range(600)))
    keys = [delivery.call.routing_key for delivery in client.deliveries()]
    assert keys == [f"key {n}" for n in range(600)]


def test_more_kinds_of_properties_than_are_remembered_are_fine(client: FakeClient) -> None:
    client.declare("q")
    client.feed(b"".join(message(b"", "q", message_id=f"id {n}") for n in range(5000)))
    assert len(client.connection.broker.property_kinds) <= 4096
    client.publish(b"", "q", message_id="x" * 200, app_id="y" * 255, headers={"z": "z" * 2000})
    assert client.ready_in("q") == 5001
    assert client.get("q").properties.message_id == "id 0"


# --- where it cannot go -----------------------------------------------------------------------


def test_a_missing_exchange_closes_the_channel(client: FakeClient) -> None:
    client.declare("q")
    client.feed(message(b"good", "q") + message(b"a", "k", exchange="nope") + message(b"late", "q"))
    client.expect_channel_closed(404, "NOT_FOUND - no exchange 'nope' in vhost '/'", PUBLISH)
    client.open_channel(1)
    assert client.get("q").body == b"good"
    client.get_nothing("q")


def test_immediate_is_not_implemented(client: FakeClient) -> None:
    client.publish(b"a", "q", immediate=True)
    client.expect_connection_closed(540, "NOT_IMPLEMENTED - immediate=true", PUBLISH)


@pytest.mark.parametrize("exchange", ["", "amq.direct", "amq.fanout", "amq.topic", "amq.headers"])
def test_a_message_that_finds_no_queue_is_dropped_or_returned(
    client: FakeClient, exchange: str
) -> None:
    client.publish(b"a", "nowhere", exchange=exchange)
    assert not client.received()
    for body in (b"", b"body", b"x" * 200_000):
        client.publish(
            body, "nowhere", exchange=exchange, mandatory=True, headers={"a": 1}, app_id="me"
        )
        returned = client.expect_content(Basic.Return)
        assert (returned.call.reply_code, returned.call.reply_text) == (312, "NO_ROUTE")
        assert (returned.call.exchange, returned.call.routing_key) == (exchange, "nowhere")
        assert returned.body == body
        assert returned.headers == {"a": 1}
        assert returned.properties.app_id == "me"


def test_a_mandatory_message_that_finds_a_queue_is_not_returned(client: FakeClient) -> None:
    client.declare("q")
    client.publish(b"a", "q", mandatory=True)
    assert not client.received()
    assert client.ready_in("q") == 1


def test_a_message_comes_back_on_its_own_channel(client: FakeClient) -> None:
    client.open_channel(2)
    client.publish(b"a", "nowhere", mandatory=True, channel=2)
    client.expect_content(Basic.Return, 2)


def test_a_queue_deleted_between_the_frames_of_a_message_gets_nothing(
    client: FakeClient, other: FakeClient
) -> None:
    client.declare("q")
    data = message(b"abcdef", "q", payload_max=3, mandatory=True)
    client.feed(data[:-5])
    other.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    client.feed(data[-5:])
    client.expect_content(Basic.Return)


@pytest.mark.parametrize("size", [6, 300_000])
def test_a_message_whose_exchange_is_deleted_between_its_frames_is_refused(
    client: FakeClient, other: FakeClient, size: int
) -> None:
    client.declare("q")
    client.request(Exchange.Declare(exchange="e"), Exchange.DeclareOk)
    client.bind("q", "e", "k")
    data = message(bytes(size), "k", exchange="e", payload_max=max(size // 3, 3))
    client.feed(data[:-5])
    other.request(Exchange.Delete(exchange="e"), Exchange.DeleteOk)
    client.feed(data[-5:])
    client.expect_channel_closed(404, "NOT_FOUND - no exchange 'e' in vhost '/'", PUBLISH)
    client.open_channel(1)
    assert client.ready_in("q") == 0


def test_a_message_goes_to_the_exchange_that_has_its_name_when_it_is_complete(
    client: FakeClient, other: FakeClient
) -> None:
    for queue in ("old", "new"):
        client.declare(queue)
    client.request(Exchange.Declare(exchange="e"), Exchange.DeclareOk)
    client.bind("old", "e", "k")
    data = message(b"abcdef", "k", exchange="e", payload_max=3)
    client.feed(data[:-5])
    other.request(Exchange.Delete(exchange="e"), Exchange.DeleteOk)
    other.request(Exchange.Declare(exchange="e"), Exchange.DeclareOk)
    other.bind("new", "e", "k")
    client.feed(data[-5:])
    assert client.get("new").body == b"abcdef"
    client.get_nothing("old")


def test_a_message_limit_below_a_frame_holds_for_small_messages_too() -> None:
    settings = ConnectionSettings(max_message_bytes=3)
    client = FakeServer(Configuration(connection=settings)).connect()
    client.declare("q")
    client.feed(message(b"abc", "q") + message(b"abcd", "q") + message(b"ab", "q"))
    client.expect_channel_closed(
        406, "PRECONDITION_FAILED - message size 4 is larger than configured max size 3", PUBLISH
    )
    client.open_channel(1)
    assert client.ready_in("q") == 1


def test_of_messages_that_come_together_the_persistent_ones_are_stored_and_the_others_not() -> None:
    server = DurableServer()
    publisher = server.connect()
    publisher.declare("q", durable=True)
    modes = [2, 1, 1, 2, 2, 1, 2]
    publisher.feed(b"".join(message(b"%d" % n, "q", delivery_mode=m) for n, m in enumerate(modes)))
    assert [bool(each.stored) for each in server.broker.vhosts["/"].queues["q"].waiting()] == [
        m == 2 for m in modes
    ]
    client = server.restarted().connect()
    assert [client.get("q").body for _ in range(client.ready_in("q"))] == [b"0", b"3", b"4", b"6"]

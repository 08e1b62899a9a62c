"""Frames that an open connection must not take: codes, texts and ids are RabbitMQ's."""

import pytest
from pamqp.commands import Basic, Connection
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp.frames import BODY, HEADER, HEARTBEAT, METHOD, frame
from leveret.broker.configuration import Configuration
from leveret.broker.configuration import Connection as ConnectionSettings

PUBLISH = encoded(Basic.Publish(routing_key="q"))
AT_PUBLISH = (60, 40)
EXPECTED_HEADER = "UNEXPECTED_FRAME - expected content header for class 60, got "


def header(
    body_bytes: int = 0, properties: bytes = b"\0\0", class_id: int = 60, weight: int = 0
) -> bytes:
    head = class_id.to_bytes(2) + weight.to_bytes(2) + body_bytes.to_bytes(8)
    return frame(HEADER, 1, head + properties)


# --- any frame --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code", "text"),
    [
        (
            b"\1\0\1\0\0\0\4\0\x32\0\x0a\xcf",
            501,
            "FRAME_ERROR - type 1, all octets = <<0,50,0,10>>: {invalid_frame_end_marker,207}",
        ),
        (
            PUBLISH[:-1] + b"\0",
            501,
            "FRAME_ERROR - type 1, all octets = <<0,60,0,40,0,0,0,1,113,0>>:"
            " {invalid_frame_end_marker,0}",
        ),
        (frame(9, 1, b"abcd"), 501, 'FRAME_ERROR - type 9, all octets = <<"abcd">>: unknown_frame'),
        (
            frame(9, 7, b"abcd" * 8),
            501,
            'FRAME_ERROR - type 9, first 16 octets = <<"abcdabcdabcdabcd">>: unknown_frame',
        ),
        (
            frame(METHOD, 1, b"\0\x3c"),
            501,
            "FRAME_ERROR - type 1, all octets = <<0,60>>: unknown_frame",
        ),
        (frame(METHOD, 1, b""), 501, "FRAME_ERROR - type 1, all octets = <<>>: unknown_frame"),
        (frame(HEARTBEAT, 1, b""), 505, "UNEXPECTED_FRAME - type 8, all octets = <<>>"),
        (
            frame(HEARTBEAT, 0, b"x"),
            501,
            'FRAME_ERROR - type 8, all octets = <<"x">>: unknown_frame',
        ),
        (
            frame(METHOD, 1, b"\0\x32\0\x0a\0\0\1\xff\0" + b"\0\0\0\0"),
            501,
            "FRAME_ERROR - Malformed UTF-8 in shortstr",
        ),
    ],
)
def test_broken_frames_close_the_connection(
    client: FakeClient, sent: bytes, code: int, text: str
) -> None:
    client.feed(sent)
    client.expect_connection_closed(code, text, (0, 0))


@pytest.mark.parametrize("kind", [METHOD, HEADER, BODY])
def test_a_frame_larger_than_agreed_is_refused_by_its_head(server: FakeServer, kind: int) -> None:
    client = server.connect(frame_max=4096)
    client.feed(frame(kind, 1, b"a" * 5000)[:7])
    client.expect_connection_closed(
        501,
        f"FRAME_ERROR - type {kind}, all octets = <<>>: {{frame_too_large,5000,4088}}",
        (0, 0),
    )


def test_a_publish_larger_than_agreed_is_refused_by_its_head(server: FakeServer) -> None:
    client = server.connect(frame_max=4096)
    client.feed(frame(METHOD, 1, PUBLISH[7:11] + b"a" * 4996)[:11])
    client.expect_connection_closed(
        501, "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,5000,4088}", (0, 0)
    )


@pytest.mark.parametrize("size", [4088, 4089, 4096])
def test_payloads_may_be_as_large_as_frame_max(server: FakeServer, size: int) -> None:
    client = server.connect(frame_max=4096)
    client.declare("q")
    client.publish(b"a" * size, "q", payload_max=4096)
    assert client.get("q").body == b"a" * size


# --- methods ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "code", "text", "at"),
    [
        (b"\0\x32\0\x0a\0\0", 501, "FRAME_ERROR - cannot decode <<0,0>>", (50, 10)),
        (b"\0\x3c\0\x0b\0", 501, "FRAME_ERROR - cannot decode <<0>>", (60, 11)),
        (b"\0\x3c\0\x28", 501, "FRAME_ERROR - cannot decode <<>>", (60, 40)),
        (b"\0\x3c\0\x28\0\0\5a", 501, "FRAME_ERROR - cannot decode <<0,0,5,97>>", (60, 40)),
        (
            b"\0\x3c\0\x63",
            503,
            "COMMAND_INVALID - unknown method: class 60, method 99",
            (60, 99),
        ),
    ],
)
def test_methods_that_cannot_be_decoded_close_the_connection(
    client: FakeClient, payload: bytes, code: int, text: str, at: tuple[int, int]
) -> None:
    client.feed(frame(METHOD, 1, payload))
    client.expect_connection_closed(code, text, at)


@pytest.mark.parametrize("kind", [HEADER, BODY])
def test_content_without_a_publish_is_unexpected(client: FakeClient, kind: int) -> None:
    client.feed(frame(kind, 1, b"a" * 20))
    client.expect_connection_closed(
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
        (0, 0),
    )


@pytest.mark.parametrize("kind", [HEADER, BODY])
def test_content_on_a_channel_that_is_not_open_is_unexpected(client: FakeClient, kind: int) -> None:
    client.feed(frame(kind, 9, b"a" * 20))
    client.expect_connection_closed(
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
        (0, 0),
    )


def test_content_on_channel_0_is_unexpected(client: FakeClient) -> None:
    client.feed(frame(BODY, 0, b"abc"))
    client.expect_connection_closed(
        505, 'UNEXPECTED_FRAME - type 3, all octets = <<"abc">>', (0, 0)
    )


# --- content ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (encoded(Basic.Qos()), EXPECTED_HEADER + "non content header frame instead"),
        (PUBLISH, EXPECTED_HEADER + "non content header frame instead"),
        (frame(BODY, 1, b"a"), EXPECTED_HEADER + "non content header frame instead"),
        (header(weight=1), EXPECTED_HEADER + "non content header frame instead"),
        (header(class_id=50), EXPECTED_HEADER + "one for class 50 instead"),
        (
            header(3) + encoded(Basic.Qos()),
            "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        ),
        (
            header(3) + header(3),
            "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        ),
        (
            header(3) + frame(BODY, 1, b"ab") + header(3),
            "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        ),
    ],
)
def test_anything_but_its_content_after_a_publish_is_unexpected(
    client: FakeClient, sent: bytes, text: str
) -> None:
    client.feed(PUBLISH + sent)
    client.expect_connection_closed(505, text, AT_PUBLISH)


@pytest.mark.parametrize("pieces", [(b"abcd",), (b"ab", b"cd"), (b"abc", b"d")])
def test_a_body_longer_than_announced_is_refused(
    client: FakeClient, pieces: tuple[bytes, ...]
) -> None:
    client.declare("q")
    client.feed(PUBLISH + header(3) + b"".join(frame(BODY, 1, piece) for piece in pieces))
    if pieces[0] == b"abc":  # complete; what follows belongs to nothing
        text, at = "expected method frame, got non method frame instead", (0, 0)
        client.expect_connection_closed(505, f"UNEXPECTED_FRAME - {text}", at)
    else:
        text = "content body frame exceeds remaining content size"
        client.expect_connection_closed(501, f"FRAME_ERROR - {text}", AT_PUBLISH)


@pytest.mark.parametrize(
    "properties",
    [
        b"\x80\0",  # a content type is announced, and missing
        b"\x80\0\5ab",
        b"\0\0ab",
        b"\0\1\0\0",  # a second flag word
        b"\0\2",
        b"\x20\0\0\0\0\5abc",
        b"\x20\0\0\0\0\3\1a?",
    ],
)
@pytest.mark.parametrize("body", [b"", b"body"])
@pytest.mark.parametrize("known", [False, True])
def test_properties_that_cannot_be_decoded_close_the_connection(
    client: FakeClient, properties: bytes, body: bytes, known: bool
) -> None:
    client.declare("q")
    if known:
        client.publish(b"a", "q")
    client.send(Basic.Qos())
    client.received()
    pieces = [frame(BODY, 1, body)] if body else []
    client.feed(message(b"good", "q") + PUBLISH + header(len(body), properties) + b"".join(pieces))
    client.expect_connection_closed(
        501, "FRAME_ERROR - cannot decode the properties of a content header", AT_PUBLISH
    )
    assert client.server.connect().ready_in("q") == 1 + known


@pytest.mark.parametrize("payload", [b"", b"\0\x3c", b"\0\x3c\0\0\0\0\0\0\0\0\0"])
def test_a_content_header_too_short_for_its_head_is_no_frame_at_all(
    client: FakeClient, payload: bytes
) -> None:
    client.declare("q")
    client.feed(PUBLISH + frame(HEADER, 1, payload))
    octets = ",".join(map(str, payload))
    client.expect_connection_closed(
        501, f"FRAME_ERROR - type 2, all octets = <<{octets}>>: unknown_frame", (0, 0)
    )


def test_a_content_header_too_short_for_its_flags_cannot_be_decoded(client: FakeClient) -> None:
    client.feed(PUBLISH + header(properties=b"\0"))
    client.expect_connection_closed(
        501, "FRAME_ERROR - cannot decode the properties of a content header", AT_PUBLISH
    )


def test_a_bad_end_octet_of_content_is_seen(client: FakeClient) -> None:
    client.feed(PUBLISH + header(1)[:-1] + b"\0" + frame(BODY, 1, b"a"))
    assert client.expect(Connection.Close, 0).reply_text.endswith("{invalid_frame_end_marker,0}")


def test_a_bad_end_octet_behind_good_messages_is_seen(
    server: FakeServer, client: FakeClient
) -> None:
    client.declare("q")
    client.feed(message(b"abc", "q") * 3 + message(b"abc", "q")[:-1] + b"x")
    assert client.expect(Connection.Close, 0).reply_code == 501
    assert server.connect().ready_in("q") == 3


def test_a_bad_end_octet_of_a_body_is_seen(client: FakeClient) -> None:
    client.feed(PUBLISH + header(1) + frame(BODY, 1, b"a")[:-1] + b"\0")
    client.expect_connection_closed(
        501,
        'FRAME_ERROR - type 3, all octets = <<"a">>: {invalid_frame_end_marker,0}',
        (0, 0),
    )


def test_a_message_larger_than_configured_closes_the_channel() -> None:
    client = FakeServer(
        Configuration(connection=ConnectionSettings(max_message_bytes=10))
    ).connect()
    client.declare("q")
    client.publish(b"a" * 10, "q")
    assert client.ready_in("q") == 1
    client.publish(b"a" * 11, "q")
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - message size 11 is larger than configured max size 10",
        AT_PUBLISH,
    )
    client.open_channel(1)
    assert client.ready_in("q") == 1


def test_a_message_larger_than_anything_closes_the_connection(client: FakeClient) -> None:
    client.feed(PUBLISH + encoded(ContentHeader(body_size=1 << 40)))
    client.expect_connection_closed(
        501,
        "FRAME_ERROR - content body size 1099511627776 exceeds maximum allowed size 536870912",
        AT_PUBLISH,
    )


def test_heartbeats_may_come_between_the_frames_of_a_message(client: FakeClient) -> None:
    client.declare("q")
    beat = encoded(Heartbeat())
    body = frame(BODY, 1, b"ab") + beat + frame(BODY, 1, b"") + frame(BODY, 1, b"c")
    client.feed(beat + PUBLISH + beat + header(3) + beat + body + beat)
    assert client.get("q").body == b"abc"

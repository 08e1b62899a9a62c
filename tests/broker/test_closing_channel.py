"""What comes on a channel that is being closed: it is passed over, as long as it makes sense.

Codes, texts and ids are RabbitMQ's.
"""

import pytest
from pamqp.commands import Basic, Channel
from pamqp.header import ContentHeader

from exchange_client import declare_exchange
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp.errors import PreconditionFailed
from leveret.amqp.frames import BODY, HEADER, frame
from leveret.broker.configuration import Configuration
from leveret.broker.configuration import Connection as ConnectionSettings

GET, AT_PUBLISH = (60, 70), (60, 40)
PUBLISH = encoded(Basic.Publish(routing_key="q"))
LOST_PUBLISH = encoded(Basic.Publish(exchange="nope"))
NO_EXCHANGE = "NOT_FOUND - no exchange 'nope' in vhost '/'"
NO_METHOD = "UNEXPECTED_FRAME - expected method frame, got non method frame instead"
NO_HEADER = (
    "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"
)
NO_BODY = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"


def header(body_bytes: int) -> bytes:
    return encoded(ContentHeader(body_size=body_bytes))


def body(content: bytes) -> bytes:
    return frame(BODY, 1, content)


@pytest.fixture
def closing(client: FakeClient) -> FakeClient:
    """A client whose channel 1 has been closed, which it has not answered."""
    client.send(Basic.Get(queue="none"))
    client.expect_channel_closed(404, "NOT_FOUND - no queue 'none' in vhost '/'", GET, answer=False)
    return client


# --- a publish that is refused ----------------------------------------------------------------


@pytest.mark.parametrize("content", [header(0), header(3) + body(b"abc"), message(b"ab" * 3000)])
def test_a_publish_is_refused_once_its_content_has_come(client: FakeClient, content: bytes) -> None:
    content = content.removeprefix(encoded(Basic.Publish()))
    client.feed(LOST_PUBLISH + content[:-1])
    assert not client.received()
    client.feed(content[-1:])
    client.expect_channel_closed(404, NO_EXCHANGE, AT_PUBLISH)


def test_what_a_publish_leads_to_counts_when_its_content_has_come(
    client: FakeClient, other: FakeClient
) -> None:
    client.feed(LOST_PUBLISH)
    other.declare("q")
    declare_exchange(other, "fanout", "nope")
    other.bind("q", "nope")
    client.feed(header(1) + body(b"a"))
    assert other.get("q").body == b"a"


def test_immediate_is_refused_once_its_content_has_come(client: FakeClient) -> None:
    client.feed(encoded(Basic.Publish(immediate=True)))
    assert not client.received()
    client.feed(header(0))
    client.expect_connection_closed(540, "NOT_IMPLEMENTED - immediate=true", AT_PUBLISH)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (encoded(Basic.Qos()), NO_HEADER),
        (encoded(Channel.Close(200, "", 0, 0)), NO_HEADER),
        (body(b"a"), NO_HEADER),
        (header(3) + encoded(Basic.Qos()), NO_BODY),
    ],
)
def test_a_publish_that_would_be_refused_must_have_its_content(
    client: FakeClient, sent: bytes, text: str
) -> None:
    client.feed(LOST_PUBLISH + sent)
    client.expect_connection_closed(505, text, AT_PUBLISH)


# --- a channel that is being closed -----------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        encoded(Basic.Get(queue="none")),
        message(b"whole", "q"),
        LOST_PUBLISH + header(0),
        PUBLISH + header(4) + body(b"ab") + body(b"cd"),
        encoded(Basic.Ack(7)),
    ],
)
def test_methods_and_whole_messages_are_passed_over(closing: FakeClient, sent: bytes) -> None:
    closing.feed(sent)
    assert not closing.received()
    closing.send(Channel.CloseOk(), Channel.Open())
    closing.expect(Channel.OpenOk)


@pytest.mark.parametrize(
    ("sent", "text", "at"),
    [
        (body(b"a"), NO_METHOD, (0, 0)),
        (header(0), NO_METHOD, (0, 0)),
        (message(b"whole", "q") + body(b"a"), NO_METHOD, (0, 0)),
        (PUBLISH + body(b"a"), NO_HEADER, AT_PUBLISH),
        (PUBLISH + encoded(Basic.Qos()), NO_HEADER, AT_PUBLISH),
        (PUBLISH + encoded(Channel.CloseOk()), NO_HEADER, AT_PUBLISH),
        (PUBLISH + header(2) + encoded(Channel.CloseOk()), NO_BODY, AT_PUBLISH),
        (
            PUBLISH + frame(HEADER, 1, b"\0\x32" + bytes(12)),
            "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
            AT_PUBLISH,
        ),
    ],
)
def test_stray_frames_close_the_connection(
    closing: FakeClient, sent: bytes, text: str, at: tuple[int, int]
) -> None:
    closing.feed(sent)
    closing.expect_connection_closed(505, text, at)


def test_the_rest_of_a_message_that_is_too_large_is_passed_over() -> None:
    settings = ConnectionSettings(max_message_bytes=10)
    client = FakeServer(Configuration(connection=settings)).connect()
    client.feed(PUBLISH + header(11))
    text = "PRECONDITION_FAILED - message size 11 is larger than configured max size 10"
    client.expect_channel_closed(406, text, AT_PUBLISH, answer=False)
    client.feed(body(b"a" * 6) + body(b"b" * 5))
    client.send(Channel.CloseOk(), Channel.Open())
    client.expect(Channel.OpenOk)


def test_the_rest_of_a_message_is_passed_over_when_the_channel_is_closed_in_the_middle_of_it(
    client: FakeClient,
) -> None:
    client.feed(PUBLISH + header(4) + body(b"ab"))
    client.connection.close_channel(1, PreconditionFailed("enough", at=(0, 0)))
    client.server.end_turn()
    client.expect_channel_closed(406, "PRECONDITION_FAILED - enough", (0, 0), answer=False)
    client.feed(body(b"cd"))
    client.send(Channel.CloseOk(), Channel.Open())
    client.expect(Channel.OpenOk)

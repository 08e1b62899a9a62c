"""Frames that no client library sends, on a bare socket; pika makes and reads them."""

import socket
import time
from collections.abc import Iterator

import pytest
from conftest import Broker
from pika import spec
from pika.frame import Body, Header, Heartbeat, Method, ProtocolHeader, decode_frame
from pika.frame import Frame as AnyFrame

PATIENCE_S = 5
QUIET_S = 0.2
NO_METHOD = "UNEXPECTED_FRAME - expected method frame, got non method frame instead"
NO_HEADER = (
    "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"
)
NO_BODY = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"
NO_EXCHANGE = (404, "NOT_FOUND - no exchange 'no-such-exchange' in vhost '/'", 60, 40)
NO_QUEUE = (404, "NOT_FOUND - no queue 'no-such-queue' in vhost '/'", 60, 70)


def frame(call: object, channel: int = 1) -> bytes:
    return Method(channel, call).marshal()


def header(body_bytes: int) -> bytes:
    return Header(1, body_bytes, spec.BasicProperties()).marshal()


def body(content: bytes) -> bytes:
    return Body(1, content).marshal()


def publish(**arguments: object) -> bytes:
    return frame(spec.Basic.Publish(**arguments))


LOST_PUBLISH = publish(exchange="no-such-exchange")
PUBLISH = publish(routing_key="no-such-queue")
GET = frame(spec.Basic.Get(queue="no-such-queue"))
QOS = frame(spec.Basic.Qos())
CLOSE_OK = frame(spec.Channel.CloseOk())
OPEN = frame(spec.Channel.Open())


class Wire:
    """A socket to a broker."""

    def __init__(self, broker: Broker):
        self._socket = socket.create_connection((broker.host, broker.port), PATIENCE_S)
        self._rest = b""

    def send(self, *sent: bytes) -> None:
        self._socket.sendall(b"".join(sent))

    def next(self, patience_s: float = PATIENCE_S) -> AnyFrame | None:
        """The next frame, heartbeats aside; None if there is none for a while, or at the end."""
        deadline = time.monotonic() + patience_s
        while True:
            used, found = decode_frame(self._rest)
            if found is not None:
                self._rest = self._rest[used:]
                if not isinstance(found, Heartbeat):
                    return found
                continue
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                got = self._socket.recv(1 << 16)
            except OSError:
                return None
            if not got:
                return None
            self._rest += got

    def expect(self, kind: type) -> object:
        found = self.next()
        assert isinstance(found, Method), f"{found} instead of {kind}"
        assert isinstance(found.method, kind), f"{found} instead of {kind}"
        return found.method

    def expect_close(self, kind: type, code: int, text: str, class_id: int, method_id: int) -> None:
        close = self.expect(kind)
        assert (close.reply_code, close.reply_text) == (code, text)
        assert (close.class_id, close.method_id) == (class_id, method_id)

    def ended(self) -> bool:
        """Whether the broker hangs up."""
        try:
            return self._socket.recv(1 << 16) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def fresh(broker: Broker) -> Iterator[Wire]:
    """A socket on which nothing has been sent."""
    wire = Wire(broker)
    yield wire
    wire.close()


@pytest.fixture
def wire(fresh: Wire, broker: Broker) -> Wire:
    """The same with an open channel."""
    fresh.send(ProtocolHeader().marshal())
    fresh.expect(spec.Connection.Start)
    login = f"\0{broker.user}\0{broker.password}"
    fresh.send(frame(spec.Connection.StartOk({}, "PLAIN", login, "en_US"), 0))
    fresh.expect(spec.Connection.Tune)
    fresh.send(frame(spec.Connection.TuneOk(2047, 131072, 0), 0))
    fresh.send(frame(spec.Connection.Open(broker.vhost), 0), OPEN)
    fresh.expect(spec.Connection.OpenOk)
    fresh.expect(spec.Channel.OpenOk)
    return fresh


# --- greeting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"AMQP\0\0\x09\1", b"AMQP\1\1\0\x09"])
def test_protocol_header_is_answered_with_start(fresh, sent):
    fresh.send(sent)
    start = fresh.expect(spec.Connection.Start)
    assert (start.version_major, start.version_minor) == (0, 9)


@pytest.mark.parametrize("sent", [b"HTTP/1.1", b"AMQP\0\2\0\0", b"AMQP\1\1\0\x0a"])
def test_anything_else_is_answered_with_the_protocol_and_hung_up_on(fresh, sent):
    fresh.send(sent)
    found = fresh.next()
    assert isinstance(found, ProtocolHeader)
    assert (found.major, found.minor, found.revision) == (0, 9, 1)
    assert fresh.ended()


@pytest.mark.parametrize("mechanism", ["EXTERNAL", "OAUTHBEARER", "CRAM-MD5"])
def test_mechanism_that_is_not_offered_is_hung_up_on_without_an_answer(fresh, mechanism):
    fresh.send(ProtocolHeader().marshal())
    offered = bytes(fresh.expect(spec.Connection.Start).mechanisms).decode().split()
    assert {"PLAIN", "AMQPLAIN"} <= set(offered)
    assert mechanism not in offered
    fresh.send(frame(spec.Connection.StartOk({}, mechanism, "guest", "en_US"), 0))
    assert fresh.ended()


# --- a publish that is refused ----------------------------------------------------------------


@pytest.mark.parametrize("content", [[header(0)], [header(4), body(b"ab"), body(b"cd")]])
def test_publish_is_refused_once_its_content_has_come(wire, content):
    wire.send(LOST_PUBLISH, *content[:-1])
    assert wire.next(QUIET_S) is None
    wire.send(content[-1])
    wire.expect_close(spec.Channel.Close, *NO_EXCHANGE)


@pytest.mark.parametrize(
    ("sent", "text"),
    [([QOS], NO_HEADER), ([body(b"a")], NO_HEADER), ([header(2), QOS], NO_BODY)],
)
def test_publish_that_would_be_refused_must_have_its_content(wire, sent, text):
    wire.send(LOST_PUBLISH, *sent)
    wire.expect_close(spec.Connection.Close, 505, text, 60, 40)


# --- a channel that is being closed -----------------------------------------------------------


@pytest.mark.parametrize("sent", [[GET, QOS], [PUBLISH, header(1), body(b"a")]])
def test_what_comes_on_a_channel_that_is_being_closed_is_passed_over(wire, sent):
    wire.send(GET, *sent, CLOSE_OK, OPEN)
    wire.expect_close(spec.Channel.Close, *NO_QUEUE)
    wire.expect(spec.Channel.OpenOk)


@pytest.mark.parametrize(
    ("sent", "text", "at"),
    [
        ([body(b"a")], NO_METHOD, (0, 0)),
        ([header(0)], NO_METHOD, (0, 0)),
        ([PUBLISH, body(b"a")], NO_HEADER, (60, 40)),
        ([PUBLISH, CLOSE_OK], NO_HEADER, (60, 40)),
        ([PUBLISH, header(2), CLOSE_OK], NO_BODY, (60, 40)),
        ([PUBLISH, header(1), body(b"a"), body(b"b")], NO_METHOD, (0, 0)),
    ],
)
def test_stray_frame_on_a_channel_that_is_being_closed_closes_the_connection(wire, sent, text, at):
    wire.send(GET, *sent)
    wire.expect_close(spec.Channel.Close, *NO_QUEUE)
    wire.expect_close(spec.Connection.Close, 505, text, *at)


# --- methods of older clients -----------------------------------------------------------------


def test_access_is_granted_to_everyone(wire):
    wire.send(frame(spec.Access.Request("/data")))
    assert wire.expect(spec.Access.RequestOk).ticket == 1


def test_close_is_answered_while_the_brokers_own_close_is_on_its_way(wire):
    wire.send(frame(spec.Basic.Publish(immediate=True)), header(0))
    wire.send(frame(spec.Connection.Close(200, "", 0, 0), 0))
    text = "NOT_IMPLEMENTED - immediate=true"
    wire.expect_close(spec.Connection.Close, 540, text, 60, 40)
    wire.expect(spec.Connection.CloseOk)


# --- looking into a queue right behind publishing to it -----------------------------------------


@pytest.mark.parametrize(
    ("look", "answer"),
    [
        (spec.Basic.Get(no_ack=True), spec.Basic.GetEmpty),
        (spec.Queue.Declare(passive=True), spec.Queue.DeclareOk),
        (spec.Queue.Purge(), spec.Queue.PurgeOk),
    ],
)
def test_looking_into_a_queue_does_not_overtake_a_waiting_consumer(wire, unique, look, answer):
    look.queue = unique("own")
    wire.send(frame(spec.Queue.Declare(queue=look.queue, exclusive=True)))
    wire.expect(spec.Queue.DeclareOk)
    wire.send(frame(spec.Basic.Consume(queue=look.queue, no_ack=True)))
    wire.expect(spec.Basic.ConsumeOk)
    message = publish(routing_key=look.queue) + header(1) + body(b"a")
    wire.send(message, message, frame(look))
    got = [wire.next() for _ in range(7)]
    (answered,) = [each for each in got if isinstance(getattr(each, "method", None), answer)]
    assert getattr(answered.method, "message_count", 0) == 0
    assert sum(isinstance(each, Body) for each in got) == 2

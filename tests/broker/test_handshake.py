import logging
import struct

import pytest
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Channel, Connection
from pamqp.heartbeat import Heartbeat

from fake_client import PROTOCOL_HEADER, FakeClient, FakeServer, encoded, start_ok
from leveret.broker.configuration import Configuration, Identity, Permissions, User
from leveret.broker.configuration import Connection as ConnectionSettings

CLOSES = ("authentication_failure_close",)
TUNE_OK = Connection.TuneOk(2047, 131_072, 0)


@pytest.fixture
def stranger(server: FakeServer) -> FakeClient:
    """A client that has not sent anything yet."""
    return server.accept()


@pytest.fixture
def started(stranger: FakeClient) -> FakeClient:
    """A client that has been sent connection.start."""
    stranger.feed(PROTOCOL_HEADER)
    stranger.expect(Connection.Start, 0)
    return stranger


@pytest.fixture
def tuned(started: FakeClient) -> FakeClient:
    """A client that has logged in."""
    started.send(start_ok(capabilities=CLOSES), channel=0)
    started.expect(Connection.Tune, 0)
    return started


def assert_dropped_in_silence_after_3_s(server: FakeServer, client: FakeClient) -> None:
    assert not client.received()
    server.advance(2.9)
    assert not client.hung_up
    client.send(start_ok(), channel=0)
    server.advance(0.1)
    assert client.hung_up
    assert not client.received()
    assert not server.broker.connections


# --- the protocol header ----------------------------------------------------------------------


@pytest.mark.parametrize("header", [PROTOCOL_HEADER, b"AMQP\1\1\0\x09", b"AMQP\1\1\x08\0"])
def test_a_protocol_header_is_answered_with_start_however_it_is_cut(
    server: FakeServer, header: bytes
) -> None:
    for cut in range(8):
        client = server.accept()
        client.feed(header[:cut])
        assert not client.received()
        client.feed(header[cut:])
        start = client.expect(Connection.Start, 0)
        assert (start.version_major, start.version_minor) == (0, 9)
        assert not client.hung_up


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        (b"AMQP\0\0\x09\0", "another version of AMQP; leveret speaks 0-9-1"),
        (b"AMQP\0\1\0\0", "another version of AMQP; leveret speaks 0-9-1"),
        (b"AMQP\3\1\0\0", "another version of AMQP; leveret speaks 0-9-1"),
        (b"HELLO123", "leveret speaks AMQP 0-9-1"),
        (b"GET / HTTP/1.1\r\n\r\n", "this is HTTP; the port speaks AMQP"),
        (b"\x16\x03\x01\x02\0\1\0\1\xfc", "this is TLS; the port speaks plain AMQP"),
        (b"x", "leveret speaks AMQP 0-9-1"),
    ],
)
def test_anything_else_is_told_the_protocol_and_hung_up_on(
    server: FakeServer,
    stranger: FakeClient,
    caplog: pytest.LogCaptureFixture,
    sent: bytes,
    hint: str,
) -> None:
    stranger.feed(sent)
    assert bytes(stranger.wire) == PROTOCOL_HEADER
    assert stranger.hung_up
    assert not server.broker.connections
    assert caplog.records[-1].__dict__["fields"]["hint"] == hint
    stranger.feed(PROTOCOL_HEADER)
    assert bytes(stranger.wire) == PROTOCOL_HEADER


# --- start ------------------------------------------------------------------------------------


def test_start_says_who_the_server_is_and_what_it_can_do(stranger: FakeClient) -> None:
    stranger.feed(PROTOCOL_HEADER)
    start = stranger.expect(Connection.Start, 0)
    assert set(start.mechanisms.split()) == {"PLAIN", "AMQPLAIN"}
    assert start.locales == "en_US"
    properties = start.server_properties
    assert properties["product"] == "RabbitMQ"
    assert properties["version"] == "3.13.7"
    assert properties["cluster_name"] == "leveret@localhost"
    assert str(properties["platform"]).startswith("Python 3.")
    assert {"copyright", "information", "leveret_version"} < properties.keys()
    assert properties["capabilities"] == dict.fromkeys(
        (
            "publisher_confirms",
            "exchange_exchange_bindings",
            "basic.nack",
            "consumer_cancel_notify",
            "connection.blocked",
            "consumer_priorities",
            "authentication_failure_close",
            "per_consumer_qos",
            "direct_reply_to",
        ),
        True,
    )


def test_the_identity_can_be_configured() -> None:
    client = FakeServer(Configuration(identity=Identity("Leveret", "1.0", "farm"))).accept()
    client.feed(PROTOCOL_HEADER)
    properties = client.expect(Connection.Start, 0).server_properties
    assert [properties[name] for name in ("product", "version", "cluster_name")] == [
        "Leveret",
        "1.0",
        "farm",
    ]


def amqplain(**values: str) -> str:
    """An AMQPLAIN response: a table without its length."""
    return "".join(
        f"{chr(len(name))}{name}S{struct.pack('>I', len(value)).decode()}{value}"
        for name, value in values.items()
    )


@pytest.mark.parametrize(
    "answer",
    [
        start_ok(),
        start_ok(mechanism="AMQPLAIN", response=amqplain(LOGIN="guest", PASSWORD="guest")),
    ],
)
def test_a_login_is_answered_with_tune(started: FakeClient, answer: Frame) -> None:
    started.send(answer, channel=0)
    tune = started.expect(Connection.Tune, 0)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131_072, 60)


def test_tune_offers_what_is_configured() -> None:
    settings = ConnectionSettings(heartbeat_s=10, channel_max=7, frame_max_bytes=8192)
    client = FakeServer(Configuration(connection=settings)).accept()
    client.feed(PROTOCOL_HEADER + encoded(start_ok(), channel=0))
    client.expect(Connection.Start, 0)
    tune = client.expect(Connection.Tune, 0)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (7, 8192, 10)


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
@pytest.mark.parametrize(("user", "password"), [("guest", "wrong"), ("nobody", "guest"), ("", "")])
def test_a_refused_login_is_answered_if_the_client_can_take_it(
    server: FakeServer, started: FakeClient, mechanism: str, user: str, password: str
) -> None:
    response = {
        "PLAIN": f"\0{user}\0{password}",
        "AMQPLAIN": amqplain(LOGIN=user, PASSWORD=password),
    }[mechanism]
    started.send(start_ok(capabilities=CLOSES, mechanism=mechanism, response=response), channel=0)
    close = started.expect(Connection.Close, 0)
    assert (close.reply_code, close.class_id, close.method_id) == (403, 0, 0)
    assert close.reply_text == (
        f"ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}."
        " For details see the broker logfile."
    )
    server.advance(2.9)
    assert not started.hung_up
    server.advance(0.1)
    assert started.hung_up


def test_a_refused_login_is_not_answered_otherwise(server: FakeServer, started: FakeClient) -> None:
    started.send(start_ok("guest", "wrong"), channel=0)
    assert_dropped_in_silence_after_3_s(server, started)


def test_a_refused_login_is_logged_without_the_password(
    started: FakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    started.send(start_ok("guest", "my password"), channel=0)
    refused = next(record for record in caplog.records if record.message == "login refused")
    assert refused.__dict__["fields"]["user"] == "guest"
    assert "my password" not in str([record.__dict__ for record in caplog.records])


def test_a_loopback_user_cannot_come_from_elsewhere(server: FakeServer) -> None:
    far = server.accept(from_loopback=False)
    far.feed(PROTOCOL_HEADER + encoded(start_ok(capabilities=CLOSES), channel=0))
    far.expect(Connection.Start, 0)
    assert far.expect(Connection.Close, 0).reply_code == 403


def test_another_user_can_come_from_elsewhere() -> None:
    far = FakeServer(Configuration(users=(User("far", "secret"),))).accept(from_loopback=False)
    far.feed(PROTOCOL_HEADER + encoded(start_ok("far", "secret"), channel=0))
    far.expect(Connection.Start, 0)
    far.expect(Connection.Tune, 0)


@pytest.mark.parametrize(
    "answer",
    [
        start_ok(mechanism="EXTERNAL"),
        start_ok(mechanism=""),
        start_ok(response="guest"),
        start_ok(response=""),
        start_ok(response="\0guest\0guest\0more"),
        start_ok(response="other\0guest\0guest"),
        start_ok(mechanism="AMQPLAIN", response="nonsense"),
        start_ok(mechanism="AMQPLAIN", response=""),
        start_ok(mechanism="AMQPLAIN", response=amqplain(LOGIN="guest")),
        start_ok(mechanism="AMQPLAIN", response=amqplain(PASSWORD="guest")),
        start_ok(mechanism="AMQPLAIN", response="\5LOGINt\1" + amqplain(PASSWORD="guest")),
        start_ok(mechanism="AMQPLAIN", response=amqplain(LOGIN="guest") + "\x08PASSWORDt\1"),
        TUNE_OK,
        Connection.Open("/"),
        Connection.Close(200, "", 0, 0),
        Connection.SecureOk("x"),
        Channel.Open(),
    ],
)
def test_a_faulty_start_ok_is_not_answered(
    server: FakeServer, started: FakeClient, answer: Frame
) -> None:
    started.send(answer, channel=0)
    assert_dropped_in_silence_after_3_s(server, started)


def test_other_channels_and_content_are_too_early(server: FakeServer) -> None:
    for early in (encoded(start_ok(), channel=1), encoded(ContentBody(b"x"), channel=0)):
        client = server.accept()
        client.feed(PROTOCOL_HEADER + early)
        client.expect(Connection.Start, 0)
        assert_dropped_in_silence_after_3_s(server, client)


def test_heartbeats_are_taken_already(started: FakeClient) -> None:
    started.feed(encoded(Heartbeat()) + encoded(start_ok(), channel=0))
    started.expect(Connection.Tune, 0)


@pytest.mark.parametrize(
    ("sent", "code", "text", "at"),
    [
        (b"\1\0\0\0\0\0\5\0\x0a\0\x0b\0\xce", 501, "FRAME_ERROR - cannot decode <<0>>", (10, 11)),
        (
            b"\1\0\0\0\0\0\4\0\x0a\0\x63\xce",
            503,
            "COMMAND_INVALID - unknown method: class 10, method 99",
            (10, 99),
        ),
        (
            b"\1\0\0\0\1\0\0",
            501,
            "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,65536,8192}",
            (0, 0),
        ),
        (
            b"\x09\0\0\0\0\0\1a\xce",
            501,
            'FRAME_ERROR - type 9, all octets = <<"a">>: unknown_frame',
            (0, 0),
        ),
    ],
)
def test_broken_frames_are_answered(
    started: FakeClient, sent: bytes, code: int, text: str, at: tuple[int, int]
) -> None:
    started.feed(sent)
    started.expect_connection_closed(code, text, at)


# --- tune -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel_max", "frame_max"),
    [(1, 131_072), (2047, 4096), (2047, 131_072)],
)
def test_a_tune_ok_within_the_offer_is_taken(
    tuned: FakeClient, channel_max: int, frame_max: int
) -> None:
    tuned.send(Connection.TuneOk(channel_max, frame_max, 0), channel=0)
    tuned.send(Connection.Open("/"), channel=0)
    assert tuned.expect(Connection.OpenOk, 0).known_hosts == ""


@pytest.mark.parametrize(
    ("channel_max", "frame_max", "reason"),
    [
        (
            0,
            131_072,
            "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)",
        ),
        (
            2048,
            131_072,
            "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)",
        ),
        (
            2047,
            0,
            "negotiated frame_max = 0 (no limit) is higher than the maximum allowed value (131072)",
        ),
        (
            2047,
            131_073,
            "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (
            2047,
            4095,
            "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)",
        ),
    ],
)
def test_a_tune_ok_beyond_the_offer_is_not_answered(
    server: FakeServer,
    tuned: FakeClient,
    caplog: pytest.LogCaptureFixture,
    channel_max: int,
    frame_max: int,
    reason: str,
) -> None:
    tuned.send(Connection.TuneOk(channel_max, frame_max, 0), channel=0)
    assert caplog.records[-1].__dict__["fields"]["reason"] == reason
    assert_dropped_in_silence_after_3_s(server, tuned)


def test_logging_in_twice_is_not_answered(server: FakeServer, tuned: FakeClient) -> None:
    tuned.send(start_ok(), channel=0)
    assert_dropped_in_silence_after_3_s(server, tuned)


# --- open -------------------------------------------------------------------------------------


def test_a_whole_opening_may_come_in_one_piece(stranger: FakeClient) -> None:
    stranger.feed(
        PROTOCOL_HEADER
        + encoded(start_ok(), TUNE_OK, Connection.Open("/"), channel=0)
        + encoded(Channel.Open(), channel=1)
    )
    for kind in (Connection.Start, Connection.Tune, Connection.OpenOk):
        stranger.expect(kind, 0)
    stranger.expect(Channel.OpenOk)


def test_an_unknown_vhost_is_not_allowed(tuned: FakeClient) -> None:
    tuned.send(TUNE_OK, Connection.Open("nowhere"), channel=0)
    tuned.expect_connection_closed(530, "NOT_ALLOWED - vhost nowhere not found", (10, 40))


def test_a_vhost_without_permissions_is_not_allowed() -> None:
    server = FakeServer(
        Configuration(
            vhosts=("/", "orders"),
            users=(User("shop", "pw", permissions={"orders": Permissions("", "", "")}),),
        )
    )
    assert server.connect("shop", "pw", "orders").connection.vhost.name == "orders"
    client = server.accept()
    client.feed(PROTOCOL_HEADER + encoded(start_ok("shop", "pw"), TUNE_OK, channel=0))
    client.received()
    client.send(Connection.Open("/"), channel=0)
    client.expect_connection_closed(
        530, "NOT_ALLOWED - access to vhost '/' refused for user 'shop'", (10, 40)
    )


def test_the_name_that_a_client_gives_itself_is_logged(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for properties, name in (
        ({"connection_name": "billing"}, "billing"),
        ({"connection_name": 5}, None),
        ({"capabilities": "none"}, None),
        ({}, None),
    ):
        client = server.accept()
        client.feed(
            PROTOCOL_HEADER
            + encoded(
                start_ok(client_properties=properties), TUNE_OK, Connection.Open("/"), channel=0
            )
        )
        opened = next(record for record in caplog.records if record.message == "opened")
        assert opened.__dict__["fields"]["client_name"] == name
        caplog.clear()


# --- taking too long --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"AMQ",
        PROTOCOL_HEADER,
        PROTOCOL_HEADER + encoded(start_ok(), channel=0)[:20],
        PROTOCOL_HEADER + encoded(start_ok(), TUNE_OK, channel=0),
    ],
)
def test_a_handshake_must_be_done_in_10_s(
    server: FakeServer, stranger: FakeClient, sent: bytes
) -> None:
    stranger.feed(sent)
    stranger.received()
    server.advance(9.9)
    assert not stranger.hung_up
    server.advance(0.1)
    assert stranger.hung_up
    assert not stranger.received()
    assert not server.broker.connections


def test_an_open_connection_has_no_deadline(server: FakeServer, client: FakeClient) -> None:
    server.advance(3600)
    assert not client.hung_up
    assert server.broker.timers.next_deadline() is None

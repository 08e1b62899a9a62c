"""Passwords that are checked elsewhere: nobody is told who exists, and nobody is late."""

import pytest
from pamqp.commands import Connection

from fake_client import FakeClient, FakeServer, encoded, start_ok
from leveret.amqp.errors import ResourceError
from leveret.amqp.frames import PROTOCOL_HEADER
from leveret.broker import logins
from leveret.broker.administration import Administration
from leveret.broker.passwords import DECOY, SHA256, hashed
from leveret.broker.permissions import Patterns

ALL = Patterns(".*", ".*", ".*")
CLOSES = ("authentication_failure_close",)


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """A broker with a user `slow`, and a user `quick` whose hash is quick to check."""
    administration = Administration(server.broker)
    administration.set_user("slow", "pw")
    administration.set_user("quick", hashed(b"pw", b"salt", SHA256))
    administration.set_user("barred", None)
    administration.set_user("empty", "")
    administration.set_permissions("slow", "/", ALL)
    return server


def waiting(
    server: FakeServer,
    user: str = "slow",
    password: str = "pw",
    capabilities: tuple[str, ...] = CLOSES,
) -> FakeClient:
    """A client whose password, if that takes long, is being checked."""
    client = server.accept()
    client.feed(PROTOCOL_HEADER)
    client.expect(Connection.Start, 0)
    client.connection.receive(encoded(start_ok(user, password, capabilities), channel=0))
    server.end_turn()
    return client


def check(client: FakeClient) -> None:
    """The check of its password is done."""
    verification = client.connection.verification
    assert verification is not None
    client.connection.verified(verification.known_answer() or verification.find_out())
    client.server.end_turn()


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("slow", "x"),
        ("quick", "x"),
        ("guest", "x"),
        ("nobody", "pw"),
        ("barred", ""),
        ("empty", ""),
        ("", ""),
    ],
)
def test_every_refusal_takes_a_slow_check(server: FakeServer, user: str, password: str) -> None:
    client = waiting(server, user, password)
    verification = client.connection.verification
    assert verification is not None
    assert verification.password_hash.is_slow
    assert not client.received()
    check(client)
    client.expect_connection_closed(
        403,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see"
        " the broker logfile.",
        (0, 0),
    )


def test_a_right_password_with_a_quick_hash_is_accepted_at_once(server: FakeServer) -> None:
    waiting(server, "quick").expect(Connection.Tune, 0)


def test_nobody_gets_in_with_what_others_are_checked_against(server: FakeServer) -> None:
    client = waiting(server, "nobody")
    client.connection.verified(accepted=True)
    server.end_turn()
    client.expect(Connection.Close, 0)
    assert not DECOY.accepts(b"")


def test_who_waits_for_the_check_is_not_late(server: FakeServer) -> None:
    client = server.accept()
    client.feed(PROTOCOL_HEADER)
    server.advance(9)
    client.connection.receive(encoded(start_ok("slow", "pw", CLOSES), channel=0))
    server.advance(60)
    assert not client.hung_up
    check(client)
    client.received()
    server.advance(0.9)
    assert not client.hung_up
    server.advance(0.2)
    assert client.hung_up


def test_too_many_at_once_are_told_so_and_others_may_come_when_some_are_done(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "CHECKS_MAX", 2)
    first, second = waiting(server), waiting(server, "nobody")
    waiting(server).expect_connection_closed(
        506, "RESOURCE_ERROR - too many logins at once, try again later", (0, 0)
    )
    waiting(server, "quick").expect(Connection.Tune, 0)
    silent = waiting(server, capabilities=())
    assert not silent.received()
    server.advance(3)
    assert silent.hung_up
    check(first)
    third = waiting(server, "nobody")
    second.disconnect()
    fourth = waiting(server, "nobody")
    for client in (third, fourth):
        assert client.connection.verification is not None


def test_the_same_user_many_times_is_checked_once(server: FakeServer) -> None:
    first, second, wrong = waiting(server), waiting(server), waiting(server, password="x")
    check(first)
    for client, known in ((second, True), (wrong, False)):
        verification = client.connection.verification
        assert verification is not None
        assert verification.known_answer() is known


def test_a_new_password_is_not_known_from_the_old_one(server: FakeServer) -> None:
    first, second = waiting(server), waiting(server)
    check(first)
    Administration(server.broker).set_user("slow", "other")
    verification = second.connection.verification
    assert verification is not None
    assert not verification.known_answer()
    check(second)
    second.expect(Connection.Close, 0)


def test_who_is_gone_when_the_check_is_done_is_left_alone(server: FakeServer) -> None:
    client = waiting(server)
    verification = client.connection.verification
    client.disconnect()
    client.connection.verified(accepted=True)
    server.end_turn()
    assert verification is not None
    assert not client.received()


def test_a_broker_that_stops_does_not_wait_for_checks(server: FakeServer) -> None:
    client = waiting(server)
    Administration(server.broker).close_connections("stop")
    client.connection.shut(ResourceError("stop"))
    server.end_turn()
    assert client.hung_up
    assert not server.broker.connections

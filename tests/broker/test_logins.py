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
    address: str = "10.0.0.1",
) -> FakeClient:
    """A client whose password, if that takes long, is being checked."""
    client = server.accept()
    client.connection.name = f"{address}:4711 -> 10.0.0.9:5672"
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


def begun(client: FakeClient) -> bool:
    """Whether its password is being checked now."""
    verification = client.connection.verification
    return verification is not None and verification.has_begun


def refuse(client: FakeClient) -> None:
    """Its password turns out to be wrong."""
    client.connection.verified(False)
    client.server.end_turn()


@pytest.mark.parametrize(
    ("address", "user"), [("10.6.6.6", "slow"), ("10.0.0.1", "nobody"), ("10.0.0.1", "slow")]
)
def test_a_flood_of_wrong_passwords_keeps_others_waiting_for_a_moment_only(
    server: FakeServer, address: str, user: str
) -> None:
    flood = [waiting(server, "nobody", "x", address="10.6.6.6") for _ in range(50)]
    if (address, user) == ("10.0.0.1", "nobody"):
        flood += [
            waiting(server, f"name {number}", "x", address="10.6.6.6") for number in range(50)
        ]
    other = waiting(server, user, address=address)
    assert [begun(client) for client in flood[:3]] == [True, True, False]
    refuse(flood[0])
    refuse(flood[1])
    assert begun(other)
    refuse(other)
    assert begun(flood[2])


def test_turns_go_round_until_nobody_waits(server: FakeServer) -> None:
    clients = [
        waiting(server, f"user {name}", "x", address=f"10.0.0.{address}")
        for address in range(3)
        for name in range(3)
        for _ in range(3)
    ]
    while clients:
        current = [client for client in clients if begun(client)]
        assert len(current) == min(logins.CHECKS_AT_ONCE, len(clients))
        refuse(current[0])
        clients.remove(current[0])
    assert len(server.broker.logins) == 0
    assert begun(waiting(server))


def test_where_too_many_wait_the_last_of_the_most_goes(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "CHECKS_MAX", 20)
    flood = [waiting(server, "nobody", "x", address="10.6.6.6") for _ in range(25)]
    told = "RESOURCE_ERROR - too many logins at once, try again later"
    for client in flood[20:]:
        client.expect_connection_closed(506, told, (0, 0))
    same_address = waiting(server, "slow", address="10.6.6.6")
    flood[19].expect_connection_closed(506, told, (0, 0))
    others = [waiting(server, address=f"10.0.0.{number}") for number in range(10)]
    assert len(server.broker.logins) == 20
    assert sum(client.connection.verification is not None for client in flood) == 9
    for client in (same_address, *others):
        assert client.connection.verification is not None
        assert not client.received()


def test_who_leaves_the_line_makes_room(server: FakeServer) -> None:
    clients = [waiting(server, "nobody", "x") for _ in range(5)]
    clients[3].disconnect()
    clients[0].disconnect()
    assert [begun(client) for client in clients] == [False, True, True, False, False]
    for client in clients:
        client.disconnect()
    assert len(server.broker.logins) == 0


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

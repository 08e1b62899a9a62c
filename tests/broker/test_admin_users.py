"""Users that operators or the configuration file make, and their passwords."""

import pytest
from pamqp.commands import Connection

from durable_server import DurableServer
from fake_client import FakeServer, encoded, start_ok
from leveret.amqp.frames import PROTOCOL_HEADER
from leveret.broker.administration import Administration, Invalid, NoSuchThing
from leveret.broker.configuration import GUEST, Configuration, Permissions, User
from leveret.broker.passwords import (
    MD5,
    SCRYPT,
    SHA256,
    SHA512,
    InvalidHash,
    checked_hash,
    hashed,
)
from leveret.broker.permissions import Patterns, TopicPatterns
from leveret.broker.users import User as Account

ALL = Patterns(".*", ".*", ".*")

CONFIGURED = Configuration(
    vhosts=("/", "listed"),
    users=(GUEST, User("fixed", "pw", permissions={"/": Permissions("", "w", "")})),
)


def test_a_new_user_logs_in_with_the_password(server: FakeServer, shop: Administration) -> None:
    client = server.connect("seller", "pw", "shop")
    client.declare("q")


def test_a_wrong_password_is_refused_however_often_the_right_one_was_given(
    server: FakeServer, shop: Administration
) -> None:
    server.connect("seller", "pw", "shop")
    client = server.accept()
    client.feed(PROTOCOL_HEADER)
    client.expect(Connection.Start, 0)
    client.send(start_ok("seller", "wrong", ("authentication_failure_close",)), channel=0)
    server.advance(10)
    assert client.expect(Connection.Close, 0).reply_code == 403


def test_a_slow_hash_is_checked_once_and_then_remembered(
    server: FakeServer, shop: Administration
) -> None:
    user = shop.user("seller")
    assert user.accepts(b"pw", server.broker.password_key) is None
    server.connect("seller", "pw", "shop")
    assert user.accepts(b"pw", server.broker.password_key) is True


def test_a_new_password_makes_the_old_one_useless(server: FakeServer, shop: Administration) -> None:
    server.connect("seller", "pw", "shop")
    shop.set_user("seller", "other")
    assert shop.user("seller").accepts(b"pw", server.broker.password_key) is None
    server.connect("seller", "other", "shop")


def test_a_password_that_changes_while_it_is_checked_is_not_accepted(
    server: FakeServer, shop: Administration
) -> None:
    client = server.accept()
    client.feed(PROTOCOL_HEADER)
    client.expect(Connection.Start, 0)
    connection = client.connection
    hello = start_ok("seller", "pw", ("authentication_failure_close",))
    connection.receive(encoded(hello, channel=0))
    assert connection.verification is not None
    shop.set_user("seller", "other")
    connection.verified(accepted=True)
    server.end_turn()
    server.advance(10)
    assert client.expect(Connection.Close, 0).reply_code == 403


@pytest.mark.parametrize("algorithm", [SHA256, SHA512, MD5, SCRYPT])
def test_a_hash_accepts_its_password_and_no_other(algorithm: str) -> None:
    made = hashed(b"pw", bytes(range(16)), algorithm)
    assert checked_hash(made.encoded, algorithm).accepts(b"pw")
    assert not made.accepts(b"pW")


def test_rabbitmqs_example_of_a_hash_is_understood() -> None:
    # From RabbitMQ's documentation on computing password hashes: salt 908D C60A, "test12".
    assert checked_hash("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR").accepts(b"test12")


@pytest.mark.parametrize(
    ("encoded", "algorithm"), [("no base64!", SHA256), ("AAAA", SHA256), ("AAAA", "md5")]
)
def test_what_is_no_hash_is_refused(encoded: str, algorithm: str) -> None:
    with pytest.raises(InvalidHash):
        checked_hash(encoded, algorithm)


def test_a_user_without_a_password_cannot_log_in(
    server: FakeServer, administration: Administration
) -> None:
    user = administration.set_user("nobody", None)
    assert user.accepts(b"", server.broker.password_key) is False


def test_a_new_guest_may_connect_from_the_same_machine_only(
    server: FakeServer, administration: Administration
) -> None:
    administration.delete_user("guest")
    administration.set_user("guest", checked_hash(hashed(b"pw", b"salt", SHA256).encoded))
    client = server.accept(from_loopback=False)
    client.feed(PROTOCOL_HEADER)
    client.expect(Connection.Start, 0)
    client.send(start_ok("guest", "pw", ("authentication_failure_close",)), channel=0)
    client.expect(Connection.Close, 0)


def test_deleting_a_user_closes_their_connections(server: FakeServer, shop: Administration) -> None:
    client, other = server.connect("seller", "pw", "shop"), server.connect()
    shop.delete_user("seller")
    server.end_turn()
    client.expect_connection_closed(320, "CONNECTION_FORCED - user 'seller' is deleted", (0, 0))
    other.declare("q")
    with pytest.raises(NoSuchThing):
        shop.user("seller")


def test_a_user_who_is_deleted_between_login_and_open_gets_no_further(
    server: FakeServer, shop: Administration
) -> None:
    client = server.accept()
    client.feed(PROTOCOL_HEADER)
    client.send(start_ok("seller", "pw", ()), channel=0)
    client.received()
    shop.delete_user("seller")
    client.send(Connection.TuneOk(2047, 131_072, 0), Connection.Open("shop"), channel=0)
    client.expect_connection_closed(
        530, "NOT_ALLOWED - access to vhost 'shop' refused for user 'seller'", (10, 40)
    )


def test_users_of_the_configuration_file_are_left_to_it() -> None:
    server = FakeServer(CONFIGURED)
    administration = Administration(server.broker)
    for change in (
        lambda: administration.set_user("fixed", "other"),
        lambda: administration.set_user_tags("fixed", ["administrator"]),
        lambda: administration.delete_user("fixed"),
        lambda: administration.set_permissions("fixed", "/", ALL),
        lambda: administration.clear_permissions("fixed", "/"),
        lambda: administration.delete_vhost("listed"),
    ):
        with pytest.raises(Invalid, match=r"in the configuration file; (change|remove) "):
            change()


@pytest.mark.parametrize("clean", [True, False])
def test_users_of_the_configuration_file_can_be_given_more_which_is_kept(clean: bool) -> None:
    server = DurableServer(configuration=CONFIGURED)
    administration = Administration(server.broker)
    administration.set_vhost("shop")
    administration.set_vhost("old")
    administration.set_permissions("fixed", "shop", ALL)
    administration.set_permissions("fixed", "old", ALL)
    administration.set_topic_permissions("fixed", "/", {"amq.topic": TopicPatterns("w", "r")})
    administration.set_user_limits("fixed", {"max-channels": 9})
    administration.delete_vhost("old")
    server.end_turn()
    server = server.restarted(clean=clean)
    user = Administration(server.broker).user("fixed")
    assert {vhost: each.patterns for vhost, each in user.permissions.items()} == {
        "/": Patterns("", "w", ""),
        "shop": ALL,
    }
    assert user.permissions["/"].topics == {"amq.topic": TopicPatterns("w", "r")}
    assert user.limits == {"max-channels": 9}
    server.connect("fixed", "pw", "shop")


def test_what_a_configured_user_was_given_waits_until_the_file_has_them_again() -> None:
    server = DurableServer(configuration=CONFIGURED)
    administration = Administration(server.broker)
    administration.set_vhost("shop")
    administration.set_permissions("fixed", "shop", ALL)
    server.end_turn()
    server = server.restarted(configuration=Configuration())
    assert list(server.broker.users) == ["guest"]
    server = server.restarted(configuration=CONFIGURED)
    server.connect("fixed", "pw", "shop")


def test_a_user_who_is_in_the_journal_too_is_back_when_the_file_has_them_no_more() -> None:
    server = DurableServer()
    Administration(server.broker).set_user("fixed", "own")
    server.end_turn()
    server = server.restarted(configuration=CONFIGURED)
    administration = Administration(server.broker)
    administration.set_vhost("shop")
    administration.set_permissions("fixed", "shop", ALL)
    server.end_turn()
    server = server.restarted(configuration=Configuration())
    user = Administration(server.broker).user("fixed")
    assert user.password_hash is not None
    assert user.password_hash.accepts(b"own")
    assert user.permissions == {}


def test_no_password_is_on_disk_in_clear() -> None:
    server = DurableServer()
    Administration(server.broker).set_user("seller", "a very secret password")
    server.end_turn()
    assert all(b"very secret" not in data for data in server.disk.files().values())


def test_the_configured_password_counts_whatever_the_journal_says() -> None:
    server = DurableServer()
    Administration(server.broker).set_user("guest", "changed")
    server.end_turn()
    server = server.restarted()
    user = Administration(server.broker).user("guest")
    assert user.password_hash is not None
    assert user.password_hash.accepts(b"changed")


def test_tags_change_without_the_password(server: FakeServer, shop: Administration) -> None:
    shop.set_user_tags("seller", ["impersonator"])
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.publish(b"m", "q", user_id="somebody")
    assert client.ready_in("q") == 1


def test_a_password_changes_without_the_tags(server: FakeServer, shop: Administration) -> None:
    client = server.connect("seller", "pw", "shop")
    shop.set_user_password("seller", "other")
    assert shop.user("seller").tags == {"management"}
    client.declare("q")
    server.connect("seller", "other", "shop")
    with pytest.raises(NoSuchThing):
        shop.set_user_password("nobody", "pw")
    assert [user.name for user in shop.users()] == ["guest", "seller"]


def test_the_empty_password_is_never_right() -> None:
    for user in (Account("u", password=""), Account("u", password_hash=hashed(b"", b"salt"))):
        assert user.accepts(b"", b"key") is False

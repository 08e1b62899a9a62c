"""What operators do: at once, for connections that are open too, and over restarts."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Connection, Exchange, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, start_ok
from leveret.amqp.frames import PROTOCOL_HEADER
from leveret.broker.administration import Administration, Invalid, NoSuchThing
from leveret.broker.configuration import GUEST, Configuration, Identity, Permissions, User
from leveret.broker.passwords import (
    MD5,
    SCRYPT,
    SHA256,
    SHA512,
    InvalidHash,
    PasswordHash,
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


@pytest.fixture
def administration(server: FakeServer) -> Administration:
    return Administration(server.broker)


@pytest.fixture
def shop(administration: Administration) -> Administration:
    """A broker with a vhost `shop` and a user `seller` who may do everything in it."""
    administration.set_vhost("shop")
    administration.set_user("seller", "pw", tags=["management"])
    administration.set_permissions("seller", "shop", ALL)
    return administration


def refused_open(server: FakeServer, user: str, password: str, vhost: str) -> FakeClient:
    """A client that has asked for a vhost and is about to hear that it can't have it."""
    client = server.accept()
    client.feed(PROTOCOL_HEADER)
    client.expect(Connection.Start, 0)
    client.send(start_ok(user, password, ("authentication_failure_close",)), channel=0)
    client.expect(Connection.Tune, 0)
    client.send(Connection.TuneOk(2047, 131_072, 0), Connection.Open(vhost), channel=0)
    return client


# --- users and passwords ----------------------------------------------------------------------


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


def test_a_vhost_that_the_file_lists_no_more_can_be_deleted() -> None:
    server = DurableServer(configuration=CONFIGURED)
    server = server.restarted(configuration=Configuration())
    Administration(server.broker).delete_vhost("listed")
    assert list(server.broker.vhosts) == ["/"]


# --- permissions ------------------------------------------------------------------------------


def test_permissions_taken_away_hold_for_open_connections(
    server: FakeServer, shop: Administration
) -> None:
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.publish(b"m", "q")
    shop.set_permissions("seller", "shop", Patterns(".*", "^$", ".*"))
    client.publish(b"m", "q")
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - access to exchange 'amq.default' in vhost 'shop' refused for user"
        " 'seller'",
        (60, 40),
    )


def test_cleared_permissions_leave_an_open_connection_with_none(
    server: FakeServer, shop: Administration
) -> None:
    client = server.connect("seller", "pw", "shop")
    shop.clear_permissions("seller", "shop")
    client.send(Queue.Declare(queue="q"))
    client.expect(Channel.Close)
    refused = refused_open(server, "seller", "pw", "shop")
    refused.expect_connection_closed(
        530, "NOT_ALLOWED - access to vhost 'shop' refused for user 'seller'", (10, 40)
    )


def test_topic_permissions_are_about_routing_keys(server: FakeServer, shop: Administration) -> None:
    shop.set_topic_permissions(
        "seller", "shop", {"amq.topic": TopicPatterns(r"^{username}\.", r"^{vhost}\.")}
    )
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.bind("q", "amq.topic", "shop.#")
    client.publish(b"m", "seller.x", exchange="amq.topic")
    client.publish(b"m", "elsewhere", exchange="amq.direct")
    client.publish(b"m", "other.x", exchange="amq.topic")
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - access to topic 'other.x' in exchange 'amq.topic' in vhost 'shop'"
        " refused for user 'seller'",
        (60, 40),
    )
    client.open_channel(2)
    client.send(Queue.Bind(queue="q", exchange="amq.topic", routing_key="other.#"), channel=2)
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - access to topic 'other.#' in exchange 'amq.topic' in vhost 'shop'"
        " refused for user 'seller'",
        (50, 20),
        2,
    )


def test_an_empty_topic_pattern_allows_the_empty_routing_key_only(
    server: FakeServer, shop: Administration
) -> None:
    shop.set_topic_permissions("seller", "shop", {"amq.topic": TopicPatterns("", "")})
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.bind("q", "amq.topic", "")
    client.publish(b"m", "", exchange="amq.topic")
    assert client.ready_in("q") == 1
    client.publish(b"m", "k", exchange="amq.topic")
    client.expect(Channel.Close)


def test_topic_permissions_hold_at_once(server: FakeServer, shop: Administration) -> None:
    client = server.connect("seller", "pw", "shop")
    client.publish(b"m", "k", exchange="amq.topic")
    shop.set_topic_permissions("seller", "shop", {"amq.topic": TopicPatterns("^x", "")})
    client.publish(b"m", "k", exchange="amq.topic")
    client.expect(Channel.Close)


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (Queue.Unbind(queue="q", exchange="amq.topic", routing_key="x"), (50, 50)),
        (Exchange.Unbind(destination="amq.fanout", source="amq.topic", routing_key="x"), (40, 40)),
    ],
)
def test_unbinding_needs_the_right_to_the_topic_too(
    server: FakeServer, shop: Administration, call: Frame, at: tuple[int, int]
) -> None:
    shop.set_topic_permissions("seller", "shop", {"amq.topic": TopicPatterns("", "^a")})
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.send(call)
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - access to topic 'x' in exchange 'amq.topic' in vhost 'shop'"
        " refused for user 'seller'",
        at,
    )


def test_topic_permissions_alone_do_not_open_a_vhost(
    server: FakeServer, shop: Administration
) -> None:
    shop.set_topic_permissions("seller", "/", {"amq.topic": TopicPatterns("", "")})
    refused_open(server, "seller", "pw", "/").expect_connection_closed(
        530, "NOT_ALLOWED - access to vhost '/' refused for user 'seller'", (10, 40)
    )


def test_permissions_given_again_hold_for_open_connections_and_topics_are_still_restricted(
    server: FakeServer, shop: Administration
) -> None:
    shop.set_topic_permissions("seller", "shop", {"amq.topic": TopicPatterns("^a", "")})
    client = server.connect("seller", "pw", "shop")
    shop.clear_permissions("seller", "shop")
    shop.set_permissions("seller", "shop", ALL)
    client.declare("q")
    client.publish(b"m", "x", exchange="amq.topic")
    client.expect(Channel.Close)


@pytest.mark.parametrize("name", ["a(", "a.b", "{vhost}"])
def test_names_stand_for_themselves_in_topic_permissions(
    server: FakeServer, shop: Administration, name: str
) -> None:
    shop.set_user(name, checked_hash(hashed(b"pw", b"salt", SHA256).encoded))
    shop.set_permissions(name, "shop", ALL)
    shop.set_topic_permissions(name, "shop", {"amq.topic": TopicPatterns("^{username}$", "")})
    client = server.connect(name, "pw", "shop")
    client.publish(b"m", name, exchange="amq.topic")
    assert not client.received()
    client.publish(b"m", name.replace(".", "x") + "x", exchange="amq.topic")
    client.expect(Channel.Close)


@pytest.mark.parametrize(
    "change",
    [
        lambda administration: administration.set_permissions("guest", "/", Patterns("(", "", "")),
        lambda administration: administration.set_topic_permissions(
            "guest", "/", {"amq.topic": TopicPatterns("(", "")}
        ),
        lambda administration: administration.set_user("", "pw"),
        lambda administration: administration.set_vhost("x" * 256),
        lambda administration: administration.set_vhost("v", default_queue_type="fancy"),
        lambda administration: administration.set_vhost_limits("/", {"max-fun": 1}),
        lambda administration: administration.set_vhost_limits("/", {"max-queues": True}),
        lambda administration: administration.set_vhost_limits("/", {"max-queues": 1.5}),
        lambda administration: administration.set_vhost("v", tags="one text"),
        lambda administration: administration.set_vhost("v", tags=[""]),
        lambda administration: administration.set_vhost("v", description="\udcff"),
        lambda administration: administration.set_user("u", "pw", tags="administrator"),
        lambda administration: administration.set_user("u", PasswordHash("none", "")),
        lambda administration: administration.set_user("u", PasswordHash(SHA256, "?")),
        lambda administration: administration.set_user_tags("guest", "administrator"),
        lambda administration: administration.set_user_limits("guest", {"max-queues": 1}),
        lambda administration: administration.set_user_limits("guest", {"max-channels": "1"}),
        lambda administration: administration.set_permissions(
            "guest", "/", Patterns("\udcff", "", "")
        ),
        lambda administration: administration.set_policy("/", "", "", {"max-length": 1}),
        lambda administration: administration.set_policy("/", "\udcff", "", {"max-length": 1}),
        lambda administration: administration.set_global_parameter("p", float("nan")),
        lambda administration: administration.set_global_parameter("p", "\udcff"),
        lambda administration: administration.set_global_parameter("p", object()),
        lambda administration: administration.set_global_parameter("p", nested(65)),
        lambda administration: administration.bind("/", "amq.topic", "q", "\ud800"),
        lambda administration: administration.declare_queue("/", "r", arguments={"\ud800": 1}),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    administration: Administration, change: Callable[[Administration], object]
) -> None:
    administration.declare_queue("/", "q")
    before = msgspec.json.encode(administration.export_definitions(vhost="/"))
    with pytest.raises(Invalid):
        change(administration)
    assert msgspec.json.encode(administration.export_definitions(vhost="/")) == before
    assert administration.global_parameters() == {}


def nested(depth: int) -> Any:
    """Tables in tables."""
    return {"in": nested(depth - 1)} if depth else 1


def test_what_is_kept_is_not_what_the_caller_may_change(administration: Administration) -> None:
    value: Any = [1]
    administration.set_global_parameter("p", value)
    value.append(2)
    assert administration.global_parameters() == {"p": [1]}


# --- vhosts -----------------------------------------------------------------------------------


def test_vhosts_are_worlds_of_their_own(server: FakeServer, shop: Administration) -> None:
    seller, guest = server.connect("seller", "pw", "shop"), server.connect()
    seller.declare("q")
    guest.declare("q")
    seller.publish(b"m", "q")
    assert (seller.ready_in("q"), guest.ready_in("q")) == (1, 0)


def test_deleting_a_vhost_closes_its_connections_and_drops_what_is_in_it(
    server: FakeServer, shop: Administration
) -> None:
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.consume("q")
    shop.delete_vhost("shop")
    server.end_turn()
    client.expect_connection_closed(320, "CONNECTION_FORCED - vhost 'shop' is deleted", (0, 0))
    shop.set_vhost("shop")
    assert shop.vhost("shop").queues == {}
    assert not shop.user("seller").may_enter("shop")


def test_the_default_type_goes_to_queues_that_can_be_of_it(
    server: FakeServer, administration: Administration
) -> None:
    vhost = administration.set_vhost("/", default_queue_type="quorum")
    client = server.connect()
    client.declare("durable", durable=True)
    client.declare("durable", durable=True)
    client.declare("transient")
    types = {name: "x-queue-type" in queue.arguments for name, queue in vhost.queues.items()}
    assert types == {"durable": True, "transient": False}


def test_a_vhost_is_traced_over_restarts_until_that_is_turned_off() -> None:
    server = DurableServer()
    Administration(server.broker).set_tracing("/", True)
    server.end_turn()
    server = server.restarted()
    client = server.connect()
    client.declare("traces")
    client.bind("traces", "amq.rabbitmq.trace", "publish.#")
    client.publish(b"m", "nowhere")
    assert client.ready_in("traces") == 1
    Administration(server.broker).set_tracing("/", False)
    client.publish(b"m", "nowhere")
    assert client.ready_in("traces") == 1


# --- limits -----------------------------------------------------------------------------------


def test_a_vhost_takes_no_more_queues_than_its_limit(
    server: FakeServer, administration: Administration
) -> None:
    administration.set_vhost_limits("/", {"max-queues": 1})
    client = server.connect()
    client.declare("q")
    client.declare("q")
    client.send(Queue.Declare(queue="r", arguments={"x-max-length": -1}))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - cannot declare queue 'r': queue limit in vhost '/' (1) is reached",
        (50, 10),
    )


def test_a_vhost_takes_no_more_connections_than_its_limit(
    server: FakeServer, administration: Administration
) -> None:
    administration.set_vhost_limits("/", {"max-connections": 1})
    first = server.connect()
    refused_open(server, "guest", "guest", "/").expect_connection_closed(
        530,
        "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is"
        " reached",
        (10, 40),
    )
    first.disconnect()
    server.connect()


def test_a_user_has_no_more_connections_than_their_limit(
    server: FakeServer, administration: Administration
) -> None:
    administration.set_user_limits("guest", {"max-connections": 0})
    refused_open(server, "guest", "guest", "/").expect_connection_closed(
        530,
        "NOT_ALLOWED - connection refused for user 'guest': user connection limit (0) is reached",
        (10, 40),
    )


def test_a_user_has_no_more_channels_than_their_limit(
    server: FakeServer, administration: Administration
) -> None:
    client, other = server.connect(), server.connect()
    administration.set_user_limits("guest", {"max-channels": 3})
    client.open_channel(2)
    other.send(Channel.Open(), channel=2)
    other.expect_connection_closed(
        530,
        "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed"
        " user limit of (3)",
        (0, 0),
    )


def test_a_negative_limit_is_none(server: FakeServer, administration: Administration) -> None:
    administration.set_vhost_limits("/", {"max-queues": -1, "max-connections": -1})
    server.connect().declare("q")


# --- policies and connections -----------------------------------------------------------------


def test_a_policy_is_set_and_deleted(server: FakeServer, administration: Administration) -> None:
    client = server.connect()
    client.declare("q")
    administration.set_policy("/", "short", "q", {"max-length": 1})
    server.end_turn()
    for _ in range(3):
        client.publish(b"m", "q")
    assert client.ready_in("q") == 1
    administration.delete_policy("/", "short")
    client.publish(b"m", "q")
    assert client.ready_in("q") == 2
    with pytest.raises(NoSuchThing):
        administration.delete_policy("/", "short")


def test_a_connection_is_closed_by_its_name(
    server: FakeServer, administration: Administration
) -> None:
    client = server.connect()
    (connection,) = administration.connections()
    administration.close_connection(connection.name, "enough")
    server.end_turn()
    client.expect_connection_closed(320, "CONNECTION_FORCED - enough", (0, 0))
    with pytest.raises(NoSuchThing):
        administration.close_connection("nobody's", "enough")


# --- restarts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
def test_what_was_set_is_there_after_a_restart(clean: bool) -> None:
    server = DurableServer()
    administration = Administration(server.broker)
    administration.set_vhost("shop", description="sells", default_queue_type="quorum")
    administration.set_vhost_limits("shop", {"max-queues": 7})
    administration.set_user("seller", "pw", tags=["management"])
    administration.set_permissions("seller", "shop", Patterns("c", ".*", "r"))
    administration.set_topic_permissions("seller", "shop", {"amq.topic": TopicPatterns("w", "")})
    administration.set_user_limits("seller", {"max-channels": 9})
    administration.set_vhost("gone")
    administration.delete_vhost("gone")
    administration.set_user("left", "pw")
    administration.delete_user("left")
    administration.delete_user("guest")
    server.end_turn()
    server = server.restarted(clean=clean)
    administration = Administration(server.broker)
    assert [vhost.name for vhost in administration.vhosts()] == ["/", "shop"]
    vhost = administration.vhost("shop")
    assert (vhost.settings.description, vhost.settings.default_queue_type) == ("sells", "quorum")
    assert vhost.settings.limits == {"max-queues": 7}
    (user,) = administration.users()
    assert (user.name, user.tags, user.limits) == (
        "seller",
        {"management"},
        {"max-channels": 9},
    )
    permissions = user.permissions["shop"]
    assert permissions.patterns == Patterns("c", ".*", "r")
    assert permissions.topics == {"amq.topic": TopicPatterns("w", "")}
    server.connect("seller", "pw", "shop").publish(b"m", "q")


@pytest.mark.parametrize("clean", [True, False])
def test_what_a_new_broker_has_stays_deleted_even_if_nothing_else_is_there(clean: bool) -> None:
    server = DurableServer()
    administration = Administration(server.broker)
    administration.delete_user("guest")
    administration.delete_vhost("/")
    server.end_turn()
    server = server.restarted(clean=clean)
    assert (list(server.broker.users), list(server.broker.vhosts)) == ([], [])
    administration = Administration(server.broker)
    administration.set_vhost("/")
    administration.set_user("guest", "pw")
    server.end_turn()
    server = server.restarted(clean=clean)
    assert (list(server.broker.users), list(server.broker.vhosts)) == (["guest"], ["/"])


def test_no_password_is_on_disk_in_clear() -> None:
    server = DurableServer()
    Administration(server.broker).set_user("seller", "a very secret password")
    server.end_turn()
    assert all(b"very secret" not in data for data in server.disk.files().values())


@pytest.mark.parametrize("clean", [True, False])
def test_a_deleted_vhost_takes_its_durable_queues_and_messages_along(clean: bool) -> None:
    server = DurableServer()
    administration = Administration(server.broker)
    administration.set_vhost("shop")
    administration.set_permissions("guest", "shop", ALL)
    client = server.connect(vhost="shop")
    client.request(Exchange.Declare(exchange="x", durable=True), Exchange.DeclareOk)
    client.declare("q", durable=True)
    client.bind("q", "x", "k")
    client.publish(b"m", "q", delivery_mode=2)
    administration.delete_vhost("shop")
    server.end_turn()
    server = server.restarted(clean=clean)
    assert list(server.broker.vhosts) == ["/"]
    assert server.journal.statistics().messages == 0


def test_the_configured_password_counts_whatever_the_journal_says() -> None:
    server = DurableServer()
    Administration(server.broker).set_user("guest", "changed")
    server.end_turn()
    server = server.restarted()
    user = Administration(server.broker).user("guest")
    assert user.password_hash is not None
    assert user.password_hash.accepts(b"changed")


def test_an_acknowledged_message_stays_so_when_its_user_goes() -> None:
    server = DurableServer()
    client = server.connect()
    client.declare("q", durable=True)
    client.publish(b"m", "q", delivery_mode=2)
    client.send(Basic.Ack(client.get("q").call.delivery_tag))
    Administration(server.broker).delete_user("guest")
    server.end_turn()
    assert server.restarted().broker.vhosts["/"].queues["q"].message_count == 0


@pytest.mark.parametrize("pattern", ["a{99999999999999999999}", "(" * 20_000 + ")" * 20_000])
def test_a_pattern_too_large_for_the_engine_is_refused(shop: Administration, pattern: str) -> None:
    with pytest.raises(Invalid):
        shop.set_permissions("seller", "shop", Patterns(pattern, "", ""))


# --- looking up -------------------------------------------------------------------------------


def test_permissions_are_listed_by_user_and_vhost(shop: Administration) -> None:
    shop.set_topic_permissions("seller", "/", {"amq.topic": TopicPatterns("w", "")})
    assert shop.permissions() == [("guest", "/", ALL), ("seller", "shop", ALL)]
    assert shop.permissions(user="seller") == [("seller", "shop", ALL)]
    assert shop.permissions(vhost="/") == [("guest", "/", ALL)]
    assert shop.topic_permissions() == [("seller", "/", "amq.topic", TopicPatterns("w", ""))]
    assert shop.topic_permissions(vhost="shop") == []
    for wrong in ({"user": "nobody"}, {"vhost": "nowhere"}):
        with pytest.raises(NoSuchThing):
            shop.permissions(**wrong)


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


def test_what_was_set_is_on_disk_when_that_is_told() -> None:
    server = DurableServer()
    administration, told = Administration(server.broker), list[str]()
    administration.when_durable(lambda: told.append("nothing"))
    assert told == ["nothing"]
    administration.set_user("u", None)
    administration.when_durable(lambda: told.append("u"))
    assert told == ["nothing"]
    assert server.broker.awaits_disk
    server.end_turn()
    assert told == ["nothing", "u"]
    assert "u" in server.restarted(clean=False).broker.users


def test_without_a_disk_nobody_waits_for_it(
    administration: Administration,
) -> None:
    told = list[bool]()
    administration.set_user("u", None)
    administration.when_durable(lambda: told.append(True))
    assert told == [True]


def test_policies_are_listed(administration: Administration) -> None:
    administration.set_policy("/", "p", "q", {"max-length": 1}, priority=1.5)
    administration.set_policy("/", "o", "q", {"max-length": 1}, operator=True)
    assert [(each.name, each.priority) for each in administration.policies("/")] == [("p", 1.5)]
    assert [each.name for each in administration.policies("/", operator=True)] == ["o"]
    assert administration.policy("/", "p").pattern == "q"
    with pytest.raises(NoSuchThing, match="no operator policy 'p'"):
        administration.delete_policy("/", "p", operator=True)


def test_global_parameters_are_set_and_deleted(
    server: FakeServer, administration: Administration
) -> None:
    administration.set_global_parameter("cluster_name", "farm")
    administration.set_global_parameter("any", {"thing": [1, None]})
    assert administration.global_parameters() == {
        "any": {"thing": [1, None]},
        "cluster_name": "farm",
    }
    assert server.broker.cluster_name == "farm"
    administration.delete_global_parameter("cluster_name")
    assert server.broker.cluster_name == "leveret@localhost"
    with pytest.raises(NoSuchThing):
        administration.delete_global_parameter("cluster_name")


def test_a_configured_cluster_name_counts() -> None:
    server = FakeServer(Configuration(identity=Identity(cluster_name="barn")))
    Administration(server.broker).set_global_parameter("cluster_name", "farm")
    assert server.broker.cluster_name == "barn"


def test_a_deleted_global_parameter_stays_deleted() -> None:
    server = DurableServer()
    administration = Administration(server.broker)
    administration.set_global_parameter("a", 1)
    administration.set_global_parameter("b", None)
    administration.delete_global_parameter("a")
    server.end_turn()
    assert Administration(server.restarted().broker).global_parameters() == {"b": None}

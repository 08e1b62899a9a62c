"""What operators do: at once, for connections that are open too, and over restarts."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pamqp.commands import Basic

from durable_server import DurableServer
from fake_client import FakeServer
from leveret.broker.administration import Administration, Invalid, NoSuchThing
from leveret.broker.configuration import Configuration, Identity
from leveret.broker.passwords import (
    SHA256,
    PasswordHash,
)
from leveret.broker.permissions import Patterns, TopicPatterns


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


def test_an_acknowledged_message_stays_so_when_its_user_goes() -> None:
    server = DurableServer()
    client = server.connect()
    client.declare("q", durable=True)
    client.publish(b"m", "q", delivery_mode=2)
    client.send(Basic.Ack(client.get("q").call.delivery_tag))
    Administration(server.broker).delete_user("guest")
    server.end_turn()
    assert server.restarted().broker.vhosts["/"].queues["q"].message_count == 0


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

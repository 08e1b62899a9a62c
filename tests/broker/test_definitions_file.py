"""definitions.json: one that a RabbitMQ exported, our own, and those that are no good."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from durable_server import DurableServer
from fake_client import FakeServer
from leveret.broker.administration import Administration
from leveret.broker.broker import Broker
from leveret.broker.configuration import Configuration, User
from leveret.broker.configuration import Permissions as ConfiguredPermissions
from leveret.broker.definitions_file import InvalidDefinitions, read_definitions
from leveret.broker.definitions_transfer import export_definitions, import_definitions
from leveret.broker.permissions import Patterns, TopicPatterns

EXPORTED = Path(__file__).with_name("data") / "rabbitmq-3.10.8-definitions.json"
"""Made with `rabbitmqctl export_definitions`; the user's password is "secret one"."""


def load(broker: Broker, **document: Any) -> None:
    import_definitions(broker, read_definitions(json.dumps(document)))


def imported(server: FakeServer) -> Administration:
    import_definitions(server.broker, read_definitions(EXPORTED.read_bytes()))
    server.end_turn()
    return Administration(server.broker)


def test_what_rabbitmq_exports_is_understood(server: FakeServer) -> None:
    administration = imported(server)
    vhost, user = administration.vhost("shop"), administration.user("seller")
    assert sorted(vhost.queues) == ["shop.orders", "shop.safe", "tmp.one"]
    assert vhost.queues["shop.orders"].settings.message_ttl_ms == 30_000
    assert vhost.queues["tmp.one"].settings.message_ttl_ms == 60_000
    assert vhost.queues["tmp.one"].settings.max_length == 1000
    assert vhost.settings.limits == {"max-queues": 50}
    assert (user.tags, user.limits) == ({"management"}, {"max-channels": 30})
    assert user.permissions["shop"].patterns == Patterns("^shop", ".*", ".*")
    assert user.permissions["shop"].topics == {"amq.topic": TopicPatterns("^{username}[.]", ".*")}


def test_its_users_log_in_and_its_bindings_lead_where_they_led(server: FakeServer) -> None:
    imported(server)
    client = server.connect("seller", "secret one", "shop")
    client.publish(b"m", "order.new", exchange="shop.events")
    client.publish(b"n", "", exchange="amq.headers", headers={"kind": "note", "size": 3})
    assert client.ready_in("shop.orders") == 1
    assert client.ready_in("tmp.one") == 1


def test_loading_it_again_changes_nothing(server: FakeServer) -> None:
    administration = imported(server)
    client = server.connect("seller", "secret one", "shop")
    client.publish(b"m", "order.new", exchange="shop.events")
    queue = administration.vhost("shop").queues["shop.orders"]
    imported(server)
    assert administration.vhost("shop").queues["shop.orders"] is queue
    assert client.ready_in("shop.orders") == 1


def test_what_is_exported_can_be_imported_elsewhere(server: FakeServer) -> None:
    imported(server)
    text = msgspec.json.encode(export_definitions(server.broker))
    other = FakeServer()
    import_definitions(other.broker, read_definitions(text))
    assert export_definitions(other.broker) == export_definitions(server.broker)
    other.connect("seller", "secret one", "shop")


def test_what_was_loaded_is_there_after_a_restart() -> None:
    server = DurableServer()
    imported(server)
    before = export_definitions(server.broker)
    server = server.restarted(clean=False)
    assert export_definitions(server.broker) == before
    server.connect("seller", "secret one", "shop")


def test_tags_may_be_a_text_with_commas_and_users_may_come_with_passwords(
    server: FakeServer,
) -> None:
    load(server.broker, users=[{"name": "u", "password": "pw", "tags": "a, b"}])
    assert Administration(server.broker).user("u").tags == {"a", "b"}
    load(
        server.broker,
        permissions=[{"user": "u", "vhost": "/", "configure": "", "write": "", "read": ""}],
    )
    server.connect("u", "pw")


def test_a_password_that_is_the_users_already_is_not_hashed_again(server: FakeServer) -> None:
    user = {"name": "u", "password": "pw", "tags": []}
    load(server.broker, users=[user])
    before = Administration(server.broker).user("u").password_hash
    load(server.broker, users=[user])
    assert Administration(server.broker).user("u").password_hash == before


def test_keys_that_are_not_known_are_passed_over(server: FakeServer) -> None:
    load(server.broker, global_parameters=[{"name": "cluster_name", "value": "x"}], new_key=1)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "expected JSON: "),
        ("[]", "the document: expected `object`, got `array`"),
        ('{"users": [{}]}', "users[0]: object missing required field `name`"),
        ('{"queues": [{"name": "q", "vhost": 5}]}', "queues[0].vhost: expected `str`, got `int`"),
    ],
)
def test_what_is_no_definitions_document_is_refused(text: str, fault: str) -> None:
    with pytest.raises(InvalidDefinitions) as refused:
        read_definitions(text)
    assert str(refused.value).startswith(fault)


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"queues": [{"name": "q", "vhost": "nowhere"}]}, "queues[0]: no vhost 'nowhere'"),
        (
            {
                "permissions": [
                    {"user": "x", "vhost": "/", "configure": "", "write": "", "read": ""}
                ]
            },
            "permissions[0]: no user 'x'",
        ),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"x-max-length": -1}}]},
            "queues[0]: invalid arg 'x-max-length' for queue 'q' in vhost '/': {value_negative,-1}",
        ),
        (
            {"users": [{"name": "u", "password_hash": "?"}]},
            "users[0]: a password hash must be base64",
        ),
        (
            {"parameters": [{"vhost": "/", "component": "shovel", "name": "s", "value": {}}]},
            "parameters[0]: component 'shovel' not found",
        ),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"x": 1 << 70}}]},
            "queues[0]: 1180591620717411303424: a number of more than 64 bits",
        ),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"k" * 300: 1}}]},
            "queues[0]: 'kkkkkkkkkkkkkkkkkkkk'...: a name of more than 255 bytes",
        ),
        (
            {"queues": [{"name": "\u00e9" * 200, "vhost": "/"}]},
            "queues[0].name: expected at most 255 bytes of UTF-8",
        ),
        (
            {"vhosts": [{"name": "v", "metadata": {"tags": 5}}]},
            "vhosts[0].metadata.tags: expected `str | array`, got `int`",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(
    server: FakeServer, document: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidDefinitions) as refused:
        load(server.broker, **document)
    assert str(refused.value) == fault


def test_bindings_of_exchanges_that_rabbitmq_did_not_export_are_passed_over(
    server: FakeServer,
) -> None:
    load(
        server.broker,
        queues=[{"vhost": "/", "name": "q"}],
        bindings=[
            {"vhost": "/", "source": source, "destination": "q", "destination_type": "queue"}
            for source in ("internal", "amq.fanout")
        ],
    )
    server.connect().publish(b"m", exchange="amq.fanout")
    assert len(server.broker.vhosts["/"].exchanges["amq.fanout"].bindings) == 1


def test_users_of_the_configuration_file_win_over_the_definitions() -> None:
    rights = ConfiguredPermissions("", "", ".*")
    fixed = User(name="fixed", password="pw", permissions={"/": rights})
    server = FakeServer(Configuration(users=(fixed,)))
    load(
        server.broker,
        users=[{"name": "fixed", "password": "other"}],
        permissions=[{"user": "fixed", "vhost": "/", "configure": ".*", "write": "", "read": ""}],
    )
    server.connect("fixed", "pw")
    assert server.broker.users["fixed"].permissions["/"].patterns == Patterns("", "", ".*")

"""definitions.json: one that a RabbitMQ exported, and our own."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pamqp.commands import Connection

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer
from leveret.amqp.fields import Field
from leveret.amqp.frames import PROTOCOL_HEADER
from leveret.broker.administration import Administration
from leveret.broker.broker import Broker
from leveret.broker.configuration import Configuration, User
from leveret.broker.configuration import Permissions as ConfiguredPermissions
from leveret.broker.definitions_export import export_definitions
from leveret.broker.definitions_file import read_definitions
from leveret.broker.definitions_import import import_definitions
from leveret.broker.permissions import Patterns, TopicPatterns
from memory_disk import MemoryDisk

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


def test_a_vhost_may_be_traced(server: FakeServer) -> None:
    load(server.broker, vhosts=[{"name": "traced", "tracing": True}, {"name": "other"}])
    vhosts = server.broker.vhosts
    assert [vhosts[name].tracing for name in ("traced", "other")] == [True, False]
    exported = json.loads(msgspec.json.encode(export_definitions(server.broker)))
    assert [each.get("tracing") for each in exported["vhosts"]] == [False, False, True]
    load(server.broker, vhosts=[{"name": "traced"}])
    assert vhosts["traced"].tracing
    load(server.broker, vhosts=[{"name": "traced", "tracing": False}])
    assert not vhosts["traced"].tracing


def test_a_password_that_is_the_users_already_is_not_hashed_again(server: FakeServer) -> None:
    user = {"name": "u", "password": "pw", "tags": []}
    load(server.broker, users=[user])
    before = Administration(server.broker).user("u").password_hash
    load(server.broker, users=[user])
    assert Administration(server.broker).user("u").password_hash == before


def test_keys_that_are_not_known_are_passed_over(server: FakeServer) -> None:
    load(server.broker, new_key=1, users=[{"name": "u", "tags": "", "new_key": 2}])


@pytest.mark.parametrize("clean", [True, False])
def test_global_parameters_are_kept_and_exported(clean: bool) -> None:
    server = DurableServer()
    values = [
        {"name": "cluster_name", "value": "farm"},
        {"name": "mqtt_port_to_vhost_mapping", "value": {"1883": "/", "8883": ["a", 1.5, None]}},
    ]
    load(server.broker, global_parameters=values)
    server.end_turn()
    server = server.restarted(clean=clean)
    exported = msgspec.to_builtins(export_definitions(server.broker))
    assert exported["global_parameters"] == values
    client = server.accept()
    client.feed(PROTOCOL_HEADER)
    assert client.expect(Connection.Start, 0).server_properties["cluster_name"] == "farm"


def test_priorities_may_be_fractions(server: FakeServer) -> None:
    policy = {
        "vhost": "/",
        "name": "p",
        "pattern": "q",
        "definition": {"max-length": 1},
        "priority": 1.5,
        "apply-to": "queues",
    }
    operators = {"vhost": "/", "component": "operator_policy", "name": "o", "value": policy}
    del operators["value"]["vhost"], operators["value"]["name"]
    load(server.broker, policies=[policy | {"vhost": "/", "name": "p"}], parameters=[operators])
    exported = msgspec.to_builtins(export_definitions(server.broker))
    assert exported["policies"][0]["priority"] == 1.5
    assert exported["parameters"][0]["value"]["priority"] == 1.5


def test_a_crash_leaves_all_of_a_document_or_nothing() -> None:
    server = DurableServer()
    before = {name: len(data) for name, data in server.disk.files().items()}
    names = [f"v{each}" for each in range(400)]
    load(server.broker, vhosts=[{"name": name} for name in names])
    server.end_turn()
    files = server.disk.files()
    (grown,) = [name for name, data in files.items() if len(data) > before.get(name, 0)]
    size, seen = len(files[grown]), set[int]()
    for cut in range(0, size - before[grown], 997):
        left = {**files, grown: files[grown][: size - cut]}
        found = set(DurableServer(MemoryDisk(left)).broker.vhosts) - {"/"}
        seen.add(len(found))
    assert seen == {0, len(names)}


def test_what_is_there_already_is_left_as_it_is(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = server.connect()
    client.declare("q")
    client.declare("own", exclusive=True)
    client.publish(b"m", "q")
    load(
        server.broker,
        queues=[
            {"vhost": "/", "name": "q", "durable": True},
            {"vhost": "/", "name": "own"},
            {"vhost": "/", "name": "amq.gen-1"},
        ],
        exchanges=[{"vhost": "/", "name": "amq.topic", "type": "direct"}],
    )
    assert client.ready_in("q") == 1
    assert not server.broker.vhosts["/"].queues["q"].durable
    assert "amq.gen-1" not in server.broker.vhosts["/"].queues
    assert [record.getMessage() for record in caplog.records] == [
        "passed over an exchange whose name begins with 'amq.'",
        "left a queue as it is, which is there and differs",
        "left a queue as it is, which is there and differs",
        "passed over a queue whose name begins with 'amq.'",
    ]


def test_limits_of_a_user_stay_unless_the_document_has_others(server: FakeServer) -> None:
    load(server.broker, users=[{"name": "u", "tags": "", "limits": {"max-channels": 3}}])
    load(server.broker, users=[{"name": "u", "tags": "management"}])
    load(server.broker, users=[{"name": "u", "tags": "management", "limits": {}}])
    assert server.broker.users["u"].limits == {"max-channels": 3}
    load(server.broker, users=[{"name": "u", "tags": "", "limits": {"max-connections": 2}}])
    assert server.broker.users["u"].limits == {"max-channels": 3, "max-connections": 2}


def test_the_definitions_of_a_vhost_go_into_another(server: FakeServer) -> None:
    administration = imported(server)
    text = msgspec.json.encode(administration.export_definitions(vhost="shop"))
    administration.set_vhost("copy")
    administration.import_definitions(read_definitions(text, vhost="copy"))
    assert sorted(administration.vhost("copy").queues) == sorted(
        administration.vhost("shop").queues
    )
    assert administration.vhost("copy").settings.limits == {"max-queues": 50}
    assert len(administration.bindings("copy")) == 3


def test_a_vhost_is_not_given_what_is_not_of_a_vhost(server: FakeServer) -> None:
    text = json.dumps({"users": [{"name": "u"}], "queues": [{"name": "q"}]})
    import_definitions(server.broker, read_definitions(text, vhost="/"))
    assert list(server.broker.vhosts["/"].queues) == ["q"]
    assert "u" not in server.broker.users


def test_a_queue_stays_what_it_is_where_the_default_type_is_another(server: FakeServer) -> None:
    administration = Administration(server.broker)
    administration.declare_queue("/", "q")
    administration.set_vhost("/", default_queue_type="quorum")
    administration.declare_queue("/", "quorum")
    other = Administration(FakeServer().broker)
    for place in (other, administration):
        place.import_definitions(administration.export_definitions())
        types = [queue.type for queue in place.queue_statistics("/")]
        assert types == ["classic", "quorum"]


def test_what_json_cannot_have_is_left_out_of_an_export(
    client: FakeClient, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    client.declare("q", durable=True)
    vhost = server.broker.vhosts["/"]
    for name, arguments in {"\udcff": {}, "q2": {"x-mine": Field("S", b"\xff")}}.items():
        vhost.declare_queue(name, durable=True, auto_delete=False, owner=None, arguments=arguments)
    vhost.bind(vhost.exchanges["amq.topic"], vhost.queues["q"], "\udcff", {})
    exported = json.loads(msgspec.json.encode(export_definitions(server.broker)))
    assert [queue["name"] for queue in exported["queues"]] == ["q"]
    assert exported["bindings"] == []
    assert caplog.text.count("cannot export what is not UTF-8") == 3


def test_an_export_has_no_keys_that_rabbitmq_stumbles_over(server: FakeServer) -> None:
    load(server.broker, users=[{"name": "u", "tags": ""}])
    exported = json.loads(msgspec.json.encode(export_definitions(server.broker)))
    assert all("password" not in user and user["limits"] == {} for user in exported["users"])


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

"""Definitions with faults: nothing of them is done, and the place of the fault is told."""

import json
from typing import Any

import pytest

from durable_server import DurableServer
from fake_client import FakeServer
from leveret.broker.administration import Administration
from leveret.broker.broker import Broker
from leveret.broker.definitions_export import export_definitions
from leveret.broker.definitions_file import InvalidDefinitions, read_definitions
from leveret.broker.definitions_import import import_definitions


def load(broker: Broker, **document: Any) -> None:
    import_definitions(broker, read_definitions(json.dumps(document)))


FAULTY = [
    ("users", {"name": "bad", "password": "a", "password_hash": "b"}),
    ("vhosts", {"name": "bad", "metadata": {"default_queue_type": "fancy"}}),
    ("permissions", {"user": "new", "vhost": "bad", "configure": "", "write": "", "read": ""}),
    (
        "topic_permissions",
        {"user": "new", "vhost": "/", "exchange": "amq.topic", "write": "(", "read": ""},
    ),
    ("policies", {"vhost": "/", "name": "bad", "pattern": "(", "definition": {"max-length": 1}}),
    ("parameters", {"vhost": "/", "component": "federation", "name": "bad", "value": {}}),
    ("exchanges", {"vhost": "/", "name": "bad", "type": "fancy"}),
    ("queues", {"vhost": "new", "name": "bad", "arguments": {"x-max-length": "x"}}),
    (
        "bindings",
        {"vhost": "new", "source": "hash", "destination": "q", "destination_type": "queue"},
    ),
]


@pytest.mark.parametrize(("kind", "entry"), FAULTY, ids=[kind for kind, _ in FAULTY])
def test_a_document_with_a_fault_changes_nothing_at_all(kind: str, entry: dict[str, Any]) -> None:
    server = DurableServer()
    client = server.connect()
    client.declare("kept", durable=True)
    for _ in range(3):
        client.publish(b"m", "kept", delivery_mode=2)
    before, position = export_definitions(server.broker), server.journal.position
    document: dict[str, Any] = {
        "users": [{"name": "new", "password": "pw"}, {"name": "guest", "password_hash": ""}],
        "vhosts": [{"name": "new"}, {"name": "/", "tracing": True}],
        "permissions": [
            {"user": "new", "vhost": "new", "configure": "", "write": "", "read": ""},
            {"user": "guest", "vhost": "/", "configure": "", "write": "", "read": ""},
        ],
        "policies": [{"vhost": "/", "name": "p", "pattern": "", "definition": {"max-length": 1}}],
        "global_parameters": [{"name": "cluster_name", "value": "farm"}],
        "exchanges": [{"vhost": "new", "name": "hash", "type": "x-consistent-hash"}],
        "queues": [{"vhost": "new", "name": "q"}, {"vhost": "/", "name": "q"}],
        "bindings": [
            {
                "vhost": "/",
                "source": "amq.fanout",
                "destination": "kept",
                "destination_type": "queue",
            }
        ],
    }
    document[kind] = [*document.get(kind, []), entry]
    with pytest.raises(InvalidDefinitions, match=rf"^{kind}\[{len(document[kind]) - 1}\] '"):
        load(server.broker, **document)
    server.end_turn()
    assert export_definitions(server.broker) == before
    assert server.journal.position == position
    assert client.ready_in("kept") == 3


@pytest.mark.parametrize("fault", [False, True])
def test_whatever_is_there_can_be_rehearsed_with(fault: bool) -> None:
    server = DurableServer()
    client = server.connect()
    for kind in ("classic", "quorum", "stream"):
        client.declare(kind, durable=True, arguments={"x-queue-type": kind})
        client.publish(b"m", kind, delivery_mode=2)
    client.declare("priority", arguments={"x-max-priority": 3, "x-expires": 1000})
    client.declare("own", exclusive=True)
    client.publish(b"m", "priority", expiration="500")
    load(
        server.broker,
        exchanges=[
            {"vhost": "/", "name": name, "type": f"x-{name}", "arguments": arguments}
            for name, arguments in {
                "delayed-message": {"x-delayed-type": "direct"},
                "recent-history": {},
                "message-deduplication": {"x-cache-size": 3},
                "consistent-hash": {"alternate-exchange": "amq.fanout"},
            }.items()
        ],
        policies=[{"vhost": "/", "name": "p", "pattern": "", "definition": {"delivery-limit": 3}}],
    )
    before = export_definitions(server.broker)
    kinds = [queue for queue in server.broker.vhosts["/"].queues if queue != "own"]
    document: dict[str, Any] = {
        "bindings": [
            {
                "vhost": "/",
                "source": exchange,
                "destination": queue,
                "destination_type": "queue",
                "routing_key": "1",
            }
            for exchange in ("delayed-message", "recent-history", "consistent-hash", "amq.topic")
            for queue in kinds
        ]
    }
    if fault:
        document["queues"] = [{"vhost": "/", "name": "q", "arguments": {"x-expires": 0}}]
        with pytest.raises(InvalidDefinitions):
            load(server.broker, **document)
        assert export_definitions(server.broker) == before
    else:
        load(server.broker, **document)
        assert len(Administration(server.broker).bindings("/")) == 4 * len(kinds)
    assert client.ready_in("quorum") == 1
    server.advance(0.6)
    assert client.ready_in("priority") == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "expected JSON: "),
        ("[]", "the document: expected `object`, got `array`"),
        ("[" * 100_000, "the document: nested too deeply"),
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
        ({"queues": [{"name": "q", "vhost": "nowhere"}]}, "queues[0] 'q': no vhost 'nowhere'"),
        (
            {
                "permissions": [
                    {"user": "x", "vhost": "/", "configure": "", "write": "", "read": ""}
                ]
            },
            "permissions[0] 'x': no user 'x'",
        ),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"x-max-length": -1}}]},
            "queues[0] 'q': invalid arg 'x-max-length' for queue 'q' in vhost '/':"
            " {value_negative,-1}",
        ),
        (
            {"users": [{"name": "u", "password_hash": "?"}]},
            "users[0] 'u': a password hash must be base64",
        ),
        (
            {"parameters": [{"vhost": "/", "component": "shovel", "name": "s", "value": {}}]},
            "parameters[0] 's': component 'shovel' not found: leveret has no such plug-in",
        ),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"x": 1 << 70}}]},
            "queues[0] 'q': 1180591620717411303424: a number of more than 64 bits",
        ),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"k" * 300: 1}}]},
            "queues[0] 'q': 'kkkkkkkkkkkkkkkkkkkk'...: a name of more than 255 bytes",
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

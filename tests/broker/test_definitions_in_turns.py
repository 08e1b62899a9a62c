"""A definitions document with very much in it is imported bit by bit, and others are served in
between.
"""

import json
from typing import Any

import pytest
from pamqp.commands import Basic, Confirm

from durable_server import DurableServer
from fake_client import FakeServer, encoded, message
from leveret.broker.administration import Administration
from leveret.broker.definitions_export import export_definitions
from leveret.broker.definitions_file import DefinitionsFile, InvalidDefinitions, read_definitions
from leveret.broker.definitions_import import import_definitions
from leveret.broker.turn_bounds import TurnBounds

TEN_AT_ONCE = TurnBounds(imported=10)
RIGHTS = ("configure", "write", "read")
QUEUES = [f"q{number:02}" for number in range(30)]


@pytest.fixture
def server() -> DurableServer:
    return DurableServer(turn_bounds=TEN_AT_ONCE)


def document(**others: Any) -> DefinitionsFile:
    """Thirty bound queues and a policy, in a vhost of their own."""
    entries = {
        "vhosts": [{"name": "shop"}],
        "permissions": [
            {"user": "guest", "vhost": "shop", "configure": "", "write": ".*", "read": ".*"}
        ],
        "policies": [
            {"vhost": "shop", "name": "p", "pattern": "^q0", "definition": {"max-length": 3}}
        ],
        "queues": [{"name": queue, "vhost": "shop"} for queue in QUEUES],
        "bindings": [
            {
                "vhost": "shop",
                "source": "amq.topic",
                "destination": queue,
                "destination_type": "queue",
                "routing_key": "all.#",
            }
            for queue in QUEUES
        ],
    }
    return read_definitions(json.dumps({**entries, **others}))


def begin(server: FakeServer, what: DefinitionsFile) -> list[Exception | None]:
    """Begin to import; what is called at the end shows in the list."""
    ended: list[Exception | None] = []
    Administration(server.broker).import_in_turns(what, ended.append)
    return ended


def turns(server: FakeServer, most: int = 1000) -> int:
    """Have turns as long as there is something to do; how many."""
    count = 0
    while server.broker.dirty and count < most:
        server.broker.finish_turn()
        for connection in server.broker.take_touched():
            connection.transport.flush()
        count += 1
    return count


def queues_of(server: FakeServer) -> list[str]:
    vhost = server.broker.vhosts.get("shop")
    return [] if vhost is None else sorted(vhost.queues)


def test_it_takes_several_turns_and_comes_to_the_same(server: DurableServer) -> None:
    ended, other = begin(server, document()), DurableServer()
    assert turns(server) == 13  # 63 entries, tried and done
    assert ended == [None]
    import_definitions(other.broker, document())
    assert export_definitions(server.broker) == export_definitions(other.broker)
    server.end_turn()
    again = server.restarted()
    assert export_definitions(again.broker) == export_definitions(other.broker)


def test_what_there_is_of_the_broker_is_looked_at_in_several_turns_too(
    server: DurableServer,
) -> None:
    import_definitions(server.broker, document())
    ended = begin(server, document())
    assert turns(server) == 16  # and 30 queues that are there
    assert ended == [None]


def test_others_are_served_in_between_and_use_what_there_is(server: DurableServer) -> None:
    import_definitions(server.broker, document(queues=[], bindings=[]))
    client = server.connect(vhost="shop")
    ended = begin(server, document())
    while not queues_of(server):
        turns(server, 1)
    there = queues_of(server)
    assert len(there) < len(QUEUES)
    client.connection.receive(message(b"x", there[0]) + encoded(Basic.Get(queue=there[0])))
    turns(server, 1)
    assert client.expect_content(Basic.GetOk).body == b"x"
    assert not ended


def test_what_is_no_good_changes_nothing(server: DurableServer) -> None:
    before = export_definitions(server.broker)
    binding = {"vhost": "shop", "source": "amq.topic", "destination": "q01"}
    bindings = [{**binding, "destination_type": "queues"}]
    (fault,) = begin_and_end(server, document(bindings=bindings))
    assert isinstance(fault, InvalidDefinitions)
    assert "bindings[0] 'amq.topic' 'q01': destination_type must be queue or exchange" in str(fault)
    assert export_definitions(server.broker) == before
    assert begin_and_end(server, document()) == [None]


def begin_and_end(server: FakeServer, what: DefinitionsFile) -> list[Exception | None]:
    ended = begin(server, what)
    server.end_turn()
    return ended


def test_a_crash_before_the_end_leaves_nothing_of_it(server: DurableServer) -> None:
    client = server.connect()
    client.request(Confirm.Select(), Confirm.SelectOk)
    client.declare("mine", durable=True)
    begin(server, document())
    while not queues_of(server):
        turns(server, 1)
    client.connection.receive(message(b"x", "mine", delivery_mode=2))
    server.broker.finish_turn()
    assert not server.journal.has_work  # nothing that may be written
    assert not client.received()
    again = DurableServer(server.disk.crash(lambda choices: 0))
    assert sorted(again.broker.vhosts) == ["/"]
    server.end_turn()
    client.expect(Basic.Ack)
    again = server.restarted(clean=False)
    assert queues_of(again) == QUEUES
    assert again.connect().ready_in("mine") == 1


def test_what_others_delete_meanwhile_stays_deleted(
    server: DurableServer, caplog: pytest.LogCaptureFixture
) -> None:
    ended = begin(server, document())
    while not queues_of(server):
        turns(server, 1)
    Administration(server.broker).delete_vhost("shop")
    server.end_turn()
    assert ended == [None]
    assert sorted(server.broker.vhosts) == ["/"]
    assert "passed over what cannot be any more" in caplog.text
    assert sorted(server.restarted().broker.vhosts) == ["/"]


def test_what_others_add_meanwhile_can_be_referred_to(server: DurableServer) -> None:
    admin = Administration(server.broker)
    admin.set_vhost("shop")
    import_definitions(server.broker, document())  # so that looking at it takes some turns
    ended = begin(
        server,
        document(
            permissions=[{"user": "late", "vhost": "later"} | dict.fromkeys(RIGHTS, ".*")],
            queues=[{"name": "q", "vhost": "later"}],
            bindings=[],
        ),
    )
    turns(server, 1)
    admin.set_vhost("later")
    admin.set_user("late", "secret")
    server.end_turn()
    assert ended == [None]
    assert sorted(server.broker.vhosts["later"].queues) == ["q"]
    assert sorted(server.broker.users["late"].permissions) == ["later"]


def test_what_others_declare_meanwhile_is_taken_as_it_is(server: DurableServer) -> None:
    ended = begin(server, document())
    turns(server, 1)
    vhost = Administration(server.broker).set_vhost("shop")
    vhost.declare_queue(QUEUES[5], durable=False, auto_delete=False, owner=None, arguments={})
    server.end_turn()
    assert ended == [None]
    assert queues_of(server) == QUEUES
    assert [queue.name for queue in vhost.queues.values() if not queue.durable] == [QUEUES[5]]


def test_imports_come_one_after_the_other(server: DurableServer) -> None:
    first = begin(server, document())
    second = begin(server, document(queues=[{"name": "last", "vhost": "shop"}]))
    while not first:
        turns(server, 1)
    assert queues_of(server) == QUEUES
    server.end_turn()
    assert second == [None]
    assert queues_of(server) == ["last", *QUEUES]


def test_a_broker_that_stops_finishes_it(server: DurableServer) -> None:
    ended = begin(server, document())
    turns(server, 2)
    assert queues_of(server.restarted()) == QUEUES
    assert ended == [None]

"""A vhost with very much in it is gone at once; what was in it goes bit by bit."""

import itertools

import pytest

from durable_server import DurableServer
from fake_client import message, refused_open
from leveret.broker import clearing, vhost_deletion
from leveret.broker.administration import Administration
from leveret.broker.permissions import Patterns

ALL = Patterns(".*", ".*", ".*")
QUEUES = [f"q{number}" for number in range(25)]


@pytest.fixture(autouse=True)
def ten_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vhost_deletion, "DELETED_AT_ONCE", 10)
    monkeypatch.setattr(clearing, "CLEARED_AT_ONCE", 10)


def operator_of(server: DurableServer) -> Administration:
    return Administration(server.broker)


def server_with_shop() -> DurableServer:
    """A server with a vhost that has queues with messages, bindings and policies."""
    server = DurableServer()
    make_shop(server)
    return server


def make_shop(server: DurableServer) -> None:
    operator = operator_of(server)
    operator.set_vhost("shop")
    operator.set_permissions("guest", "shop", ALL)
    operator.set_policy("shop", "limit", ".*", {"max-length": 100})
    operator.declare_exchange("shop", "x", "direct")
    client = server.connect("guest", "guest", "shop")
    for queue in QUEUES:
        client.declare(queue, durable=True)
        client.bind(queue, "x", queue)
        client.feed(message(b"x", queue, delivery_mode=2) * 3)
    server.end_turn()


def sync(server: DurableServer) -> None:
    """Have all that is done on disk, without another turn."""
    while (batch := server.journal.take_batch()) is not None:
        batch.write_and_sync()
        server.broker.synced(server.journal.synced(batch))


def defined_in_shop(server: DurableServer) -> list[bytes]:
    return [key for key in server.journal.definitions() if b'"shop"' in key]


def test_it_is_gone_at_once_and_what_was_in_it_in_the_turns_that_follow() -> None:
    server = server_with_shop()
    vhost = server.broker.vhosts["shop"]
    operator_of(server).delete_vhost("shop")
    assert list(server.broker.vhosts) == ["/"]
    left = list[int]()
    while vhost.queues:
        left.append(len(defined_in_shop(server)))
        server.one_turn()
    assert max(before - after for before, after in itertools.pairwise(left)) <= 10
    assert len(left) > 4
    refused_open(server, "guest", "guest", "shop")
    assert not defined_in_shop(server)
    assert not server.broker.vhost_deletions
    assert not server.journal.index.by_owner()


def test_others_are_served_meanwhile() -> None:
    server = server_with_shop()
    other = server.connect()
    operator_of(server).delete_vhost("shop")
    other.declare("q")
    assert server.broker.vhosts["/"].queues.keys() == {"q"}


@pytest.mark.parametrize("turns", range(0, 9, 2))
@pytest.mark.parametrize("clean", [False, True])
def test_it_stays_gone_as_a_whole_if_the_broker_ends_meanwhile(turns: int, clean: bool) -> None:
    server = server_with_shop()
    operator_of(server).delete_vhost("shop")
    for _ in range(turns):
        server.one_turn()
    sync(server)
    server = server.restarted(clean=clean)
    assert list(server.broker.vhosts) == ["/"]
    assert not defined_in_shop(server)
    assert not server.journal.index.by_owner()
    operator_of(server).set_vhost("shop")
    server.end_turn()
    vhost = server.restarted(clean=clean).broker.vhosts["shop"]
    assert not vhost.queues
    assert not vhost.policies.all()
    assert "x" not in vhost.exchanges


def test_a_vhost_of_the_same_name_can_be_made_at_once_and_is_another_one() -> None:
    server = server_with_shop()
    operator = operator_of(server)
    operator.delete_vhost("shop")
    vhost = operator.set_vhost("shop")
    assert not vhost.queues
    assert operator.queues("shop") == operator.policies("shop") == []
    make_shop(server)
    server.end_turn()
    assert not server.broker.dirty
    server = server.restarted(clean=False)
    client = server.connect("guest", "guest", "shop")
    assert [client.ready_in(queue) for queue in QUEUES] == [3] * len(QUEUES)
    client.publish(b"m", QUEUES[0], exchange="x")
    assert client.ready_in(QUEUES[0]) == 4


def test_it_can_be_deleted_and_made_again_and_again() -> None:
    server = server_with_shop()
    operator = operator_of(server)
    for _ in range(3):
        operator.delete_vhost("shop")
        operator.set_vhost("shop")
        operator.declare_queue("shop", "q")
    operator.delete_vhost("shop")
    server.end_turn()
    assert not server.broker.dirty
    assert not defined_in_shop(server)


def test_a_vhost_that_every_new_broker_has_stays_deleted_too() -> None:
    server = DurableServer()
    client = server.connect()
    for queue in QUEUES:
        client.declare(queue, durable=True)
    operator_of(server).delete_vhost("/")
    sync(server)
    server = server.restarted(clean=False)
    assert not server.broker.vhosts
    operator_of(server).set_vhost("/")
    server.end_turn()
    assert not server.restarted(clean=False).broker.vhosts["/"].queues


def test_what_dies_meanwhile_goes_nowhere() -> None:
    server = DurableServer()
    operator = operator_of(server)
    client = server.connect()
    client.declare("dead", durable=True)
    dies = {"x-message-ttl": 5, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    for queue in QUEUES:
        client.declare(queue, durable=True, arguments=dies)
        client.feed(message(b"x", queue, delivery_mode=2))
    operator.delete_vhost("/")
    while server.broker.dirty:
        server.advance(1)
    server.end_turn()
    assert not server.journal.index.by_owner()


def test_exclusive_queues_of_its_connections_go_with_it() -> None:
    server = DurableServer()
    client = server.connect()
    for queue in QUEUES:
        client.declare(queue, exclusive=True)
        client.bind(queue, "amq.topic", queue)
    vhost = server.broker.vhosts["/"]
    operator_of(server).delete_vhost("/")
    server.end_turn()
    assert not vhost.queues
    assert not server.broker.dirty

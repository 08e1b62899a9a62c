"""Policies and operator policies: which one counts, for how long, and what takes turns."""

import pytest
from pamqp.commands import Basic

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer
from leveret.broker import features
from leveret.broker.policy_checks import checked_policy
from policy_setting import bodies, delete_policy, policies, publish, set_policy

# --- which policy counts ----------------------------------------------------------------------


def test_policies_hold_for_what_is_declared_later(server: FakeServer, client: FakeClient):
    set_policy(server, {"max-length": 1})
    client.declare()
    publish(client, 3)
    assert client.ready_in("q") == 1


def test_only_the_matching_policy_of_highest_priority_counts(
    server: FakeServer, client: FakeClient
):
    client.declare()
    set_policy(server, {"max-length": 1}, name="low", priority=1)
    set_policy(server, {"message-ttl": 1000}, name="high", priority=2)
    set_policy(server, {"max-length": 0}, "other", name="other", priority=3)
    publish(client, 3)
    assert client.ready_in("q") == 3
    server.advance(1)
    assert client.ready_in("q") == 0
    delete_policy(server, "high")
    publish(client, 3)
    assert client.ready_in("q") == 1


def test_of_equal_priorities_the_first_name_counts(server: FakeServer, client: FakeClient):
    client.declare()
    for name, length in (("b", 2), ("a", 1), ("c", 3)):
        set_policy(server, {"max-length": length}, name=name)
    publish(client, 5)
    assert client.ready_in("q") == 1


@pytest.mark.parametrize(
    ("applies_to", "left"),
    [("all", 1), ("queues", 1), ("classic_queues", 1)]
    + [(kind, 3) for kind in ("exchanges", "quorum_queues", "streams")],
)
def test_a_policy_applies_to_what_it_says(
    server: FakeServer, client: FakeClient, applies_to: str, left: int
):
    set_policy(server, {"max-length": 1}, applies_to=applies_to)
    client.declare()
    publish(client, 3)
    assert client.ready_in("q") == left


def test_a_policy_with_a_key_of_other_queue_types_does_not_match(
    server: FakeServer, client: FakeClient
):
    client.declare()
    set_policy(server, {"max-length": 1, "delivery-limit": 3}, name="quorum", priority=9)
    set_policy(server, {"max-length": 2})
    publish(client, 5)
    assert client.ready_in("q") == 2


def test_keys_about_clusters_and_storage_have_no_effect(server: FakeServer, client: FakeClient):
    client.declare()
    set_policy(
        server,
        {"ha-mode": "exactly", "ha-params": 2, "ha-sync-mode": "automatic", "queue-mode": "lazy"}
        | {"queue-version": 2, "queue-master-locator": "min-masters", "max-length": 1},
    )
    publish(client, 2)
    assert client.ready_in("q") == 1


# --- restart ----------------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
def test_policies_survive_a_restart_and_hold_for_what_comes_back(clean: bool):
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True)
    client.bind("q", "amq.fanout")
    set_policy(server, {"max-length": 2, "alternate-exchange": "amq.fanout"}, priority=3)
    set_policy(server, {"max-length": 9}, name="gone", priority=9)
    delete_policy(server, "gone")
    set_policy(server, {"max-length-bytes": 2}, operator=True)
    before = policies(server)
    server = server.restarted(clean=clean)
    assert policies(server).all() == before.all()
    assert policies(server).all(operator=True) == before.all(operator=True)
    client = server.connect()
    client.publish(b"a", "", exchange="amq.topic")
    client.publish(b"b", "", exchange="amq.direct")
    client.publish(b"c", "q")
    assert bodies(client) == [b"b", b"c"]
    client.publish(b"large", "q")
    assert client.ready_in("q") == 0


def test_limit_of_a_policy_is_kept_by_what_comes_back():
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True)
    set_policy(server, {"max-length-bytes": 3})
    for number in range(5):
        client.publish(b"%d" % number, "q", delivery_mode=2)
    server = server.restarted()
    client = server.connect()
    client.publish(b"5", "q")
    assert bodies(client) == [b"3", b"4", b"5"]


# --- holding policies -------------------------------------------------------------------------


def test_policies_are_listed_replaced_and_deleted(server: FakeServer):
    set_policy(server, {"max-length": 1}, name="b")
    set_policy(server, {"max-length": 2}, name="a")
    set_policy(server, {"max-length": 3}, name="b")
    set_policy(server, {"max-length": 4}, name="b", operator=True)
    found = [(each.name, each.definition["max-length"]) for each in policies(server).all()]
    assert found == [("a", 2), ("b", 3)]
    assert [each.name for each in policies(server).all(operator=True)] == ["b"]
    assert not policies(server).delete("a", operator=True)
    delete_policy(server, "b", operator=True)
    assert policies(server).get("b", operator=True) is None
    assert policies(server).get("b") is not None


def test_policies_of_a_vhost_that_is_deleted_are_gone_for_good():
    server = DurableServer()
    set_policy(server, {"max-length": 1})
    set_policy(server, {"max-length": 4}, operator=True)
    assert sum(1 for _ in policies(server).take_away()) == 2
    assert not policies(server).all()
    server.end_turn()
    server = server.restarted()
    assert not policies(server).all()
    assert not policies(server).all(operator=True)


def test_a_limit_far_below_what_a_queue_holds_is_reached_in_several_turns(
    server: FakeServer, client: FakeClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(features, "DEAD_AT_ONCE", 3)
    client.declare("dlq")
    client.declare()
    publish(client, 10)
    definition = {"max-length": 1, "dead-letter-exchange": "", "dead-letter-routing-key": "dlq"}
    policy = checked_policy("policy", "^q$", definition)
    policies(server).set(policy)
    queues = server.broker.vhosts["/"].queues
    counts: list[int] = []
    while not counts or server.broker.dirty:
        server.broker.finish_turn()
        counts.append(queues["q"].message_count)
    assert counts == [7, 4, 1]
    assert len(bodies(client, "dlq")) == 9


@pytest.mark.parametrize("dead_at_once", [1, 200])
def test_of_what_messages_die_does_not_depend_on_how_many_turns_it_takes(
    server: FakeServer, client: FakeClient, dead_at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(features, "DEAD_AT_ONCE", dead_at_once)
    client.declare("dlq")
    client.declare()
    client.publish(b"stays", "q")
    for number in range(5):
        client.publish(b"%d" % number, "q", expiration="10")
    server.advance(0.02)  # overdue, but not the first
    definition = {"max-length": 3, "dead-letter-exchange": "", "dead-letter-routing-key": "dlq"}
    policies(server).set(checked_policy("policy", "^q$", definition))
    server.end_turn()
    server.advance(0.001)
    letters = [client.get("dlq", no_ack=True) for _ in range(6)]
    assert [letter.headers["x-first-death-reason"] for letter in letters] == [
        *["maxlen"] * 3,
        *["expired"] * 3,
    ]


def test_many_bytes_give_way_in_several_turns(
    server: FakeServer, client: FakeClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(features, "DROPPED_BYTES", 1)
    client.declare()
    publish(client, 3)
    policies(server).set(checked_policy("policy", "^q$", {"max-length-bytes": 0}))
    server.broker.finish_turn()
    assert server.broker.vhosts["/"].queues["q"].message_count == 2
    server.end_turn()
    server.end_turn()
    assert client.ready_in("q") == 0


def test_the_largest_numbers_do_no_harm(server: FakeServer, client: FakeClient):
    client.declare()
    largest = (1 << 63) - 1
    set_policy(server, dict.fromkeys(("expires", "message-ttl", "max-length-bytes"), largest))
    publish(client, 1)
    server.advance(1_000_000)
    assert bodies(client) == [b"0"]


def test_a_message_that_comes_back_keeps_the_time_that_it_was_published_with(
    server: FakeServer, client: FakeClient
):
    client.declare()
    publish(client, 1)
    server.advance(1)
    tag = client.get().call.delivery_tag
    set_policy(server, {"message-ttl": 1_000})
    client.send(Basic.Nack(tag, requeue=True))
    server.advance(10)
    assert client.ready_in("q") == 1


def test_times_of_priority_queues_change_as_well(server: FakeServer, client: FakeClient):
    client.declare(arguments={"x-max-priority": 3})
    publish(client, 1)
    server.advance(1)
    set_policy(server, {"message-ttl": 1_000, "max-length": 3})
    for priority in (1, 2, 3):
        client.publish(b"%d" % priority, "q", priority=priority)
    assert client.ready_in("q") == 3
    server.advance(1)
    assert bodies(client) == [b"0"]


def test_consumers_get_messages_whatever_changes_meanwhile(server: FakeServer, client: FakeClient):
    client.declare()
    client.consume(no_ack=True)
    for definition in ({"message-ttl": 0}, {"max-length-bytes": 9}, {"max-length": 0}):
        set_policy(server, definition)
        publish(client, 3)
        delete_policy(server)
        publish(client, 2)
        assert len(client.bodies()) == 5

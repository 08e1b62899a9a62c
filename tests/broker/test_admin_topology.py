"""Exchanges, queues and bindings by an operator, without a channel."""

from collections.abc import Callable
from typing import Any

import pytest
from pamqp.commands import Basic, Tx

from durable_server import DurableServer
from fake_client import FakeServer, message
from leveret.broker.administration import Administration, Invalid, NoSuchThing


@pytest.mark.parametrize("clean", [True, False])
def test_what_is_declared_is_there_for_clients_and_after_a_restart(clean: bool) -> None:
    server = DurableServer()
    administration = Administration(server.broker)
    administration.declare_exchange("/", "x", "topic", arguments={"alternate-exchange": "y"})
    administration.declare_exchange("/", "y", "fanout")
    administration.declare_queue("/", "q", arguments={"x-max-length": 1})
    administration.bind("/", "x", "q", "a.*")
    administration.bind("/", "x", "y", "b.*", to_exchange=True)
    administration.bind("/", "y", "q")
    server.end_turn()
    server = server.restarted(clean=clean)
    administration = Administration(server.broker)
    client = server.connect()
    for key in ("a.1", "b.1", "c"):
        client.publish(b"m", key, exchange="x")
    assert client.ready_in("q") == 1
    assert administration.exchange("/", "x").alternate == "y"
    assert [queue.name for queue in administration.queues("/")] == ["q"]
    assert {"", "amq.topic", "x", "y"} < {each.name for each in administration.exchanges("/")}
    assert [each.routing_key for each in administration.bindings("/", source="x")] == ["a.*", "b.*"]
    assert len(administration.bindings("/")) == 3


@pytest.mark.parametrize("depth", [64, 65, 1000])
def test_arguments_that_could_not_be_read_back_are_refused(depth: int) -> None:
    nested: Any = 1
    for _ in range(depth):
        nested = {"in": nested}
    server = DurableServer()
    administration = Administration(server.broker)
    if depth > 64:
        with pytest.raises(Invalid, match="nested too deeply"):
            administration.declare_queue("/", "q", arguments={"x": nested})
        with pytest.raises(Invalid, match="nested too deeply"):
            administration.declare_queue("/", "q", arguments={"x": [nested]})
    else:
        administration.declare_queue("/", "q", arguments={"x": nested})
    server.end_turn()
    assert ("q" in server.restarted().broker.vhosts["/"].queues) is (depth <= 64)


def test_what_is_deleted_is_gone(server: FakeServer, administration: Administration) -> None:
    client = server.connect()
    client.declare("q")
    client.consume("q")
    client.publish(b"m", "q")
    client.received()
    administration.declare_exchange("/", "x", "direct")
    administration.bind("/", "x", "q", "k", {"a": [1, {"b": None}]})
    with pytest.raises(NoSuchThing):
        administration.unbind("/", "x", "q", "k")
    administration.unbind("/", "x", "q", "k", {"a": [1, {"b": None}]})
    assert administration.bindings("/") == []
    administration.delete_exchange("/", "x")
    assert administration.delete_queue("/", "q") == 0
    server.end_turn()
    client.expect(Basic.Cancel)
    for look in (administration.exchange, administration.queue):
        with pytest.raises(NoSuchThing):
            look("/", "x")


def test_a_binding_of_a_client_is_taken_away_whatever_the_width_of_its_numbers(
    server: FakeServer, administration: Administration
) -> None:
    client = server.connect()
    client.declare("q")
    client.bind("q", "amq.headers", "", **{"x-match": "all", "size": 3})
    administration.unbind("/", "amq.headers", "q", "", {"x-match": "all", "size": 3})
    assert administration.bindings("/") == []


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda a: a.declare_queue("/", "amq.q"), "contains reserved prefix"),
        (lambda a: a.declare_queue("/", "q", durable=True), "inequivalent arg 'durable'"),
        (lambda a: a.declare_queue("/", "own"), "cannot obtain exclusive access"),
        (lambda a: a.declare_queue("/", "x" * 256), "between 1 and 255 bytes"),
        (lambda a: a.declare_queue("/", ""), "between 1 and 255 bytes"),
        (lambda a: a.declare_queue("/", "\udc80"), "must be UTF-8"),
        (lambda a: a.declare_queue("/", "n", arguments={"x": 1 << 64}), "more than 64 bits"),
        (lambda a: a.declare_exchange("/", "x", "fancy"), "unknown exchange type 'fancy'"),
        (lambda a: a.delete_exchange("/", "amq.topic"), "deletion of system exchange"),
        (lambda a: a.delete_queue("/", "q", if_unused=True), "in use"),
        (lambda a: a.delete_queue("/", "q", if_empty=True), "not empty"),
        (lambda a: a.bind("/", "", "q"), "not permitted on the default exchange"),
        (lambda a: a.bind("/", "amq.topic", "q", "k" * 256), "at most 255 bytes"),
        (lambda a: a.purge_queue("/", "s"), "queue.purge not supported"),
    ],
)
def test_what_a_client_could_not_do_is_refused(
    server: FakeServer,
    administration: Administration,
    call: Callable[[Administration], object],
    text: str,
) -> None:
    client = server.connect()
    client.declare("q")
    client.publish(b"m", "q")
    client.publish(b"n", "q")
    client.declare("own", exclusive=True)
    client.declare("s", durable=True, arguments={"x-queue-type": "stream"})
    client.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    client.consume("q")
    with pytest.raises(Invalid, match=text):
        call(administration)


def test_purging_leaves_what_is_not_acknowledged(
    server: FakeServer, administration: Administration
) -> None:
    client = server.connect()
    client.declare("q")
    for _ in range(3):
        client.publish(b"m", "q")
    tag = client.get("q").call.delivery_tag
    assert administration.purge_queue("/", "q") == 2
    client.send(Basic.Nack(tag))
    assert client.ready_in("q") == 1


@pytest.mark.parametrize(("end", "left"), [(Tx.Commit, 0), (Tx.Rollback, 3)])
def test_what_a_transaction_has_settled_is_unacknowledged_until_it_is_committed(
    server: FakeServer,
    administration: Administration,
    end: type[Tx.Commit | Tx.Rollback],
    left: int,
) -> None:
    client = server.connect()
    client.declare("q")
    for _ in range(3):
        client.publish(b"m", "q")
    client.consume("q")
    client.send(Tx.Select(), Basic.Ack(1), Basic.Nack(3), Basic.Reject(2, requeue=False))
    assert administration.queue_statistics("/")[0].messages_unacknowledged == 3
    client.send(Basic.Cancel("c"), end())
    assert administration.queue_statistics("/")[0].messages_unacknowledged == left


def test_each_way_to_hold_a_message_counts_until_it_is_settled(
    server: FakeServer, administration: Administration
) -> None:
    client, other = server.connect(), server.connect()
    client.declare("q")
    client.feed(message(b"m", "q") * 9)
    for _ in range(3):
        client.get("q")
    other.request(Basic.Qos(prefetch_count=2), Basic.QosOk)
    other.consume("q", "stays")
    client.request(Basic.Qos(prefetch_count=4), Basic.QosOk)
    client.consume("q", "goes")
    client.send(Basic.Cancel("goes"))

    def unacknowledged() -> int:
        return administration.queue_statistics("/")[0].messages_unacknowledged

    assert unacknowledged() == 3 + 2 + 4
    client.send(Basic.Ack(2, multiple=True))
    assert unacknowledged() == 1 + 2 + 4
    client.send(Basic.Nack(4, multiple=True, requeue=False))
    assert unacknowledged() == 2 + 3
    client.disconnect()
    other.send(Basic.Cancel("stays"), Basic.Ack(1))
    assert unacknowledged() == 1
    other.send(Basic.Reject(2, requeue=True))
    assert unacknowledged() == 0


def test_statistics_tell_how_queues_stand(
    server: FakeServer, administration: Administration
) -> None:
    client = server.connect()
    client.declare("q", arguments={"x-max-length": 7})
    client.declare("r", durable=True, arguments={"x-queue-type": "quorum"})
    for _ in range(5):
        client.publish(b"m", "q")
    client.get("q")
    client.consume("r")
    administration.set_policy("/", "p", "q", {"max-length": 5, "message-ttl": 9})
    administration.set_policy("/", "o", "q", {"max-length": 6}, operator=True)
    q, r = administration.queue_statistics("/")
    assert (q.type, r.type) == ("classic", "quorum")
    assert (q.messages_ready, q.messages_unacknowledged, q.consumers) == (4, 1, 0)
    assert (r.messages_ready, r.messages_unacknowledged, r.consumers) == (0, 0, 1)
    assert (q.policy, q.operator_policy, r.policy) == ("p", "o", None)
    assert (q.settings.max_length, q.settings.message_ttl_ms) == (5, 9)
    assert q.memory_bytes > 0
    assert administration.queue_statistics("/", "r") == [r]

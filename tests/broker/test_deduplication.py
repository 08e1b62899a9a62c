"""x-message-deduplication of queues."""

from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Queue, Tx

from durable_server import DurableServer
from exchange_client import bind_queues, bodies_in, declare_exchange
from fake_client import FakeClient, FakeServer, message
from leveret.broker.configuration import Configuration
from leveret.broker.policy import Policy
from leveret.broker.rules import EmulatedVersion

ARGUMENT = "x-message-deduplication"
HEADER = "x-deduplication-header"


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    return server.connect()


def declare(client: FakeClient, queue: str = "q", *, durable: bool = False, **more: Any) -> None:
    arguments = {name.replace("_", "-"): value for name, value in more.items()}
    client.declare(queue, durable=durable, arguments={ARGUMENT: True, **arguments})


def publish(client: FakeClient, *values: Any, key: str = "q", **properties: Any) -> None:
    for value in values:
        client.publish(str(value).encode(), key, headers={HEADER: value}, **properties)


def confirm(client: FakeClient) -> None:
    client.request(Confirm.Select(), Confirm.SelectOk)


def entries(server: FakeServer, queue: str = "q") -> int:
    """How many values a queue holds."""
    features = server.broker.vhosts["/"].queues[queue].features
    assert features is not None
    assert features.deduplication is not None
    return features.deduplication.value_count


def test_a_message_whose_value_is_in_the_queue_does_not_come_in(client: FakeClient):
    declare(client)
    publish(client, "a", "b", "a", "b", "c")
    assert client.ready_in("q") == 3
    assert bodies_in(client, "q") == [b"a", b"b", b"c"]


def test_messages_without_the_header_are_not_compared(client: FakeClient):
    declare(client)
    client.publish(b"m", "q")
    client.publish(b"m", "q", headers={"other": 1})
    publish(client, [1], [1])
    assert client.ready_in("q") == 4


def test_values_of_different_types_differ(client: FakeClient):
    declare(client)
    publish(client, 1, True, 1.0, "1", None, *(1, True, 1.0, "1", None))
    assert bodies_in(client, "q") == [b"1", b"True", b"1.0", b"1", b"None"]


@pytest.mark.parametrize("value", [True, 1, "false"])
def test_any_value_of_the_argument_but_false_turns_it_on(client: FakeClient, value: Any):
    client.declare("q", arguments={ARGUMENT: value})
    publish(client, "a", "a")
    assert client.ready_in("q") == 1


def test_false_leaves_it_off(client: FakeClient):
    client.declare("q", arguments={ARGUMENT: False})
    publish(client, "a", "a")
    assert client.ready_in("q") == 2


def test_the_argument_is_not_compared(client: FakeClient):
    declare(client)
    client.declare("q")


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_other_types_of_queues_refuse_it(client: FakeClient, kind: str):
    arguments = {ARGUMENT: True, "x-queue-type": kind}
    client.send(Queue.Declare(queue="q", durable=True, arguments=arguments))
    client.expect_channel_closed(
        406,
        f"PRECONDITION_FAILED - invalid arg '{ARGUMENT}' for queue 'q' in vhost '/' of queue type"
        f" rabbit_{kind}_queue",
        (50, 10),
    )


# --- when a value may come again --------------------------------------------------------------


def test_it_may_when_its_message_is_acknowledged(client: FakeClient, server: FakeServer):
    declare(client)
    publish(client, "a")
    client.get("q")
    publish(client, "a")
    client.get_nothing("q")
    client.send(Basic.Ack(delivery_tag=1))
    publish(client, "a")
    assert client.get("q").body == b"a"
    client.send(Basic.Nack(delivery_tag=2, requeue=False))
    publish(client, "a")
    assert client.get("q", no_ack=True).body == b"a"
    publish(client, "a")
    client.send(Queue.Purge(queue="q"))
    client.expect(Queue.PurgeOk)
    assert entries(server) == 0
    publish(client, "a")
    assert client.ready_in("q") == 1


def test_it_may_when_a_consumers_message_is_acknowledged(client: FakeClient, server: FakeServer):
    declare(client)
    client.consume("q")
    publish(client, "a", "b", "a")
    assert client.bodies() == [b"a", b"b"]
    client.send(Basic.Ack(delivery_tag=2, multiple=True))
    assert entries(server) == 0
    publish(client, "a", "b", "a")
    assert client.bodies() == [b"a", b"b"]


def test_it_may_not_when_its_message_comes_back(client: FakeClient):
    declare(client)
    publish(client, "a")
    client.get("q")
    client.send(Basic.Reject(delivery_tag=1, requeue=True))
    publish(client, "a")
    assert client.ready_in("q") == 1


def test_it_may_when_its_message_is_delivered_to_a_consumer_without_acks(client: FakeClient):
    declare(client)
    client.consume("q", no_ack=True)
    publish(client, "a", "a")
    assert client.bodies() == [b"a", b"a"]


def test_messages_of_one_read_are_as_if_delivered_one_by_one(client: FakeClient):
    declare(client)
    client.consume("q", no_ack=True)
    client.feed(b"".join(message(b"m", "q", headers={HEADER: "a"}) for _ in range(3)))
    assert client.bodies() == [b"m"] * 3


def test_it_may_when_its_message_expires(client: FakeClient, server: FakeServer):
    declare(client, x_message_ttl=1000)
    publish(client, "a")
    server.advance(0.999)
    publish(client, "a", "b")
    server.advance(0.001)
    publish(client, "a", "b")
    assert bodies_in(client, "q") == [b"b", b"a"]
    assert entries(server) == 0


def test_it_may_when_its_message_would_expire_if_it_were_first(
    client: FakeClient, server: FakeServer
):
    declare(client)
    publish(client, "head")
    publish(client, "a", expiration="1000")
    server.advance(1)
    publish(client, "a")
    assert client.get("q", no_ack=True).body == b"head"
    assert bodies_in(client, "q") == [b"a"]
    assert entries(server) == 0


def test_it_may_when_its_message_is_out_for_longer_than_its_time(
    client: FakeClient, server: FakeServer
):
    declare(client, x_message_ttl=1000)
    publish(client, "a")
    client.get("q")
    server.advance(1)
    publish(client, "a", "a")
    client.send(Basic.Ack(delivery_tag=1))
    publish(client, "a")
    assert client.ready_in("q") == 1


def test_it_may_when_its_message_gives_way_to_others(client: FakeClient):
    declare(client, x_max_length=1)
    publish(client, "a", "b", "a")
    assert bodies_in(client, "q") == [b"a"]


def test_it_may_when_the_queue_is_purged_whatever_is_out(client: FakeClient, server: FakeServer):
    declare(client)
    publish(client, "a")
    client.get("q")
    client.request(Queue.Purge(queue="q"), Queue.PurgeOk)
    server.advance(0.001)
    publish(client, "a")
    client.send(Basic.Ack(delivery_tag=1))
    publish(client, "a")
    assert client.ready_in("q") == 1


def test_it_may_in_another_queue(client: FakeClient):
    declare(client)
    declare(client, "other")
    client.declare("plain")
    client.bind("q", "amq.fanout")
    client.bind("other", "amq.fanout")
    client.bind("plain", "amq.fanout")
    publish(client, "a")
    for _ in range(2):
        client.publish(b"a", exchange="amq.fanout", headers={HEADER: "a"})
    assert [client.ready_in(queue) for queue in ("q", "other", "plain")] == [1, 1, 2]


# --- what becomes of duplicates ---------------------------------------------------------------


def test_duplicates_are_nacked(client: FakeClient):
    declare(client)
    confirm(client)
    publish(client, "a", "a", "b")
    answers = [type(received.call) for received in client.received()]
    assert answers == [Basic.Ack, Basic.Nack, Basic.Ack]


def test_a_duplicate_that_is_mandatory_is_not_returned(client: FakeClient):
    declare(client)
    publish(client, "a")
    client.publish(b"a", "q", headers={HEADER: "a"}, mandatory=True)
    assert client.received() == []


def test_a_transaction_with_a_duplicate_is_incomplete(client: FakeClient):
    declare(client)
    client.request(Tx.Select(), Tx.SelectOk)
    publish(client, "a", "a", "b")
    client.send(Tx.Commit())
    client.expect_channel_closed(406, "PRECONDITION_FAILED - partial tx completion", (90, 20))
    client.open_channel(2)
    assert client.ready_in("q", channel=2) == 2


def test_a_transaction_that_is_rolled_back_leaves_no_value(client: FakeClient):
    declare(client)
    client.request(Tx.Select(), Tx.SelectOk)
    publish(client, "a")
    client.request(Tx.Rollback(), Tx.RollbackOk)
    publish(client, "a")
    client.request(Tx.Commit(), Tx.CommitOk)
    assert client.ready_in("q") == 1


@pytest.mark.parametrize(("version", "letters"), [("3.13", 0), ("4.0", 0), ("4.3", 1)])
def test_duplicates_become_dead_letters_from_4_1_on(version: EmulatedVersion, letters: int):
    client = FakeServer(Configuration(emulate=version)).connect()
    client.declare("dead", durable=True)
    dead_letters = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": "dead"}
    declare(client, durable=True, **dead_letters)
    publish(client, "a", "a")
    assert client.ready_in("q") == 1
    assert client.ready_in("dead") == letters
    if letters:
        assert client.get("dead").headers["x-death"][0]["reason"] == "maxlen"


def test_a_full_queue_refuses_before_it_compares():
    client = FakeServer(Configuration(emulate="4.3")).connect()
    client.declare("dead", durable=True)
    dead_letters = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": "dead"}
    declare(client, durable=True, x_max_length=1, x_overflow="reject-publish", **dead_letters)
    publish(client, "a", "a", "b")
    assert (client.ready_in("q"), client.ready_in("dead")) == (1, 0)


def test_a_dead_letter_may_be_a_duplicate(client: FakeClient):
    declare(client, "dead")
    client.declare(
        "q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    )
    publish(client, "a", "a", "b")
    for _ in range(3):
        client.get("q")
    client.send(Basic.Nack(delivery_tag=0, multiple=True, requeue=False))
    assert bodies_in(client, "dead") == [b"a", b"b"]


def test_duplicates_that_would_go_round_and_round_are_dropped():
    client = FakeServer(Configuration(emulate="4.3")).connect()
    declare(client, durable=True, x_dead_letter_exchange="", x_dead_letter_routing_key="q")
    publish(client, "a", "a")
    assert client.ready_in("q") == 1


# --- with other features ----------------------------------------------------------------------


def test_priorities_make_no_difference(client: FakeClient, server: FakeServer):
    declare(client, x_max_priority=3)
    publish(client, "a", "b", priority=1)
    publish(client, "a", "c", priority=2)
    assert bodies_in(client, "q") == [b"c", b"a", b"b"]
    assert entries(server) == 0


def test_messages_that_wait_for_a_retry_are_in_the_queue(client: FakeClient, server: FakeServer):
    arguments = {"x_delayed_retry_type": "all", "x_delayed_retry_min": 1000}
    declare(client, **arguments)
    publish(client, "a")
    client.get("q")
    client.send(Basic.Nack(delivery_tag=1))
    publish(client, "a")
    client.get_nothing("q")
    server.advance(1)
    publish(client, "a")
    assert bodies_in(client, "q") == [b"a"]
    assert entries(server) == 0


def test_it_works_behind_an_exchange_that_deduplicates(client: FakeClient):
    declare_exchange(client, ARGUMENT, arguments={"x-cache-size": 1})
    declare(client)
    bind_queues(client, other="")
    client.bind("q", "x")
    for value in ("a", "b", "a"):
        client.publish(value.encode(), exchange="x", headers={HEADER: value})
    assert bodies_in(client, "other") == [b"a", b"b", b"a"]
    assert bodies_in(client, "q") == [b"a", b"b"]


def test_a_policy_turns_it_on_and_off(client: FakeClient, server: FakeServer):
    policies = server.broker.vhosts["/"].policies
    client.declare("q")
    publish(client, "before", "before")
    policies.set(Policy("on", "^q$", {ARGUMENT: True}))
    publish(client, "a", "a", "before", "before")
    assert bodies_in(client, "q") == [b"before", b"before", b"a", b"before"]
    publish(client, "a", "a")
    policies.delete("on")
    publish(client, "a")
    assert bodies_in(client, "q") == [b"a", b"a"]


def test_a_policy_counts_more_than_the_argument(client: FakeClient, server: FakeServer):
    server.broker.vhosts["/"].policies.set(Policy("off", "^q$", {ARGUMENT: False}))
    declare(client)
    publish(client, "a", "a")
    assert client.ready_in("q") == 2


@pytest.mark.parametrize("deduplicates", [True, False])
def test_values_block_publishers_before_they_take_too_much_memory(deduplicates: bool):
    server = DurableServer()
    server.broker.memory.budget_bytes = 200_000
    client = server.connect()
    client.declare("q", arguments={ARGUMENT: deduplicates})
    publish(client, *range(3000))
    assert bool(server.broker.alarms) == deduplicates
    consumer = server.connect()
    consumer.consume("q", no_ack=True)
    assert len(consumer.bodies()) > 1000
    server.broker.memory.look()
    assert not server.broker.alarms


# --- over restarts ----------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("more", [{}, {"x-max-priority": 2}])
def test_after_a_restart_it_holds_the_values_of_its_messages(clean: bool, more: dict[str, Any]):
    server = DurableServer()
    client = server.connect()
    declare(client, durable=True, **more)
    publish(client, "acked", "out", *range(600), delivery_mode=2)
    for _ in range(2):
        client.get("q")
    client.send(Basic.Ack(delivery_tag=1))
    server = server.restarted(clean=clean)
    client = server.connect()
    publish(client, "acked", "out", *range(600), delivery_mode=2)
    assert client.ready_in("q") == 602
    assert len(bodies_in(client, "q")) == 602
    assert entries(server) == 0
    publish(client, "out", 599)
    assert client.ready_in("q") == 2


def test_after_a_restart_times_go_on():
    server = DurableServer()
    client = server.connect()
    declare(client, durable=True)
    publish(client, "first", delivery_mode=2)
    publish(client, "a", delivery_mode=2, expiration="10000")
    server = server.restarted(after_s=9.999)
    client = server.connect()
    publish(client, "a")
    assert client.ready_in("q") == 2
    server.advance(0.001)
    publish(client, "a")
    assert client.ready_in("q") == 3


def test_values_of_messages_that_are_on_disk_only_are_known():
    server = DurableServer()
    client = server.connect()
    declare(client)
    publish(client, *range(2000))
    server.page_out("q")
    publish(client, *range(2000))
    assert client.ready_in("q") == 2000
    assert len(bodies_in(client, "q")) == 2000
    assert entries(server) == 0


@pytest.mark.parametrize("more", [{}, {"x_max_priority": 2}])
def test_after_a_restart_messages_that_wait_for_a_retry_are_known(more: dict[str, Any]):
    server = DurableServer()
    client = server.connect()
    arguments = {"x_delayed_retry_type": "all", "x_delayed_retry_min": 60_000, **more}
    declare(client, durable=True, **arguments)
    publish(client, "a", delivery_mode=2)
    client.get("q")
    client.send(Basic.Nack(delivery_tag=1))
    server = server.restarted()
    client = server.connect()
    publish(client, "a", "b")
    assert client.ready_in("q") == 1
    server.advance(60)
    publish(client, "a")
    assert sorted(bodies_in(client, "q")) == [b"a", b"b"]
    assert entries(server) == 0

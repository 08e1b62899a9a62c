"""x-consistent-hash. Where messages are expected is where RabbitMQ 3.10 puts them, or for headers
3.13.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp.commands import Exchange, Queue

from durable_server import DurableServer
from exchange_client import bind_exchange, bind_queues, declare_exchange, queues_reached
from fake_client import FakeClient
from leveret.broker.broker import Broker
from leveret.broker.configuration import Configuration
from leveret.storage.opening import open_journal

DECLARE, BIND = (40, 10), (50, 20)
WEIGHTS = {"a": "1", "b": "3", "c": "2", "d": "10"}


def declare(client: FakeClient, **options: Any) -> None:
    """The exchange x with queues a to d."""
    declare_exchange(client, "x-consistent-hash", **options)
    bind_queues(client, **WEIGHTS)


def places(client: FakeClient, count: int) -> str:
    """The queue of each of the routing keys key.0, key.1, …"""
    return "".join(queues_reached(client, "abcd", f"key.{number}") for number in range(count))


def test_routing_key_leads_where_it_leads_in_rabbitmq(client: FakeClient):
    declare(client)
    assert places(client, 30) == "dddbdcdabbddbcddddddddbbbddddd"


def test_routing_key_of_any_length_and_alphabet_is_hashed(client: FakeClient):
    declare(client)
    assert [queues_reached(client, "abcd", key) for key in ("", "é", "k" * 100)] == ["d"] * 3


def test_buckets_close_up_when_a_binding_goes(client: FakeClient):
    declare(client)
    client.request(Queue.Unbind(queue="b", exchange="x", routing_key="3"), Queue.UnbindOk)
    assert places(client, 30) == "dddddddaccddcdddddddddddcddddd"


def test_deleted_queue_gets_no_messages(client: FakeClient):
    declare(client)
    client.request(Queue.Delete(queue="b"), Queue.DeleteOk)
    reached = "".join(queues_reached(client, "acd", f"key.{number}") for number in range(30))
    assert reached == "dddddddaccddcdddddddddddcddddd"


def test_new_binding_is_seen_by_a_channel_that_has_published_before(client: FakeClient):
    declare_exchange(client, "x-consistent-hash")
    bind_queues(client, a="1")
    assert queues_reached(client, "a", "key.0") == "a"
    client.declare("d")
    client.bind("d", "x", "1000")
    assert queues_reached(client, "ad", "key.0") == "d"


def test_only_the_routing_key_is_hashed_not_those_of_cc(client: FakeClient):
    declare(client)
    reached = [
        queues_reached(client, "abcd", f"key.{number}", headers={"CC": [f"o{number}", "b"]})
        for number in range(8)
    ]
    assert "".join(reached) == "dddbdcda"


def test_without_bindings_nothing_is_reached(client: FakeClient):
    declare_exchange(client, "x-consistent-hash")
    client.declare("a")
    assert queues_reached(client, "a", "key") == ""


def test_exchange_can_be_the_destination(client: FakeClient):
    declare_exchange(client, "x-consistent-hash")
    declare_exchange(client, "fanout", "y")
    bind_exchange(client, "y", "x", "1")
    for queue in "ab":
        client.declare(queue)
        client.bind(queue, "y")
    assert queues_reached(client, "ab", "key") == "ab"


# --- what is hashed ---------------------------------------------------------------------------


def test_header_is_hashed_by_text(client: FakeClient):
    declare(client, arguments={"hash-header": "h"})
    reached = [queues_reached(client, "abcd", headers={"h": f"t{number}"}) for number in range(10)]
    assert "".join(reached) == "ddcbbdddad"


def test_header_is_hashed_by_number(client: FakeClient):
    declare(client, arguments={"hash-header": "h"})
    reached = [queues_reached(client, "abcd", headers={"h": number}) for number in range(-5, 15)]
    assert "".join(reached) == "bddcddbddbccdbddcbdd"


def test_header_is_hashed_by_truth_value_and_void(client: FakeClient):
    declare(client, arguments={"hash-header": "h"})
    reached = [queues_reached(client, "abcd", headers={"h": each}) for each in (True, False, None)]
    assert "".join(reached) == "adb"


def test_header_is_hashed_by_timestamp(client: FakeClient):
    declare(client, arguments={"hash-header": "h"})
    reached = [
        queues_reached(
            client, "abcd", headers={"h": datetime.fromtimestamp(1_700_000_000 + second, UTC)}
        )
        for second in range(10)
    ]
    assert "".join(reached) == "ccbddadddb"


@pytest.mark.parametrize("value", [1.5, ["a", 1], [], {"k": "v"}])
def test_header_of_another_type_always_leads_to_the_same_queue(client: FakeClient, value: Any):
    declare(client, arguments={"hash-header": "h"})
    reached = {queues_reached(client, "abcd", headers={"h": value}) for _ in range(5)}
    assert len(reached) == 1
    assert reached <= set("abcd")


def test_header_decides_whatever_the_routing_key(client: FakeClient):
    declare(client, arguments={"hash-header": "h"})
    reached = {
        queues_reached(client, "abcd", f"key.{number}", headers={"h": "t3"}) for number in range(9)
    }
    assert reached == {"b"}


@pytest.mark.parametrize("name", ["message_id", "correlation_id"])
def test_text_property_is_hashed(client: FakeClient, name: str):
    declare(client, arguments={"hash-property": name})
    reached = [queues_reached(client, "abcd", **{name: f"m{number}"}) for number in range(16)]
    assert "".join(reached) == "bdddbdbddbddddcd"


def test_timestamp_is_hashed(client: FakeClient):
    declare(client, arguments={"hash-property": "timestamp"})
    reached = [
        queues_reached(
            client, "abcd", timestamp=datetime.fromtimestamp(1_700_000_000 + second, UTC)
        )
        for second in range(16)
    ]
    assert "".join(reached) == "ddaddbdbbdddbbcd"


@pytest.mark.parametrize(
    "arguments",
    [
        {"hash-header": "h"},
        {"hash-property": "message_id"},
        {"hash-property": "correlation_id"},
        {"hash-property": "timestamp"},
    ],
)
def test_messages_without_what_is_hashed_all_go_to_one_queue(
    client: FakeClient, arguments: dict[str, Any]
):
    declare(client, arguments=arguments)
    assert places(client, 5) == "bbbbb"


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"hash-header": "a", "hash-property": "message_id"},
            "hash-header and hash-property are mutually exclusive",
        ),
        ({"hash-property": "foo"}, "Unsupported property: foo"),
        (
            {"hash-header": True},
            "invalid type 'bool' for arg 'hash-header' in exchange 'x' in vhost '/'",
        ),
    ],
)
def test_bad_argument_is_refused(client: FakeClient, arguments: dict[str, Any], text: str):
    client.send(
        Exchange.Declare(exchange="x", exchange_type="x-consistent-hash", arguments=arguments)
    )
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", DECLARE)
    assert "x" not in client.server.broker.vhosts["/"].exchanges


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("abc", 'The binding key must be an integer: <<"abc">>'),
        ("", "The binding key must be an integer: <<>>"),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        (" 1", 'The binding key must be an integer: <<" 1">>'),
        ("1_0", 'The binding key must be an integer: <<"1_0">>'),
        ("\uff11", "The binding key must be an integer: <<239,188,145>>"),
        ("0", "The binding key must be greater than 0"),
        ("-3", "The binding key must be greater than 0"),
    ],
)
def test_binding_key_that_is_no_weight_is_refused(client: FakeClient, key: str, text: str):
    declare(client)
    client.send(Queue.Bind(queue="a", exchange="x", routing_key=key))
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {text}", BIND)
    client.open_channel(1)
    assert places(client, 8) == "dddbdcda"


def test_weight_may_have_a_sign(client: FakeClient):
    declare_exchange(client, "x-consistent-hash")
    bind_queues(client, a="+2")
    assert queues_reached(client, "a", "key") == "a"


# --- several bindings of one queue ------------------------------------------------------------


def test_only_the_first_binding_of_a_queue_counts(client: FakeClient):
    declare(client)
    client.bind("a", "x", "1000000")
    assert places(client, 8) == "dddbdcda"


def test_removing_a_binding_that_does_not_count_changes_nothing(client: FakeClient):
    declare(client)
    client.bind("a", "x", "1000000")
    client.request(Queue.Unbind(queue="a", exchange="x", routing_key="1000000"), Queue.UnbindOk)
    assert places(client, 8) == "dddbdcda"


def test_next_binding_counts_when_the_first_is_removed(client: FakeClient):
    declare(client)
    client.bind("a", "x", "1000000")
    client.request(Queue.Unbind(queue="a", exchange="x", routing_key="1"), Queue.UnbindOk)
    assert places(client, 8) == "aaaaaaaa"


# --- restarts ---------------------------------------------------------------------------------


def test_keys_lead_to_the_same_queues_after_a_restart():
    server = DurableServer()
    client = server.connect()
    declare_exchange(client, "x-consistent-hash", durable=True)
    for queue, weight in reversed(WEIGHTS.items()):
        client.declare(queue, durable=True)
        client.bind(queue, "x", weight)
    before = places(client, 20)
    assert places(server.restarted().connect(), 20) == before
    assert len(set(before)) > 1


def test_next_binding_counts_in_its_place_also_before_a_restart():
    server = DurableServer()
    client = server.connect()
    declare_exchange(client, "x-consistent-hash", durable=True)
    for queue, weight in (("a", "1"), ("b", "3"), ("a", "5"), ("c", "2")):
        client.declare(queue, durable=True)
        client.bind(queue, "x", weight)
    client.request(Queue.Unbind(queue="a", exchange="x", routing_key="1"), Queue.UnbindOk)
    client.declare("d", durable=True)
    before = places(client, 20)
    assert places(server.restarted().connect(), 20) == before


def test_bindings_keep_their_order_whatever_order_the_journal_gives_them_in():
    server = DurableServer()
    client = server.connect()
    declare_exchange(client, "x-consistent-hash", durable=True)
    for queue, weight in WEIGHTS.items():
        client.declare(queue, durable=True)
        client.bind(queue, "x", weight)
    server.journal.close()
    journal, recovered = open_journal(server.disk)
    shuffled = replace(recovered, definitions=dict(reversed(recovered.definitions.items())))
    server.broker = Broker(
        Configuration(), lambda: "", journal, shuffled, random_below=lambda end: 0
    )
    assert places(server.connect(), 8) == "dddbdcda"


def test_arguments_survive_a_restart():
    server = DurableServer()
    client = server.connect()
    arguments = {"hash-property": "message_id"}
    declare_exchange(client, "x-consistent-hash", durable=True, arguments=arguments)
    for queue, weight in WEIGHTS.items():
        client.declare(queue, durable=True)
        client.bind(queue, "x", weight)
    client = server.restarted().connect()
    reached = [queues_reached(client, "abcd", message_id=f"m{number}") for number in range(16)]
    assert "".join(reached) == "bdddbdbddbddddcd"

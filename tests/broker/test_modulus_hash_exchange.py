"""x-modulus-hash. Where messages are expected is where RabbitMQ 3.10 puts them."""

from pamqp.commands import Queue

from durable_server import DurableServer
from exchange_client import bind_exchange, bind_queues, declare_exchange, queues_reached
from fake_client import FakeClient


def places(client: FakeClient, queues: str, count: int) -> str:
    """The queue of each of the routing keys key.0, key.1, …"""
    return "".join(queues_reached(client, queues, f"key.{number}") for number in range(count))


def test_routing_key_leads_where_it_leads_in_rabbitmq(client: FakeClient):
    declare_exchange(client, "x-modulus-hash")
    bind_queues(client, c="", a="", d="", b="")
    assert places(client, "abcd", 30) == "dbaabaababcaddadcbbaccaadaaaca"


def test_bindings_are_counted_by_key_and_then_by_queue(client: FakeClient):
    declare_exchange(client, "x-modulus-hash")
    bind_queues(client, c="", a="", d="", b="")
    client.bind("a", "x", "z")
    client.bind("d", "x", "a")
    assert places(client, "abcd", 30) == "bbcdaddddbcabadbaaaaccacddaadc"


def test_keys_of_cc_and_bcc_are_hashed_along(client: FakeClient):
    declare_exchange(client, "x-modulus-hash")
    bind_queues(client, c="", a="", d="", b="")
    reached = [
        queues_reached(
            client, "abcd", f"key.{number}", headers={"CC": [f"o{number}", "b"], "BCC": ["z"]}
        )
        for number in range(12)
    ]
    assert "".join(reached) == "bdabcccbabcd"


def test_exchanges_are_counted_before_queues(client: FakeClient):
    declare_exchange(client, "x-modulus-hash")
    bind_queues(client, a="", b="")
    declare_exchange(client, "fanout", "y")
    bind_exchange(client, "y", "x")
    client.declare("c")
    client.bind("c", "y")
    assert places(client, "abc", 20) == "aababaacaabcabaacbbc"


def test_unbound_queue_gets_nothing(client: FakeClient):
    declare_exchange(client, "x-modulus-hash")
    bind_queues(client, a="", b="")
    client.request(Queue.Unbind(queue="a", exchange="x", routing_key=""), Queue.UnbindOk)
    assert places(client, "ab", 5) == "bbbbb"


def test_without_bindings_nothing_is_reached(client: FakeClient):
    declare_exchange(client, "x-modulus-hash")
    client.declare("a")
    assert queues_reached(client, "a", "key") == ""


def test_keys_lead_to_the_same_queues_after_a_restart():
    server = DurableServer()
    client = server.connect()
    declare_exchange(client, "x-modulus-hash", durable=True)
    for queue in "cadb":
        client.declare(queue, durable=True)
        client.bind(queue, "x")
    assert places(server.restarted().connect(), "abcd", 12) == "dbaabaababca"

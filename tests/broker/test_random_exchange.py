"""x-random. The fake server's random numbers go round: 0, 1, 2, …"""

from pamqp.commands import Basic, Queue

from durable_server import DurableServer
from exchange_client import bind_exchange, bind_queues, declare_exchange, queues_reached
from fake_client import FakeClient, message


def test_each_message_goes_to_the_binding_that_was_drawn_for_it(client: FakeClient):
    declare_exchange(client, "x-random")
    bind_queues(client, a="", b="", c="")
    assert [queues_reached(client, "abc") for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_equal_messages_in_one_read_are_drawn_for_one_by_one(client: FakeClient):
    declare_exchange(client, "x-random")
    bind_queues(client, a="", b="")
    client.feed(message(b"", "key", exchange="x") * 6)
    assert (client.ready_in("a"), client.ready_in("b")) == (3, 3)


def test_keys_and_cc_do_not_matter(client: FakeClient):
    declare_exchange(client, "x-random")
    bind_queues(client, a="one", b="two")
    assert queues_reached(client, "ab", "two", headers={"CC": ["one", "two"]}) == "a"
    assert queues_reached(client, "ab", "none") == "b"


def test_queue_bound_twice_is_drawn_twice_as_often(client: FakeClient):
    declare_exchange(client, "x-random")
    bind_queues(client, a="one", b="")
    client.bind("a", "x", "two")
    assert [queues_reached(client, "ab") for _ in range(6)] == ["a", "b", "a"] * 2


def test_unbound_queue_is_not_drawn(client: FakeClient):
    declare_exchange(client, "x-random")
    bind_queues(client, a="", b="")
    client.request(Queue.Unbind(queue="a", exchange="x", routing_key=""), Queue.UnbindOk)
    assert [queues_reached(client, "ab") for _ in range(3)] == ["b"] * 3


def test_mandatory_message_is_returned_without_bindings(client: FakeClient):
    declare_exchange(client, "x-random")
    client.publish(b"", "key", exchange="x", mandatory=True)
    assert client.expect(Basic.Return).reply_text == "NO_ROUTE"


def test_exchange_behind_another_draws_for_each_message(client: FakeClient):
    declare_exchange(client, "fanout")
    declare_exchange(client, "x-random", "y")
    bind_exchange(client, "y", "x")
    for queue in "ab":
        client.declare(queue)
        client.bind(queue, "y")
    client.feed(message(b"", "key", exchange="x") * 4)
    assert (client.ready_in("a"), client.ready_in("b")) == (2, 2)


def test_alternate_exchange_draws_for_each_message(client: FakeClient):
    declare_exchange(client, "x-random", "y")
    declare_exchange(client, "direct", arguments={"alternate-exchange": "y"})
    for queue in "ab":
        client.declare(queue)
        client.bind(queue, "y")
    client.feed(message(b"", "key", exchange="x") * 4)
    assert (client.ready_in("a"), client.ready_in("b")) == (2, 2)


def test_exchange_survives_a_restart():
    server = DurableServer()
    client = server.connect()
    declare_exchange(client, "x-random", durable=True)
    client.declare("a", durable=True)
    client.bind("a", "x")
    assert queues_reached(server.restarted().connect(), "a") == "a"

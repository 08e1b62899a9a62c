"""Policies by their keys: what each does to queues and exchanges that are there, and undoes."""

from pamqp.commands import Basic, Confirm, Exchange

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer
from policy_setting import bodies, delete_policy, publish, set_policy


def test_max_length_drops_what_is_too_much_at_once_and_until_it_is_removed(
    server: FakeServer, client: FakeClient
):
    client.declare()
    publish(client, 5)
    set_policy(server, {"max-length": 2})
    assert client.ready_in("q") == 2
    publish(client, 2, first=5)
    assert client.ready_in("q") == 2
    delete_policy(server)
    publish(client, 3, first=7)
    assert bodies(client) == [b"5", b"6", b"7", b"8", b"9"]


def test_bytes_of_what_is_there_already_count(server: FakeServer, client: FakeClient):
    client.declare()
    publish(client, 5)
    client.get()
    set_policy(server, {"max-length-bytes": 3})
    assert client.ready_in("q") == 3
    set_policy(server, {"max-length-bytes": 2})
    assert client.ready_in("q") == 2
    delete_policy(server)
    publish(client, 4, first=5)
    set_policy(server, {"max-length-bytes": 4})
    assert bodies(client) == [b"5", b"6", b"7", b"8"]


def test_bytes_of_paged_out_messages_and_of_all_priorities_count():
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True)
    client.declare("p", durable=True, arguments={"x-max-priority": 3})
    for queue in ("q", "p"):
        for number in range(4):
            client.publish(b"%d" % number, queue, delivery_mode=2, priority=number % 2)
        server.page_out(queue)
    set_policy(server, {"max-length-bytes": 3})
    assert client.ready_in("q") == 3
    assert client.ready_in("p") == 3


def test_overflow_of_a_policy_refuses_publishes_until_it_is_removed(
    server: FakeServer, client: FakeClient
):
    client.declare()
    client.send(Confirm.Select())
    client.expect(Confirm.SelectOk)
    publish(client, 1)
    client.expect(Basic.Ack)
    set_policy(server, {"max-length": 1, "overflow": "reject-publish"})
    publish(client, 1)
    client.expect(Basic.Nack)
    set_policy(server, {"max-length": 1})
    publish(client, 1)
    client.expect(Basic.Ack)
    assert client.ready_in("q") == 1
    delete_policy(server)
    publish(client, 1)
    client.expect(Basic.Ack)
    assert client.ready_in("q") == 2


def test_a_time_to_live_holds_for_what_is_published_while_it_is_set(
    server: FakeServer, client: FakeClient
):
    client.declare()
    client.publish(b"before", "q")
    server.advance(1)
    set_policy(server, {"message-ttl": 10_000})
    client.publish(b"long", "q")
    server.advance(1)
    set_policy(server, {"message-ttl": 1_000})
    client.publish(b"short", "q")
    server.advance(1)
    delete_policy(server)
    client.publish(b"after", "q")
    server.advance(5)
    assert client.get(no_ack=True).body == b"before"
    assert client.ready_in("q") == 3, "the short one stands behind one that may wait"
    server.advance(5)
    assert bodies(client) == [b"after"]


def test_own_expiration_and_a_time_of_a_policy_are_merged(server: FakeServer, client: FakeClient):
    client.declare()
    set_policy(server, {"message-ttl": 5_000})
    client.publish(b"", "q", expiration="1000")
    client.publish(b"", "q", expiration="9000")
    server.advance(1)
    assert client.ready_in("q") == 1
    server.advance(4)
    assert client.ready_in("q") == 0


def test_dead_letters_go_where_the_policy_says_until_it_is_removed(
    server: FakeServer, client: FakeClient
):
    client.declare("dlq")
    client.declare()
    letters = {"dead-letter-exchange": "", "dead-letter-routing-key": "dlq"}
    set_policy(server, letters | {"max-length": 1}, "^q$")
    publish(client, 3)
    assert bodies(client, "dlq") == [b"0", b"1"]
    client.send(Basic.Reject(client.get().call.delivery_tag, requeue=False))
    assert bodies(client, "dlq") == [b"2"]
    delete_policy(server)
    publish(client, 1)
    client.send(Basic.Reject(client.get().call.delivery_tag, requeue=False))
    assert client.ready_in("dlq") == 0


def test_what_a_new_limit_drops_goes_to_the_exchange_that_comes_with_it(
    server: FakeServer, client: FakeClient
):
    client.declare("dlq")
    client.declare()
    publish(client, 3)
    letters = {"dead-letter-exchange": "", "dead-letter-routing-key": "dlq"}
    set_policy(server, letters | {"max-length": 1}, "^q$")
    assert bodies(client, "dlq") == [b"0", b"1"]


def test_a_routing_key_without_an_exchange_has_no_effect(server: FakeServer, client: FakeClient):
    client.declare("dlq")
    client.declare()
    set_policy(server, {"dead-letter-routing-key": "dlq"})
    publish(client, 1)
    client.send(Basic.Reject(client.get().call.delivery_tag, requeue=False))
    assert client.ready_in("dlq") == 0


def test_unused_queue_expires_from_the_policy_on_unless_that_is_removed(
    server: FakeServer, client: FakeClient
):
    client.declare("kept")
    client.declare("gone")
    server.advance(10)
    set_policy(server, {"expires": 5_000})
    server.advance(4)
    set_policy(server, {"expires": 5_000}, "gone")
    server.advance(1)
    assert set(server.broker.vhosts["/"].queues) == {"kept"}
    server.advance(100)
    assert set(server.broker.vhosts["/"].queues) == {"kept"}


def test_alternate_exchange_is_followed_until_the_policy_is_removed(
    server: FakeServer, client: FakeClient
):
    client.declare()
    client.bind("q", "amq.fanout")
    client.publish(b"lost", "nowhere", exchange="amq.direct")
    set_policy(server, {"alternate-exchange": "amq.fanout"}, "^amq.direct$")
    client.publish(b"found", "nowhere", exchange="amq.direct")
    delete_policy(server)
    client.publish(b"lost", "nowhere", exchange="amq.direct")
    assert bodies(client) == [b"found"]


def test_alternate_exchange_of_the_argument_wins(server: FakeServer, client: FakeClient):
    client.declare()
    client.bind("q", "amq.fanout")
    set_policy(server, {"alternate-exchange": "amq.fanout"})
    client.send(Exchange.Declare(exchange="e", arguments={"alternate-exchange": "amq.topic"}))
    client.expect(Exchange.DeclareOk)
    client.publish(b"", "nowhere", exchange="e")
    assert client.ready_in("q") == 1, "amq.topic has amq.fanout as its own alternate exchange"
    set_policy(server, {"alternate-exchange": "amq.fanout"}, "^e$")
    client.publish(b"", "nowhere", exchange="e")
    assert client.ready_in("q") == 1


def test_the_default_exchange_has_no_policy(server: FakeServer, client: FakeClient):
    client.declare()
    client.bind("q", "amq.fanout")
    set_policy(server, {"alternate-exchange": "amq.fanout"})
    client.publish(b"", "nowhere")
    assert client.ready_in("q") == 0

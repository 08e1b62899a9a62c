"""What exchanges and queues do after a restart as they did before."""

from typing import Any

import pytest
from pamqp.commands import Basic, Exchange, Queue

from durable_server import DurableServer


@pytest.fixture(params=[True, False], ids=["stopped", "killed"])
def clean(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_alternate_exchanges_of_alternate_exchanges_are_still_followed(clean: bool) -> None:
    server = DurableServer()
    client = server.connect()
    for name, alternate in (("first", "second"), ("second", "third"), ("third", None)):
        arguments: Any = {} if alternate is None else {"alternate-exchange": alternate}
        kind = "fanout" if alternate is None else "direct"
        client.request(
            Exchange.Declare(exchange=name, exchange_type=kind, durable=True, arguments=arguments),
            Exchange.DeclareOk,
        )
    client.declare("q", durable=True)
    client.bind("q", "third", "")
    client = server.restarted(clean=clean).connect()
    client.publish(b"a", "nowhere", exchange="first", mandatory=True)
    assert client.get("q").body == b"a"
    client.request(Exchange.Delete(exchange="third"), Exchange.DeleteOk)
    client.publish(b"b", "nowhere", exchange="first", mandatory=True)
    assert client.expect_content(Basic.Return).body == b"b"


def test_a_durable_auto_delete_queue_is_deleted_with_its_last_consumer(clean: bool) -> None:
    server = DurableServer()
    client = server.connect()
    client.declare("q", durable=True, auto_delete=True)
    client.publish(b"a", "q", delivery_mode=2)
    client.consume("q")
    assert client.bodies() == [b"a"]
    server.end_turn()
    server = server.restarted(clean=clean)
    client = server.connect()
    client.consume("q", "c")
    assert client.bodies() == [b"a"]
    client.request(Basic.Cancel("c"), Basic.CancelOk)
    assert "q" not in server.broker.vhosts["/"].queues
    assert "q" not in server.restarted(clean=clean).broker.vhosts["/"].queues


def test_a_queue_expires_so_long_after_the_restart(clean: bool) -> None:
    server = DurableServer()
    client = server.connect()
    client.declare("q", durable=True, arguments={"x-expires": 10_000})
    server.advance(6)
    server = server.restarted(after_s=6, clean=clean)
    server.advance(9)
    assert "q" in server.broker.vhosts["/"].queues
    server.advance(1)
    assert "q" not in server.broker.vhosts["/"].queues
    client = server.restarted(clean=clean).connect()
    client.send(Queue.Declare(queue="q", passive=True))
    assert client.received()[0].call.reply_code == 404


def test_a_queue_that_was_to_expire_but_is_consumed_from_stays(clean: bool) -> None:
    server = DurableServer()
    server.connect().declare("q", durable=True, arguments={"x-expires": 10_000})
    server = server.restarted(clean=clean)
    server.connect().consume("q")
    server.advance(100)
    assert "q" in server.broker.vhosts["/"].queues

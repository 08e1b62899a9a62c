"""What came back, was paged out and went out again keeps its place."""

import pytest
from pamqp.commands import Basic

from durable_server import DurableServer
from fake_client import FakeClient
from leveret.broker import line as line_module


def stop_consuming(client: FakeClient) -> None:
    client.send(Basic.Cancel("c"))
    client.expect(Basic.CancelOk)


def test_messages_come_back_in_order_though_some_were_paged_out_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line_module, "LOADED_MESSAGES", 3)
    server = DurableServer()
    first, second, third = server.connect(), server.connect(), server.connect()
    first.declare(durable=True)
    for client, texts in ((first, "012345"), (second, "678")):
        client.consume()
        for text in texts:
            client.publish(text.encode(), "q", delivery_mode=2)
        client.bodies()
        stop_consuming(client)
    first.disconnect()
    server.page_out("q")
    third.consume()
    third.bodies()
    stop_consuming(third)
    third.disconnect()
    second.disconnect()
    last = server.connect()
    last.consume()
    assert b"".join(last.bodies()) == b"012345678"

"""What tests of exchange types do with a `FakeClient`."""

from typing import Any

from pamqp.commands import Exchange

from fake_client import FakeClient


def declare_exchange(client: FakeClient, kind: str, name: str = "x", **options: Any) -> None:
    """Declare an exchange."""
    call = Exchange.Declare(exchange=name, exchange_type=kind, **options)
    client.request(call, Exchange.DeclareOk)


def bind_exchange(client: FakeClient, destination: str, source: str, routing_key: str = "") -> None:
    """Bind an exchange to an exchange."""
    call = Exchange.Bind(destination=destination, source=source, routing_key=routing_key)
    client.request(call, Exchange.BindOk)


def bind_queues(client: FakeClient, **routing_keys: str) -> None:
    """Declare queues and bind them to the exchange x, each with its routing key."""
    for queue, routing_key in routing_keys.items():
        client.declare(queue)
        client.bind(queue, "x", routing_key)


def bodies_in(client: FakeClient, queue: str) -> list[bytes]:
    """Take all that waits off a queue."""
    return [client.get(queue, no_ack=True).body for _ in range(client.ready_in(queue))]


def queues_reached(client: FakeClient, queues: str, routing_key: str = "", **options: Any) -> str:
    """Publish to the exchange x; which of the queues (named by one letter each) got a message."""
    client.publish(b"", routing_key, exchange="x", **options)
    return "".join(queue for queue in queues for _ in bodies_in(client, queue))

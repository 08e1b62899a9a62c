"""x-delayed-message exchanges, and messages for them."""

from typing import Any

from exchange_client import declare_exchange
from fake_client import FakeClient, FakeServer
from leveret.broker.delayed_exchange import DelayedExchange

KIND = "x-delayed-message"


def declare(client: FakeClient, routing: str = "direct", name: str = "x", **options: Any) -> None:
    arguments = {"x-delayed-type": routing, **options.pop("arguments", {})}
    declare_exchange(client, KIND, name, arguments=arguments, **options)


def publish(client: FakeClient, body: bytes, delay: Any, key: str = "k", **options: Any) -> None:
    headers = {**({} if delay is None else {"x-delay": delay}), **options.pop("headers", {})}
    client.publish(body, key, exchange=options.pop("exchange", "x"), headers=headers, **options)


def exchange_of(server: FakeServer, name: str = "x") -> DelayedExchange:
    exchange = server.broker.vhosts["/"].exchanges[name]
    assert isinstance(exchange, DelayedExchange)
    return exchange

"""Very many deliveries that are not acknowledged, for tests of what becomes of them."""

from collections.abc import Iterator
from typing import Any

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, Received, message
from leveret.broker.channel import Channel
from leveret.broker.held_deliveries import DELIVERY_BYTES
from leveret.broker.message import OVERHEAD_BYTES
from leveret.broker.unsettled import Delivery

SIZE = 4096
COUNT = 500
BUDGET_BYTES = 1 << 20
"""Half of what so many messages take."""

SHELLS_BYTES = COUNT * (OVERHEAD_BYTES + DELIVERY_BYTES)


def numbered(number: int, *, delivery_mode: int = 2, **properties: Any) -> bytes:
    body = (b"%d " % number).ljust(SIZE, b".")
    properties |= {"message_id": str(number), "headers": {"number": number}}
    return message(body, "q", delivery_mode=delivery_mode, **properties)


def fill(client: FakeClient, **properties: Any) -> None:
    for first in range(0, COUNT, 25):
        client.feed(b"".join(numbered(n, **properties) for n in range(first, first + 25)))
    settle_down(client.server)


def settle_down(server: FakeServer) -> None:
    """Give turns as long as there is something to page out."""
    for _ in range(100):
        if not server.broker.memory.again:
            return
        server.end_turn()
    raise AssertionError("the broker does not come to rest")


def held_bytes(server: FakeServer) -> int:
    """What all messages in memory take that wait for an acknowledgement, counted one by one."""
    return sum(
        len(each.content) + OVERHEAD_BYTES + DELIVERY_BYTES
        for connection in server.broker.connections
        for channel in connection.channels.values()
        for each, _, _ in all_deliveries(channel)
    )


def all_deliveries(channel: Channel) -> Iterator[Delivery]:
    """What is outstanding on a channel, and what its transaction has settled."""
    transaction = channel.publisher.transaction
    yield from channel.unsettled.deliveries.values()
    yield from () if transaction is None else transaction.settled


def numbers(received: list[Received]) -> list[int]:
    """The numbers of messages, whose bodies and properties must be as published."""
    found = list[int]()
    for each in received:
        number = int(each.body.split()[0])
        assert each.body == (b"%d " % number).ljust(SIZE, b".")
        assert each.properties is not None
        assert each.properties.message_id == str(number)
        assert each.headers is not None
        assert each.headers["number"] == number
        assert each.call.routing_key == "q"
        assert each.call.exchange == ""
        found.append(number)
    return found


def consumer_of_all(client: FakeClient) -> FakeClient:
    """A client that has got all messages and acknowledged none."""
    consumer = client.server.connect()
    consumer.consume("q")
    settle_down(client.server)
    assert numbers(consumer.deliveries()) == list(range(COUNT))
    assert client.ready_in("q") == 0
    return consumer


def redelivered(client: FakeClient, *, queue: str = "q") -> list[int]:
    """The numbers of what comes out of the queue again, flagged as it must be."""
    client.consume(queue, "again", no_ack=True)
    got = client.deliveries()
    assert all(each.call.redelivered for each in got)
    return numbers(got)


ARGUMENTS = [
    {},
    {"x-queue-type": "quorum"},
    {"x-max-priority": 3},
    {"x-max-length-bytes": 1 << 30},
    {"x-message-deduplication": True},
    {"x-message-ttl": 1_000_000},
]


def lives(server: DurableServer) -> int:
    """How many messages there are on disk, for whatever queue."""
    server.end_turn()
    found = server.journal.index.by_owner(), server.journal.pages.index.by_owner()
    return sum(len(ids) for each in found for ids in each.values())

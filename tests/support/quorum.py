"""What the tests of quorum queues share."""

from typing import Any

from pamqp.commands import Basic

from fake_client import FakeClient, Received

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


def declare(client: FakeClient, more: dict[str, Any] | None = None, **options: Any) -> None:
    client.declare(durable=True, arguments=QUORUM | (more or {}), **options)


def returned(client: FakeClient, times: int = 1, queue: str = "q") -> None:
    """Get the first message and hand it back, so many times."""
    for _ in range(times):
        got = client.get(queue)
        client.send(Basic.Reject(delivery_tag=tag_of(got), requeue=True))


def tag_of(received: Received) -> int:
    tag = received.call.delivery_tag
    assert tag is not None
    return tag


def count_of(received: Received) -> Any:
    return (received.headers or {}).get("x-delivery-count")


def hand_back(client: FakeClient, *tags: int) -> None:
    """Nack deliveries, so that they are ready again."""
    for tag in tags:
        client.send(Basic.Nack(delivery_tag=tag, requeue=True))


def bodies(client: FakeClient) -> bytes:
    """All ready messages joined, those flagged redelivered with a plus."""
    found = b""
    while client.ready_in("q"):
        got = client.get(no_ack=True)
        found += got.body + b"+" * got.call.redelivered
    return found

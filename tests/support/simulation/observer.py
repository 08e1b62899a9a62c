"""A client that gets all copies of the firehose, without being part of a story."""

from pamqp.commands import Basic, Queue

from fake_client import Received

from .firehose import TRACE_EXCHANGE
from .world import OBSERVED, World


class Observer:
    """It consumes from a queue of its own."""

    def __init__(self, world: World):
        self._client = world.connect()
        self._client.declare(OBSERVED, exclusive=True)
        self._client.send(Queue.Bind(queue=OBSERVED, exchange=TRACE_EXCHANGE, routing_key="#"))
        self._client.expect(Queue.BindOk)
        self._client.consume(OBSERVED, no_ack=True)

    def copies(self) -> list[Received]:
        """What has come since the last time."""
        return [got for got in self._client.received() if isinstance(got.call, Basic.Deliver)]

    def leave(self) -> None:
        """Close the connection."""
        self._client.disconnect()

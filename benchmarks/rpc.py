"""Requests and replies through direct reply-to.

One server answers requests from a queue with the body they came with; the clients' requests say
reply-to `amq.rabbitmq.reply-to`, which the broker makes into an address of the client.
"""

from contextlib import ExitStack
from struct import Struct
from time import perf_counter

from client import CHANNEL, BrokerError, Connection
from consume import READ_BYTES, Consumer, read_probe
from loop import Loop
from measure import Interval, Latencies, Result, result
from publish import Publisher, block
from target import Target
from topology import numbered, queues

import wire

REPLY_TO = "amq.rabbitmq.reply-to"
BODY_BYTES = 100

_length = Struct(">I")


def reply_to(request: wire.Delivery) -> bytes:
    correlation_id, address = wire.correlation_and_reply_to(request.properties)
    header = wire.properties(correlation_id=correlation_id)
    return wire.publish(CHANNEL, "", address, header, request.body)


class Server:
    """Answers every delivery on its connection. Equal requests have equal replies: made once."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.go_nonblocking()
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._rest = 0
        self._replies: dict[bytes, bytes] = {}

    def receive(self) -> None:
        """Reads once and writes the replies together."""
        size = self._rest + self.connection.receive_into(self._view[self._rest :])
        buffer, replies = self._buffer, self._replies
        length_at = _length.unpack_from
        output: list[bytes] = []
        offset = 0
        while size - offset > 3 * wire.FRAME_OVERHEAD:
            # Past the method frame, whose delivery tag differs; then header and body are the key.
            content = offset + length_at(buffer, offset + 3)[0] + wire.FRAME_OVERHEAD
            if content + wire.FRAME_OVERHEAD > size:
                break
            body = content + length_at(buffer, content + 3)[0] + wire.FRAME_OVERHEAD
            if body + wire.FRAME_OVERHEAD > size:
                break
            end = body + length_at(buffer, body + 3)[0] + wire.FRAME_OVERHEAD
            if end > size:
                break
            request = bytes(buffer[content:end])
            reply = replies.get(request)
            if reply is None:
                delivery = wire.delivery(bytes(buffer[offset:end]))
                reply = replies[request] = reply_to(delivery)
            output.append(reply)
            offset = end
        self._rest = size - offset
        buffer[: self._rest] = buffer[offset:size]
        if output:
            self.connection.write(b"".join(output))


class Client:
    """Sends requests on its connection and counts the replies, the first of which it waits for.

    `serving` is the server's connection, on which that first request is answered.
    """

    def __init__(
        self, connection: Connection, serving: Connection, queue: str, concurrency: int, number: int
    ) -> None:
        self.connection = connection
        self.latencies = Latencies()
        self.publishing = True
        self._concurrency = concurrency
        connection.consume(REPLY_TO, "c")
        requests = block(
            "", [queue], BODY_BYTES, messages=concurrency, publisher=number, reply_to=REPLY_TO
        )
        self._requests = Publisher(connection, requests)
        self._requests.send_first()
        serving.socket.sendall(reply_to(read_probe(serving)))
        connection.go_blocking()
        self.replies = Consumer(connection, read_probe(connection))

    def start(self) -> None:
        self._requests.send(self.replies.count + self._concurrency)

    def receive(self) -> None:
        """Reads once; sends another request for each reply."""
        stamp = self.replies.receive()
        if stamp is not None:
            self.latencies.record(perf_counter() - self._requests.sent_at(stamp[1]))
        if self.publishing:
            self.start()
        elif self._requests.unfinished:
            self._requests.send(self._requests.begun)

    @property
    def done(self) -> bool:
        return self.replies.count == self._requests.begun

    def verify(self) -> None:
        """Checks, once done, that the last reply belongs to the last request.

        Not its delivery tag: RabbitMQ gives all replies the same one.
        """
        last = self.replies.last()
        _, index = wire.stamp.unpack_from(last.body)
        if index != (self._requests.begun - 1) % self._concurrency:
            raise BrokerError(f"not the reply to the last request: {last}")


def rpc(target: Target, *, concurrency: int, clients: int = 1) -> Result:
    """Each client keeps so many requests under way; an operation is a whole round trip."""
    names = numbered(1)
    with ExitStack() as stack:
        stack.enter_context(queues(target.address, names))
        serving = stack.enter_context(Connection(target.address))
        serving.consume(names[0], "c")
        calling = [
            Client(
                stack.enter_context(Connection(target.address)),
                serving,
                names[0],
                concurrency,
                number,
            )
            for number in range(clients)
        ]
        loop = Loop()
        loop.add(serving, Server(serving).receive)
        for client in calling:
            loop.add(client.connection, client.receive)
            client.start()

        def replies() -> int:
            return sum(client.replies.count for client in calling)

        loop.run(target.warmup_s)
        latencies = Latencies()
        for client in calling:
            client.latencies = latencies
        before = replies()
        interval = Interval(target.processes)
        loop.run(target.seconds)
        usage = interval.stop()
        operations = replies() - before
        for client in calling:
            client.publishing = False
        loop.run_until(lambda: all(client.done for client in calling), replies)
        for client in calling:
            client.verify()
        return result("round trip", operations, usage, target.processes, latencies)

"""Publishing without work per message: one long block of encoded messages, sent over and over.

All messages of a block have the same length, so the bytes sent say how many messages went out.
Each body begins with a stamp, the publisher's number and the message's place in the block: from
the stamp in a delivery, `sent_at` finds the time of the send that carried it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from client import CHANNEL, BrokerError, Connection
from measure import Latencies

import wire

SEND_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Block:
    """Encoded messages one after the other, `stride` bytes each."""

    data: bytes
    stride: int
    messages: int


def body(publisher: int, index: int, size: int) -> bytes:
    """A stamp, padded to `size` bytes."""
    return wire.stamp.pack(publisher, index).ljust(size, b"x")


def block(
    exchange: str,
    routing_keys: Sequence[str],
    body_bytes: int,
    *,
    messages: int,
    publisher: int = 0,
    persistent: bool = False,
    reply_to: str | None = None,
    header_properties: Sequence[bytes] = (),
) -> Block:
    """Messages to the routing keys in turn, which must be equally long.

    There must be more messages in a block than can be under way at once, or `sent_at` confuses
    one round through the block with the next. Requests (with `reply_to`) get a correlation id.
    With `header_properties`, equally long, the messages have these in turn, and no others.
    """
    parts = [
        wire.publish(
            CHANNEL,
            exchange,
            routing_keys[index % len(routing_keys)],
            header_properties[index % len(header_properties)]
            if header_properties
            else wire.properties(
                persistent=persistent,
                correlation_id=None if reply_to is None else f"{publisher:04}-{index:04}",
                reply_to=reply_to,
            ),
            body(publisher, index, body_bytes),
        )
        for index in range(messages)
    ]
    stride = len(parts[0])
    if any(len(part) != stride for part in parts):
        raise ValueError("messages of different lengths")
    return Block(b"".join(parts), stride, messages)


class Confirms:
    """Counts the confirms that arrive on a publisher's connection, in whatever order."""

    def __init__(self, connection: Connection, window: int) -> None:
        self.window = window
        self.latest = 0
        self._connection = connection
        self._buffer = bytearray(1 << 16)
        self._rest = 0
        self._prefix = wire.ack(CHANNEL, 0)[:11]
        # Everything below the lowest unconfirmed tag is confirmed, and these beyond it.
        self._lowest = 1
        self._early: set[int] = set()

    @property
    def count(self) -> int:
        return self._lowest - 1 + len(self._early)

    def receive(self) -> bool:
        """Reads once; whether a confirm arrived, of which the last is then `latest`."""
        buffer = memoryview(self._buffer)
        size = self._rest + self._connection.receive_into(buffer[self._rest :])
        whole = size - size % wire.confirm_frame.size
        for prefix, tag, multiple, _ in wire.confirm_frame.iter_unpack(buffer[:whole]):
            if prefix != self._prefix:
                data = bytes(buffer[:size])
                raise BrokerError(wire.close_reason(data) or f"not a confirm: {prefix.hex(' ')}")
            if multiple:
                self._confirm_up_to(tag)
            elif tag == self._lowest:
                self._lowest = tag + 1
                self._absorb_early()
            else:
                self._early.add(tag)
            self.latest = tag
        self._rest = size - whole
        self._buffer[: self._rest] = self._buffer[whole:size]
        return whole > 0

    def _confirm_up_to(self, tag: int) -> None:
        if tag >= self._lowest:
            self._lowest = tag + 1
            self._early = {early for early in self._early if early > tag}
            self._absorb_early()

    def _absorb_early(self) -> None:
        while self._lowest in self._early:
            self._early.remove(self._lowest)
            self._lowest += 1


class Publisher:
    """Sends a block's messages over a connection, with confirms if a window for them is given."""

    def __init__(self, connection: Connection, block: Block, confirm_window: int = 0) -> None:
        self.connection = connection
        self.block = block
        self.confirms: Confirms | None = None
        self.confirm_latencies = Latencies()
        if confirm_window:
            connection.select_confirms()
            self.confirms = Confirms(connection, confirm_window)
        connection.go_nonblocking()
        self._view = memoryview(block.data)
        self._sent_bytes = 0
        self._sends: list[int] = []
        self._send_times: list[float] = []

    @property
    def begun(self) -> int:
        """Messages sent, wholly or in part."""
        return -(-self._sent_bytes // self.block.stride)

    @property
    def unfinished(self) -> bool:
        """The last message has been sent only in part."""
        return self._sent_bytes % self.block.stride != 0

    def confirmed(self) -> int:
        return self.confirms.count if self.confirms is not None else 0

    def send_first(self, messages: int = 1) -> None:
        """Sends so many messages, before anything else, without a loop that waits."""
        while self.begun < messages or self.unfinished:
            self.send(messages)

    def send(self, limit: int) -> None:
        """Sends until `limit` messages are out in all, or the socket or confirm window is full."""
        if self.confirms is not None:
            limit = min(limit, self.confirms.count + self.confirms.window)
        limit_bytes = limit * self.block.stride
        while self._sent_bytes < limit_bytes:
            start = self._sent_bytes % len(self._view)
            size = min(limit_bytes - self._sent_bytes, SEND_BYTES)
            now = perf_counter()
            sent = self.connection.send_some(self._view[start : start + size])
            if not sent:
                return
            self._sent_bytes += sent
            self._sends.append(self.begun)
            self._send_times.append(now)

    def receive(self) -> None:
        """Call when the connection is readable: takes confirms, or finds out what went wrong."""
        if self.confirms is None:
            self.connection.fail_on_input()
        elif self.confirms.receive():
            sent_s = self._send_times[bisect_right(self._sends, self.confirms.latest - 1)]
            self.confirm_latencies.record(perf_counter() - sent_s)

    def sent_at(self, index: int) -> float:
        """When the last message sent that has this place in the block went out."""
        newest = self.begun - 1
        number = newest - (newest - index) % self.block.messages
        return self._send_times[bisect_right(self._sends, number)]

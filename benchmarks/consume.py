"""Consuming without work per message: deliveries of one length, counted by bytes.

The length comes from a probe, a first message that is read and parsed in full. One delivery in
each read is looked at, for its frame header and its stamp; the very last one is parsed again,
and its delivery tag must then equal the count.
"""

from collections.abc import Callable
from struct import unpack_from

from client import CHANNEL, BrokerError, Connection

import wire
from wire import Delivery

READ_BYTES = 1 << 20


class Consumer:
    """Counts deliveries on a connection that only consumes; `probe` comes from `read_probe`.

    The probe counts as delivery 1. With `ack_every`, settles that often, several at once: by
    acknowledging, or by what else `settle` encodes. `varied`: properties differ, but in content
    only, so that deliveries are equally long all the same.
    """

    def __init__(
        self,
        connection: Connection,
        probe: Delivery,
        *,
        ack_every: int = 0,
        gather: int = 1,
        settle: Callable[[int, int], bytes] = wire.ack,
        varied: bool = False,
    ) -> None:
        self.connection = connection
        self.count: int = probe.delivery_tag
        self.stride = probe.size
        self._probe = probe
        self._ack_every = ack_every
        self._acked = 0
        self._settle = settle
        self._varied = varied
        self._buffer = bytearray(max(READ_BYTES, 4 * self.stride))
        self._view = memoryview(self._buffer)
        self._rest: int = 0
        self._last = b""
        connection.go_nonblocking(min(ack_every or gather, gather) * self.stride)

    def receive(self) -> tuple[int, int] | None:
        """Reads once; the stamp of one of the deliveries that arrived, if any did."""
        size = self._rest + self.connection.receive_into(self._view[self._rest :])
        arrived = size // self.stride
        if not arrived:
            self._rest = size
            head = self._buffer[: min(size, len(self._probe.head))]
            if not self._probe.head.startswith(head):
                raise self._complaint(size)
            return None
        self.count += arrived
        middle = arrived // 2 * self.stride
        if not self._buffer.startswith(self._probe.head, middle):
            raise self._complaint(size)
        stamp = wire.stamp.unpack_from(self._buffer, middle + self._probe.body_offset)
        whole = arrived * self.stride
        self._rest = size - whole
        self._last = self._buffer[whole - self.stride : whole] if not self._rest else b""
        self._buffer[: self._rest] = self._buffer[whole:size]
        if self._ack_every and self.count - self._acked >= self._ack_every:
            self.settle_all()
        return stamp

    def settle_all(self) -> None:
        """Settles what has come, even if it is less than a run of `ack_every`."""
        if self.count > self._acked:
            self.connection.write(self._settle(CHANNEL, self.count))
            self._acked = self.count

    def _complaint(self, size: int) -> BrokerError:
        data = bytes(self._buffer[:size])
        for offset in range(0, size, self.stride):
            if not data.startswith(self._probe.head, offset):
                found = data[offset : offset + 512]
                return BrokerError(wire.close_reason(found) or f"unexpected {found[:64].hex(' ')}")
        return BrokerError("a delivery of another length than the others")

    def last(self) -> Delivery:
        """The last delivery, parsed, once all have arrived."""
        if self._rest:
            raise BrokerError(f"{self._rest} bytes too many after {self.count} deliveries")
        last = wire.delivery(bytes(self._last)) if self._last else self._probe
        if last.size != self.stride:
            raise BrokerError(f"deliveries of {self.stride} bytes, but the last was {last}")
        return last

    def verify_last(self) -> None:
        """Compares the last delivery, once all have arrived, with the count and the probe."""
        last = self.last()
        if last.delivery_tag != self.count or last.redelivered:
            raise BrokerError(f"counted {self.count} deliveries, but the last was {last}")
        altered = last.properties != self._probe.properties and not self._varied
        if altered or last.body[8:] != self._probe.body[8:]:
            raise BrokerError(f"the last delivery's content was altered: {last}")


def read_probe(connection: Connection) -> Delivery:
    """Blocks until one delivery has arrived, and parses it."""
    method, header = connection.read_frame(), connection.read_frame()
    data = wire.frame(*method) + wire.frame(*header)
    (missing,) = unpack_from(">Q", header.payload, 4)
    while missing > 0:
        part = connection.read_frame()
        data += wire.frame(*part)
        missing -= len(part.payload)
    return wire.delivery(data)

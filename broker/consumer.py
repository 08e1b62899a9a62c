"""A consumer: where a queue's messages become delivery frames on its connection's output."""

from typing import TYPE_CHECKING

from ..amqp.basic import DeliverFrame
from ..amqp.fields import Table
from ..amqp.frames import END
from .message import Message
from .queue import Queue

if TYPE_CHECKING:
    from .channel import Channel

OUTPUT_MARK_BYTES = 1 << 20
"""A connection with more than this to send takes no further deliveries."""


class Consumer:
    """One basic.consume: a tag on a channel, taking from one queue.

    `prefetch` is its own limit of unsettled deliveries, 0 for none; the channel may have one on
    top.
    """

    __slots__ = (
        "__weakref__",
        "_frames",
        "ack_timeout_ms",
        "arguments",
        "channel",
        "exclusive",
        "in_rotation",
        "no_ack",
        "prefetch",
        "priority",
        "queue",
        "resting",
        "tag",
        "unsettled",
    )

    def __init__(
        self,
        channel: "Channel",
        queue: Queue,
        tag: str,
        *,
        no_ack: bool,
        exclusive: bool = False,
        prefetch: int = 0,
        arguments: Table | None = None,
    ):
        self.channel = channel
        self.queue = queue
        self.tag = tag
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = 0 if no_ack else prefetch
        self.arguments: Table = arguments or {}
        priority = self.arguments.get("x-priority")
        self.priority = 0 if priority is None else priority.integer
        ack_timeout = self.arguments.get("x-consumer-timeout")
        self.ack_timeout_ms = None if ack_timeout is None else ack_timeout.integer
        self.unsettled = 0
        self.in_rotation = False
        self.resting = False
        """It is to get no messages: cancelled, or waiting to become the single active one."""
        self._frames: dict[int, DeliverFrame] = {}

    def credit(self, most: int) -> int:
        """How many messages it may take now by its own and its channel's prefetch, up to `most`."""
        if self.no_ack:
            return most
        if self.prefetch:
            most = min(most, self.prefetch - self.unsettled)
        unsettled = self.channel.unsettled
        if unsettled.limit:
            most = min(most, unsettled.limit - unsettled.consumed)
        return most

    def can_take(self) -> bool:
        """Whether it has credit and its connection room."""
        return self.channel.connection.output_bytes < OUTPUT_MARK_BYTES and self.credit(1) > 0

    def leave_rotation(self) -> None:
        """Note that the queue has taken it out of its rotation, for lack of credit or room."""
        self.in_rotation = False
        connection = self.channel.connection
        if connection.output_bytes >= OUTPUT_MARK_BYTES:
            connection.stalled[self] = None

    def deliver(self, most: int) -> None:
        """Take up to `most` messages from the queue, as far as credit and room allow."""
        most = self.credit(most)
        while most > 0 and self.queue.returned:
            taken = self.queue.pop()
            assert taken is not None
            self.hand(*taken)
            most -= 1
            if self.channel.connection.output_bytes >= OUTPUT_MARK_BYTES:
                return
        if most > 0 and self.queue.ready:
            self._deliver_ready(most)

    def _deliver_ready(self, most: int) -> None:
        """The hot half of delivering: messages that were never delivered before."""
        queue = self.queue
        channel = self.channel
        connection = channel.connection
        unsettled = channel.unsettled
        deliveries = None if self.no_ack else unsettled.deliveries
        ready = queue.ready
        number, payload_max = channel.number, connection.payload_max
        append = connection.output.append
        tag = first_tag = unsettled.last_tag
        room = OUTPUT_MARK_BYTES - connection.output_bytes
        spent = 0
        address, frame = b"", self._frame_for(0)
        pack, prefix, size = frame.pack, frame.prefix, frame.size
        for _ in range(min(most, len(ready))):
            message = ready.popleft()
            if message.address is not address:
                address = message.address
                frame = self._frame_for(len(address))
                pack, prefix, size = frame.pack, frame.prefix, frame.size
            tag += 1
            append(pack(prefix, tag, False, address, END))
            content = message.content
            if message.channel != number or message.body_bytes > payload_max:
                content = message.content_for(number, payload_max)
            append(content)
            if deliveries is not None:
                deliveries[tag] = (message, queue, self)
            elif message.stored:
                queue.settle(message)
            spent += size + len(content)
            if spent >= room:
                break
        unsettled.last_tag = tag
        connection.spent(spent)
        if deliveries is not None:
            self.unsettled += tag - first_tag
            unsettled.consumed += tag - first_tag

    def hand(self, message: Message, redelivered: bool) -> None:
        """Take one message, which the queue has given out for it."""
        channel, connection = self.channel, self.channel.connection
        unsettled = channel.unsettled
        unsettled.last_tag += 1
        frame = self._frame_for(len(message.address))
        content = message.content_for(channel.number, connection.payload_max)
        head = frame.pack(frame.prefix, unsettled.last_tag, redelivered, message.address, END)
        connection.output.append(head + content)
        connection.spent(len(head) + len(content))
        if self.no_ack:
            self.queue.drop(message)
        else:
            unsettled.deliveries[unsettled.last_tag] = (message, self.queue, self)
            self.unsettled += 1
            unsettled.consumed += 1

    def _frame_for(self, address_bytes: int) -> DeliverFrame:
        frame = self._frames.get(address_bytes)
        if frame is None:
            frame = DeliverFrame(self.channel.number, self.tag.encode(), address_bytes)
            self._frames[address_bytes] = frame
        return frame

"""A message as the broker holds it: wire bytes, and the few facts that routing and queues need.

The content frames are kept as one bytes object just as they arrived. A delivery on the same channel
number sends that object as it is; another number is patched in, and only a consumer whose frames
must be smaller costs a new cut.
"""

import msgspec

from ..amqp import frames
from ..amqp.basic import CONTENT_FRAME_HEAD, split_address
from ..amqp.content import CONTENT_HEAD, PRIORITY, Properties, content_header
from ..amqp.frames import BODY, HEAD, HEADER, frame
from .notes import Notes, read_notes
from .returns import NEVER, Returns

OVERHEAD_BYTES = 200
"""About what a message takes in memory beside its content."""

_ON_DISK = -1
"""In place of a channel number, for a message whose content is on disk only."""

_PROPERTIES_AT = HEAD.size + CONTENT_HEAD.size
_PRIORITY_FLAG = PRIORITY >> 8
"""In the first of the two bytes of property flags."""

_BARE = frame(HEADER, 0, content_header(0, b"\0\0"))
"""The content of no message: a header without properties."""


class Message(msgspec.Struct, gc=False, eq=False):
    """One published message; the same object stands in every queue it was routed to.

    `gc=False`: a message refers to nothing that could refer back to it, and millions of them must
    not be walked by the garbage collector.
    """

    id: int
    """Publish order, broker-wide: the place of a message in any queue."""

    address: bytes
    """Exchange and routing key, two short strings as on the wire."""

    content: bytes
    """Content header frame and body frames, numbered for `channel`."""

    channel: int
    body_bytes: int
    persistent: bool = False
    stored: int = 0
    """The journal's id for it, 0 if it is in memory only."""

    notes: Notes | None = None
    """What is to be known besides, of the few messages of which there is anything."""

    returns: Returns = NEVER
    """How often it came back to the queue that this copy is in, if that counts."""

    def shell(self, stored: int, *, keeps_properties: bool = False) -> "Message":
        """What must be known of it while its content is on disk only, where it has that id; if its
        properties are not, there seem to be none.
        """
        head = self.content[: _header_end(self.content)] if keeps_properties else _BARE
        return msgspec.structs.replace(
            self, address=b"", content=head, channel=_ON_DISK, stored=stored
        )

    @property
    def is_whole(self) -> bool:
        """Whether it has its content, and can be delivered: it is no shell."""
        return self.channel != _ON_DISK

    @property
    def memory_bytes(self) -> int:
        """About how much memory it takes."""
        return len(self.content) + OVERHEAD_BYTES

    @property
    def properties(self) -> Properties:
        """The properties, read anew from the content header."""
        return Properties(self.raw_properties)

    @property
    def raw_properties(self) -> bytes:
        """Property flags and list."""
        return self.content[_PROPERTIES_AT : _header_end(self.content) - 1]

    @property
    def has_priority(self) -> bool:
        """Whether its properties tell a priority."""
        return self.content[_PROPERTIES_AT] & _PRIORITY_FLAG != 0

    def replace_properties(self, raw: bytes) -> None:
        """Give it other properties (flags and list) in place of its own."""
        body = self.content[_header_end(self.content) :]
        header = frame(HEADER, self.channel, content_header(self.body_bytes, raw))
        self.content = header + body

    def copied(self, message_id: int) -> "Message":
        """The same message as one published anew."""
        notes = self.notes and msgspec.structs.replace(self.notes, published_ms=0, queue_ttls=())
        return msgspec.structs.replace(self, id=message_id, stored=0, notes=notes, returns=NEVER)

    @property
    def body(self) -> bytes:
        """The whole body, joined."""
        content, at, parts = self.content, _header_end(self.content), list[bytes]()
        while at < len(content):
            size = HEAD.unpack_from(content, at)[2]
            parts.append(content[at + HEAD.size : at + HEAD.size + size])
            at += size + frames.OVERHEAD_BYTES
        return b"".join(parts)

    def content_for(self, channel: int, payload_max: int) -> bytes:
        """The content frames for a channel number, none with more than `payload_max` bytes of
        payload.
        """
        content, at = self.content, 0
        parts: list[bytes] = []
        while at < len(content):
            kind, _, size = HEAD.unpack_from(content, at)
            end = at + size + frames.OVERHEAD_BYTES
            if kind == BODY and size > payload_max:
                start = at + HEAD.size
                parts.extend(
                    frame(BODY, channel, content[cut : min(cut + payload_max, end - 1)])
                    for cut in range(start, end - 1, payload_max)
                )
            else:
                parts += (HEAD.pack(kind, channel, size), content[at + HEAD.size : end])
            at = end
        return b"".join(parts)


def restored(message_id: int, stored: int, blob: bytes, attributes: bytes = b"") -> Message:
    """A message read back from the journal, where it is its address and content, joined, and its
    notes as attributes.
    """
    middle = 1 + blob[0]
    end = middle + 1 + blob[middle]
    _, channel, _, _, body_bytes = CONTENT_FRAME_HEAD.unpack_from(blob, end)
    notes = read_notes(attributes) if attributes else None
    return Message(message_id, blob[:end], blob[end:], channel, body_bytes, True, stored, notes)


def routing_keys(message: Message) -> list[str]:
    """The keys that a message was published with, those of CC and BCC included."""
    blind = message.notes.bcc if message.notes is not None else ()
    return [split_address(message.address)[1], *copied_keys(message), *blind]


def copied_keys(message: Message) -> list[str]:
    """The keys of a CC header, unless a queue's x-dead-letter-routing-key has taken their place."""
    if b"\x02CC" not in message.raw_properties:
        return []
    if message.notes is not None and message.notes.copies_spent:
        return []
    copied = message.properties.headers().get("CC")
    if copied is None or not isinstance(copied.value, list):
        return []
    return [item.text for item in copied.value if item.tag == "S"]


def _header_end(content: bytes) -> int:
    return HEAD.unpack_from(content)[2] + frames.OVERHEAD_BYTES

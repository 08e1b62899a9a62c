"""The journal as queues see it: where messages are read back from, settled, and paged out to."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..storage.errors import JournalFailed
from .line import Line
from .message import Message, restored
from .returns import Place, Returns, note_of, read_returns

if TYPE_CHECKING:
    from ..storage.journal import Journal


class JournalStore:
    """A `Store` on a journal. `next_message_id` gives the ids of messages that come back to
    memory.
    """

    __slots__ = ("_journal", "_next_message_id", "loaded_bytes")

    def __init__(self, journal: "Journal", next_message_id: Callable[[], int]):
        self._journal = journal
        self._next_message_id = next_message_id
        self.loaded_bytes = 0
        """Bytes of messages that have come back to memory since the broker started."""

    def load(self, ids: Sequence[int]) -> list[Message]:
        """Read messages back. Raises JournalError if the disk does not give them."""
        try:
            found = self._journal.read_many(ids)
        except OSError as error:
            raise JournalFailed(f"cannot read messages back: {error}") from error
        self.loaded_bytes += sum(len(stored.blob) for stored in found)
        return [
            restored(self._next_message_id(), stored.message_id, stored.blob, stored.attributes)
            for stored in found
        ]

    def fitting(self, ids: Sequence[int], limit_bytes: int) -> int:
        """How many of these messages, from the first on, take about so many bytes; at least
        one.
        """
        return self._journal.fitting(ids, limit_bytes)

    def settle(self, line: Line, ids: Sequence[int]) -> None:
        """A queue is done with messages."""
        if len(ids) == 1:
            self._journal.settle(line.number, ids[0])
        else:
            self._journal.settle_many(line.number, ids)

    def note_returns(
        self, line: Line, stored: int, returns: Returns, *, at_end: bool = False
    ) -> None:
        """A message came back to a queue, or to its end, for so many times now."""
        journal = self._journal
        place = Place(journal.position, journal.next_id if at_end else 0)
        journal.note(line.number, stored, note_of(returns, place))

    def returns(self, line: Line, stored: int) -> Returns:
        """What was noted of a message last, NEVER if nothing was."""
        return read_returns(self._journal.noted(line.number, stored))

    def keep(self, line: Line, message: Message) -> int:
        """Page a message out: it is on disk, but no restart brings it back."""
        attributes = b"" if message.notes is None else message.notes.encoded()
        return self._journal.page((line.number,), message.address, message.content, attributes)

"""What a turn works off, a bit at a time, and may leave for the next ones."""

from typing import Protocol


class Work(Protocol):
    """Something that has work for the end of the turn: a queue, or what one or a channel has left.

    `dirty` says that it is on the broker's list. The names are for logs.
    """

    dirty: bool

    @property
    def name(self) -> str:
        """Of the queue or channel."""
        ...

    @property
    def vhost_name(self) -> str:
        """Of its vhost."""
        ...

    def dispatch(self) -> bool:
        """Do some of the work; True if there is more, and it remains dirty."""
        ...

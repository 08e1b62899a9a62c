"""What can go wrong with a journal, one class for each thing a caller may want to do about it."""


class JournalError(Exception):
    """Anything the journal raises because of its directory; the text is fit for an operator."""


class DirectoryLocked(JournalError):
    """Another process has the directory open."""


class DirectoryNotWritable(JournalError):
    """The directory cannot be created, or nothing can be written in it."""


class UnknownVersion(JournalError):
    """A file was written by a version of leveret whose format this one does not know."""


class Damaged(JournalError):
    """Bytes that were once safely on disk are not what was written.

    `file` and `offset` say where the first damaged block begins; nothing has been changed.
    """

    def __init__(self, file: str, offset: int, reason: str, directory: str) -> None:
        super().__init__(
            f"{file} is damaged at byte {offset}: {reason}; nothing was changed, "
            f"to see what can be read run: leveret journal verify {directory}"
        )
        self.file = file
        self.offset = offset
        self.reason = reason


class DiskFull(JournalError):
    """A batch found no room. It may be written again once there is some: the batch is unchanged.

    `nothing_durable` is true if no byte of it is left in any file.
    """

    def __init__(self, file: str, reason: str, *, nothing_durable: bool) -> None:
        super().__init__(f"no room for {file}: {reason}")
        self.file = file
        self.nothing_durable = nothing_durable


class JournalFailed(JournalError):
    """A write or a sync failed. Nothing appended since the last sync counts as stored, ever.

    A failed sync is not tried again: the kernel may have dropped the bytes and would report
    success the second time.
    """


class NoSuchMessage(JournalError):
    """The message was never stored, or all its owners have settled it."""

    def __init__(self, message_id: int) -> None:
        super().__init__(f"no message {message_id} is stored")
        self.message_id = message_id

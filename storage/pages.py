"""Messages that need not survive, moved out of memory: page files, never synced.

They are written in the journal's format, by its batches, and read back like its messages. They
go as they empty, and when the journal is opened.
"""

from array import array
from collections.abc import Iterable

from .disk import Disk
from .index import Index
from .log import Log
from .log_files import LogFiles
from .records import PAGE_MAGIC
from .rewriting import Rewriter
from .settings import Settings

# Ids of paged messages have this bit, so that ids of both kinds can stand in one list.
FIRST_PAGED_ID = 1 << 63

PREFIX = "page"


class Pages(Log):
    """The page files of one journal."""

    __slots__ = ("rewriter",)

    def __init__(self, disk: Disk, settings: Settings, salt: int) -> None:
        files = LogFiles(PREFIX, PAGE_MAGIC, salt, settings, {})
        super().__init__(disk, settings, files, Index(FIRST_PAGED_ID), FIRST_PAGED_ID)
        self.rewriter = Rewriter(self)


def split_paged(ids: Iterable[int]) -> "tuple[array[int], array[int]]":
    """Stored and paged messages apart."""
    stored = array("Q")
    paged = array("Q")
    for message_id in ids:
        (paged if message_id >= FIRST_PAGED_ID else stored).append(message_id)
    return stored, paged

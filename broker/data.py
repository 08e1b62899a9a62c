"""The data directory: where it is, opening the journal in it, and how much memory there is to do
without.

Part of the edge: it looks at the environment, the file system and the clock.
"""

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage.disk import RealDisk
from ..storage.journal import Journal
from ..storage.opening import Recovered, open_journal
from .configuration import ConfigurationError, Storage
from .log import fields

if TYPE_CHECKING:
    from .broker import Broker

log = logging.getLogger("leveret.journal")

_MEMORY_SHARE = 0.3
_ASSUMED_MEMORY_BYTES = 4 << 30
_PROGRESS_S = 1.0


def data_directory(storage: Storage) -> Path:
    """The directory that is configured, or $LEVERET_DATA_DIR, or the platform's place for state."""
    named = storage.data_dir or os.environ.get("LEVERET_DATA_DIR")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "leveret"
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "leveret"


def open_data(storage: Storage) -> tuple[Journal | None, Recovered | None]:
    """The journal and what it holds; (None, None) if everything is to be kept in memory.

    Raises JournalError if the directory can't be used.
    """
    if storage.in_memory:
        return None, None
    directory = data_directory(storage)
    progress = _Progress()
    journal, recovered = open_journal(RealDisk(directory), progress=progress.report)
    if recovered.torn is not None:
        torn = recovered.torn
        log.warning(
            "cut off what a crash had left half written; none of it was ever confirmed",
            extra=fields(
                file=torn.file,
                offset=torn.offset,
                size_bytes=torn.size,
                reason=torn.reason,
                kept_in=", ".join(torn.kept_in),
            ),
        )
    log.info(
        "opened",
        extra=fields(
            directory=str(directory),
            clean=recovered.clean,
            messages=sum(map(len, recovered.messages.values())),
            size_bytes=recovered.bytes,
            seconds=round(time.monotonic() - progress.started, 3),
        ),
    )
    return journal, recovered


class _Progress:
    """Says how far recovery is, once a second."""

    def __init__(self) -> None:
        self.started = self._said = time.monotonic()

    def report(self, done: int, total: int) -> None:
        """Take note of the bytes read and all bytes."""
        now = time.monotonic()
        if now - self._said >= _PROGRESS_S:
            self._said = now
            log.info("recovering", extra=fields(read_bytes=done, of_bytes=total))


def load_definitions(broker: "Broker", path: str) -> None:
    """Set what a definitions file says. Raises ConfigurationError."""
    from .definitions_file import InvalidDefinitions, read_definitions
    from .definitions_import import import_definitions

    try:
        import_definitions(broker, read_definitions(Path(path).read_bytes()))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except InvalidDefinitions as error:
        raise ConfigurationError(f"{path}: {error}") from error
    log.info("definitions loaded", extra=fields(file=path))


def memory_budget_bytes(storage: Storage) -> int:
    """What queued messages may take in memory: as configured, or a share of what there is."""
    return storage.memory_budget_bytes or int(_memory_bytes() * _MEMORY_SHARE)


def _memory_bytes() -> int:
    """The memory of the container, if it has a limit, else of the machine."""
    found = [_ASSUMED_MEMORY_BYTES]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            found.append(int(text))
    return min(found)

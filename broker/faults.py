"""Bugs: what goes wrong for one must harm no other.

A bug shows as an exception that nothing expects. While a client's frames are handled the connection
turns it into 541 INTERNAL_ERROR; what is done for many, one after the other, takes these ways, so
that the rest is done all the same. A JournalError is no bug: it stops the broker.
"""

import logging
from collections.abc import Callable

from ..storage.errors import JournalError

log = logging.getLogger("leveret.broker")


def attempt(call: Callable[[], object]) -> None:
    """Make a call of which nobody in particular waits for the outcome; a bug is logged.

    Raises JournalError.
    """
    try:
        call()
    except JournalError:
        raise
    except Exception:
        log.exception("internal error")


def do_all(*steps: Callable[[], object]) -> None:
    """Take all steps, whichever fail by a bug; then raise what the first of these raised.

    Raises JournalError at once.
    """
    first: Exception | None = None
    for step in steps:
        try:
            step()
        except JournalError:
            raise
        except Exception as error:
            first = first or error
    if first is not None:
        raise first

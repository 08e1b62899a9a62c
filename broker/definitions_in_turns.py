"""Importing a definitions document bit by bit, so that thousands of queues keep nobody waiting.

It is tried as a whole first, so that what is no good changes nothing. Then one thing after the
other comes into being, each when what it needs is there, and others see and use what there is
already. What others do meanwhile counts as done afterwards: what they have deleted stays deleted,
and an entry that cannot be any more is passed over with an error in the log. On disk all of it
comes at once, as with a large transaction: what is written meanwhile is on disk with it, and
whoever waits for that waits for its end.
"""

from collections.abc import Callable, Generator
from itertools import islice
from typing import TYPE_CHECKING

from .definitions_file import DefinitionsFile, InvalidDefinitions
from .definitions_import import carry_out, rehearse

if TYPE_CHECKING:
    from .broker import Broker


class ImportInTurns:
    """One import, as `Work`. `then` is called at its end, with what is wrong if nothing could be
    set: InvalidDefinitions, unless it is a bug.
    """

    __slots__ = ("_broker", "_document", "_steps", "_then", "dirty")

    name = "definitions"
    vhost_name = "all"

    def __init__(
        self,
        broker: "Broker",
        document: DefinitionsFile,
        then: Callable[[Exception | None], None],
    ):
        self._broker = broker
        self._document = document
        self._then = then
        self._steps = self._all_steps()
        self.dirty = False

    def dispatch(self) -> bool:
        """Import some of it; True if there is more."""
        try:
            most = self._broker.turn_bounds.imported
            self.dirty = sum(1 for _ in islice(self._steps, most)) == most
        except InvalidDefinitions as error:
            self._end(error)
        except Exception as error:
            self._end(error)
            raise
        else:
            if not self.dirty:
                self._end(None)
        return self.dirty

    def _end(self, fault: Exception | None) -> None:
        self.dirty = False
        self._broker.definitions.end_together()
        self._broker.commits.ended(self)
        self._then(fault)

    def _all_steps(self) -> Generator[None, None, None]:
        hashes = yield from rehearse(self._broker, self._document)
        self._broker.definitions.begin_together()
        yield from carry_out(self._broker, self._document, hashes)

"""x-recent-history: a fanout exchange that hands the last messages to every new binding.

As RabbitMQ's rabbitmq_recent_history_exchange. It remembers `x-recent-history-length` messages (20
if not given), but none with the header `x-recent-history-no-store` true, and forgets them when the
broker stops. A message published in a transaction is remembered at once, committed or not.

What it remembers counts in the memory budget. Past that, and past 32 MiB for one exchange, the
oldest messages are forgotten, but never the last one.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..amqp.errors import PreconditionFailed
from ..amqp.fields import Field
from .erlang_terms import erlang_term
from .exchange import Exchange, Holding
from .message import Message

if TYPE_CHECKING:
    from .binding import Destination

_LENGTH = "x-recent-history-length"
_NO_STORE = "x-recent-history-no-store"
_DEFAULT_LENGTH = 20
_MAX_BYTES = 32 << 20
_LENGTH_TAGS = frozenset("bsIlL")


class RecentHistoryExchange(Exchange):
    """Remembers messages as they pass."""

    type = "x-recent-history"
    __slots__ = ("_bytes", "_history", "_length")

    @property
    def routes_each_message(self) -> bool:
        return True

    @property
    def history(self) -> Sequence[tuple[Sequence[str], Message]]:
        return self._history

    def prepare(self) -> None:
        length = self.arguments.get(_LENGTH)
        self._length = _DEFAULT_LENGTH if length is None else _checked(length)
        self._history: deque[tuple[Sequence[str], Message]] = deque()
        self._bytes = 0

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        assert message is not None
        no_store = message.properties.headers().get(_NO_STORE)
        if no_store is None or no_store.value is not True:
            self._remember(routing_keys, message)
        return [binding.destination for binding in self.bindings.values()]

    def _remember(self, routing_keys: Sequence[str], message: Message) -> None:
        self._history.append((routing_keys, message))
        self._bytes += message.memory_bytes
        if len(self._history) > self._length:
            self._forget_first()
        self._shorten(_MAX_BYTES)

    def _forget_first(self) -> None:
        self._bytes -= self._history.popleft()[1].memory_bytes

    def _shorten(self, most_bytes: int) -> None:
        while self._bytes > most_bytes and len(self._history) > 1:
            self._forget_first()

    @property
    def holds(self) -> "Sequence[Holding]":
        return (self,)

    @property
    def memory_bytes(self) -> int:
        """About how much memory the messages take that it remembers."""
        return self._bytes

    def page_out(self) -> None:
        """Forget the older half, in bytes: this is a memory of what was, not a place to keep it."""
        self._shorten(self._bytes // 2)


def _checked(length: Field) -> int:
    value = length.value
    if length.tag in _LENGTH_TAGS and isinstance(value, int) and value > 0:
        return value
    raise PreconditionFailed(
        f"Invalid argument {erlang_term(length)}, '{_LENGTH}' must be a positive integer"
    )

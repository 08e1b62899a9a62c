"""x-message-deduplication: a fanout exchange that passes each message on but once.

As the exchange of the plugin rabbitmq-message-deduplication
(https://github.com/noxdafox/rabbitmq-message-deduplication): a message whose header
`x-deduplication-header` has a value that was seen before leads nowhere, that is to the alternate
exchange if there is one. `x-cache-size` says how many values are remembered, `x-cache-ttl` (also a
message's header) for how many milliseconds. The oldest value gives way to a new one, and the older
half of them when memory is short. They are forgotten when the broker stops: `x-cache-persistence`
may only be "memory".
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from ..amqp.errors import PreconditionFailed
from ..amqp.fields import INTEGER_TAGS, Field
from .binding import Binding
from .exchange import Exchange, Holding
from .message import Message

if TYPE_CHECKING:
    from .binding import Destination

_HEADER = "x-deduplication-header"
_SIZE, _TTL, _PERSISTENCE = "x-cache-size", "x-cache-ttl", "x-cache-persistence"
_DIGITS_MAX = 18
_ENTRY_BYTES = 300
_HASHED_FROM_BYTES = 32
_FOR_EVER = 1 << 63

_Value: TypeAlias = tuple[str, object]


def _no_clock() -> int:
    raise AssertionError("this exchange was not given a clock")


class DeduplicationExchange(Exchange):
    """Remembers values; `wall_ms`, which tells the time, must be set before it is used."""

    type = "x-message-deduplication"
    __slots__ = ("_expires_ms", "_size", "_ttl_ms", "wall_ms")

    @property
    def routes_each_message(self) -> bool:
        return True

    def prepare(self) -> None:
        self.wall_ms: Callable[[], int] = _no_clock
        self._size = _checked(self.arguments.get(_SIZE))
        if self._size is None:
            raise PreconditionFailed(
                f"Missing or invalid argument, '{_SIZE}' must be an integer greater than 0"
            )
        self._ttl_ms = _checked(self.arguments.get(_TTL))
        if self._ttl_ms is None and _TTL in self.arguments:
            raise PreconditionFailed(
                f"Invalid argument, '{_TTL}' must be an integer greater than 0"
            )
        persistence = self.arguments.get(_PERSISTENCE)
        if persistence == Field("S", b"disk"):
            raise PreconditionFailed(
                f"Invalid argument, '{_PERSISTENCE}' 'disk' is not supported by this version of"
                " leveret"
            )
        if persistence is not None and persistence != Field("S", b"memory"):
            raise PreconditionFailed(
                f"Invalid argument, '{_PERSISTENCE}' must be either 'disk' or 'memory'"
            )
        self._expires_ms: dict[_Value, int] = {}

    def added(self, binding: Binding) -> None:
        pass

    def removed(self, binding: Binding) -> None:
        pass

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        assert message is not None
        headers = message.properties.headers()
        value = _value(headers.get(_HEADER))
        if value is not None and not self._is_new(value, headers.get(_TTL)):
            return ()
        return [binding.destination for binding in self.bindings.values()]

    def _is_new(self, value: _Value, ttl: Field | None) -> bool:
        """Whether a value has not been seen lately; it is remembered from now on."""
        now, known = self.wall_ms(), self._expires_ms
        if known.get(value, 0) > now:
            return False
        known.pop(value, None)
        if len(known) == self._size:
            del known[next(iter(known))]
        ttl_ms = ttl.integer if ttl is not None and ttl.tag in INTEGER_TAGS else self._ttl_ms
        known[value] = _FOR_EVER if ttl_ms is None else now + ttl_ms
        return True

    @property
    def holds(self) -> Sequence[Holding]:
        return (self,)

    @property
    def memory_bytes(self) -> int:
        """About how much memory the values take that it remembers."""
        return _ENTRY_BYTES * len(self._expires_ms)

    def page_out(self) -> None:
        """Forget the older half."""
        known = self._expires_ms
        for value in [*known][: len(known) // 2]:
            del known[value]


def _value(field: Field | None) -> _Value | None:
    """What is compared: values of different types differ. None for a header that is not there, and
    for tables, arrays and decimals, which are not compared.
    """
    if field is None or isinstance(field.value, (list, dict, tuple)):
        return None
    value = field.value
    if isinstance(value, bytes) and len(value) > _HASHED_FROM_BYTES:
        return "hash", sha256(value).digest()
    return type(value).__name__, value


def _checked(field: Field | None) -> int | None:
    """A positive whole number, also as a string; None if it is none."""
    if field is None:
        return None
    value = field.value
    if isinstance(value, bytes) and value.isdigit() and len(value) <= _DIGITS_MAX:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return None
    return value

"""x-message-deduplication: a fanout exchange that passes each message on but once.

As the exchange of the plugin rabbitmq-message-deduplication
(https://github.com/noxdafox/rabbitmq-message-deduplication): a message whose header
`x-deduplication-header` has a value that was seen before leads nowhere, that is to the alternate
exchange if there is one. `x-cache-size` says how many values are remembered, `x-cache-ttl` (also a
message's header) for how many milliseconds; policies with these keys count more than the arguments.
The oldest value gives way to a new one, and the older half of them when memory is short. A value
counts as seen as soon as its message is published, also in a transaction that is rolled back later,
or if a queue refuses the message.

With `x-cache-persistence` "disk" a durable exchange knows the values after a restart, too. A policy
with that key makes no difference, as it does not in the plugin.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..amqp.content import find_header
from ..amqp.errors import PreconditionFailed
from ..amqp.fields import INTEGER_TAGS, Field
from .exchange import Exchange, Holding
from .fingerprint import fingerprint_of
from .message import Message
from .policy import Definition
from .seen_values import NEVER, KeptValues, SeenValues

if TYPE_CHECKING:
    from .binding import Destination

_SIZE, _TTL, _PERSISTENCE = "x-cache-size", "x-cache-ttl", "x-cache-persistence"
_MEMORY, _DISK = Field("S", b"memory"), Field("S", b"disk")
_DIGITS_MAX = 18


class DeduplicationExchange(Exchange):
    """Remembers values: in memory, unless it is given a place on disk for them."""

    type = "x-message-deduplication"
    __slots__ = ("_size", "_size_by_policy", "_ttl_by_policy_ms", "_ttl_ms", "_values")

    @property
    def routes_each_message(self) -> bool:
        return True

    def prepare(self) -> None:
        size = _checked(self.arguments.get(_SIZE))
        if size is None:
            raise PreconditionFailed(
                f"Missing or invalid argument, '{_SIZE}' must be an integer greater than 0"
            )
        self._size = size
        self._ttl_ms = _checked(self.arguments.get(_TTL))
        if self._ttl_ms is None and _TTL in self.arguments:
            raise PreconditionFailed(
                f"Invalid argument, '{_TTL}' must be an integer greater than 0"
            )
        if self.arguments.get(_PERSISTENCE) not in (None, _MEMORY, _DISK):
            raise PreconditionFailed(
                f"Invalid argument, '{_PERSISTENCE}' must be either 'disk' or 'memory'"
            )
        self._values = SeenValues()

    def follow(self, policy: Definition) -> None:
        super().follow(policy)
        self._size_by_policy = _positive(policy.get(_SIZE))
        self._ttl_by_policy_ms = _positive(policy.get(_TTL))

    @property
    def persistent(self) -> bool:
        return self.durable and self.arguments.get(_PERSISTENCE) == _DISK

    def keep(self, values: KeptValues) -> None:
        """Have the values on disk from now on; none has been seen yet."""
        self._values = values

    def restore(self, ids: Sequence[int]) -> None:
        """Know the values again that the journal has under these ids."""
        assert isinstance(self._values, KeptValues)
        self._values.restore(ids)

    @property
    def number(self) -> int:
        return self._values.number

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        assert message is not None
        value = fingerprint_of(message)
        if value is not None and not self._is_new(value, message):
            return ()
        return [binding.destination for binding in self.bindings.values()]

    def _is_new(self, value: bytes, message: Message) -> bool:
        """Whether a value has not been seen lately; it is remembered from now on."""
        now_ms = self.wall_ms()
        if self._values.know(value, now_ms):
            return False
        asked = find_header(message.raw_properties, _TTL)
        ttl_ms = self._ttl_by_policy_ms or self._ttl_ms
        if asked is not None and asked.tag in INTEGER_TAGS:
            ttl_ms = max(asked.integer, 0)
        expires_ms = NEVER if ttl_ms is None else min(now_ms + ttl_ms, NEVER)
        self._values.add(value, expires_ms, now_ms, self._size_by_policy or self._size)
        return True

    @property
    def holds(self) -> Sequence[Holding]:
        return (self._values,)

    def end(self) -> None:
        super().end()
        self._values.end()


def _positive(setting: object) -> int | None:
    return setting if isinstance(setting, int) and setting > 0 else None


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

"""What a queue does, by its arguments and the policies that match it, which may change.

Where both an argument and a policy set something, RabbitMQ's rules for the type of the queue say
which counts: the lower of two limits, the argument, or the policy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..amqp.fields import INTEGER_TAGS, Field, Table
from .limits import DROP_HEAD, REJECT_PUBLISH_DLX
from .policy import CLASSIC, QUORUM, STREAM, Definition

Setting: TypeAlias = int | str
_Rule: TypeAlias = Callable[[Setting, Setting], Setting]


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What is in force for a queue at present; None stands for what is not set.

    Each is called like the argument or the policy's key. Left out is what is checked and has no
    effect here: `queue-mode`, `queue-version`, whatever is about clusters, `dead-letter-strategy`
    (a dead letter is on disk before its original goes, always) and `stream-filter-size-bytes` (each
    message is looked at).
    """

    message_ttl_ms: int | None = None
    expires_ms: int | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: str = DROP_HEAD
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    delivery_limit: int | None = None
    consumer_timeout_ms: int | None = None
    max_age: str | None = None
    """For example "7D"."""
    stream_max_segment_size_bytes: int | None = None
    delayed_retry_type: str | None = None
    delayed_retry_min_ms: int | None = None
    delayed_retry_max_ms: int | None = None
    deduplicates: bool = False


NO_SETTINGS = QueueSettings()
DEDUPLICATION = "x-message-deduplication"
"""Of an argument and of a key of policies alike."""


def queue_type(arguments: Table) -> str:
    """The type of a queue with these arguments: classic, quorum or stream."""
    field = arguments.get("x-queue-type")
    return CLASSIC if field is None else field.text


def settings_of(arguments: Table, policy: Definition) -> QueueSettings:
    """The settings of a queue: its arguments, which have been checked, and what policies set for
    it (see `policy.merged`).
    """
    if not arguments and not policy:
        return NO_SETTINGS
    rules = _RULES[queue_type(arguments)]

    def number(key: str) -> int | None:
        value = _resolved(key, arguments, policy, rules)
        return value if isinstance(value, int) else None

    def text(key: str) -> str | None:
        value = _resolved(key, arguments, policy, rules)
        return value if isinstance(value, str) else None

    return QueueSettings(
        message_ttl_ms=number("message-ttl"),
        expires_ms=number("expires"),
        max_length=number("max-length"),
        max_length_bytes=number("max-length-bytes"),
        overflow=_overflow(text("overflow"), rules),
        dead_letter_exchange=text("dead-letter-exchange"),
        dead_letter_routing_key=text("dead-letter-routing-key"),
        delivery_limit=number("delivery-limit"),
        consumer_timeout_ms=number("consumer-timeout"),
        max_age=text("max-age"),
        stream_max_segment_size_bytes=number("stream-max-segment-size-bytes"),
        delayed_retry_type=text("delayed-retry-type"),
        delayed_retry_min_ms=number("delayed-retry-min"),
        delayed_retry_max_ms=number("delayed-retry-max"),
        deduplicates=_deduplicates(arguments, policy),
    )


def _deduplicates(arguments: Table, policy: Definition) -> bool:
    """Whether x-message-deduplication is on: the policy counts, and any argument but false."""
    if queue_type(arguments) != CLASSIC:
        return False
    field = arguments.get(DEDUPLICATION)
    return bool(policy.get(DEDUPLICATION, field is not None and field.value is not False))


def _overflow(value: str | None, rules: Mapping[str, _Rule]) -> str:
    if value is None or (value == REJECT_PUBLISH_DLX and rules is _RULES[QUORUM]):
        return DROP_HEAD  # quorum queues cannot do the other
    return value


def _resolved(
    key: str, arguments: Table, policy: Definition, rules: Mapping[str, _Rule]
) -> Setting | None:
    argument, by_policy = _setting(arguments.get(f"x-{key}")), policy.get(key)
    if not isinstance(by_policy, int | str):
        return argument
    return by_policy if argument is None else rules.get(key, _argument)(argument, by_policy)


def _setting(field: Field | None) -> Setting | None:
    if field is None:
        return None
    if field.tag == "S":
        return field.text
    return field.integer if field.tag in INTEGER_TAGS else None


def _argument(argument: Setting, by_policy: Setting) -> Setting:
    return argument


def _policy(argument: Setting, by_policy: Setting) -> Setting:
    return by_policy


def _lower(argument: Setting, by_policy: Setting) -> Setting:
    if isinstance(argument, int) and isinstance(by_policy, int):
        return min(argument, by_policy)
    return by_policy


def _lower_delivery_limit(argument: Setting, by_policy: Setting) -> Setting:
    """The lower one, where a negative one stands for no limit."""
    if isinstance(argument, int) and isinstance(by_policy, int) and min(argument, by_policy) < 0:
        return max(argument, by_policy)
    return _lower(argument, by_policy)


_DELAYED_RETRY: Mapping[str, _Rule] = {
    "delayed-retry-type": _policy,
    "delayed-retry-min": _lower,
    "delayed-retry-max": _lower,
}

_RULES: Mapping[str, Mapping[str, _Rule]] = {
    CLASSIC: {
        "message-ttl": _lower,
        "expires": _lower,
        "max-length": _lower,
        "max-length-bytes": _lower,
        "consumer-timeout": _lower,
        **_DELAYED_RETRY,
    },
    QUORUM: {
        "message-ttl": _lower,
        "expires": _policy,
        "max-length": _lower,
        "max-length-bytes": _lower,
        "overflow": _policy,
        "delivery-limit": _lower_delivery_limit,
        "consumer-timeout": _lower,
        **_DELAYED_RETRY,
    },
    STREAM: {
        "max-length-bytes": _policy,
        "max-age": _policy,
        "stream-max-segment-size-bytes": _policy,
        "consumer-timeout": _lower,
    },
}
"""Which counts, by the type of the queue; where nothing is said, the argument."""

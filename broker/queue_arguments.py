"""The arguments of queue.declare: which are known, and what their values may be.

Texts and order are RabbitMQ's (rabbit_amqqueue's argument checks). Arguments that RabbitMQ does not
know are kept and never looked at. `equivalence.py` compares those of a queue that is declared
again.
"""

from collections.abc import Callable

from ..amqp.errors import PreconditionFailed
from ..amqp.fields import INTEGER_TAGS, Field, Table
from .queue_settings import DEDUPLICATION
from .rules import Rules
from .stream_offsets import interval_ms

Check = Callable[[Field], None]
SHORTSTR_MAX_BYTES = 255
_LEADER_LOCATOR = "x-queue-leader-locator"
_MASTER_LOCATOR = "x-queue-master-locator"
SEGMENT_MAX_BYTES = 3_000_000_000
FILTER_SIZES_BYTES = range(16, 256)
TTL_MAX_MS = 315_360_000_000
"""Ten years: the longest time for a message or a queue to live."""


class _Unacceptable(ValueError):
    """Why a value is refused, in RabbitMQ's words."""


def check_queue_arguments(arguments: Table, resource: str, rules: Rules) -> None:
    """Refuse bad arguments of a new queue; `resource` is its name as texts show it. Of those that
    its type does not have the values do not matter.

    Raises PreconditionFailed.
    """
    exchange = arguments.get("x-dead-letter-exchange")
    if exchange is not None and exchange.tag != "S":
        raise PreconditionFailed(
            f"invalid type '{exchange.type_name}' for arg 'x-dead-letter-exchange' in {resource}"
        )
    _check_queue_type(arguments, resource)
    kind = _kind(arguments)
    foreign = [
        name
        for name in _OF_OTHER_TYPES[kind]
        if not (name == _LEADER_LOCATOR and rules.classic_leader_locator)
    ]
    checks = _CHECKS_OF_STREAMS if kind == "stream" else _CHECKS
    for name, check in checks.items():
        field = arguments.get(name)
        if field is None or name in foreign:
            continue
        if name == _MASTER_LOCATOR and rules.classic_leader_locator:
            continue  # the other argument has taken its place
        try:
            check(field)
            _check_company(name, arguments)
        except _Unacceptable as why:
            raise PreconditionFailed(f"invalid arg '{name}' for {resource}: {why}") from None
    for name in arguments:
        if name in foreign:
            raise PreconditionFailed(
                f"invalid arg '{name}' for {resource} of queue type rabbit_{kind}_queue"
            )
    if not rules.classic_ack_timeout:
        _check_time_of_quorum_queue("x-consumer-disconnected-timeout", arguments, resource, kind)
    if kind == "stream":
        _check_sizes_of_stream(arguments)
    _refuse_deduplication(arguments, resource, kind)


def check_ack_timeout_argument(arguments: Table, resource: str, kind: str, rules: Rules) -> None:
    """Refuse a bad x-consumer-timeout of a queue of this kind or of its consumer, as RabbitMQ does
    from 4.3 on, where it is for quorum queues only. 0 is good for no time at all.

    Raises PreconditionFailed.
    """
    allowed = "quorum" if not rules.classic_ack_timeout else kind
    _check_time_of_quorum_queue("x-consumer-timeout", arguments, resource, kind, allowed)


def _check_time_of_quorum_queue(
    name: str, arguments: Table, resource: str, kind: str, allowed: str = "quorum"
) -> None:
    field = arguments.get(name)
    if field is None:
        return
    if kind != allowed:
        raise PreconditionFailed(
            f"invalid arg '{name}' for {resource} of queue type rabbit_{kind}_queue"
        )
    try:
        _not_negative(field)
    except _Unacceptable as why:
        raise PreconditionFailed(f"invalid arg '{name}' for {resource}: {why}") from None


def _kind(arguments: Table) -> str:
    field = arguments.get("x-queue-type")
    return "classic" if field is None else field.text


def _integer(field: Field) -> int:
    if field.tag not in INTEGER_TAGS:
        raise _Unacceptable(f'"expected integer, got {field.type_name}"')
    assert isinstance(field.value, int)
    return field.value


def _not_negative(field: Field) -> None:
    value = _integer(field)
    if value < 0:
        raise _Unacceptable(f"{{value_negative,{value}}}")


def _positive(field: Field) -> None:
    _not_negative(field)
    if field.value == 0:
        raise _Unacceptable("{value_zero,0}")


def _time_to_live(field: Field) -> None:
    _not_negative(field)
    if _integer(field) > TTL_MAX_MS:
        raise _Unacceptable(f"{{value_too_large,{field.value}}}")


def _expiry(field: Field) -> None:
    _positive(field)
    _time_to_live(field)


def _priority(field: Field) -> None:
    _not_negative(field)
    if _integer(field) > 255:
        raise _Unacceptable(f"{{max_value_exceeded,{field.value}}}")


def _string(field: Field) -> None:
    if field.tag != "S":
        raise _Unacceptable(f"{{unacceptable_type,{field.type_name}}}")


def _routing_key(field: Field) -> None:
    """RabbitMQ takes one that no delivery could carry, and fails when it must."""
    _string(field)
    assert isinstance(field.value, bytes)
    if len(field.value) > SHORTSTR_MAX_BYTES:
        raise _Unacceptable(f"{{value_too_large,{len(field.value)}}}")


def _boolean(field: Field) -> None:
    if field.tag != "t":
        raise _Unacceptable(f"{{unacceptable_type,{field.type_name}}}")


def _overflow(field: Field) -> None:
    _string(field)
    if field.text not in ("drop-head", "reject-publish", "reject-publish-dlx"):
        raise _Unacceptable("invalid_overflow")


def _mode(field: Field) -> None:
    _string(field)
    if field.text not in ("default", "lazy"):
        raise _Unacceptable(f"\"unsupported queue mode '{field.text}'\"")


def _version(field: Field) -> None:
    _not_negative(field)
    if field.value not in (1, 2):
        raise _Unacceptable(f"\"unsupported queue version '{field.value}'\"")


def _strategy(field: Field) -> None:
    _string(field)
    if field.text not in ("at-most-once", "at-least-once"):
        raise _Unacceptable("invalid_dlx_strategy")


def _leader_locator(field: Field) -> None:
    _string(field)
    if field.text not in ("balanced", "client-local", "random", "least-leaders"):
        raise _Unacceptable("invalid_queue_locator_arg")


def _master_locator(field: Field) -> None:
    _string(field)
    if field.text not in ("client-local", "min-masters", "random"):
        raise _Unacceptable("invalid_queue_locator_arg")


def _retry_type(field: Field) -> None:
    _string(field)
    if field.text not in ("all", "failed", "returned", "disabled"):
        raise _Unacceptable("invalid_delayed_retry_type")


def _check_company(name: str, arguments: Table) -> None:
    """Arguments that make sense only with another one. A delayed retry's shortest time may come
    from a policy.
    """
    if name == "x-dead-letter-routing-key" and "x-dead-letter-exchange" not in arguments:
        raise _Unacceptable("routing_key_but_no_dlx_defined")


def _max_age(field: Field) -> None:
    _string(field)
    if interval_ms(field.text) is None:
        raise _Unacceptable("invalid_max_age")


# In the order in which RabbitMQ checks them: the first fault is told.
_CHECKS: dict[str, Check] = {
    "x-expires": _expiry,
    "x-message-ttl": _time_to_live,
    "x-dead-letter-routing-key": _routing_key,
    "x-dead-letter-strategy": _strategy,
    "x-max-length": _not_negative,
    "x-max-length-bytes": _not_negative,
    "x-max-in-memory-length": _not_negative,
    "x-max-in-memory-bytes": _not_negative,
    "x-max-priority": _priority,
    "x-overflow": _overflow,
    "x-queue-mode": _mode,
    "x-queue-version": _version,
    "x-single-active-consumer": _boolean,
    "x-quorum-initial-group-size": _positive,
    "x-queue-leader-locator": _leader_locator,
    _MASTER_LOCATOR: _master_locator,
    "x-delayed-retry-type": _retry_type,
    "x-delayed-retry-min": _positive,
    "x-delayed-retry-max": _positive,
}

_CHECKS_OF_STREAMS: dict[str, Check] = {
    "x-max-length-bytes": _not_negative,
    "x-max-age": _max_age,
    "x-stream-max-segment-size-bytes": _not_negative,
    "x-stream-filter-size-bytes": _not_negative,
    "x-initial-cluster-size": _positive,
    "x-queue-leader-locator": _leader_locator,
}

_OF_QUORUM_QUEUES = (
    "x-delivery-limit",
    "x-dead-letter-strategy",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-quorum-initial-group-size",
    "x-queue-leader-locator",
)
_DELAYED_RETRY = ("x-delayed-retry-type", "x-delayed-retry-min", "x-delayed-retry-max")
_OF_STREAMS = (
    "x-max-age",
    "x-initial-cluster-size",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
)
_OF_CLASSIC_QUEUES = ("x-max-priority", "x-queue-mode", "x-queue-version", _MASTER_LOCATOR)
_NOT_OF_STREAMS = (
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-overflow",
    "x-single-active-consumer",
    *_OF_CLASSIC_QUEUES,
    *_DELAYED_RETRY,
    *(name for name in _OF_QUORUM_QUEUES if name != "x-queue-leader-locator"),
)
_OF_OTHER_TYPES = {
    "classic": (*_OF_QUORUM_QUEUES, *_OF_STREAMS),
    "quorum": (*_OF_CLASSIC_QUEUES, *_OF_STREAMS),
    "stream": _NOT_OF_STREAMS,
}


def _check_queue_type(arguments: Table, resource: str) -> None:
    field = arguments.get("x-queue-type")
    if field is None:
        return
    try:
        _string(field)
        if field.text not in ("classic", "quorum", "stream"):
            raise _Unacceptable(f"\"unsupported queue type '{field.text}'\"")
    except _Unacceptable as why:
        raise PreconditionFailed(f"invalid arg 'x-queue-type' for {resource}: {why}") from None


def _refuse_deduplication(arguments: Table, resource: str, kind: str) -> None:
    """Only classic queues can do it; RabbitMQ's plugin leaves the argument of others unnoticed."""
    field = arguments.get(DEDUPLICATION)
    if kind != "classic" and field is not None and field.value is not False:
        raise PreconditionFailed(
            f"invalid arg '{DEDUPLICATION}' for {resource} of queue type rabbit_{kind}_queue"
        )


def _check_sizes_of_stream(arguments: Table) -> None:
    segment = arguments.get("x-stream-max-segment-size-bytes")
    if segment is not None and segment.integer > SEGMENT_MAX_BYTES:
        raise PreconditionFailed("Exceeded max value for x-stream-max-segment-size-bytes")
    bits = arguments.get("x-stream-filter-size-bytes")
    if bits is not None and bits.integer not in FILTER_SIZES_BYTES:
        raise PreconditionFailed("Invalid value for  x-stream-filter-size-bytes")

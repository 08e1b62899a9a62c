"""Declaring what is there already: allowed if it is equal to what is asked for.

RabbitMQ compares the attributes in this order and names the first that differs.
"""

from ..amqp.errors import PreconditionFailed
from ..amqp.fields import Field, Table, Value
from .erlang_terms import erlang_atom, erlang_term
from .exchange import Exchange
from .policy import CLASSIC, QUORUM, STREAM
from .queue import Queue
from .queue_settings import queue_type
from .rules import Rules

_OF_ALL_BUT_STREAMS = (
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max",
)
_COMPARED = {
    CLASSIC: (
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
        "x-queue-type",
        "x-queue-master-locator",
        "x-queue-leader-locator",
        *_OF_ALL_BUT_STREAMS,
    ),
    QUORUM: (
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-overflow",
        "x-single-active-consumer",
        "x-queue-type",
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-message-ttl",
        "x-queue-leader-locator",
        "x-consumer-timeout",
        *_OF_ALL_BUT_STREAMS,
    ),
    STREAM: (
        "x-max-length-bytes",
        "x-queue-type",
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-stream-filter-size-bytes",
        "x-initial-cluster-size",
        "x-queue-leader-locator",
    ),
}
"""The arguments that count, by the type of the queue that is there; RabbitMQ compares the size of
a stream's filter from 4.3 on.
"""


def check_equivalent_exchange(
    current: Exchange,
    kind: str,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Table,
) -> None:
    """Refuse to redeclare an exchange otherwise than it is. Raises PreconditionFailed.

    Of the arguments only the alternate exchange counts.
    """
    _check(current, "type", erlang_atom(kind), erlang_atom(current.type))
    _check(current, "durable", _word(durable), _word(current.durable))
    _check(current, "auto_delete", _word(auto_delete), _word(current.auto_delete))
    _check(current, "internal", _word(internal), _word(current.internal))
    new, old = (table.get("alternate-exchange") for table in (arguments, current.arguments))
    if (old and old.value) != (new and new.value):
        raise PreconditionFailed(
            f"inequivalent arg 'alternate-exchange' for {current!r}: {_difference(old, new)}"
        )


def check_equivalent_queue(
    current: Queue, durable: bool, auto_delete: bool, arguments: Table, rules: Rules
) -> None:
    """Refuse to redeclare a queue otherwise than it is. Raises PreconditionFailed."""
    _check(current, "durable", _word(durable), _word(current.durable))
    _check(current, "auto_delete", _word(auto_delete), _word(current.auto_delete))
    _check_arguments(current.arguments, arguments, repr(current), rules)


def _check(current: Exchange | Queue, attribute: str, received: str, existing: str) -> None:
    if received != existing:
        raise PreconditionFailed(
            f"inequivalent arg '{attribute}' for {current!r}:"
            f" received '{received}' but current is '{existing}'"
        )


def _word(value: bool) -> str:
    return "true" if value else "false"


# --- arguments of queues ----------------------------------------------------------------------


def _check_arguments(current: Table, received: Table, resource: str, rules: Rules) -> None:
    """Refuse to redeclare a queue with other values of the known arguments. Raises
    PreconditionFailed.
    """
    for name in _COMPARED[queue_type(current)]:
        if not _counts(name, current, rules):
            continue
        if _comparable(name, current) != _comparable(name, received):
            raise PreconditionFailed(
                f"inequivalent arg '{name}' for {resource}:"
                f" {_difference(current.get(name), received.get(name))}"
            )


def _difference(current: Field | None, received: Field | None) -> str:
    """How RabbitMQ says that an argument was received with one value but has another."""
    if current is None and received is not None:
        return f"received {_the_value(received)} but current is none"
    if received is None and current is not None:
        return f"received none but current is {_the_value(current)}"
    assert current is not None
    assert received is not None
    return f"received {_quoted(received)} but current is {_quoted(current)}"


def _quoted(field: Field) -> str:
    return "none" if field.tag == "V" else f"'{_shown(field)}'"


def _shown(field: Field) -> str:
    """A value as texts show it."""
    return field.text if isinstance(field.value, bytes) else erlang_term(field)


def _the_value(field: Field) -> str:
    return f"the value '{_shown(field)}' of type '{field.type_name}'"


def _counts(name: str, current: Table, rules: Rules) -> bool:
    """Whether this version knows the argument for this type of queue."""
    if name == "x-queue-leader-locator" and queue_type(current) == CLASSIC:
        return rules.classic_leader_locator
    return name != "x-consumer-timeout" or not rules.classic_ack_timeout


def _comparable(name: str, arguments: Table) -> tuple[type, Value] | None:
    """An argument's value, and of which kind it is: widths of integers make no difference."""
    field = arguments.get(name)
    if field is None or (name == "x-queue-type" and field.value == b"classic"):
        return None
    return type(field.value), field.value

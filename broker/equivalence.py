"""Declaring what is there already: allowed if it is equal to what is asked for.

RabbitMQ compares the attributes in this order and names the first that differs.
"""

from ..amqp.errors import PreconditionFailed
from ..amqp.fields import Table
from .exchange import Exchange
from .queue import Queue
from .queue_arguments import check_equivalent_arguments, difference


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
    _check(current, "type", kind, current.type)
    _check(current, "durable", _word(durable), _word(current.durable))
    _check(current, "auto_delete", _word(auto_delete), _word(current.auto_delete))
    _check(current, "internal", _word(internal), _word(current.internal))
    new, old = (table.get("alternate-exchange") for table in (arguments, current.arguments))
    if (old and old.value) != (new and new.value):
        raise PreconditionFailed(
            f"inequivalent arg 'alternate-exchange' for {current!r}: {difference(old, new)}"
        )


def check_equivalent_queue(
    current: Queue, durable: bool, auto_delete: bool, arguments: Table
) -> None:
    """Refuse to redeclare a queue otherwise than it is. Raises PreconditionFailed."""
    _check(current, "durable", _word(durable), _word(current.durable))
    _check(current, "auto_delete", _word(auto_delete), _word(current.auto_delete))
    check_equivalent_arguments(current.arguments, arguments, repr(current))


def _check(current: Exchange | Queue, attribute: str, received: str, existing: str) -> None:
    if received != existing:
        raise PreconditionFailed(
            f"inequivalent arg '{attribute}' for {current!r}:"
            f" received '{received}' but current is '{existing}'"
        )


def _word(value: bool) -> str:
    return "true" if value else "false"

"""What exchange.declare asks for, before there is an exchange; and those that always are."""

from ..amqp.errors import CommandInvalid, PreconditionFailed
from ..amqp.fields import Table
from .exchange import Exchange
from .exchanges import EXCHANGE_TYPES
from .firehose import TRACE_EXCHANGE
from .rules import Rules

PREDECLARED = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
    TRACE_EXCHANGE: "topic",
}
"""The types of the exchanges that every vhost has, by their names."""

# Words for which RabbitMQ says "invalid" rather than "unknown" type, because it knows them
# otherwise.
_NO_TYPES = frozenset({"", "queue", "exchange", "foo"})


def exchange_class(kind: str, rules: Rules) -> type[Exchange]:
    """The class for a type's name. Raises CommandInvalid or, from 4.0 on, PreconditionFailed."""
    known = EXCHANGE_TYPES.get(kind)
    if known is None:
        fault = "invalid" if kind in _NO_TYPES else "unknown"
        error = (
            CommandInvalid if rules.unknown_exchange_type_closes_connection else PreconditionFailed
        )
        raise error(f"{fault} exchange type '{kind}'")
    return known


def check_alternate(arguments: Table, resource: str) -> None:
    """Refuse an alternate exchange that is no name; `resource` is the exchange's own as texts show
    it. Raises PreconditionFailed.
    """
    alternate = arguments.get("alternate-exchange")
    if alternate is not None and alternate.tag != "S":
        raise PreconditionFailed(
            f"invalid type '{alternate.type_name}' for arg 'alternate-exchange' in {resource}"
        )

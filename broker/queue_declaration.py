"""What queue.declare asks for, before there is a queue: checks, defaults, and which kind it is."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..amqp.errors import InternalError
from ..amqp.fields import Field, Table
from .policy import CLASSIC, QUORUM, STREAM
from .priorities import PriorityQueue
from .queue import Queue
from .queue_arguments import check_ack_timeout_argument, check_queue_arguments
from .queue_properties import check_properties
from .queue_settings import queue_type
from .quorum_priorities import PrioritizedQuorumQueue
from .quorum_queue import QuorumQueue
from .rules import TRANSIENT_QUEUES_DENIED, Rules
from .stream_queue import StreamQueue

if TYPE_CHECKING:
    from .definitions import Definitions


def with_default_type(
    arguments: Table, default: str, *, durable: bool, exclusive: bool, auto_delete: bool
) -> Table:
    """The arguments, with the vhost's default type if they name none and the queue can be of it."""
    if "x-queue-type" in arguments or not durable or exclusive or auto_delete:
        return arguments
    return {**arguments, "x-queue-type": Field("S", default.encode())}


def check_new_queue(
    resource: str,
    arguments: Table,
    rules: Rules,
    *,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    generated: bool,
) -> None:
    """Refuse a queue that cannot be; `resource` is its name as texts show it, `generated` says that
    leveret made that up. Raises PreconditionFailed, InternalError.
    """
    check_queue_arguments(arguments, resource, rules)
    kind = queue_type(arguments)
    check_ack_timeout_argument(arguments, resource, kind, rules)
    if not (durable or exclusive or rules.transient_shared_queues):
        raise InternalError(TRANSIENT_QUEUES_DENIED)
    if kind != CLASSIC:
        check_properties(
            kind,
            resource,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            generated=generated,
        )


def queue_class(arguments: Table, rules: Rules, definitions: "Definitions") -> Callable[..., Queue]:
    """What makes a queue with these arguments, which have been checked."""
    kind = queue_type(arguments)
    if kind == QUORUM:
        prioritized = rules.quorum_priorities > 1
        return partial(PrioritizedQuorumQueue if prioritized else QuorumQueue, rules=rules)
    if kind == STREAM:
        return partial(StreamQueue, rules=rules, records=definitions)
    return PriorityQueue if "x-max-priority" in arguments else Queue

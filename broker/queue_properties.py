"""What queues that RabbitMQ replicates, quorum queues and streams, cannot be."""

from ..amqp.errors import PreconditionFailed


def check_properties(
    kind: str, resource: str, *, durable: bool, exclusive: bool, auto_delete: bool, generated: bool
) -> None:
    """Refuse what a queue of that kind, quorum or stream, cannot be; `generated` says that the name
    is not the client's.

    Raises PreconditionFailed.
    """
    if generated:
        raise PreconditionFailed(
            f"Cannot declare a server-named queue for type rabbit_{kind}_queue"
        )
    for refused, name in (
        (auto_delete, "auto-delete"),
        (exclusive, "exclusive-owner"),
        (not durable, "non-durable"),
    ):
        if refused:
            raise PreconditionFailed(f"invalid property '{name}' for {resource}")

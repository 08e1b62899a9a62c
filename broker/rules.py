"""Where RabbitMQ's versions differ in what a client sees, and which of them leveret behaves as.

`RULES` is the whole table: 3.13 in full, then for each later version what changed in it. What all
of these versions do alike is not here, it is simply what leveret does.
"""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

EmulatedVersion: TypeAlias = Literal["3.13", "4.0", "4.3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one version of RabbitMQ."""

    version: str
    """What connection.start announces. Clients choose features by it: kombu, for one, uses a
    channel-wide prefetch only below 4.0.
    """
    unknown_exchange_type_closes_connection: bool
    """exchange.declare of an unknown type: 503 for the connection, or 406 for the channel."""
    frame_min_bytes: int
    """The smallest frame_max that a client may ask for."""
    max_message_bytes: int
    """The largest message, unless configured."""
    clients_x_death_counts: bool
    """Whether an x-death header that a client sent is continued when the message dies; if not, the
    history begins anew.
    """
    delivery_limit: int | None
    """How often a quorum queue delivers a message again, unless it has a limit of its own."""
    nack_is_failure: bool
    """Whether basic.nack with requeue counts towards the delivery limit of a quorum queue."""
    acquired_counts: bool
    """Whether x-acquired-count tells how often a message came back to a quorum queue, and
    x-delivery-count only how often it was a failure; if not, x-delivery-count tells all.
    """
    gets_tell_zero: bool
    """Whether basic.get tells x-delivery-count also of a message that has not come back yet."""
    quorum_priorities: int
    """How many priorities messages have in quorum queues (see `quorum_priorities`)."""
    global_qos: bool
    """Whether basic.qos with global=true is for the channel; if not, global is ignored."""
    transient_shared_queues: bool
    """Whether queues may be neither durable nor exclusive; if not, 541 for the connection."""
    classic_ack_timeout: bool
    """Whether deliveries from classic queues can time out, which closes the channel. If not, only
    those from quorum queues can: they return to their queue and the consumer is cancelled.
    """
    classic_leader_locator: bool
    """Whether classic queues may have the argument x-queue-leader-locator."""
    passive_declare_needs_permission: bool
    """Whether a passive declare needs any one of configure, write and read."""
    topic_permissions_cover_copies: bool
    """Whether a topic permission must allow the keys of CC and BCC, too, and not only the routing
    key that a message is published with.
    """
    replies_pass_by_queues: bool
    """Whether a direct reply is handed over as soon as it is published: it does not wait for a
    tx.commit, and if it is mandatory it comes back as unroutable although it was delivered.
    """
    brief_stream_texts: bool
    """Errors about streams say `stream queue 'q' ...` in place of `'queue 'q' ...'` or `stream
    queues queue 'q' ...`.
    """
    mirrored_queues: bool
    """Whether policies may have the keys of mirrored queues, `ha-mode` and so on."""
    unlimited_deliveries: bool
    """Whether a policy's delivery-limit may be negative, which stands for none."""
    duplicates_die: bool
    """Whether a message that a queue refuses as a duplicate becomes a dead letter."""


TRANSIENT_QUEUES_DENIED = """\
Feature `transient_nonexcl_queues` is deprecated.
By default, this feature is not permitted anymore.
The feature will be removed from a future major RabbitMQ version, regardless of the configuration; \
actual version to be determined.
To continue using this feature when it is not permitted by default, set the following parameter in \
your configuration:
    "deprecated_features.permit.transient_nonexcl_queues = true\""""
"""What RabbitMQ 4.3 says to who declares a queue that is neither durable nor exclusive."""

_3_13 = Rules(
    version="3.13.7",
    unknown_exchange_type_closes_connection=True,
    frame_min_bytes=4096,
    max_message_bytes=134_217_728,
    clients_x_death_counts=True,
    delivery_limit=None,
    nack_is_failure=True,
    acquired_counts=False,
    gets_tell_zero=True,
    quorum_priorities=1,
    global_qos=True,
    transient_shared_queues=True,
    classic_ack_timeout=True,
    classic_leader_locator=False,
    passive_declare_needs_permission=False,
    topic_permissions_cover_copies=False,
    replies_pass_by_queues=True,
    brief_stream_texts=False,
    mirrored_queues=True,
    unlimited_deliveries=False,
    duplicates_die=False,
)

_4_0 = replace(
    _3_13,
    version="4.0.9",
    unknown_exchange_type_closes_connection=False,
    max_message_bytes=16_777_216,
    clients_x_death_counts=False,
    classic_leader_locator=True,
    delivery_limit=20,
    gets_tell_zero=False,
    topic_permissions_cover_copies=True,  # since 4.0.9
    quorum_priorities=2,
    brief_stream_texts=True,
    mirrored_queues=False,
    unlimited_deliveries=True,
)

_4_3 = replace(
    _4_0,
    version="4.3.5",
    frame_min_bytes=8192,  # since 4.1
    nack_is_failure=False,
    acquired_counts=True,
    quorum_priorities=32,
    global_qos=False,
    transient_shared_queues=False,
    classic_ack_timeout=False,
    passive_declare_needs_permission=True,
    replies_pass_by_queues=False,  # since 4.2
    duplicates_die=True,  # since 4.1
)

RULES = MappingProxyType[EmulatedVersion, Rules]({"3.13": _3_13, "4.0": _4_0, "4.3": _4_3})
DEFAULT_VERSION: EmulatedVersion = "3.13"
DEFAULT_RULES = RULES[DEFAULT_VERSION]

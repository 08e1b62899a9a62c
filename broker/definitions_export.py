"""Everything that is defined becomes a document, as RabbitMQ exports it."""

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec

from .admin_users import UserAdministration
from .admin_vhosts import VhostAdministration
from .definitions_file import (
    OPERATOR_POLICY,
    VHOST_LIMITS,
    BindingEntry,
    DefinitionsFile,
    ExchangeEntry,
    GlobalParameterEntry,
    MetadataEntry,
    ParameterEntry,
    PermissionEntry,
    PolicyEntry,
    QueueEntry,
    TopicPermissionEntry,
    UserEntry,
    VhostEntry,
)
from .json_arguments import json_from_table
from .log import fields
from .passwords import SHA256
from .policy import CLASSIC, JsonValue
from .queue import Queue

if TYPE_CHECKING:
    from .broker import Broker
    from .policy import Policy
    from .vhost import VirtualHost

log = logging.getLogger("leveret.definitions")

_Entry = TypeVar("_Entry", QueueEntry, ExchangeEntry, BindingEntry)


def export_definitions(broker: "Broker", *, vhost: str | None = None) -> DefinitionsFile:
    """Everything that is defined and durable, as RabbitMQ exports and imports it; or what is in a
    vhost.

    Passwords go as their hashes; those that RabbitMQ does not know it cannot check. What has a name
    or an argument that is not UTF-8 (clients may choose them) is left out, with a warning: JSON
    cannot have it.
    """
    document = DefinitionsFile(
        rabbit_version=broker.rules.version,
        rabbitmq_version=broker.rules.version,
        product_name="RabbitMQ",
        product_version=broker.rules.version,
    )
    if vhost is not None:
        _export_vhost(document, VhostAdministration(broker).vhost(vhost))
        return document
    _export_users(document, broker)
    for each in VhostAdministration(broker).vhosts():
        document.vhosts.append(_exported_vhost(each))
        _export_vhost(document, each)
    document.global_parameters += [
        GlobalParameterEntry(name, value) for name, value in broker.global_parameters.all().items()
    ]
    return document


def _export_users(document: DefinitionsFile, broker: "Broker") -> None:
    for user in UserAdministration(broker).users():
        hashed = user.exported_hash(broker.unique_name().encode())
        document.users.append(
            UserEntry(
                user.name,
                password_hash="" if hashed is None else hashed.encoded,
                hashing_algorithm=SHA256 if hashed is None else hashed.algorithm,
                tags=sorted(user.tags),
                limits=user.limits,
            )
        )
        for vhost, permissions in sorted(user.permissions.items()):
            three = permissions.patterns
            if three is not None:
                document.permissions.append(
                    PermissionEntry(user.name, vhost, three.configure, three.write, three.read)
                )
            document.topic_permissions += [
                TopicPermissionEntry(user.name, vhost, exchange, two.write, two.read)
                for exchange, two in sorted(permissions.topics.items())
            ]


def _exported_vhost(vhost: "VirtualHost") -> VhostEntry:
    settings = vhost.settings
    kind, tags = settings.default_queue_type or "classic", list(settings.tags)
    return VhostEntry(
        vhost.name,
        description=settings.description,
        tags=tags,
        default_queue_type=kind,
        metadata=MetadataEntry(settings.description, tags, kind),
        tracing=vhost.tracing,
    )


def _export_vhost(document: DefinitionsFile, vhost: "VirtualHost") -> None:
    """What is in a vhost, with its limits and policies."""
    name = vhost.name
    if vhost.settings.limits:
        document.parameters.append(
            ParameterEntry(name, VHOST_LIMITS, "limits", vhost.settings.limits)
        )
    document.policies += [_exported(name, policy) for policy in vhost.policies.all()]
    document.parameters += [
        ParameterEntry(name, OPERATOR_POLICY, policy.name, dict(policy.value))
        for policy in vhost.policies.all(operator=True)
    ]
    queues = [queue for queue in vhost.queues.values() if queue.durable]
    document.queues += _in_json(
        QueueEntry(name, queue.name, True, queue.auto_delete, _exported_arguments(vhost, queue))
        for queue in queues
    )
    exchanges = [each for each in vhost.exchanges.values() if each.durable]
    document.exchanges += _in_json(
        ExchangeEntry(
            name,
            exchange.name,
            exchange.type,
            auto_delete=exchange.auto_delete,
            internal=exchange.internal,
            arguments=json_from_table(exchange.arguments),
        )
        for exchange in exchanges
        if exchange.name and not exchange.name.startswith("amq.")
    )
    document.bindings += _in_json(
        BindingEntry(
            name,
            exchange.name,
            binding.destination.name,
            "queue" if isinstance(binding.destination, Queue) else "exchange",
            binding.routing_key,
            json_from_table(binding.arguments),
        )
        for exchange in exchanges
        for binding in exchange.bindings.values()
        if exchange.name and binding.destination.durable
    )


def _exported_arguments(vhost: "VirtualHost", queue: Queue) -> dict[str, JsonValue]:
    """With the type, where it would become another one without: the vhost's default type counts for
    queues that come from a document, too.
    """
    arguments = json_from_table(queue.arguments)
    if vhost.settings.default_queue_type is not None:
        arguments.setdefault("x-queue-type", CLASSIC)
    return arguments


def _in_json(entries: Iterable[_Entry]) -> Iterator[_Entry]:
    """Those that JSON can have."""
    for entry in entries:
        try:
            msgspec.json.encode(entry)
        except UnicodeEncodeError:
            log.warning("cannot export what is not UTF-8", extra=fields(entry=repr(entry)))
        else:
            yield entry


def _exported(vhost: str, policy: "Policy") -> PolicyEntry:
    return PolicyEntry(
        vhost,
        policy.name,
        policy.pattern,
        dict(policy.definition),
        policy.priority,
        policy.applies_to,
    )

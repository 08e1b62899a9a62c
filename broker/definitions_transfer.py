"""Definitions of a whole broker, to a document and back: how users move between brokers."""

import logging
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from ..amqp.errors import AMQPError
from .administration import Administration, Invalid, NoSuchThing
from .definitions_file import (
    BindingEntry,
    DefinitionsFile,
    ExchangeEntry,
    InvalidDefinitions,
    InvalidTable,
    Json,
    MetadataEntry,
    ParameterEntry,
    PermissionEntry,
    PolicyEntry,
    QueueEntry,
    TopicPermissionEntry,
    UserEntry,
    VhostEntry,
    json_from_table,
    table_from_json,
    tag_names,
)
from .log import fields
from .passwords import SHA256, InvalidHash, checked_hash
from .permissions import Patterns, TopicPatterns
from .policy_checks import InvalidPolicy
from .queue import Queue

if TYPE_CHECKING:
    from .broker import Broker
    from .policy import Policy
    from .vhost import VirtualHost

log = logging.getLogger("leveret.definitions")

_OPERATOR_POLICY, _VHOST_LIMITS = "operator_policy", "vhost-limits"
_Kind = TypeVar("_Kind")


def import_definitions(broker: "Broker", definitions: DefinitionsFile) -> None:
    """Set everything that a document says, in an order in which each thing finds what it needs.

    What stands before a fault stays. Raises InvalidDefinitions, which tells where the fault is.
    """
    importing = _Import(broker)
    for kind in _ORDER:
        entries = getattr(definitions, kind)
        for place, entry in enumerate(entries):
            try:
                getattr(importing, kind)(entry)
            except AMQPError as error:
                raise InvalidDefinitions(f"{kind}[{place}]: {error.explanation}") from error
            except (Invalid, InvalidHash, InvalidPolicy, InvalidTable, NoSuchThing) as error:
                raise InvalidDefinitions(f"{kind}[{place}]: {error}") from error
    broker.do_postponed()


_ORDER = (
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "policies",
    "parameters",
    "exchanges",
    "queues",
    "bindings",
)


class _Import:
    """What to do with one entry of each kind."""

    def __init__(self, broker: "Broker"):
        self._broker = broker
        self._administration = Administration(broker)

    def users(self, entry: UserEntry) -> None:
        password = entry.password
        if password is None and entry.password_hash:
            password = checked_hash(entry.password_hash, entry.hashing_algorithm)
        if self._is_configured(entry.name):
            return
        user = self._administration.set_user(entry.name, password, tags=tag_names(entry.tags))
        self._administration.set_user_limits(user.name, _limits(entry.limits))

    def _is_configured(self, name: str) -> bool:
        """Whether the configuration file has that user, and therefore the say."""
        user = self._broker.users.get(name)
        configured = user is not None and user.is_configured
        if configured:
            log.info("left to the configuration file", extra=fields(user=name))
        return configured

    def vhosts(self, entry: VhostEntry) -> None:
        metadata = entry.metadata
        kind = entry.default_queue_type or metadata.default_queue_type
        vhost = self._administration.set_vhost(
            entry.name,
            description=entry.description or metadata.description,
            tags=tag_names(entry.tags or metadata.tags),
            default_queue_type=None if kind in (None, "undefined", "classic") else str(kind),
        )
        if entry.limits:
            self._administration.set_vhost_limits(vhost.name, _limits(entry.limits))

    def permissions(self, entry: PermissionEntry) -> None:
        patterns = Patterns(entry.configure, entry.write, entry.read)
        if self._is_configured(entry.user):
            return
        self._administration.set_permissions(entry.user, entry.vhost, patterns)

    def topic_permissions(self, entry: TopicPermissionEntry) -> None:
        if self._is_configured(entry.user):
            return
        permissions = self._administration.user(entry.user).permissions.get(entry.vhost)
        topics = {} if permissions is None else dict(permissions.topics)
        topics[entry.exchange] = TopicPatterns(entry.write, entry.read)
        self._administration.set_topic_permissions(entry.user, entry.vhost, topics)

    def policies(self, entry: PolicyEntry, *, operator: bool = False) -> None:
        self._administration.set_policy(
            entry.vhost,
            entry.name,
            entry.pattern,
            entry.definition,
            priority=entry.priority,
            applies_to=entry.apply_to,
            operator=operator,
        )

    def parameters(self, entry: ParameterEntry) -> None:
        if entry.component == _OPERATOR_POLICY:
            value = {**_object(entry.value), "vhost": entry.vhost, "name": entry.name}
            value["definition"] = _object(value.get("definition"))
            self.policies(_converted(value, PolicyEntry), operator=True)
        elif entry.component == _VHOST_LIMITS:
            self._administration.set_vhost_limits(entry.vhost, _limits(entry.value))
        else:
            raise Invalid(f"component {entry.component!r} not found")

    def exchanges(self, entry: ExchangeEntry) -> None:
        self._administration.vhost(entry.vhost).declare_exchange(
            entry.name,
            entry.type,
            durable=entry.durable,
            auto_delete=entry.auto_delete,
            internal=entry.internal,
            arguments=table_from_json(entry.arguments),
        )

    def queues(self, entry: QueueEntry) -> None:
        self._administration.vhost(entry.vhost).declare_queue(
            entry.name,
            durable=entry.durable,
            auto_delete=entry.auto_delete,
            owner=None,
            arguments=table_from_json(entry.arguments),
        )

    def bindings(self, entry: BindingEntry) -> None:
        vhost = self._administration.vhost(entry.vhost)
        if entry.destination_type not in ("queue", "exchange"):
            raise Invalid("destination_type must be queue or exchange")
        of_queue = entry.destination_type == "queue"
        source = vhost.exchanges.get(entry.source)
        destination = (vhost.queues if of_queue else vhost.exchanges).get(entry.destination)
        if source is None or destination is None:
            # RabbitMQ's own files have such: they leave internal exchanges out.
            log.warning(
                "passed over a binding whose source or destination does not exist",
                extra=fields(vhost=entry.vhost, source=entry.source, destination=entry.destination),
            )
            return
        vhost.bind(source, destination, entry.routing_key, table_from_json(entry.arguments))


def _object(value: Json) -> dict[str, Json]:
    """An object, which older versions of RabbitMQ may have written as a list of pairs."""
    if isinstance(value, list):
        value = dict(_converted(value, list[tuple[str, Json]]))
    if not isinstance(value, dict):
        raise Invalid("the value must be an object")
    return cast("dict[str, Json]", value)


def _limits(value: Json) -> dict[str, int]:
    return _converted(_object(value), dict[str, int])


def _converted(value: Json, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error


def export_definitions(broker: "Broker") -> DefinitionsFile:
    """Everything that is defined and durable, as RabbitMQ exports and imports it.

    Passwords go as their hashes; those that RabbitMQ does not know it cannot check.
    """
    administration = Administration(broker)
    document = DefinitionsFile(
        rabbit_version=broker.rules.version,
        rabbitmq_version=broker.rules.version,
        product_name="RabbitMQ",
        product_version=broker.rules.version,
    )
    for user in administration.users():
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
    for vhost in administration.vhosts():
        _export_vhost(document, vhost)
    return document


def _export_vhost(document: DefinitionsFile, vhost: "VirtualHost") -> None:
    name = vhost.name
    kind = vhost.settings.default_queue_type or "classic"
    document.vhosts.append(
        VhostEntry(
            name,
            description=vhost.settings.description,
            tags=list(vhost.settings.tags),
            default_queue_type=kind,
            metadata=MetadataEntry(vhost.settings.description, list(vhost.settings.tags), kind),
        )
    )
    if vhost.settings.limits:
        document.parameters.append(
            ParameterEntry(name, _VHOST_LIMITS, "limits", vhost.settings.limits)
        )
    document.policies += [_exported(name, policy) for policy in vhost.policies.all()]
    document.parameters += [
        ParameterEntry(name, _OPERATOR_POLICY, policy.name, dict(policy.value))
        for policy in vhost.policies.all(operator=True)
    ]
    queues = [queue for queue in vhost.queues.values() if queue.durable]
    document.queues += [
        QueueEntry(name, queue.name, True, queue.auto_delete, json_from_table(queue.arguments))
        for queue in queues
    ]
    exchanges = [each for each in vhost.exchanges.values() if each.durable]
    document.exchanges += [
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
    ]
    for exchange in exchanges:
        for binding in exchange.bindings.values():
            if exchange.name and binding.destination.durable:
                document.bindings.append(
                    BindingEntry(
                        name,
                        exchange.name,
                        binding.destination.name,
                        "queue" if isinstance(binding.destination, Queue) else "exchange",
                        binding.routing_key,
                        json_from_table(binding.arguments),
                    )
                )


def _exported(vhost: str, policy: "Policy") -> PolicyEntry:
    return PolicyEntry(
        vhost,
        policy.name,
        policy.pattern,
        dict(policy.definition),
        int(policy.priority),
        policy.applies_to,
    )

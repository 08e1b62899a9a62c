"""A definitions document becomes what it says, all of it or nothing."""

import logging
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

import msgspec
from msgspec import UNSET

from ..amqp.errors import AMQPError, PreconditionFailed, ResourceLocked
from .admin_checks import Invalid, NoSuchThing
from .admin_users import UserAdministration
from .admin_vhosts import VhostAdministration
from .definitions_file import (
    OPERATOR_POLICY,
    VHOST_LIMITS,
    BindingEntry,
    DefinitionsFile,
    ExchangeEntry,
    GlobalParameterEntry,
    InvalidDefinitions,
    Json,
    ParameterEntry,
    PermissionEntry,
    PolicyEntry,
    QueueEntry,
    TopicPermissionEntry,
    UserEntry,
    VhostEntry,
    tag_names,
)
from .definitions_rehearsal import add_newer, likeness
from .json_arguments import InvalidTable, table_from_json
from .log import fields
from .passwords import InvalidHash, PasswordHash, checked_hash
from .permissions import Patterns, TopicPatterns
from .policy_checks import checked_policy

if TYPE_CHECKING:
    from .broker import Broker

log = logging.getLogger("leveret.definitions")

_Kind = TypeVar("_Kind")

PasswordHashes: TypeAlias = dict[str, PasswordHash | None]
"""By the names of users; None for those without a password."""


def import_definitions(broker: "Broker", document: DefinitionsFile) -> None:
    """Set everything that a document says, or nothing: it is tried on a likeness of the broker
    first. What comes of it is in the journal as a whole or not at all, too.

    Raises InvalidDefinitions, which tells where the fault is.
    """
    hashes = _result_of(rehearse(broker, document))
    with broker.definitions.together():
        _result_of(_Import(broker, hashes).run(document))
    broker.do_postponed()


def rehearse(broker: "Broker", document: DefinitionsFile) -> Generator[None, None, PasswordHashes]:
    """Try a document on a likeness of the broker, a bit in each step, and return what users have as
    their passwords. Raises InvalidDefinitions.
    """
    hashes: PasswordHashes = {}
    yield from _hash_passwords(broker, document, hashes)
    copy = yield from likeness(broker, _vhosts_of(document))
    yield from _Import(copy, hashes, likeness_of=broker).run(document)
    return hashes


def carry_out(
    broker: "Broker", document: DefinitionsFile, hashes: PasswordHashes
) -> Generator[None, None, None]:
    """Set what a document says, which was tried, a bit in each step. What cannot be any more,
    because of what others have done since, is left out, and the log says so.
    """
    return _Import(broker, hashes).run(document, passing_over=True)


def _result_of(steps: Generator[None, None, _Kind]) -> _Kind:
    """Take all steps now."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _vhosts_of(document: DefinitionsFile) -> set[str]:
    return {
        entry.vhost
        for kind in ("policies", "parameters", "exchanges", "queues", "bindings")
        for entry in getattr(document, kind)
    } | {entry.name for entry in document.vhosts}


def _hash_passwords(
    broker: "Broker", document: DefinitionsFile, hashes: PasswordHashes
) -> Generator[None, None, None]:
    """Note what users have as their passwords; hashing them takes long, so it is done once."""
    for place, entry in enumerate(document.users):
        with _told("users", place, entry):
            if isinstance(entry.password, str):
                if entry.password_hash:
                    raise Invalid("either a password or a password_hash, not both")
                hashes[entry.name] = UserAdministration(broker).password_hash(
                    entry.name, entry.password
                )
            elif entry.password_hash:
                hashes[entry.name] = checked_hash(entry.password_hash, entry.hashing_algorithm)
            else:
                hashes[entry.name] = None
        yield


@contextmanager
def _told(kind: str, place: int, entry: object) -> Generator[None]:
    """Faults as those of an entry."""
    try:
        yield
    except AMQPError as error:
        raise InvalidDefinitions(_at(kind, place, entry, error.explanation)) from error
    except (Invalid, InvalidHash, InvalidTable, NoSuchThing) as error:
        raise InvalidDefinitions(_at(kind, place, entry, str(error))) from error


def _at(kind: str, place: int, entry: object, fault: str) -> str:
    names = [getattr(entry, key, "") for key in ("user", "name", "source", "destination")]
    shown = " ".join(repr(name) for name in names if name)
    return f"{kind}[{place}] {shown}: {' '.join(fault.split())}"


_ORDER = (
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "global_parameters",
    "policies",
    "parameters",
    "exchanges",
    "queues",
    "bindings",
)


_TOGETHER = ("policies", "parameters")


class _Import:
    """What to do with one entry of each kind; on trial if the broker is the likeness of another."""

    def __init__(
        self,
        broker: "Broker",
        password_hashes: PasswordHashes,
        *,
        likeness_of: "Broker | None" = None,
    ):
        self._broker = broker
        self._users = UserAdministration(broker)
        self._vhosts = VhostAdministration(broker)
        self._password_hashes = password_hashes
        self._original = likeness_of

    def run(
        self, document: DefinitionsFile, *, passing_over: bool = False
    ) -> Generator[None, None, None]:
        """Import all entries, in an order in which each thing finds what it needs: one in each
        step, but policies together.

        Raises InvalidDefinitions, unless it is `passing_over` what cannot be.
        """
        for kind in _ORDER:
            if kind in _TOGETHER:
                with self._policies_together(kind, document):
                    for place in range(len(getattr(document, kind))):
                        self._take(kind, place, document, passing_over)
                yield
            else:
                for place in range(len(getattr(document, kind))):
                    self._take(kind, place, document, passing_over)
                    yield

    def _take(self, kind: str, place: int, document: DefinitionsFile, passing_over: bool) -> None:
        entry = getattr(document, kind)[place]
        if self._original is not None:
            add_newer(self._original, self._broker, entry)
        try:
            with _told(kind, place, entry):
                getattr(self, kind)(entry)
        except InvalidDefinitions as error:
            if not passing_over:
                raise
            self._note(logging.ERROR, "passed over what cannot be any more", entry=str(error))

    @contextmanager
    def _policies_together(self, kind: str, document: DefinitionsFile) -> Generator[None]:
        """While entries that may be policies are taken, have what they do put off."""
        with ExitStack() as stack:
            for name in {entry.vhost for entry in getattr(document, kind)}:
                if name in self._broker.vhosts:
                    stack.enter_context(self._broker.vhosts[name].policies.together())
            yield

    def _note(self, level: int, what: str, **about: str) -> None:
        if self._original is None:
            log.log(level, what, extra=fields(**about))

    def users(self, entry: UserEntry) -> None:
        if self._is_configured(entry.name):
            self._note(logging.INFO, "left to the configuration file", user=entry.name)
            return
        user = self._users.set_user(
            entry.name, self._password_hashes[entry.name], tags=tag_names(entry.tags)
        )
        if entry.limits is not UNSET:
            # As RabbitMQ does: those that it does not name stay.
            limits = {**user.limits, **_limits(entry.limits)}
            self._users.set_user_limits(user.name, limits)

    def _is_configured(self, name: str) -> bool:
        """Whether the configuration file has that user, and therefore the say."""
        user = self._broker.users.get(name)
        return user is not None and user.is_configured

    def vhosts(self, entry: VhostEntry) -> None:
        metadata = entry.metadata
        kind = entry.default_queue_type or metadata.default_queue_type
        vhost = self._vhosts.set_vhost(
            entry.name,
            description=entry.description or metadata.description,
            tags=tag_names(entry.tags or metadata.tags),
            default_queue_type=None if kind in (None, "undefined", "classic") else str(kind),
        )
        if entry.limits:
            self._vhosts.set_vhost_limits(vhost.name, _limits(entry.limits))
        if isinstance(entry.tracing, bool):
            self._vhosts.set_tracing(vhost.name, entry.tracing)

    def permissions(self, entry: PermissionEntry) -> None:
        patterns = Patterns(entry.configure, entry.write, entry.read)
        user = self._users.user(entry.user)
        if entry.vhost in user.fixed_vhosts:
            self._note(
                logging.INFO,
                "left to the configuration file",
                user=entry.user,
                permissions=entry.vhost,
            )
            return
        self._users.set_permissions(entry.user, entry.vhost, patterns)

    def topic_permissions(self, entry: TopicPermissionEntry) -> None:
        permissions = self._users.user(entry.user).permissions.get(entry.vhost)
        topics = {} if permissions is None else dict(permissions.topics)
        topics[entry.exchange] = TopicPatterns(entry.write, entry.read)
        self._users.set_topic_permissions(entry.user, entry.vhost, topics)

    def global_parameters(self, entry: GlobalParameterEntry) -> None:
        self._vhosts.set_global_parameter(entry.name, entry.value)

    def policies(self, entry: PolicyEntry, *, operator: bool = False) -> None:
        vhost = self._vhosts.vhost(entry.vhost)
        policy = checked_policy(
            entry.name,
            entry.pattern,
            _object(entry.definition),
            priority=entry.priority,
            applies_to=entry.apply_to,
            operator=operator,
            rules=vhost.rules,
        )
        if self._original is None:  # what it does to queues takes time, and cannot fail
            vhost.policies.set(policy, operator=operator)

    def parameters(self, entry: ParameterEntry) -> None:
        if entry.component == OPERATOR_POLICY:
            value = {**_object(entry.value), "vhost": entry.vhost, "name": entry.name}
            self.policies(_converted(value, PolicyEntry), operator=True)
        elif entry.component == VHOST_LIMITS:
            self._vhosts.set_vhost_limits(entry.vhost, _limits(entry.value))
        else:
            raise Invalid(f"component {entry.component!r} not found: leveret has no such plug-in")

    def exchanges(self, entry: ExchangeEntry) -> None:
        vhost = self._vhosts.vhost(entry.vhost)
        if self._is_reserved(entry, "an exchange"):
            return
        with self._if_new(entry, "an exchange", entry.name in vhost.exchanges):
            vhost.declare_exchange(
                entry.name,
                entry.type,
                durable=entry.durable,
                auto_delete=entry.auto_delete,
                internal=entry.internal,
                arguments=table_from_json(entry.arguments),
            )

    def queues(self, entry: QueueEntry) -> None:
        vhost = self._vhosts.vhost(entry.vhost)
        if self._is_reserved(entry, "a queue"):
            return
        with self._if_new(entry, "a queue", entry.name in vhost.queues):
            vhost.declare_queue(
                entry.name,
                durable=entry.durable,
                auto_delete=entry.auto_delete,
                owner=None,
                arguments=table_from_json(entry.arguments),
            )

    def _is_reserved(self, entry: ExchangeEntry | QueueEntry, what: str) -> bool:
        reserved = entry.name.startswith("amq.")
        if reserved:
            self._note(
                logging.WARNING,
                f"passed over {what} whose name begins with 'amq.'",
                vhost=entry.vhost,
                name=entry.name,
            )
        return reserved

    @contextmanager
    def _if_new(
        self, entry: ExchangeEntry | QueueEntry, what: str, exists: bool
    ) -> Generator[None]:
        """Leave what exists as it is, as RabbitMQ does; but say so where it is not the same."""
        try:
            yield
        except (PreconditionFailed, ResourceLocked) as error:
            if not exists:
                raise
            self._note(
                logging.WARNING,
                f"left {what} as it is, which is there and differs",
                vhost=entry.vhost,
                name=entry.name,
                reason=error.explanation,
            )

    def bindings(self, entry: BindingEntry) -> None:
        vhost = self._vhosts.vhost(entry.vhost)
        if entry.destination_type not in ("queue", "exchange"):
            raise Invalid("destination_type must be queue or exchange")
        of_queue = entry.destination_type == "queue"
        source = vhost.exchanges.get(entry.source)
        destination = (vhost.queues if of_queue else vhost.exchanges).get(entry.destination)
        if source is None or destination is None:
            # RabbitMQ's own files have such: they leave internal exchanges out.
            self._note(
                logging.WARNING,
                "passed over a binding whose source or destination does not exist",
                vhost=entry.vhost,
                source=entry.source,
                destination=entry.destination,
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

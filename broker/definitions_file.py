"""RabbitMQ's definitions.json: users, vhosts, permissions, policies, queues, exchanges, bindings
(https://www.rabbitmq.com/docs/definitions), read and written.

Any subset of the keys will do, keys that are not known are passed over, as RabbitMQ does. What is
there already and equal is left alone, so the same file may be loaded at every start.
"""

from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from .admin_checks import Invalid
from .queue_arguments import SHORTSTR_MAX_BYTES

Name = Annotated[str, Meta(min_length=1, max_length=255)]
_NAMES = frozenset(
    ("name", "vhost", "user", "exchange", "source", "destination", "routing_key", "component")
)

OPERATOR_POLICY, VHOST_LIMITS = "operator_policy", "vhost-limits"
"""The components of run-time parameters that RabbitMQ has without plug-ins."""

Json: TypeAlias = Any
"""A value of a JSON document."""


class InvalidDefinitions(Invalid):
    """A definitions file can't be used. The message is one line: where, and what was expected."""


class UserEntry(Struct):
    """A user; `tags` may be a list or, as older versions wrote it, a text with commas."""

    name: Name
    password_hash: str = ""
    hashing_algorithm: str = "rabbit_password_hashing_sha256"
    password: str | UnsetType = UNSET
    tags: list[str] | str = ""
    limits: dict[str, Json] | list[Json] | UnsetType = UNSET


class MetadataEntry(Struct):
    """What is said about a vhost."""

    description: str = ""
    tags: list[str] | str = ""
    default_queue_type: str | None = None


class VhostEntry(Struct):
    """A vhost, with what newer versions know of it."""

    name: Name
    description: str = ""
    tags: list[str] | str = ""
    default_queue_type: str | None = None
    metadata: MetadataEntry = field(default_factory=MetadataEntry)
    tracing: bool | UnsetType = UNSET
    limits: dict[str, Json] | list[Json] = {}


class PermissionEntry(Struct):
    """What a user may do in a vhost."""

    user: Name
    vhost: Name
    configure: str
    write: str
    read: str


class TopicPermissionEntry(Struct):
    """What a user may do with routing keys of a topic exchange."""

    user: Name
    vhost: Name
    exchange: str
    write: str
    read: str


class PolicyEntry(Struct):
    """A policy."""

    vhost: Name
    name: Name
    pattern: str
    definition: dict[str, Json] | list[Json]
    priority: int | float = 0
    apply_to: str = field(default="all", name="apply-to")


class ParameterEntry(Struct):
    """A run-time parameter: operator policies and vhost limits are such."""

    vhost: Name
    component: str
    name: str
    value: Json


class GlobalParameterEntry(Struct):
    """A value that holds for the whole broker."""

    name: Name
    value: Json


class QueueEntry(Struct):
    """A queue."""

    vhost: Name
    name: Name
    durable: bool = True
    auto_delete: bool = False
    arguments: dict[str, Json] = {}


class ExchangeEntry(Struct):
    """An exchange."""

    vhost: Name
    name: Name
    type: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: dict[str, Json] = {}


class BindingEntry(Struct):
    """A binding."""

    vhost: Name
    source: str
    destination: Name
    destination_type: str
    routing_key: str = ""
    arguments: dict[str, Json] = {}


class DefinitionsFile(Struct):
    """The whole document."""

    users: list[UserEntry] = []
    vhosts: list[VhostEntry] = []
    permissions: list[PermissionEntry] = []
    topic_permissions: list[TopicPermissionEntry] = []
    policies: list[PolicyEntry] = []
    parameters: list[ParameterEntry] = []
    global_parameters: list[GlobalParameterEntry] = []
    queues: list[QueueEntry] = []
    exchanges: list[ExchangeEntry] = []
    bindings: list[BindingEntry] = []
    rabbit_version: str = ""
    rabbitmq_version: str = ""
    product_name: str = ""
    product_version: str = ""


def tag_names(tags: Json) -> list[str]:
    """Tags as a list, which older versions wrote as a text with commas."""
    names = tags.split(",") if isinstance(tags, str) else tags
    return [name.strip() for name in names if name.strip()]


def read_definitions(text: bytes | str, *, vhost: str | None = None) -> DefinitionsFile:
    """Read a document, the whole of it or, with `vhost`, what can be in a vhost: that is for this
    vhost then, whatever it says. Raises InvalidDefinitions.
    """
    try:
        document = msgspec.json.decode(text)
        if vhost is not None and isinstance(document, dict):
            document = _for_vhost(cast("dict[str, Json]", document), vhost)
        definitions = msgspec.convert(document, DefinitionsFile)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        place = where.strip("`").removeprefix("$").removeprefix(".") or "the document"
        raise InvalidDefinitions(f"{place}: {what[:1].lower()}{what[1:]}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidDefinitions(f"expected JSON: {error}") from error
    except RecursionError as error:
        raise InvalidDefinitions("the document: nested too deeply") from error
    for kind in definitions.__struct_fields__:
        _check_names(kind, getattr(definitions, kind))
    return definitions


_IN_A_VHOST = ("parameters", "policies", "queues", "exchanges", "bindings")


def _for_vhost(document: dict[str, Json], vhost: str) -> dict[str, Json]:
    return {
        kind: [
            {**entry, "vhost": vhost} if isinstance(entry, dict) else entry
            for entry in document[kind]
        ]
        if isinstance(document[kind], list)
        else document[kind]
        for kind in _IN_A_VHOST
        if kind in document
    }


def _check_names(kind: str, entries: Json) -> None:
    """Names travel as short strings, which are bounded in bytes."""
    if isinstance(entries, str):
        return
    for place, entry in enumerate(entries):
        for key in _NAMES.intersection(entry.__struct_fields__):
            if len(getattr(entry, key).encode()) > SHORTSTR_MAX_BYTES:
                raise InvalidDefinitions(
                    f"{kind}[{place}].{key}: expected at most {SHORTSTR_MAX_BYTES} bytes of UTF-8"
                )

"""RabbitMQ's definitions.json: users, vhosts, permissions, policies, queues, exchanges, bindings
(https://www.rabbitmq.com/docs/definitions), read and written.

Any subset of the keys will do, keys that are not known are passed over, as RabbitMQ does. What is
there already and equal is left alone, so the same file may be loaded at every start.
"""

from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import Meta, Struct, field

from ..amqp.fields import Field, Table
from .queue_arguments import SHORTSTR_MAX_BYTES

Name = Annotated[str, Meta(min_length=1, max_length=255)]
_NAMES = frozenset(
    ("name", "vhost", "user", "exchange", "source", "destination", "routing_key", "component")
)
_LONG_END = 1 << 63

Json: TypeAlias = Any
"""A value of a JSON document."""


class InvalidDefinitions(ValueError):
    """A definitions file can't be used. The message is one line: where, and what was expected."""


class InvalidTable(ValueError):
    """Arguments that cannot stand in an AMQP table; the text says why."""


class UserEntry(Struct):
    """A user; `tags` may be a list or, as older versions wrote it, a text with commas."""

    name: Name
    password_hash: str = ""
    hashing_algorithm: str = "rabbit_password_hashing_sha256"
    password: str | None = None
    tags: list[str] | str = ""
    limits: dict[str, Json] | list[Json] = {}


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
    definition: dict[str, Json]
    priority: int = 0
    apply_to: str = field(default="all", name="apply-to")


class ParameterEntry(Struct):
    """A run-time parameter: operator policies and vhost limits are such."""

    vhost: Name
    component: str
    name: str
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


def read_definitions(text: bytes | str) -> DefinitionsFile:
    """Read a document. Raises InvalidDefinitions."""
    try:
        document = msgspec.json.decode(text, type=DefinitionsFile)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        place = where.strip("`").removeprefix("$").removeprefix(".") or "the document"
        raise InvalidDefinitions(f"{place}: {what[:1].lower()}{what[1:]}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidDefinitions(f"expected JSON: {error}") from error
    for kind in document.__struct_fields__:
        _check_names(kind, getattr(document, kind))
    return document


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


def table_from_json(values: dict[str, Json]) -> Table:
    """Arguments as RabbitMQ reads them from JSON: every whole number is a long.

    Raises InvalidTable.
    """
    for name in values:
        if len(name.encode()) > SHORTSTR_MAX_BYTES:
            raise InvalidTable(f"{name[:20]!r}...: a name of more than {SHORTSTR_MAX_BYTES} bytes")
    return {name: _field_from_json(value) for name, value in values.items()}


def _field_from_json(value: Json) -> Field:
    match value:
        case None:
            return Field("V", None)
        case bool():
            return Field("t", value)
        case int():
            if not -_LONG_END <= value < _LONG_END:
                raise InvalidTable(f"{value}: a number of more than 64 bits")
            return Field("l", value)
        case float():
            return Field("d", value)
        case str():
            return Field("S", value.encode("utf-8", "surrogateescape"))
        case list():
            items = cast("list[Json]", value)
            return Field("A", [_field_from_json(item) for item in items])
        case _:
            return Field("F", table_from_json(value))


def json_from_table(table: Table) -> dict[str, Json]:
    """Arguments as JSON has them; the widths of numbers are lost, as in RabbitMQ."""
    return {name: _json_from_field(value) for name, value in table.items()}


def _json_from_field(item: Field) -> Json:
    match item.value:
        case bytes() as text:
            return text.decode("utf-8", "surrogateescape")
        case dict() as table:
            return json_from_table(table)
        case list() as items:
            return [_json_from_field(each) for each in items]
        case None | bool() | int() | float() as plain:
            return plain
        case other:
            return str(other)

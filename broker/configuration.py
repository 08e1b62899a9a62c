"""The broker's settings: their names, units, defaults and limits, and reading them from TOML.

`Configuration()` is the default; every key in a file is optional and overrides one of its values:

    vhosts = ["/", "orders"]
    shutdown_timeout_s = 5

    [listen]
    host = "0.0.0.0"

    [connection]
    heartbeat_s = 30

    [[users]]
    name = "shop"
    password = "secret"
    permissions."orders" = { configure = "", write = 'orders[.].*', read = ".*" }

Listing users or vhosts replaces the default ones.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta, Struct

from .log import Format, Level
from .patterns import InvalidPattern, Pattern
from .rules import DEFAULT_VERSION, RULES, EmulatedVersion, Rules

MAX_MESSAGE_BYTES = 536_870_912
"""The largest message any configuration can allow (RabbitMQ's hard limit as well)."""

# Vhosts and users travel as AMQP short strings, which hold 255 bytes.
ShortName = Annotated[str, Meta(min_length=1, max_length=255)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]


class ConfigurationError(Exception):
    """A configuration can't be used. The message is one line: file, key and what was expected."""


class Listen(Struct, frozen=True, forbid_unknown_fields=True):
    """Where clients connect. Port 0 lets the system choose a free one."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Port = 5672


class Identity(Struct, frozen=True, forbid_unknown_fields=True):
    """What connection.start tells clients about the server.

    Product and version are RabbitMQ's by default: clients choose their features by them.
    """

    product: str = "RabbitMQ"
    version: str | None = None
    """None: that of the emulated RabbitMQ."""
    cluster_name: str | None = None
    """None: that of the global parameter `cluster_name`, or else `leveret@localhost`."""


class Connection(Struct, frozen=True, forbid_unknown_fields=True):
    """What a connection may do; the first three are offered in connection.tune."""

    heartbeat_s: Annotated[int, Meta(ge=0, le=65_535)] = 60
    """0 turns heartbeats off."""
    channel_max: Annotated[int, Meta(ge=1, le=65_535)] = 2047
    frame_max_bytes: Annotated[int, Meta(ge=4096, le=MAX_MESSAGE_BYTES)] = 131_072
    handshake_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    """From accepting the socket to connection.open."""
    failed_login_delay_s: Seconds = 3.0
    """How long a client that failed to log in waits for the answer."""
    max_message_bytes: Annotated[int, Meta(ge=1, le=MAX_MESSAGE_BYTES)] | None = None
    """The largest body that may be published. None: as in the emulated RabbitMQ."""

    consumer_timeout_ms: Annotated[int, Meta(ge=1)] | None = None
    """How long a delivery may wait for its acknowledgement before its channel is closed, unless
    its queue or consumer says otherwise. None: for ever.
    """


class Permissions(Struct, frozen=True, forbid_unknown_fields=True):
    """What a user may configure, write and read in one vhost.

    Each is a regular expression searched for in a resource's name; the empty one matches none.
    """

    configure: str
    write: str
    read: str


class User(Struct, frozen=True, forbid_unknown_fields=True):
    """Someone who may log in. `permissions` maps a vhost's name to rights in it."""

    name: ShortName
    password: Annotated[str, Meta(min_length=1)]
    tags: tuple[str, ...] = ()
    permissions: dict[str, Permissions] = {}
    loopback_only: bool = False

    def __repr__(self) -> str:
        # Settings end up in logs and tracebacks; passwords must not.
        return f"User(name={self.name!r}, tags={self.tags!r}, loopback_only={self.loopback_only!r})"


class Storage(Struct, frozen=True, forbid_unknown_fields=True):
    """Where what is durable is kept, and how much room it and the queues may take."""

    data_dir: str | None = None
    """None: $LEVERET_DATA_DIR, else the platform's place for such data."""
    in_memory: bool = False
    """Keep nothing on disk: everything is gone with the process."""
    disk_free_limit_bytes: Annotated[int, Meta(ge=0)] = 50_000_000
    """With less free space than this, publishers are blocked."""
    memory_budget_bytes: Annotated[int, Meta(ge=0)] = 0
    """What queued messages may take in memory before they are kept on disk only; 0 means 30 % of
    the memory that the machine or the container has. In memory only, publishers are blocked
    instead.
    """


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """What is logged on standard error, and how."""

    level: Level = "info"
    format: Format = "text"


DEFAULT_CLUSTER_NAME = "leveret@localhost"
DEFAULT_VHOSTS = ("/",)
GUEST = User(
    name="guest",
    password="guest",
    tags=("administrator",),
    permissions={"/": Permissions(configure=".*", write=".*", read=".*")},
    loopback_only=True,
)


DEFAULT_USERS = (GUEST,)


class Configuration(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of one broker."""

    emulate: EmulatedVersion = DEFAULT_VERSION
    """The version of RabbitMQ whose rules hold, where versions differ (`rules`)."""
    listen: Listen = Listen()
    identity: Identity = Identity()
    vhosts: tuple[ShortName, ...] = DEFAULT_VHOSTS
    users: tuple[User, ...] = DEFAULT_USERS
    connection: Connection = Connection()
    storage: Storage = Storage()
    log: Log = Log()
    definitions: str | None = None
    """A file in the format of RabbitMQ's definitions.json, loaded at each start."""
    shutdown_timeout_s: Seconds = 5.0
    """How long a stopping broker waits for its clients to answer connection.close."""

    @property
    def rules(self) -> Rules:
        """What RabbitMQ's versions do differently, for the emulated one."""
        return RULES[self.emulate]

    @property
    def max_message_bytes(self) -> int:
        """The largest body that may be published."""
        return self.connection.max_message_bytes or self.rules.max_message_bytes

    def override(
        self,
        *,
        definitions: str | None = None,
        emulate: EmulatedVersion | None = None,
        host: str | None = None,
        port: int | None = None,
        log_level: Level | None = None,
        log_format: Format | None = None,
        data_dir: str | None = None,
        in_memory: bool = False,
    ) -> "Configuration":
        """Return a copy with the values that are not None in place of its own.

        Raises ConfigurationError if they do not fit together.
        """
        listen = Listen(
            host=self.listen.host if host is None else host,
            port=self.listen.port if port is None else port,
        )
        log = Log(
            level=self.log.level if log_level is None else log_level,
            format=self.log.format if log_format is None else log_format,
        )
        storage = msgspec.structs.replace(
            self.storage,
            data_dir=self.storage.data_dir if data_dir is None else data_dir,
            in_memory=(self.storage.in_memory and data_dir is None) or in_memory,
        )
        overridden = msgspec.structs.replace(
            self,
            definitions=self.definitions if definitions is None else definitions,
            emulate=self.emulate if emulate is None else emulate,
            listen=listen,
            log=log,
            storage=storage,
        )
        _check_frame_max(overridden)
        return overridden


def load(path: Path) -> Configuration:
    """Read and check a TOML file; raise `ConfigurationError` for anything wrong with it."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: expected UTF-8 text ({error.reason})") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def parse(text: str) -> Configuration:
    """Read and check TOML; raise `ConfigurationError` for anything wrong with it."""
    import tomllib  # only a start with a file pays for it

    try:
        configuration = msgspec.convert(tomllib.loads(text), Configuration)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"expected TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigurationError(_explain(str(error))) from error
    _check(configuration)
    return configuration


def _check(configuration: Configuration) -> None:
    """Check what one value's type can't say."""
    _check_frame_max(configuration)
    _check_distinct("vhosts", configuration.vhosts)
    _check_distinct("users", tuple(user.name for user in configuration.users))
    for index, user in enumerate(configuration.users):
        for vhost, permissions in user.permissions.items():
            key = f"users[{index}].permissions.{_quoted(vhost)}"
            if vhost not in configuration.vhosts:
                own = "; list your own users" if user is GUEST else ""
                known = ", ".join(configuration.vhosts) or "none"
                raise ConfigurationError(
                    f"{key}: expected one of vhosts ({known}) for user {user.name!r}{own}"
                )
            for right in ("configure", "write", "read"):
                _check_pattern(f"{key}.{right}", getattr(permissions, right))


def _check_frame_max(configuration: Configuration) -> None:
    least = configuration.rules.frame_min_bytes
    if configuration.connection.frame_max_bytes < least:
        raise ConfigurationError(
            f"connection.frame_max_bytes: expected int >= {least}"
            f" to emulate {configuration.emulate}"
        )


def _check_distinct(key: str, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigurationError(f"{key}[{index}]: expected distinct names, got {name!r} again")
        if len(name.encode()) > 255:
            raise ConfigurationError(f"{key}[{index}]: expected at most 255 bytes of UTF-8")


def _check_pattern(key: str, pattern: str) -> None:
    try:
        Pattern(pattern)
    except InvalidPattern as error:
        raise ConfigurationError(f"{key}: expected a regular expression: {error.reason}") from error


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


_TABLES: dict[str, type[Struct]] = {
    "": Configuration,
    "listen": Listen,
    "identity": Identity,
    "connection": Connection,
    "log": Log,
    "storage": Storage,
    "users": User,
    "permissions": Permissions,
}


def _explain(message: str) -> str:
    """Turn msgspec's "what - at `$.path`" into "path: what", in TOML's words."""
    what, _, where = message.partition(" - at ")
    path = where.removeprefix("`key` in ").strip("`").removeprefix("$").removeprefix(".")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what):
        known = ", ".join(_TABLES[_table_name(path)].__struct_fields__)
        return f"{_join(path, unknown[1])}: unknown key, expected one of {known}"
    if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
        return f"{_join(path, missing[1])}: expected, but missing"
    if what.startswith("Invalid enum value"):
        table, _, key = path.rpartition(".")
        choices = ", ".join(_choices(_TABLES[_table_name(table)], key))
        return f"{path}: expected one of {choices}, got{what.removeprefix('Invalid enum value')}"
    for theirs, ours in (("`object`", "a table"), ("`array`", "an array"), ("`", "")):
        what = what.replace(theirs, ours)
    return f"{path}: {what[:1].lower()}{what[1:]}"


def _table_name(path: str) -> str:
    """Return the last table's name in a path: `users[0].permissions[...]` → `permissions`."""
    return re.sub(r"\[[^]]*\]", "", path).rpartition(".")[2]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _choices(table: type[Struct], key: str) -> tuple[str, ...]:
    fields: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(table)}
    return get_args(fields[key])

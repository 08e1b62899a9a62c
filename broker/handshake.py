"""From the protocol header to connection.open: start, secure, tune, open (AMQP 0-9-1 §2.2.4).

The states are a table: which method is taken in which state, and by what. As RabbitMQ does, most
faults in here are not answered at all; the socket is dropped after a pause, which slows down
guessing.
"""

import platform
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from ..amqp.connection_methods import (
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionStart,
    ConnectionStartOk,
    ConnectionTune,
    ConnectionTuneOk,
)
from ..amqp.errors import LoginRefused, NotAllowed, ResourceError
from ..amqp.fields import MalformedField, decode_table, table_of
from ..amqp.frames import OVERHEAD_BYTES, PROTOCOL_HEADER, method_frame
from ..amqp.method_ids import Method
from . import __version__
from .client_properties import ClientProperties
from .connection_limits import check_connection_limits
from .logins import Verification
from .users import User

if TYPE_CHECKING:
    from .configuration import Identity
    from .connection import Connection


ACCEPTED_HEADERS = (PROTOCOL_HEADER, b"AMQP\x01\x01\x00\x09", b"AMQP\x01\x01\x08\x00")
"""0-9-1, and the forms that older clients send for 0-9 and 0-8 and mean the same by."""

CAPABILITIES = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)


class HandshakeFailed(Exception):
    """The client can't go on; it gets no answer. The message is for the log."""


class _State(Enum):
    START_OK = 0
    TUNE_OK = 1
    OPEN = 2


class Handshake:
    """The opening of one connection; done once connection.open has been answered."""

    def __init__(self, connection: "Connection"):
        self._connection = connection
        self._settings = connection.broker.configuration
        self._state = _State.START_OK

    def start(self) -> None:
        """Send connection.start, the answer to a good protocol header."""
        self._connection.send(self._connection.broker.greeting)

    def receive(self, call: Method) -> bool:
        """Take a method; True once the connection is open.

        Raises HandshakeFailed, LoginRefused, NotAllowed.
        """
        handler = self._handlers.get((self._state, type(call)))
        if handler is None:
            raise HandshakeFailed(f"unexpected {type(call).__name__} in the handshake")
        return handler(self, call)

    def _send(self, call: Method) -> None:
        self._connection.send(method_frame(0, call))

    def _start_ok(self, call: ConnectionStartOk) -> bool:
        connection = self._connection
        connection.client = ClientProperties(call.client_properties)
        name, password = _credentials(call.mechanism, call.response)
        user = connection.broker.users.get(name)
        accepted = user is not None and user.accepts(password, connection.broker.password_key)
        if user is not None and accepted:
            return self._log_in(user, call.mechanism)
        candidate = user if accepted is None else None
        verification = Verification(connection, name, password, call.mechanism, candidate)
        if not connection.await_check(verification):
            raise self._too_many(name)
        return False

    def _too_many(self, name: str) -> Exception:
        self._connection.log_refused_login(name, "too many logins at once")
        if not self._connection.client.capable("authentication_failure_close"):
            return HandshakeFailed("too many logins at once")
        return ResourceError("too many logins at once, try again later", at=(0, 0))

    def verified(self, verification: Verification, accepted: bool | None) -> None:
        """Go on with what a `Verification` has shown, None if there was none.

        Raises LoginRefused, ResourceError, HandshakeFailed.
        """
        if accepted is None:
            raise self._too_many(verification.name)
        user = verification.accepted_user(accepted)
        if user is None:
            raise self._refused(
                verification.name, verification.mechanism, "user or password is wrong"
            )
        self._log_in(user, verification.mechanism)

    def _log_in(self, user: User, mechanism: str) -> bool:
        """Go on to tuning, which is not the end yet."""
        connection = self._connection
        if user.loopback_only and not connection.from_loopback:
            raise self._refused(user.name, mechanism, "this user may only connect from localhost")
        connection.user = user
        offer = self._settings.connection
        self._send(ConnectionTune(offer.channel_max, offer.frame_max_bytes, offer.heartbeat_s))
        self._state = _State.TUNE_OK
        return False

    def _refused(self, name: str, mechanism: str, why: str) -> Exception:
        self._connection.log_refused_login(name, why)
        if not self._connection.client.capable("authentication_failure_close"):
            return HandshakeFailed("login refused")
        return LoginRefused(
            f"Login was refused using authentication mechanism {mechanism}."
            " For details see the broker logfile.",
            at=(0, 0),
        )

    def _tune_ok(self, call: ConnectionTuneOk) -> bool:
        offer = self._settings.connection
        _check_limit("channel_max", call.channel_max, offer.channel_max)
        _check_limit("frame_max", call.frame_max, offer.frame_max_bytes)
        least = self._connection.broker.rules.frame_min_bytes
        if call.frame_max < least:
            raise HandshakeFailed(
                f"negotiated frame_max = {call.frame_max} is lower than the minimum"
                f" allowed value ({least})"
            )
        connection = self._connection
        connection.channel_max = call.channel_max
        connection.payload_max = call.frame_max - OVERHEAD_BYTES
        connection.start_heartbeats(call.heartbeat)
        self._state = _State.OPEN
        return False

    def _open(self, call: ConnectionOpen) -> bool:
        connection, name = self._connection, call.virtual_host
        vhost = connection.broker.vhosts.get(name)
        if vhost is None:
            raise NotAllowed(f"vhost {name} not found")
        user = connection.user
        # It may have been deleted since it logged in.
        deleted = connection.broker.users.get(user.name) is not user
        if deleted or not user.may_enter(name):
            raise NotAllowed(f"access to vhost '{name}' refused for user '{user.name}'")
        check_connection_limits(connection.broker, user, vhost)
        connection.vhost, connection.permissions = vhost, user.permissions[name]
        self._send(ConnectionOpenOk())
        return True

    _handlers: ClassVar[dict[tuple[_State, type[Method]], Callable[["Handshake", Any], bool]]] = {
        (_State.START_OK, ConnectionStartOk): _start_ok,
        (_State.TUNE_OK, ConnectionTuneOk): _tune_ok,
        (_State.OPEN, ConnectionOpen): _open,
    }


def greeting(identity: "Identity", version: str, cluster_name: str) -> bytes:
    """The frame with connection.start, the same for every client; `version` is announced unless
    the identity has one.
    """
    properties = table_of(
        {
            "capabilities": dict.fromkeys(CAPABILITIES, True),
            "cluster_name": cluster_name,
            "copyright": "Copyright (c) the leveret authors",
            "information": "Licensed under the Apache License 2.0",
            "platform": f"Python {platform.python_version()}",
            "product": identity.product,
            "version": identity.version or version,
            "leveret_version": __version__,
        }
    )
    return method_frame(0, ConnectionStart(0, 9, properties, b"PLAIN AMQPLAIN", b"en_US"))


def _check_limit(name: str, value: int, most: int) -> None:
    if value > most or value == 0:
        shown = "0 (no limit)" if value == 0 else str(value)
        raise HandshakeFailed(
            f"negotiated {name} = {shown} is higher than the maximum allowed value ({most})"
        )


def _credentials(mechanism: str, response: bytes) -> tuple[str, bytes]:
    """User name and password from a SASL response. Raises HandshakeFailed."""
    if mechanism == "PLAIN":
        parts = response.split(b"\0")
        if len(parts) != 3 or parts[0]:  # nobody can act for somebody else
            raise HandshakeFailed("malformed PLAIN response")
        return parts[1].decode("utf-8", "surrogateescape"), parts[2]
    if mechanism == "AMQPLAIN":
        try:
            table, _ = decode_table(len(response).to_bytes(4) + response, 0)
            login, password = table["LOGIN"], table["PASSWORD"]
        except (MalformedField, IndexError, KeyError):
            raise HandshakeFailed("malformed AMQPLAIN response") from None
        if isinstance(login.value, bytes) and isinstance(password.value, bytes):
            return login.text, password.value
        raise HandshakeFailed("malformed AMQPLAIN response")
    raise HandshakeFailed(f"unknown authentication mechanism {mechanism!r}")

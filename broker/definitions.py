"""Durable definitions: exchanges, queues and bindings as records of the journal, and back.

Keys and values are JSON. Arguments stand in it as base64 of their wire form, which keeps their
types. What is not durable, or depends on something that is not, is not written.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

from ..amqp.fields import Table, decode_table, encode_table
from .configuration import DEFAULT_USERS, DEFAULT_VHOSTS
from .deduplication_exchange import DeduplicationExchange
from .definition_keys import (
    BINDING,
    CONFIGURED_USER,
    DELETED,
    EXCHANGE,
    GLOBAL_PARAMETER,
    OPERATOR_POLICY,
    POLICY,
    QUEUE,
    SEGMENT,
    USER,
    VHOST,
    parsed,
    void_keys,
)
from .delayed_exchange import DelayedExchange
from .exchange import Exchange
from .kept import kept_messages
from .policy import JsonValue, Policy
from .queue import Queue
from .stream_log import Segment
from .stream_queue import StreamQueue
from .users import User, restored_user

if TYPE_CHECKING:
    from ..storage.journal import Journal
    from ..storage.opening import Recovered
    from .binding import Binding
    from .vhost import VirtualHost

_RANKED_FROM = "ranked_from"

_Defined: TypeAlias = list[tuple[list[Any], dict[str, Any]]]
"""Keys and values, parsed."""


class Definitions:
    """Writes what becomes or ceases to be defined; nothing, without a journal."""

    def __init__(self, journal: "Journal | None"):
        self.journal = journal
        self._next_queue_number = count(1)
        self._together = False
        self._before = 0
        self.position = 0
        """The journal's position behind the last change."""

    @contextmanager
    def together(self) -> Generator[None, None, None]:
        """What is written to the journal in this context survives a crash all or not at all."""
        if self.journal is None or self._together:
            yield
            return
        self.begin_together()
        try:
            yield
        finally:
            self.end_together()

    def begin_together(self) -> None:
        """The same for all from now on up to `end_together`, if it is not so already. Nothing more
        becomes durable meanwhile.
        """
        if self.journal is not None and not self._together:
            self._together = True
            self._before = self.position
            self.journal.begin_group()

    def end_together(self) -> None:
        """The end of that."""
        if self.journal is not None and self._together:
            self._together = False
            self.journal.end_group()
            if self.position != self._before:
                self.position = self.journal.position

    def next_queue_number(self) -> int:
        """A number that no queue has had since the broker started, nor a durable one before."""
        return next(self._next_queue_number)

    def reserve_queue_numbers(self, last: int) -> None:
        """Never give out numbers up to `last`."""
        self._next_queue_number = count(last + 1)

    def forget_void(self, recovered: "Recovered") -> None:
        """Take away what is left of what was deleted bit by bit when the broker ended."""
        with self.together():
            for key in void_keys(recovered.definitions):
                del recovered.definitions[key]
                if self.journal is not None:
                    self.journal.undefine(key)

    def forget_others(self, recovered: "Recovered") -> None:
        """Drop messages of queues that are defined no more: a crash came between the two."""
        defined = set(_numbers(recovered.definitions))
        for number in recovered.messages.keys() - defined:
            if self.journal is not None:
                self.journal.drop_owner(number)

    def add_exchange(self, exchange: Exchange) -> None:
        """An exchange was declared."""
        if exchange.durable:
            value: dict[str, Any] = {
                "type": exchange.type,
                "auto_delete": exchange.auto_delete,
                "internal": exchange.internal,
                "arguments": _encoded(exchange.arguments),
            }
            if exchange.number:
                value["number"] = exchange.number
            self._define([EXCHANGE, exchange.vhost_name, exchange.name], value)

    def remove_exchange(self, exchange: Exchange) -> None:
        """An exchange was deleted."""
        if exchange.durable:
            self._undefine([EXCHANGE, exchange.vhost_name, exchange.name])

    def add_queue(self, queue: Queue) -> None:
        """A queue was declared. If its messages have priorities, ranks tell them."""
        self.rewrite_queue(queue, ranked_from=0)

    def keep_beginning(self, stream: StreamQueue) -> None:
        """Where a stream begins has changed."""
        self.rewrite_queue(stream, ranked_from=0)

    def rewrite_queue(self, queue: Queue, ranked_from: int) -> None:
        """What is written of a queue has changed. If its messages have priorities, those from that
        id on have ranks that tell them.
        """
        if queue.durable:
            value: dict[str, Any] = {
                "number": queue.number,
                "auto_delete": queue.auto_delete,
                "arguments": _encoded(queue.arguments),
            }
            if isinstance(queue, StreamQueue):
                value["begins_at"] = queue.begins_at
            if queue.ranks_messages:
                value[_RANKED_FROM] = ranked_from
            self._define([QUEUE, queue.vhost_name, queue.name], value)

    def remove_queue(self, queue: Queue) -> None:
        """A queue was deleted."""
        if queue.durable:
            self._undefine([QUEUE, queue.vhost_name, queue.name])

    def add_segment(self, stream: StreamQueue, segment: Segment) -> None:
        """A segment of a stream is full, or has grown."""
        first_offset, end_offset, size_bytes, full = segment
        key = [SEGMENT, stream.vhost_name, stream.number, first_offset]
        self._define(key, {"end": end_offset, "bytes": size_bytes, "full": full})

    def remove_segment(self, stream: StreamQueue, first_offset: int) -> None:
        """A segment is gone."""
        self._undefine([SEGMENT, stream.vhost_name, stream.number, first_offset])

    def add_binding(self, binding: "Binding") -> None:
        """A binding was made."""
        if binding.source.durable and binding.destination.durable and self.journal is not None:
            # A consistent hash goes by the order of bindings, which rewriting the journal changes.
            self._define(_binding_key(binding), {"after": self.journal.position})

    def remove_binding(self, binding: "Binding") -> None:
        """A binding was taken away, or went with its source or destination."""
        if binding.source.durable and binding.destination.durable:
            self._undefine(_binding_key(binding))

    def add_vhost(self, vhost: "VirtualHost") -> None:
        """A vhost was created, or what is set for it has changed."""
        self._define([VHOST, vhost.name], vhost.value)

    def begin_to_remove_vhost(self, name: str) -> None:
        """A vhost is gone; what else is defined in it is void from now on, see `void_keys`."""
        self._define([VHOST, name], DELETED)

    def remove_vhost(self, name: str) -> None:
        """Nothing is defined any more in a vhost that was deleted."""
        self._remove([VHOST, name], DEFAULT_VHOSTS)

    def add_user(self, user: User) -> None:
        """A user was added, or something about it has changed."""
        self._define([CONFIGURED_USER if user.is_configured else USER, user.name], user.value)

    def remove_user(self, name: str) -> None:
        """A user was deleted."""
        self._remove([USER, name], [user.name for user in DEFAULT_USERS])

    def add_policy(self, vhost_name: str, policy: Policy, *, operator: bool) -> None:
        """A policy, or an operator policy, was set."""
        self._define(
            [OPERATOR_POLICY if operator else POLICY, vhost_name, policy.name],
            policy.value,
        )

    def remove_policy(self, vhost_name: str, name: str, *, operator: bool) -> None:
        """A policy was deleted."""
        self._undefine([OPERATOR_POLICY if operator else POLICY, vhost_name, name])

    def add_global_parameter(self, name: str, value: JsonValue) -> None:
        """A global parameter was set."""
        self._define([GLOBAL_PARAMETER, name], {"value": value})

    def remove_global_parameter(self, name: str) -> None:
        """A global parameter was deleted."""
        self._undefine([GLOBAL_PARAMETER, name])

    def _define(self, key: Sequence[str | int], value: Mapping[str, Any]) -> None:
        if self.journal is not None:
            self.journal.define(json.dumps(key).encode(), json.dumps(value).encode())
            self.position = self.journal.position

    def _remove(self, key: Sequence[str], defaults: Collection[str]) -> None:
        """Undefine something, but note it of what a new broker has: it must not come back."""
        if key[-1] in defaults:
            self._define(key, DELETED)
        else:
            self._undefine(key)

    def _undefine(self, key: Sequence[str | int]) -> None:
        if self.journal is not None:
            self.journal.undefine(json.dumps(key).encode())
            self.position = self.journal.position


def restore(
    vhosts: "dict[str, VirtualHost]", recovered: "Recovered", definitions: Definitions
) -> None:
    """Build what the journal holds: policies, exchanges and queues with their messages, then
    bindings.

    `vhosts` has every vhost that is named in the definitions (see `vhost_names`).
    """
    defined = list(parsed(recovered.definitions))
    _restore_policies(vhosts, defined)
    segments = _segments(defined)
    for (kind, vhost, *rest), value in defined:
        if kind == EXCHANGE:
            exchange = vhosts[vhost].restore_exchange(
                rest[0],
                value["type"],
                value["auto_delete"],
                value["internal"],
                _decoded(value["arguments"]),
                value.get("number", 0),
            )
            if isinstance(exchange, DelayedExchange) and exchange.delayed is not None:
                _restore_messages(exchange.delayed, recovered, 0)
            elif isinstance(exchange, DeduplicationExchange) and exchange.number:
                exchange.restore(recovered.messages.get(exchange.number, ()))
        elif kind == QUEUE:
            queue = vhosts[vhost].restore_queue(
                rest[0], value["number"], value["auto_delete"], _decoded(value["arguments"])
            )
            if isinstance(queue, StreamQueue):
                _restore_stream(queue, value["begins_at"], segments)
            _restore_messages(queue, recovered, _ranked_from(queue, value, definitions))
    definitions.forget_others(recovered)
    bindings = [each for each in defined if each[0][0] == BINDING]
    for (_, vhost, *rest), _ in sorted(bindings, key=lambda each: each[1].get("after", 0)):
        source, destination_kind, destination, routing_key, arguments = rest
        vhosts[vhost].restore_binding(
            source, destination_kind, destination, routing_key, _decoded(arguments)
        )


def _restore_policies(vhosts: "dict[str, VirtualHost]", defined: _Defined) -> None:
    """What is set for vhosts, and their policies."""
    for (kind, vhost, *rest), value in defined:
        if kind == VHOST and value != DELETED:
            vhosts[vhost].restore(value)
        elif kind in (POLICY, OPERATOR_POLICY):
            policy = Policy(
                rest[0],
                value["pattern"],
                value["definition"],
                value["priority"],
                value["apply-to"],
            )
            vhosts[vhost].policies.restore(policy, operator=kind == OPERATOR_POLICY)
    for each in vhosts.values():
        for exchange in each.exchanges.values():
            each.follow_policies(exchange)


def _restore_stream(
    stream: StreamQueue, begins_at: list[int], segments: dict[int, list[Segment]]
) -> None:
    first_offset, first_id = begins_at
    stream.begins_at = (first_offset, first_id)
    stream.segments = segments.get(stream.number, [])


def _segments(defined: _Defined) -> dict[int, list[Segment]]:
    """The segments of streams, by the number of the stream."""
    found: dict[int, list[Segment]] = {}
    for (kind, _, *rest), value in defined:
        if kind == SEGMENT:
            number, first_offset = rest
            segment = Segment(first_offset, value["end"], value["bytes"], value.get("full", True))
            found.setdefault(number, []).append(segment)
    return found


def restored_users(recovered: "Recovered") -> dict[str, User]:
    """The users by their names."""
    return {
        key[1]: restored_user(key[1], value)
        for key, value in parsed(recovered.definitions)
        if key[0] == USER and value != DELETED
    }


def rights_of_configured_users(definitions: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """What users of the configuration file have been given besides, by their names."""
    return {key[1]: value for key, value in parsed(definitions) if key[0] == CONFIGURED_USER}


def restored_global_parameters(recovered: "Recovered") -> dict[str, JsonValue]:
    """The values of the global parameters by their names."""
    return {
        key[1]: value["value"]
        for key, value in parsed(recovered.definitions)
        if key[0] == GLOBAL_PARAMETER
    }


def last_queue_number(definitions: Mapping[bytes, bytes]) -> int:
    """The highest number of a durable queue or delay line, 0 if there is none."""
    return max(_numbers(definitions), default=0)


def _numbers(definitions: Mapping[bytes, bytes]) -> list[int]:
    """The numbers of all that has messages in the journal."""
    return [value["number"] for _, value in parsed(definitions) if "number" in value]


def _ranked_from(queue: Queue, value: dict[str, Any], definitions: Definitions) -> int:
    """From which message on ranks tell the priorities of a queue's messages: from now on if its
    definition does not say it, which is set right.
    """
    is_known = _RANKED_FROM in value
    next_id = definitions.journal.next_id if definitions.journal is not None else 0
    if is_known != queue.ranks_messages:
        definitions.rewrite_queue(queue, next_id)
    return value[_RANKED_FROM] if is_known else next_id


def _restore_messages(queue: Queue, recovered: "Recovered", ranked_from: int) -> None:
    kept = kept_messages(recovered, queue.number, ranked_from)
    if kept is not None:
        queue.restore(kept)


def _binding_key(binding: "Binding") -> list[str]:
    destination = binding.destination
    kind = QUEUE if isinstance(destination, Queue) else EXCHANGE
    source = binding.source
    arguments = _encoded(dict(sorted(binding.arguments.items())))
    return [
        BINDING,
        source.vhost_name,
        source.name,
        kind,
        destination.name,
        binding.routing_key,
        arguments,
    ]


def _encoded(table: Table) -> str:
    return b64encode(encode_table(table)).decode()


def _decoded(text: str) -> Table:
    return decode_table(b64decode(text), 0)[0]

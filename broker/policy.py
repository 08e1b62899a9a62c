"""A policy: what it sets for the queues and exchanges whose names match, and which one counts.

Of all policies that match only the one with the highest priority counts, and likewise of all
operator policies; what these two set is merged. A policy with a key that a type of queue cannot
have does not match queues of that type at all (https://www.rabbitmq.com/docs/policies).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from .patterns import Pattern
from .rules import DEFAULT_RULES, Rules

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | Mapping[str, JsonValue] | None"
Definition: TypeAlias = Mapping[str, JsonValue]

CLASSIC, QUORUM, STREAM = "classic", "quorum", "stream"
EXCHANGE = "exchange"

APPLIES_TO: Mapping[str, frozenset[str]] = {
    "all": frozenset((CLASSIC, QUORUM, STREAM, EXCHANGE)),
    "queues": frozenset((CLASSIC, QUORUM, STREAM)),
    "classic_queues": frozenset((CLASSIC,)),
    "quorum_queues": frozenset((QUORUM,)),
    "streams": frozenset((STREAM,)),
    "exchanges": frozenset((EXCHANGE,)),
}
"""What each value of apply-to stands for."""

_OF_MIRRORS = (
    "ha-mode",
    "ha-params",
    "ha-sync-mode",
    "ha-promote-on-shutdown",
    "ha-promote-on-failure",
    "queue-master-locator",
)
_CANNOT_HAVE: Mapping[str, frozenset[str]] = {
    CLASSIC: frozenset(
        (
            "max-age",
            "stream-max-segment-size-bytes",
            "queue-leader-locator",
            "initial-cluster-size",
            "delivery-limit",
            "dead-letter-strategy",
            "max-in-memory-length",
            "max-in-memory-bytes",
            "target-group-size",
        )
    ),
    QUORUM: frozenset(
        (
            *_OF_MIRRORS,
            "queue-mode",
            "max-age",
            "stream-max-segment-size-bytes",
            "initial-cluster-size",
        )
    ),
    STREAM: frozenset(
        (
            *_OF_MIRRORS,
            "expires",
            "message-ttl",
            "dead-letter-exchange",
            "dead-letter-routing-key",
            "dead-letter-strategy",
            "max-length",
            "max-in-memory-length",
            "max-in-memory-bytes",
            "overflow",
            "queue-mode",
            "delivery-limit",
            "target-group-size",
        )
    ),
    EXCHANGE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy or an operator policy of a vhost; `check_policy` tells whether it makes sense.

    `pattern` is searched for in names, so that "a" matches all that contain an a; of several
    policies that match, the one with the highest `priority` counts. `applies_to` is a key of
    `APPLIES_TO`. Raises InvalidPattern if `pattern` is no regular expression.
    """

    name: str
    pattern: str
    definition: Definition
    priority: float = 0
    applies_to: str = "all"
    _compiled: Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", Pattern(self.pattern))

    @property
    def value(self) -> Mapping[str, JsonValue]:
        """All but its name, as RabbitMQ keeps and exports it."""
        return {
            "pattern": self.pattern,
            "definition": self.definition,
            "priority": self.priority,
            "apply-to": self.applies_to,
        }

    def matches(self, kind: str, name: str, rules: Rules = DEFAULT_RULES) -> bool:
        """Whether it is for a thing of that name: `kind` is `EXCHANGE` or a type of queue."""
        return self.is_for(kind, rules) and self.matches_name(name)

    def is_for(self, kind: str, rules: Rules = DEFAULT_RULES) -> bool:
        """Whether it is for things of a kind, if their names match."""
        foreign = _CANNOT_HAVE[kind]
        if kind == CLASSIC and rules.classic_leader_locator:
            foreign = foreign - {"queue-leader-locator"}
        return kind in APPLIES_TO[self.applies_to] and foreign.isdisjoint(self.definition)

    def matches_name(self, name: str) -> bool:
        """Whether it is for that name, if for the kind of the thing."""
        return self._compiled.matches(name)


def best_first(
    policies: Iterable[Policy], kind: str, rules: Rules = DEFAULT_RULES
) -> tuple[Policy, ...]:
    """The policies that are for a kind, in order: the first whose name matches is the one that
    counts, which is that with the highest priority.

    Of several with the same priority it is the first in the order of their names; in RabbitMQ it
    may be any.
    """
    candidates = (policy for policy in policies if policy.is_for(kind, rules))
    return tuple(sorted(candidates, key=lambda policy: (-policy.priority, policy.name)))


def merged(policy: Policy | None, operator_policy: Policy | None) -> Definition:
    """What a policy and an operator policy set together.

    For what both set, the stricter of two limits counts, otherwise the operator policy's value.
    """
    users: Definition = {} if policy is None else policy.definition
    operators: Definition = {} if operator_policy is None else operator_policy.definition
    return {**users, **operators} | {
        key: _merged_value(key, users[key], operators[key]) for key in users if key in operators
    }


_LOWER_COUNTS = frozenset(
    (
        "message-ttl",
        "expires",
        "max-length",
        "max-length-bytes",
        "max-in-memory-length",
        "max-in-memory-bytes",
        "delivery-limit",
        "delayed-retry-max",
    )
)
_HIGHER_COUNTS = frozenset(("delayed-retry-min", "target-group-size"))


def _merged_value(key: str, users: JsonValue, operators: JsonValue) -> JsonValue:
    if isinstance(users, int) and isinstance(operators, int):
        if key == "delivery-limit" and min(users, operators) < 0:
            return max(users, operators)  # a negative one is none
        if key in _LOWER_COUNTS:
            return min(users, operators)
        if key in _HIGHER_COUNTS:
            return max(users, operators)
    return operators

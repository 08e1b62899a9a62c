"""Policies: the oracle for what they set for queues and exchanges that live already.

Of the policies that match, the one with the highest priority counts, and so for operator policies;
what both set is as the stricter one says, else as the operator policy. Of two limits that a queue's
arguments and policies set the lower one counts, of anything else the argument; only whether a queue
holds values but once is as the policy says.

It counts from the moment when a policy is set or deleted: for messages that come from then on as to
their time to live, for all as to how many there may be, and for those that die as to where they go.
The time in which a queue may be unused begins anew whenever what is set for it changes.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from re import search
from typing import Any

from .queues import (
    DROP_HEAD,
    REJECT_PUBLISH,
    REJECT_PUBLISH_DLX,
    STREAM_POLICY,
    STREAM_POLICY_BYTES,
    Traits,
)


@dataclass(frozen=True, slots=True)
class PolicyTraits:
    """What a policy is set with."""

    pattern: str
    definition: dict[str, Any]
    priority: int = 0
    operator: bool = False

    @property
    def kind(self) -> str:
        """What it is."""
        return "operator policy" if self.operator else "policy"


POLICIES: dict[str, PolicyTraits] = {
    "stray": PolicyTraits("^(direct|forked)$", {"alternate-exchange": "fanout"}),
    STREAM_POLICY: PolicyTraits("^w[01]$", {"max-length-bytes": STREAM_POLICY_BYTES}),
    # This one changes how messages meet their fate, not which.
    "roomy": PolicyTraits("^p0$", {"max-length-bytes": 1 << 40, "message-ttl": 1 << 40}),
    "hurried": PolicyTraits("^o1$", {"consumer-timeout": 700}),
    "aging": PolicyTraits("^g", {"message-ttl": 120, "max-length-bytes": 900}),
    "burying": PolicyTraits(
        "^g0$",
        {"message-ttl": 60, "dead-letter-exchange": "", "dead-letter-routing-key": "v0"},
        priority=1,
    ),
    "short": PolicyTraits(
        "^g0$", {"max-length": 3, "dead-letter-exchange": "", "dead-letter-routing-key": "v0"}
    ),
    "stern": PolicyTraits("^g1$", {"max-length": 2, "overflow": REJECT_PUBLISH}, priority=2),
    "sterner": PolicyTraits(
        "^g1$",
        {"max-length-bytes": 500, "overflow": REJECT_PUBLISH_DLX, "dead-letter-exchange": "no"},
        priority=1,
    ),
    "leaving": PolicyTraits("^g[01]$", {"expires": 200, "max-length": 100}, priority=3),
    "capped": PolicyTraits("^g", {"max-length": 6, "message-ttl": 150}, operator=True),
    "scarce": PolicyTraits("^g1$", {"max-length": 1, "expires": 400}, 5, operator=True),
    "forgetful": PolicyTraits("^once", {"x-cache-size": 1, "x-cache-ttl": 150}),
    "mindful": PolicyTraits(
        "^once_", {"x-cache-size": 5, "x-cache-persistence": "memory"}, priority=1
    ),
    "single": PolicyTraits("^u[45]$", {"x-message-deduplication": True}),
    "manifold": PolicyTraits(
        "^u[45]$", {"x-message-deduplication": False, "max-length": 5}, priority=1
    ),
}

_LIMITS = {
    "message-ttl": "ttl_ms",
    "expires": "expires_ms",
    "max-length": "max_length",
    "max-length-bytes": "max_bytes",
    "consumer-timeout": "ack_timeout_ms",
}
_OTHERS = {
    "dead-letter-exchange": "dead_letter_exchange",
    "dead-letter-routing-key": "dead_letter_key",
    "overflow": "overflow",
}
_STRONGER = {"x-message-deduplication": "deduplicates"}
"""These count before the argument."""


def definition_for(name: str, present: Collection[str]) -> dict[str, Any]:
    """What the policies that are there set for a queue or an exchange of that name."""
    users, operators = (_best(name, present, operator=operator) for operator in (False, True))
    both = {key: min(users[key], operators[key]) for key in users.keys() & operators.keys()}
    return {**users, **operators, **both}


def _best(name: str, present: Collection[str], *, operator: bool) -> dict[str, Any]:
    """The definition of the policy that counts."""
    matching = [
        (-policy.priority, each)
        for each in present
        if (policy := POLICIES[each]).operator == operator and search(policy.pattern, name)
    ]
    return POLICIES[min(matching)[1]].definition if matching else {}


def in_force(name: str, declared: Traits, present: Collection[str]) -> Traits:
    """What counts for a queue that is declared with these traits."""
    if declared.stream:
        return declared
    changed: dict[str, Any] = {}
    for key, value in definition_for(name, present).items():
        if key in _STRONGER:
            changed[_STRONGER[key]] = value
            continue
        field = _LIMITS.get(key) or _OTHERS[key]
        said = getattr(declared, field)
        if said in (None, DROP_HEAD):
            changed[field] = value
        elif key in _LIMITS:
            changed[field] = min(value, said)
    return replace(declared, **changed) if changed else declared

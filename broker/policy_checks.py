"""Which policies are refused, in RabbitMQ's words.

The keys are those of RabbitMQ 3.13 without plugins, those of delayed retries (4.3), and those of
the plugin rabbitmq-message-deduplication. Keys that
concern clusters or how RabbitMQ keeps messages are checked and have no effect here, as on a single
node of RabbitMQ. Those of other plugins are refused as by a RabbitMQ without them.
"""

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import TypeGuard, cast

from .admin_checks import Invalid
from .erlang_terms import json_term
from .patterns import InvalidPattern, Pattern
from .policy import APPLIES_TO, Definition, JsonValue, Policy
from .rules import DEFAULT_RULES, Rules

_SEGMENT_BYTES_MAX = 3_000_000_000
_NUMBER_MAX = (1 << 63) - 1
_MAX_AGE = re.compile(r"0*[1-9][0-9]*[YMDhms]")


class InvalidPolicy(Invalid):
    """A policy is refused; the text says why, in as many lines as there are faults."""


class _Fault(ValueError):
    """What is wrong with a definition."""


def checked_policy(
    name: str,
    pattern: JsonValue,
    definition: JsonValue,
    *,
    priority: JsonValue = 0,
    applies_to: JsonValue = "all",
    operator: bool = False,
    rules: Rules = DEFAULT_RULES,
) -> Policy:
    """A policy of these values, which may come from a JSON document, if they make sense.

    `operator` says that it is to be an operator policy, which can have some keys only; `rules` are
    the vhost's. Raises InvalidPolicy.
    """
    value = {
        "pattern": pattern,
        "definition": definition,
        "priority": priority,
        "apply-to": applies_to,
    }
    return policy_of(name, value, operator=operator, rules=rules)


def policy_of(
    name: str,
    value: Mapping[str, JsonValue],
    *,
    operator: bool = False,
    rules: Rules = DEFAULT_RULES,
) -> Policy:
    """A policy of what `Policy.value` gives, which comes from who knows where.

    Raises InvalidPolicy.
    """
    faults = _faults(name, value, operator, rules)
    if faults:
        raise InvalidPolicy("\n".join(faults))
    return Policy(
        name,
        cast("str", value["pattern"]),
        dict(cast("Definition", value["definition"])),
        cast("float", value["priority"]),
        cast("str", value.get("apply-to", "all")),
    )


def _faults(name: str, value: Mapping[str, JsonValue], operator: bool, rules: Rules) -> list[str]:
    """What is wrong, in RabbitMQ's order."""
    checks: dict[str, Callable[[JsonValue], str | None]] = {
        "definition": lambda definition: _fault_of_definition(definition, operator, rules),
        "apply-to": _fault_of_apply_to,
        "pattern": _fault_of_pattern,
        "priority": _fault_of_priority,
    }
    found: list[str | None] = []
    others = [f"{{{json_term(key)},{json_term(value[key])}}}" for key in value.keys() - checks]
    if others:
        found.append(f"Unrecognised terms [{','.join(sorted(others))}] in {name}")
    for key, check in checks.items():
        if key in value:
            found.append(check(value[key]))
        elif key != "apply-to":
            found.append(f'Key "{key}" not found in {name}')
    return [fault for fault in found if fault is not None]


def _fault_of_priority(priority: JsonValue) -> str | None:
    if _is_integer(priority) or (isinstance(priority, float) and isfinite(priority)):
        return None
    return f"priority should be a number, actually was {json_term(priority)}"


def _fault_of_pattern(pattern: JsonValue) -> str | None:
    if not isinstance(pattern, str):
        return f"pattern should be a binary but was {json_term(pattern)}"
    try:
        Pattern(pattern)
    except InvalidPattern as error:
        why, at = error.reason, error.position
        return f'pattern should be regular expression but is invalid: {{"{why}",{at}}}'
    return None


def _fault_of_apply_to(applies_to: JsonValue) -> str | None:
    if isinstance(applies_to, str) and applies_to in APPLIES_TO:
        return None
    shown = applies_to if isinstance(applies_to, str) else json_term(applies_to)
    return (
        f"apply-to '{shown}' unrecognised; should be one of: 'queues', 'classic_queues', "
        " 'quorum_queues', 'streams', 'exchanges', or 'all'"
    )


def _fault_of_definition(definition: JsonValue, operator: bool, rules: Rules) -> str | None:
    if definition in ([], {}):
        return "no policy provided"
    if isinstance(definition, list):
        return f"definition must be a dictionary: {json_term(definition)}"
    if not isinstance(definition, Mapping):
        validator = "operator_policy_validator" if operator else "policy_validator"
        return (
            f"parse error while reading policy definition: {json_term(definition)}."
            f" Validator: {validator}."
        )
    allowed = _OF_OPERATORS if operator else _CHECKS.keys()
    if not rules.mirrored_queues:
        allowed = allowed - _OF_MIRRORS
    known = {key: definition[key] for key in sorted(definition) if key in allowed}
    try:
        for key, value in known.items():
            if key != "delivery-limit" or not rules.unlimited_deliveries:
                _CHECKS[key](value)
            elif not _is_integer(value):
                raise _Fault(f"{json_term(value)} is not a valid delivery limit")
        _check_mirrors(known)
        _check_delayed_retry(known)
    except _Fault as fault:
        return str(fault)
    unknown = [
        f"{{{json_term(key)},{json_term(definition[key])}}}"
        for key in sorted(definition)
        if key not in allowed
    ]
    return f"[{','.join(unknown)}] are not recognised policy settings" if unknown else None


# --- values -----------------------------------------------------------------------------------

_Check = Callable[[JsonValue], None]


def _text(what: str, *allowed: str) -> _Check:
    """A string; one of `allowed`, if there are any."""

    def check(value: JsonValue) -> None:
        if not isinstance(value, str) or (allowed and value not in allowed):
            raise _Fault(f"{json_term(value)} is not a valid {what}")

    return check


def _number(what: str, least: int, most: int = _NUMBER_MAX) -> _Check:
    def check(value: JsonValue) -> None:
        if not _is_integer(value) or not least <= value <= most:
            raise _Fault(f"{json_term(value)} is not a valid {what}")

    return check


def _is_integer(value: JsonValue) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_max_age(value: JsonValue) -> None:
    if not isinstance(value, str) or _MAX_AGE.fullmatch(value) is None:
        raise _Fault(f"{json_term(value)} is not a valid max age")


def _check_master_locator(value: JsonValue) -> None:
    if value not in ("client-local", "min-masters", "random"):
        raise _Fault(f"{json_term(value)} invalid queue-master-locator value")


def _check_delayed_retry(definition: Definition) -> None:
    kind, least = definition.get("delayed-retry-type"), definition.get("delayed-retry-min")
    most = definition.get("delayed-retry-max")
    if kind not in (None, "disabled") and least is None:
        raise _Fault(f"delayed-retry-min is required when delayed-retry-type is {kind}")
    if isinstance(least, int) and isinstance(most, int) and most < least:
        raise _Fault(
            f"delayed-retry-max ({most}) must not be smaller than delayed-retry-min ({least})"
        )


def _check_mirrors(definition: Definition) -> None:
    """The keys of mirrored queues, each of which makes sense only with ha-mode."""
    if not any(key.startswith("ha-") for key in definition):
        return
    mode = definition.get("ha-mode")
    if mode is None:
        raise _Fault(
            "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown"
        )
    if mode not in ("all", "exactly", "nodes"):
        raise _Fault(f"{json_term(mode)} is not a valid ha-mode value")
    _check_mirror_parameters(mode, definition)
    synchronizing = definition.get("ha-sync-mode", "manual")
    if synchronizing not in ("automatic", "manual"):
        raise _Fault(
            f'ha-sync-mode must be "manual" or "automatic", got {json_term(synchronizing)}'
        )
    batch = definition.get("ha-sync-batch-size", 1)
    if not _is_integer(batch) or batch < 1:
        raise _Fault(
            f"ha-sync-batch-size takes an integer greater than 0, {json_term(batch)} given"
        )
    for key in ("ha-promote-on-shutdown", "ha-promote-on-failure"):
        promoting = definition.get(key, "always")
        if promoting not in ("always", "when-synced"):
            raise _Fault(f'{key} must be "always" or "when-synced", got {json_term(promoting)}')


def _check_mirror_parameters(mode: JsonValue, definition: Definition) -> None:
    given = "ha-params" in definition
    parameters = definition.get("ha-params")
    shown = json_term(parameters) if given else "none"
    if mode == "all" and given:
        raise _Fault('ha-mode="all" does not take parameters')
    if mode == "exactly" and not (_is_integer(parameters) and parameters > 0):
        raise _Fault(f'ha-mode="exactly" takes an integer, {shown} given')
    if mode == "nodes":
        if not isinstance(parameters, list):
            raise _Fault(f'ha-mode="nodes" takes a list, {shown} given')
        if not parameters:
            raise _Fault('ha-mode="nodes" list must be non-empty')
        others = [item for item in parameters if not isinstance(item, str)]
        if others:
            raise _Fault(
                f'ha-mode="nodes" takes a list of strings, {json_term(others)} was not a string'
            )


def _of_deduplication(key: str, what: str, is_good: Callable[[JsonValue], bool]) -> _Check:
    """A key of the plugin, which has a text of its own."""

    def check(value: JsonValue) -> None:
        if not is_good(value):
            raise _Fault(f'"{key}" must be {what}, got {json_term(value)}')

    return check


def _is_positive(value: JsonValue) -> bool:
    return _is_integer(value) and value > 0


def _unchecked(value: JsonValue) -> None:
    """For what is checked together with other keys."""


_CHECKS: Mapping[str, _Check] = {
    "alternate-exchange": _text("alternate exchange name"),
    "consumer-timeout": _number("consumer timeout", 0),
    "dead-letter-exchange": _text("dead letter exchange name"),
    "dead-letter-routing-key": _text("dead letter routing key"),
    "dead-letter-strategy": _text("dead letter strategy", "at-most-once", "at-least-once"),
    "message-ttl": _number("message TTL", 0),
    "expires": _number("queue expiry", 1),
    "max-length": _number("maximum length", 0),
    "max-length-bytes": _number("maximum length in bytes", 0),
    "max-in-memory-length": _number("maximum memory in bytes", 0),
    "max-in-memory-bytes": _number("maximum memory in bytes", 0),
    "queue-mode": _text("queue-mode value", "default", "lazy"),
    "queue-version": _number("queue-version value", 1, 2),
    "overflow": _text("overflow value", "drop-head", "reject-publish", "reject-publish-dlx"),
    "delivery-limit": _number("delivery limit", 0),
    "max-age": _check_max_age,
    "stream-max-segment-size-bytes": _number("segment size", 0, _SEGMENT_BYTES_MAX),
    "stream-filter-size-bytes": _number("filter size. Valid range is 16-255", 16, 255),
    "queue-leader-locator": _text(
        "queue leader locator value", "client-local", "balanced", "random", "least-leaders"
    ),
    "queue-master-locator": _check_master_locator,
    "initial-cluster-size": _number("cluster size", 0),
    "target-group-size": _number("qq target count value", 1),
    "delayed-retry-type": _text(
        "delayed retry type. Must be one of: all, failed, returned, disabled",
        "all",
        "failed",
        "returned",
        "disabled",
    ),
    "delayed-retry-min": _number("delayed retry minimum delay. Must be a positive integer", 1),
    "delayed-retry-max": _number("delayed retry maximum delay. Must be a positive integer", 1),
    "x-cache-size": _of_deduplication("x-cache-size", "an integer greater than 0", _is_positive),
    "x-cache-ttl": _of_deduplication("x-cache-ttl", "an integer greater than 0", _is_positive),
    "x-cache-persistence": _of_deduplication(
        "x-cache-persistence",
        'either "disk" or "memory"',
        lambda value: value in ("disk", "memory"),
    ),
    "x-message-deduplication": _of_deduplication(
        "x-message-deduplication", "a boolean", lambda value: isinstance(value, bool)
    ),
    "ha-mode": _unchecked,
    "ha-params": _unchecked,
    "ha-sync-mode": _unchecked,
    "ha-sync-batch-size": _unchecked,
    "ha-promote-on-shutdown": _unchecked,
    "ha-promote-on-failure": _unchecked,
}

_OF_MIRRORS = frozenset(key for key in _CHECKS if key.startswith("ha-"))

_OF_OPERATORS = frozenset(
    (
        "expires",
        "message-ttl",
        "max-length",
        "max-length-bytes",
        "max-in-memory-length",
        "max-in-memory-bytes",
        "delivery-limit",
        "queue-version",
        "overflow",
        "target-group-size",
        "delayed-retry-type",
        "delayed-retry-min",
        "delayed-retry-max",
        "ha-mode",
        "ha-params",
        "ha-sync-mode",
    )
)

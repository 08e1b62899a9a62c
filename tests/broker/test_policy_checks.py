"""Which policies are refused, and in which words: those of RabbitMQ."""

from typing import Any

import pytest

from leveret.broker.policy_checks import InvalidPolicy, checked_policy, policy_of
from leveret.broker.rules import RULES

ACCEPTED = [
    {"alternate-exchange": "e", "dead-letter-exchange": "", "dead-letter-routing-key": "k"},
    {"consumer-timeout": 0, "message-ttl": 0, "expires": 1, "max-length": 0},
    {"max-length-bytes": 0, "max-in-memory-length": 0, "max-in-memory-bytes": 0},
    {"queue-mode": "lazy", "queue-version": 2, "overflow": "reject-publish-dlx"},
    {"delivery-limit": 0, "dead-letter-strategy": "at-least-once", "target-group-size": 3},
    {"max-age": "7D", "stream-max-segment-size-bytes": 500, "stream-filter-size-bytes": 16},
    {"queue-leader-locator": "balanced", "initial-cluster-size": 1},
    {"queue-master-locator": "min-masters"},
    {"delayed-retry-type": "all", "delayed-retry-min": 5, "delayed-retry-max": 5},
    {"ha-mode": "all", "ha-sync-mode": "manual", "ha-sync-batch-size": 1},
    {"ha-mode": "exactly", "ha-params": 2, "ha-promote-on-shutdown": "always"},
    {"ha-mode": "nodes", "ha-params": ["rabbit@a"], "ha-promote-on-failure": "when-synced"},
    {"x-cache-size": 1, "x-cache-ttl": 1, "x-cache-persistence": "disk"},
    {"x-message-deduplication": False},
]

REFUSED = [
    ({}, "no policy provided"),
    ([], "no policy provided"),
    ([1], "definition must be a dictionary: [1]"),
    (
        "x",
        'parse error while reading policy definition: <<"x">>. Validator: policy_validator.',
    ),
    ({"foo": 200}, '[{<<"foo">>,200}] are not recognised policy settings'),
    (
        {"federation-upstream": "x", "b": None, "max-length": 1},
        '[{<<"b">>,null},{<<"federation-upstream">>,<<"x">>}] are not recognised policy settings',
    ),
    ({"message-ttl": -1}, "-1 is not a valid message TTL"),
    ({"message-ttl": 1 << 63}, "9223372036854775808 is not a valid message TTL"),
    ({"message-ttl": "a"}, '<<"a">> is not a valid message TTL'),
    ({"message-ttl": True}, "true is not a valid message TTL"),
    ({"message-ttl": 1.5}, "1.5 is not a valid message TTL"),
    ({"expires": 0, "max-length": -1}, "0 is not a valid queue expiry"),
    ({"foo": 1, "overflow": "x"}, '<<"x">> is not a valid overflow value'),
    ({"overflow": [97, 98]}, '"ab" is not a valid overflow value'),
    (
        {"overflow": {"a": [1.5, None, True]}},
        '#{<<"a">> => [1.5,null,true]} is not a valid overflow value',
    ),
    ({"max-length-bytes": -1}, "-1 is not a valid maximum length in bytes"),
    ({"max-in-memory-length": -1}, "-1 is not a valid maximum memory in bytes"),
    ({"dead-letter-exchange": 1}, "1 is not a valid dead letter exchange name"),
    ({"dead-letter-routing-key": 1}, "1 is not a valid dead letter routing key"),
    ({"dead-letter-strategy": "x"}, '<<"x">> is not a valid dead letter strategy'),
    ({"alternate-exchange": 1}, "1 is not a valid alternate exchange name"),
    ({"consumer-timeout": -1}, "-1 is not a valid consumer timeout"),
    ({"delivery-limit": -1}, "-1 is not a valid delivery limit"),
    ({"queue-mode": "x"}, '<<"x">> is not a valid queue-mode value'),
    ({"queue-version": 3}, "3 is not a valid queue-version value"),
    ({"max-age": "1x"}, '<<"1x">> is not a valid max age'),
    ({"max-age": 5}, "5 is not a valid max age"),
    ({"stream-max-segment-size-bytes": 99999999999}, "99999999999 is not a valid segment size"),
    ({"stream-filter-size-bytes": 5}, "5 is not a valid filter size. Valid range is 16-255"),
    ({"queue-leader-locator": "x"}, '<<"x">> is not a valid queue leader locator value'),
    ({"queue-master-locator": "x"}, '<<"x">> invalid queue-master-locator value'),
    ({"initial-cluster-size": -1}, "-1 is not a valid cluster size"),
    ({"target-group-size": 0}, "0 is not a valid qq target count value"),
    (
        {"delayed-retry-type": "x"},
        '<<"x">> is not a valid delayed retry type.'
        " Must be one of: all, failed, returned, disabled",
    ),
    (
        {"delayed-retry-type": "all"},
        "delayed-retry-min is required when delayed-retry-type is all",
    ),
    (
        {"delayed-retry-min": 5, "delayed-retry-max": 4},
        "delayed-retry-max (4) must not be smaller than delayed-retry-min (5)",
    ),
    (
        {"ha-params": 1},
        "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown",
    ),
    ({"ha-mode": "x"}, '<<"x">> is not a valid ha-mode value'),
    ({"ha-mode": "all", "ha-params": 3}, 'ha-mode="all" does not take parameters'),
    ({"ha-mode": "exactly"}, 'ha-mode="exactly" takes an integer, none given'),
    ({"ha-mode": "exactly", "ha-params": 0}, 'ha-mode="exactly" takes an integer, 0 given'),
    ({"ha-mode": "nodes", "ha-params": 3}, 'ha-mode="nodes" takes a list, 3 given'),
    ({"ha-mode": "nodes", "ha-params": []}, 'ha-mode="nodes" list must be non-empty'),
    (
        {"ha-mode": "nodes", "ha-params": [1000]},
        'ha-mode="nodes" takes a list of strings, [1000] was not a string',
    ),
    (
        {"ha-mode": "all", "ha-sync-mode": "x"},
        'ha-sync-mode must be "manual" or "automatic", got <<"x">>',
    ),
    (
        {"ha-mode": "all", "ha-sync-batch-size": 0},
        "ha-sync-batch-size takes an integer greater than 0, 0 given",
    ),
    (
        {"ha-mode": "all", "ha-promote-on-failure": "x"},
        'ha-promote-on-failure must be "always" or "when-synced", got <<"x">>',
    ),
    ({"x-cache-size": 0}, '"x-cache-size" must be an integer greater than 0, got 0'),
    ({"x-cache-ttl": "1"}, '"x-cache-ttl" must be an integer greater than 0, got <<"1">>'),
    ({"x-cache-ttl": True}, '"x-cache-ttl" must be an integer greater than 0, got true'),
    (
        {"x-cache-persistence": "paper"},
        '"x-cache-persistence" must be either "disk" or "memory", got <<"paper">>',
    ),
    (
        {"x-message-deduplication": 1},
        '"x-message-deduplication" must be a boolean, got 1',
    ),
]


@pytest.mark.parametrize("definition", ACCEPTED)
def test_every_key_is_accepted(definition: dict[str, Any]):
    assert checked_policy("p", ".*", definition).definition == definition


@pytest.mark.parametrize(("definition", "text"), REFUSED)
def test_definitions_are_refused_in_rabbitmqs_words(definition: Any, text: str):
    with pytest.raises(InvalidPolicy) as refusal:
        checked_policy("p", ".*", definition)
    assert str(refusal.value) == text


def test_operator_policies_have_some_keys_only():
    for key, value in {"message-ttl": 1, "expires": 1, "overflow": "drop-head"}.items():
        checked_policy("p", ".*", {key: value}, operator=True)
    with pytest.raises(InvalidPolicy) as refusal:
        checked_policy("p", ".*", {"dead-letter-exchange": "a"}, operator=True)
    assert str(refusal.value) == (
        '[{<<"dead-letter-exchange">>,<<"a">>}] are not recognised policy settings'
    )


def test_all_faults_are_told():
    with pytest.raises(InvalidPolicy) as refusal:
        checked_policy("p", "(a", {}, priority="high", applies_to="nix")
    lines = str(refusal.value).split("\n")
    assert lines[0] == "no policy provided"
    assert lines[1] == (
        "apply-to 'nix' unrecognised; should be one of: 'queues', 'classic_queues', "
        " 'quorum_queues', 'streams', 'exchanges', or 'all'"
    )
    assert lines[2] == 'pattern should be regular expression but is invalid: {"missing )",2}'
    assert lines[3] == 'priority should be a number, actually was <<"high">>'
    with pytest.raises(InvalidPolicy, match="pattern should be a binary but was 5"):
        checked_policy("p", 5, {"max-length": 1})


def test_a_value_must_be_complete_and_have_nothing_else():
    policy = checked_policy("p", "a", {"max-length": 1}, priority=2, applies_to="queues")
    assert policy_of("p", policy.value) == policy
    with pytest.raises(InvalidPolicy) as refusal:
        policy_of("p", {"pattern": "a", "definition": {"max-length": 1}, "more": 1})
    assert str(refusal.value).split("\n") == [
        'Unrecognised terms [{<<"more">>,1}] in p',
        'Key "priority" not found in p',
    ]


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("", "anything", None),
        ("b", "abc", "ac"),
        ("^(?!amq\\.).*", "mine", "amq.direct"),
        ("^[[:alpha:]]+$", "abc", "ab1"),
        ("\\Aab\\z", "ab", "abc"),
        ("(?i)^ABC", "abcd", "zabc"),
    ],
)
def test_patterns_are_searched_as_pcre_does(pattern: str, matching: str, other: str | None):
    policy = checked_policy("p", pattern, {"max-length": 1})
    assert policy.matches("classic", matching)
    assert other is None or not policy.matches("classic", other)


@pytest.mark.parametrize("priority", [None, True, "1", float("nan"), float("inf")])
def test_a_priority_is_a_number(priority: Any):
    with pytest.raises(InvalidPolicy, match="priority should be a number"):
        checked_policy("p", "", {"max-length": 1}, priority=priority)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("x[a", '{"missing terminating ] for character class",3}'),
        ("*a", '{"nothing to repeat",0}'),
        ("ab**", '{"nothing to repeat",3}'),
        ("a)", '{"unmatched parentheses",1}'),
        ("a\\", r'{"\\ at end of pattern",2}'),
    ],
)
def test_faults_of_patterns_are_told_as_pcre_tells_them(pattern: str, why: str):
    with pytest.raises(InvalidPolicy) as refusal:
        checked_policy("p", pattern, {"max-length": 1})
    assert str(refusal.value) == f"pattern should be regular expression but is invalid: {why}"


def test_mirrored_queues_are_unknown_from_4_0_on():
    for version in ("4.0", "4.3"):
        with pytest.raises(InvalidPolicy) as refusal:
            checked_policy("p", "", {"ha-mode": "all"}, rules=RULES[version])
        assert (
            str(refusal.value) == '[{<<"ha-mode">>,<<"all">>}] are not recognised policy settings'
        )


def test_a_delivery_limit_may_be_none_from_4_0_on():
    checked_policy("p", "", {"delivery-limit": -1}, rules=RULES["4.0"])
    with pytest.raises(InvalidPolicy, match="true is not a valid delivery limit"):
        checked_policy("p", "", {"delivery-limit": True}, rules=RULES["4.0"])

"""What counts where arguments, a policy and an operator policy set the same."""

from typing import Any

import pytest

from leveret.amqp.fields import Field, Table
from leveret.broker.policy import Policy, merged
from leveret.broker.queue_settings import NO_SETTINGS, settings_of


def arguments(**given: Any) -> Table:
    return {
        f"x-{name.replace('_', '-')}": Field("S", value.encode())
        if isinstance(value, str)
        else Field("I", value)
        for name, value in given.items()
    }


def policy(definition: dict[str, Any]) -> Policy:
    return Policy("p", "", definition)


NUMBERS = {
    "message-ttl": "message_ttl_ms",
    "expires": "expires_ms",
    "max-length": "max_length",
    "max-length-bytes": "max_length_bytes",
}


def test_without_anything_nothing_is_set():
    assert settings_of({}, {}) == NO_SETTINGS


@pytest.mark.parametrize("key", NUMBERS)
def test_lower_of_argument_and_policy_counts_in_classic_queues(key: str):
    for argument, by_policy in ((1, 2), (2, 1)):
        settings = settings_of({f"x-{key}": Field("I", argument)}, {key: by_policy})
        assert getattr(settings, NUMBERS[key]) == 1


def test_arguments_win_over_policies_in_classic_queues():
    mine = arguments(
        dead_letter_exchange="a", dead_letter_routing_key="a", overflow="reject-publish"
    )
    by_policy = {
        "dead-letter-exchange": "b",
        "dead-letter-routing-key": "b",
        "overflow": "drop-head",
    }
    settings = settings_of(mine, by_policy)
    assert settings.dead_letter_exchange == settings.dead_letter_routing_key == "a"
    assert settings.overflow == "reject-publish"
    assert settings_of({}, by_policy).dead_letter_routing_key == "b"
    key_only = settings_of(arguments(dead_letter_exchange="a"), by_policy)
    assert key_only.dead_letter_exchange == "a"
    assert key_only.dead_letter_routing_key == "b"


def test_policies_win_over_overflow_and_expires_of_quorum_queues():
    mine = arguments(
        queue_type="quorum", overflow="drop-head", expires=1, delivery_limit=5, message_ttl=1
    )
    by_policy = {"overflow": "reject-publish", "expires": 2, "delivery-limit": 3, "message-ttl": 2}
    settings = settings_of(mine, by_policy)
    assert settings.overflow == "reject-publish"
    assert (settings.expires_ms, settings.message_ttl_ms) == (2, 1)
    assert settings.delivery_limit == 3


def test_no_delivery_limit_is_more_than_any():
    mine = arguments(queue_type="quorum", delivery_limit=-1)
    assert settings_of(mine, {"delivery-limit": 3}).delivery_limit == 3


def test_policies_win_over_the_arguments_of_streams():
    mine = arguments(queue_type="stream", max_age="1D", max_length_bytes=1)
    by_policy = {"max-age": "2D", "max-length-bytes": 2, "stream-max-segment-size-bytes": 3}
    settings = settings_of(mine, by_policy)
    assert (settings.max_age, settings.max_length_bytes) == ("2D", 2)
    assert settings.stream_max_segment_size_bytes == 3


def test_delayed_retries_are_set_by_either():
    mine = arguments(delayed_retry_type="all", delayed_retry_min=5, delayed_retry_max=50)
    by_policy = {"delayed-retry-type": "failed", "delayed-retry-min": 9, "delayed-retry-max": 40}
    settings = settings_of(mine, by_policy)
    assert settings.delayed_retry_type == "failed"
    assert (settings.delayed_retry_min_ms, settings.delayed_retry_max_ms) == (5, 40)


def test_argument_of_another_type_than_the_key_has_is_passed_over():
    assert settings_of({"x-consumer-timeout": Field("S", b"x")}, {}).consumer_timeout_ms is None


@pytest.mark.parametrize(
    ("users", "operators", "together"),
    [
        ({"max-length": 1}, {"max-length": 2}, {"max-length": 1}),
        ({"max-length": 2}, {"max-length": 1}, {"max-length": 1}),
        ({"max-length": 2}, {"expires": 1}, {"max-length": 2, "expires": 1}),
        ({"overflow": "drop-head"}, {"overflow": "reject-publish"}, {"overflow": "reject-publish"}),
        ({"delivery-limit": -1}, {"delivery-limit": 5}, {"delivery-limit": 5}),
        ({"queue-version": 1}, {"queue-version": 2}, {"queue-version": 2}),
        ({"delayed-retry-min": 1}, {"delayed-retry-min": 2}, {"delayed-retry-min": 2}),
    ],
)
def test_policy_and_operator_policy_are_merged(
    users: dict[str, Any], operators: dict[str, Any], together: dict[str, Any]
):
    assert merged(policy(users), policy(operators)) == together
    assert merged(policy(users), None) == users
    assert merged(None, policy(operators)) == operators
    assert merged(None, None) == {}

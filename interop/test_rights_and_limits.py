"""What definitions let users do: topic permissions, tags, hashed passwords, limits; with pika."""

import uuid
from collections.abc import Callable, Iterator

import pika
import pytest
from administered import Connections, Definitions, administered
from conftest import Broker
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
)

TOPICAL, IMPERSONATOR, FEW, HASHED, PATTERNED = (
    f"{name}-{uuid.uuid4().hex[:8]}"
    for name in ("topical", "impersonator", "few", "hashed", "patterned")
)
FULL, TWO_QUEUES, QUORUM = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("full", "two", "quorum"))
PASSWORD = "secret"
HASH = "AQIDBLTM1MhIkOk5e7r7QF3Fd0KmJQo+tSwhcq3VMa+aHV7M"
"""RabbitMQ's SHA-256 of "secret one", with its salt."""
PATTERN = r"^(?!secret)(?>\p{Lu}[[:alpha:]]++)(?<n>\d)\g{n}(?i:[a-c]*)(?:\o{56}\V\w)?\z"


def define(vhost: str) -> Definitions:
    users = [
        {"name": TOPICAL, "password": PASSWORD, "tags": ""},
        {"name": IMPERSONATOR, "password": PASSWORD, "tags": "impersonator"},
        {
            "name": FEW,
            "password": PASSWORD,
            "tags": "",
            "limits": {"max-connections": 1, "max-channels": 2},
        },
        {
            "name": HASHED,
            "password_hash": HASH,
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "",
        },
        {"name": PATTERNED, "password": PASSWORD, "tags": ""},
    ]
    return {
        "users": users,
        "vhosts": [
            {"name": FULL},
            {"name": TWO_QUEUES},
            {"name": QUORUM, "default_queue_type": "quorum"},
        ],
        "permissions": [
            {"user": user["name"], "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
            for user in users
            if user["name"] != PATTERNED
        ]
        + [{"user": PATTERNED, "vhost": vhost, "configure": PATTERN, "write": "", "read": ""}],
        "topic_permissions": [
            {
                "user": TOPICAL,
                "vhost": vhost,
                "exchange": "amq.topic",
                "write": "^{username}[.]",
                "read": "^public[.]",
            },
            {"user": HASHED, "vhost": vhost, "exchange": "amq.topic", "write": "", "read": ""},
        ],
        "parameters": [
            {"vhost": name, "component": "vhost-limits", "name": "limits", "value": limits}
            for name, limits in {
                FULL: {"max-connections": 0},
                TWO_QUEUES: {"max-queues": 2},
            }.items()
        ],
    }


@pytest.fixture(scope="module")
def own(broker: Broker) -> Iterator[Broker]:
    with administered(broker, define) as own:
        yield own


@pytest.fixture
def connect(own: Broker) -> Iterator[Callable[..., pika.BlockingConnection]]:
    connections = Connections(own)
    yield connections.open
    connections.close()


# --- rights -----------------------------------------------------------------------------------


def refused(own: Broker, what: str, user: str) -> tuple[int, str]:
    return (
        403,
        f"ACCESS_REFUSED - access to topic '{what}' in exchange 'amq.topic' in vhost"
        f" '{own.vhost}' refused for user '{user}'",
    )


def test_topic_permissions_are_about_the_routing_keys_of_publishing(own, connect):
    channel = connect(TOPICAL, PASSWORD).channel()
    channel.confirm_delivery()
    channel.basic_publish("amq.topic", f"{TOPICAL}.news", b"")
    channel.basic_publish("amq.direct", "anything", b"")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_publish("amq.topic", "public.news", b"")
    assert closed.value.args == refused(own, "public.news", TOPICAL)


def test_topic_permissions_are_about_the_routing_keys_of_binding(own, connect):
    channel = connect(TOPICAL, PASSWORD).channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "amq.topic", "public.#")
    channel.queue_bind(queue, "amq.fanout", "anything")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_bind(queue, "amq.topic", "#")
    assert closed.value.args == refused(own, "#", TOPICAL)


def test_empty_topic_permission_allows_the_empty_routing_key_only(own, connect):
    channel = connect(HASHED, "secret one").channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "amq.topic", "")
    channel.confirm_delivery()
    channel.basic_publish("amq.topic", "", b"")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_publish("amq.topic", "k", b"")
    assert closed.value.args == refused(own, "k", HASHED)


def test_keys_of_cc_and_bcc_need_no_topic_permissions(connect):
    # So it is up to RabbitMQ 3.13, and for leveret unless it emulates a later one.
    channel = connect(TOPICAL, PASSWORD).channel()
    channel.confirm_delivery()
    headers = {"CC": ["public.news"], "BCC": ["secret.news"]}
    properties = pika.BasicProperties(headers=headers)
    channel.basic_publish("amq.topic", f"{TOPICAL}.news", b"", properties)


def test_user_without_topic_permissions_may_use_every_routing_key(connect):
    channel = connect().channel()
    channel.confirm_delivery()
    channel.basic_publish("amq.topic", "public.news", b"")


def test_impersonator_may_publish_in_the_name_of_others(connect):
    channel = connect(IMPERSONATOR, PASSWORD).channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"", pika.BasicProperties(user_id="somebody"))
    assert channel.basic_get(queue)[1].user_id == "somebody"


def test_others_may_not(connect):
    channel = connect(TOPICAL, PASSWORD).channel()
    channel.confirm_delivery()
    channel.basic_publish("amq.direct", "", b"", pika.BasicProperties(user_id=TOPICAL))
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_publish("amq.direct", "", b"", pika.BasicProperties(user_id="somebody"))
    assert closed.value.args == (
        406,
        "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was"
        f" '{TOPICAL}'",
    )


def test_user_whose_password_came_as_a_hash_can_log_in(connect):
    assert connect(HASHED, "secret one").is_open


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("Own11", True),
        ("Own11aBC", True),
        ("Own11.-x", True),
        ("Own11.-ü", False),
        ("Own12", False),
        ("own11", False),
        ("secretOwn11", False),
        ("Own11d", False),
    ],
)
def test_permissions_are_patterns_of_pcre(own, connect, name, allowed):
    channel = connect(PATTERNED, PASSWORD).channel()
    if allowed:
        channel.queue_declare(name, auto_delete=True)
        channel.queue_delete(name)
        return
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(name)
    assert closed.value.args == (
        403,
        f"ACCESS_REFUSED - access to queue '{name}' in vhost '{own.vhost}' refused for user"
        f" '{PATTERNED}'",
    )


# --- limits -----------------------------------------------------------------------------------


def test_user_may_have_so_many_connections(connect):
    first = connect(FEW, PASSWORD)
    with pytest.raises(ProbableAccessDeniedError) as closed:
        connect(FEW, PASSWORD)
    assert str(closed.value) == (
        'ConnectionClosedByBroker: (530) "NOT_ALLOWED - connection refused for user'
        f" '{FEW}': user connection limit (1) is reached\""
    )
    first.close()


def test_user_may_have_so_many_channels(connect):
    connection = connect(FEW, PASSWORD)
    connection.channel()
    connection.channel()
    with pytest.raises(ConnectionClosedByBroker) as closed:
        connection.channel()
    assert closed.value.args == (
        530,
        f"NOT_ALLOWED - number of channels opened for user '{FEW}' has reached the maximum"
        " allowed user limit of (2)",
    )


def test_vhost_may_have_so_many_connections(own, connect):
    with pytest.raises(ProbableAccessDeniedError) as closed:
        connect(vhost=FULL)
    assert str(closed.value) == (
        f"ConnectionClosedByBroker: (530) \"NOT_ALLOWED - access to vhost '{FULL}' refused for user"
        f" '{own.user}': connection limit (0) is reached\""
    )


def test_limit_of_queues_comes_before_faults_of_arguments(connect):
    channel = connect(vhost=TWO_QUEUES).channel()
    for _ in range(2):
        channel.queue_declare("", exclusive=True)
    with pytest.raises(ChannelClosedByBroker, match="queue limit in vhost"):
        channel.queue_declare("third", arguments={"x-max-length": -1})


def test_vhost_may_have_so_many_queues(connect):
    channel = connect(vhost=TWO_QUEUES).channel()
    for _ in range(2):
        channel.queue_declare("", exclusive=True)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare("third")
    assert closed.value.args == (
        406,
        "PRECONDITION_FAILED - cannot declare queue 'third':"
        f" queue limit in vhost '{TWO_QUEUES}' (2) is reached",
    )


# --- what else is set for a vhost ---------------------------------------------------------------


def test_queues_are_of_the_default_type_of_their_vhost(connect):
    connection = connect(vhost=QUORUM)
    if connection._impl.server_properties["version"].startswith("3.10."):
        pytest.skip("not run: RabbitMQ 3.10 has no default types")
    channel = connection.channel()
    for queue, arguments in (("default", {}), ("classic", {"x-queue-type": "classic"})):
        channel.queue_declare(queue, durable=True, arguments=arguments)
        channel.basic_publish("", queue, b"")
    assert channel.basic_get("default")[1].headers == {"x-delivery-count": 0}
    assert not channel.basic_get("classic")[1].headers

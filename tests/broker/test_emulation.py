"""Each rule that differs between RabbitMQ's versions, under each version that can be emulated."""

from typing import Any, get_args

import pytest
from pamqp.commands import Basic, Exchange, Queue, Tx
from pamqp.commands import Connection as Method

from fake_client import FakeClient, FakeServer, encoded, start_ok
from leveret.broker.administration import Administration
from leveret.broker.configuration import (
    GUEST,
    Configuration,
    ConfigurationError,
    Connection,
    Identity,
    Permissions,
    User,
    parse,
)
from leveret.broker.permissions import TopicPatterns
from leveret.broker.policy_checks import checked_policy
from leveret.broker.rules import RULES, EmulatedVersion

VERSIONS = get_args(EmulatedVersion)
BEFORE_4_3 = ("3.13", "4.0")
DECLARE_QUEUE, DECLARE_EXCHANGE, PUBLISH = (50, 10), (40, 10), (60, 40)


def server_of(version: EmulatedVersion, **settings: object) -> FakeServer:
    return FakeServer(Configuration(emulate=version, **settings))  # type: ignore[arg-type] - any setting


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> EmulatedVersion:
    return request.param


@pytest.fixture
def server(version: EmulatedVersion) -> FakeServer:
    return server_of(version)


def announced(configuration: Configuration) -> object:
    client = FakeServer(configuration).accept()
    client.feed(b"AMQP\0\0\x09\1")
    return client.expect(Method.Start, 0).server_properties["version"]


def test_3_13_is_the_default() -> None:
    assert Configuration().rules is RULES["3.13"]
    assert parse('emulate = "4.3"').rules is RULES["4.3"]
    with pytest.raises(ConfigurationError, match=r"emulate: expected one of 3\.13, 4\.0, 4\.3"):
        parse('emulate = "2.0"')


def test_the_version_is_announced_unless_another_one_is_configured(
    version: EmulatedVersion,
) -> None:
    assert str(announced(Configuration(emulate=version))).startswith(version)
    identity = Identity(version="3.8.0")
    assert announced(Configuration(emulate=version, identity=identity)) == "3.8.0"


def test_an_unknown_exchange_type_closes_the_connection_or_the_channel(
    version: EmulatedVersion, client: FakeClient
) -> None:
    client.send(Exchange.Declare(exchange="x", exchange_type="x-odd"))
    if version == "3.13":
        client.expect_connection_closed(
            503, "COMMAND_INVALID - unknown exchange type 'x-odd'", DECLARE_EXCHANGE
        )
    else:
        client.expect_channel_closed(
            406, "PRECONDITION_FAILED - unknown exchange type 'x-odd'", DECLARE_EXCHANGE
        )


def test_the_smallest_frame_max_is_4096_or_8192(
    version: EmulatedVersion, server: FakeServer
) -> None:
    least = 8192 if version == "4.3" else 4096
    server.connect(frame_max=least)
    client = server.accept()
    client.feed(b"AMQP\0\0\x09\1")
    client.send(start_ok(), Method.TuneOk(2047, least - 1, 0), Method.Open("/"), channel=0)
    client.expect(Method.Start, 0)
    client.expect(Method.Tune, 0)
    assert not client.received()
    server.advance(3)
    assert client.hung_up


def test_a_frame_max_that_no_client_may_ask_for_is_no_configuration() -> None:
    parse("[connection]\nframe_max_bytes = 4096")
    with pytest.raises(ConfigurationError, match=r"connection\.frame_max_bytes: expected .* 8192"):
        parse('emulate = "4.3"\n[connection]\nframe_max_bytes = 4096')
    with pytest.raises(ConfigurationError, match=r"connection\.frame_max_bytes"):
        parse("[connection]\nframe_max_bytes = 4096").override(emulate="4.3")


def test_a_message_may_have_128_or_16_mib_unless_configured(
    version: EmulatedVersion,
) -> None:
    assert Configuration(emulate=version).max_message_bytes == (
        134_217_728 if version == "3.13" else 16_777_216
    )
    own = Connection(max_message_bytes=5)
    client = server_of(version, connection=own).connect()
    client.publish(b"123456", "q")
    client.expect_channel_closed(
        406, "PRECONDITION_FAILED - message size 6 is larger than configured max size 5", PUBLISH
    )


def dead_letter(client: FakeClient, headers: dict[str, object]) -> dict[str, object]:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client.declare("q", exclusive=True, arguments=arguments)
    client.declare("dead", exclusive=True)
    client.publish(b"", "q", headers=headers)
    assert client.get("q").headers == headers
    client.send(Basic.Reject(1, requeue=False))
    return dict(client.get("dead").headers)


def test_deaths_that_a_client_made_up_count_before_4_0_only(
    version: EmulatedVersion, client: FakeClient
) -> None:
    death = {"queue": "q", "reason": "rejected", "count": 7, "exchange": "", "routing-keys": ["q"]}
    headers = dead_letter(client, {"x-death": [death], "x-first-death-queue": "elsewhere", "a": 1})
    assert headers["a"] == 1
    assert headers["x-last-death-queue"] == "q"
    counts = [entry["count"] for entry in headers["x-death"]]  # type: ignore[attr-defined] - an array
    if version == "3.13":
        assert counts == [8]
        assert headers["x-first-death-queue"] == "elsewhere"
    else:
        assert counts == [1]
        assert headers["x-first-death-queue"] == "q"


def test_deaths_that_the_broker_wrote_count_in_every_version(client: FakeClient) -> None:
    client.declare(
        "q",
        exclusive=True,
        arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"},
    )
    client.publish(b"", "q")
    for tag in (1, 2):
        client.get("q")
        client.send(Basic.Reject(tag, requeue=False))
    assert client.get("q").headers["x-death"][0]["count"] == 2


def test_global_qos_is_for_the_channel_before_4_3_and_then_for_each_consumer(
    version: EmulatedVersion, client: FakeClient
) -> None:
    client.declare("q", exclusive=True)
    client.request(Basic.Qos(prefetch_count=1, global_=True), Basic.QosOk)
    client.consume("q", "a")
    client.consume("q", "b")
    for _ in range(4):
        client.publish(b"", "q")
    assert len(client.deliveries()) == (1 if version in BEFORE_4_3 else 2)


def test_a_queue_that_is_neither_durable_nor_exclusive_is_refused_from_4_3_on(
    version: EmulatedVersion, client: FakeClient
) -> None:
    client.declare("durable", durable=True)
    client.declare("exclusive", exclusive=True)
    client.send(Queue.Declare(queue="q"))
    if version in BEFORE_4_3:
        client.expect(Queue.DeclareOk)
    else:
        text = (
            "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.\n"
            "By default, this feature is not permitted anymore.\n"
            "The feature will be removed from a future major RabbitMQ version, regardless of the"
            " configuration; actual version to be determined.\nTo..."
        )
        client.expect_connection_closed(541, text, DECLARE_QUEUE)


@pytest.mark.parametrize("right", ["configure", "write", "read", None])
def test_a_passive_declare_needs_any_permission_from_4_3_on(
    version: EmulatedVersion, right: str | None
) -> None:
    rights = {"configure": "", "write": "", "read": ""} | ({right: "^q"} if right else {})
    user = User("u", "p", permissions={"/": Permissions(**rights)})
    server = server_of(version, users=(GUEST, user))
    server.connect().declare("q", durable=True)
    client = server.connect("u", "p")
    client.send(Queue.Declare(queue="q", passive=True))
    if right or version in BEFORE_4_3:
        client.expect(Queue.DeclareOk)
        client.send(Exchange.Declare(exchange="q-missing", passive=True))
        text = "NOT_FOUND - no exchange 'q-missing' in vhost '/'"
        client.expect_channel_closed(404, text, DECLARE_EXCHANGE)
        return
    text = "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'"
    client.expect_channel_closed(403, text, DECLARE_QUEUE)
    client.open_channel(2)
    client.send(Exchange.Declare(exchange="amq.fanout", passive=True), channel=2)
    text = "ACCESS_REFUSED - access to exchange 'amq.fanout' in vhost '/' refused for user 'u'"
    client.expect_channel_closed(403, text, DECLARE_EXCHANGE, channel=2)


def address_for_replies(client: FakeClient, other: FakeClient) -> str:
    """Have a client ask for a direct reply; where the other one is to send it."""
    client.declare("q", durable=True)
    client.consume("amq.rabbitmq.reply-to", "replies", no_ack=True)
    client.publish(b"question", "q", reply_to="amq.rabbitmq.reply-to")
    address = other.get("q", no_ack=True).properties.reply_to
    assert address is not None
    return address


def test_a_mandatory_direct_reply_is_returned_though_delivered_before_4_2(
    version: EmulatedVersion, client: FakeClient, other: FakeClient
) -> None:
    address = address_for_replies(client, other)
    other.publish(b"reply", address, mandatory=True)
    assert client.bodies() == [b"reply"]
    if version in BEFORE_4_3:
        other.expect_content(Basic.Return)
    assert not other.received()


def test_a_direct_reply_waits_for_the_commit_from_4_2_on(
    version: EmulatedVersion, client: FakeClient, other: FakeClient
) -> None:
    address = address_for_replies(client, other)
    other.send(Tx.Select())
    other.expect(Tx.SelectOk)
    other.publish(b"reply", address)
    assert client.bodies() == ([b"reply"] if version in BEFORE_4_3 else [])
    other.send(Tx.Commit())
    other.expect(Tx.CommitOk)
    assert client.bodies() == ([] if version in BEFORE_4_3 else [b"reply"])


def test_classic_queues_have_a_leader_locator_from_4_0_on(
    version: EmulatedVersion, client: FakeClient
) -> None:
    locator = "x-queue-leader-locator"
    client.send(Queue.Declare(queue="q", durable=True, arguments={locator: "balanced"}))
    text = "PRECONDITION_FAILED - invalid arg 'x-queue-leader-locator' for queue 'q' in vhost '/'"
    if version == "3.13":
        client.expect_channel_closed(406, f"{text} of queue type rabbit_classic_queue", (50, 10))
    else:
        client.expect(Queue.DeclareOk)
        client.send(Queue.Declare(queue="other", durable=True, arguments={locator: "here"}))
        text = text.replace("'q'", "'other'")
        client.expect_channel_closed(406, f"{text}: invalid_queue_locator_arg", (50, 10))


def test_a_policy_with_a_leader_locator_is_for_classic_queues_too_from_4_0_on(
    version: EmulatedVersion, server: FakeServer, client: FakeClient
) -> None:
    client.declare("q", durable=True)
    vhost = server.broker.vhosts["/"]
    definition: Any = {"queue-leader-locator": "balanced", "max-length": 5}
    vhost.policies.set(checked_policy("p", "", definition, rules=vhost.rules))
    assert vhost.queues["q"].settings.max_length == (None if version == "3.13" else 5)


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("classic", "a", ": {unacceptable_type,longstr}"),
        ("classic", 5, ": {unacceptable_type,byte}"),
        ("quorum", True, " of queue type rabbit_quorum_queue"),
        ("quorum", "a", " of queue type rabbit_quorum_queue"),
        ("stream", True, " of queue type rabbit_stream_queue"),
    ],
)
def test_a_bad_x_cancel_on_ha_failover_is_refused_before_4_0(
    version: EmulatedVersion, client: FakeClient, kind: str, value: object, why: str
) -> None:
    name = "x-cancel-on-ha-failover"
    client.declare("q", durable=True, arguments={"x-queue-type": kind})
    client.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    arguments: Any = {name: value}
    client.send(Basic.Consume(queue="q", arguments=arguments))
    if version == "3.13":
        text = f"PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/'{why}"
        client.expect_channel_closed(406, text, (60, 20))
    else:
        client.expect(Basic.ConsumeOk)


def test_x_cancel_on_ha_failover_has_no_effect(client: FakeClient) -> None:
    client.declare("q", durable=True)
    client.consume("q", arguments={"x-cancel-on-ha-failover": True})


def test_x_queue_mode_is_accepted_without_effect_in_every_version(client: FakeClient) -> None:
    client.declare("q", durable=True, arguments={"x-queue-mode": "lazy"})


def test_the_table_says_what_is_new_in_4_0_and_4_3() -> None:
    limits = {version: RULES[version].delivery_limit for version in VERSIONS}
    assert limits == {"3.13": None, "4.0": 20, "4.3": 20}
    nacks = {version: RULES[version].nack_is_failure for version in VERSIONS}
    assert nacks == {"3.13": True, "4.0": True, "4.3": False}


def test_one_broker_can_differ_from_another_of_the_same_process() -> None:
    old, new = server_of("3.13").connect(), server_of("4.0").connect()
    for client in (old, new):
        client.feed(encoded(Exchange.Declare(exchange="x", exchange_type="x-odd")))
    old.expect(Method.Close, 0)
    assert new.received()[0].channel == 1


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_keys_of_cc_and_bcc_need_topic_permissions_from_4_0_on(
    version: EmulatedVersion, server: FakeServer, header: str
) -> None:
    administration = Administration(server.broker)
    administration.set_topic_permissions("guest", "/", {"amq.topic": TopicPatterns("^a", "")})
    client = server.connect()
    client.publish(b"m", "a", exchange="amq.direct", headers={header: ["b"]})
    client.publish(b"m", "a", exchange="amq.topic", headers={header: ["a.b"]})
    client.publish(b"m", "a", exchange="amq.topic", headers={header: ["a", "b"]})
    if version == "3.13":
        assert not client.received()
    else:
        client.expect_channel_closed(
            403,
            "ACCESS_REFUSED - access to topic 'b' in exchange 'amq.topic' in vhost '/'"
            " refused for user 'guest'",
            PUBLISH,
        )

"""`leveret serve --emulate`: what a client sees of an upgrade to RabbitMQ 4; with pika."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest
from administered import Connections, Definitions, administered
from conftest import Broker
from leveret_process import LeveretProcess
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
)
from restarting import LEVERET, needs_leveret

SETTINGS = """
[connection]
failed_login_delay_s = 0.1
"""
CLUSTER = "the shop"
ALL = {"configure": ".*", "write": ".*", "read": ".*"}
NONE = {"configure": "", "write": "", "read": ""}
TOPICAL, NOBODY = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("topical", "nobody"))
PASSWORD = "secret"
ENDLESS = {
    "vhost": "/",
    "name": "endless",
    "pattern": "^endless",
    "definition": {"delivery-limit": -1},
}


def define(vhost: str) -> Definitions:
    topics = {"vhost": vhost, "user": TOPICAL, "exchange": "amq.topic"}
    return {
        "users": [{"name": name, "password": PASSWORD, "tags": ""} for name in (TOPICAL, NOBODY)],
        "permissions": [
            {"user": TOPICAL, "vhost": vhost, **ALL},
            {"user": NOBODY, "vhost": vhost, **NONE},
        ],
        "topic_permissions": [{**topics, "write": "^own", "read": ""}],
        "global_parameters": [{"name": "cluster_name", "value": CLUSTER}],
    }


@pytest.fixture(scope="module", params=["3.13", "4.0", "4.3"])
def version(request: pytest.FixtureRequest) -> str:
    if not LEVERET and request.param != "3.13":
        pytest.skip("not run: BROKER is given, which follows the rules of RabbitMQ 3 only")
    return request.param


@pytest.fixture(scope="module")
def own(broker: Broker, version: str) -> Iterator[Broker]:
    def emulated(vhost: str) -> Definitions:
        policies = [] if version == "3.13" else [{**ENDLESS, "vhost": vhost}]
        return {**define(vhost), "policies": policies}

    with administered(broker, emulated, "--emulate", version, settings=SETTINGS) as own:
        yield own


@pytest.fixture
def connect(own: Broker) -> Iterator[Callable[..., pika.BlockingConnection]]:
    connections = Connections(own)
    yield connections.open
    connections.close()


@pytest.fixture
def channel(connect):
    return connect().channel()


@pytest.fixture
def queue(channel) -> str:
    return channel.queue_declare("", exclusive=True).method.queue


def declare(channel, name: str, **arguments: Any) -> str:
    """A fresh durable queue; dashes of arguments are written as underscores."""
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    channel.queue_delete(name)
    channel.queue_declare(name, durable=True, arguments=named)
    return name


def next_of(channel, queue: str) -> tuple[int, dict[str, Any]]:
    """The delivery tag and the headers of a queue's next message, which may be on its way."""
    deadline = time.monotonic() + 5
    while (got := channel.basic_get(queue))[0] is None:
        assert time.monotonic() < deadline, "nothing comes"
    return got[0].delivery_tag, got[1].headers or {}


def test_version_is_announced(connect, version):
    properties = connect()._impl.server_properties
    assert properties["version"].startswith(version if LEVERET else "3.")
    assert properties["product"] == "RabbitMQ"
    assert properties["cluster_name"] == CLUSTER


def test_unknown_exchange_type_closes_the_connection_or_from_4_0_on_the_channel(channel, version):
    text = "unknown exchange type 'x-odd'"
    if version == "3.13":
        expected, error = (503, f"COMMAND_INVALID - {text}"), ConnectionClosedByBroker
    else:
        expected, error = (406, f"PRECONDITION_FAILED - {text}"), ChannelClosedByBroker
    with pytest.raises(error) as closed:
        channel.exchange_declare("odd", "x-odd")
    assert closed.value.args == expected


def test_queue_that_is_neither_durable_nor_exclusive_is_refused_from_4_3_on(channel, version):
    if version != "4.3":
        channel.queue_declare("transient")
        return
    with pytest.raises(ConnectionClosedByBroker) as closed:
        channel.queue_declare("transient")
    assert closed.value.reply_code == 541
    assert closed.value.reply_text.startswith(
        "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.\n"
        "By default, this feature is not permitted anymore.\n"
    )


def test_message_of_more_than_16_mib_is_refused_from_4_0_on(channel, queue, version):
    channel.confirm_delivery()
    size = 16 * 1024 * 1024 + 1
    if version == "3.13":
        channel.basic_publish("", queue, bytes(size))
        return
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_publish("", queue, bytes(size))
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - message size {size} is larger than configured max size {size - 1}",
    )


def test_frames_of_4096_bytes_are_too_small_from_4_3_on(connect, version):
    if version == "4.3":
        with pytest.raises((IncompatibleProtocolError, pika.exceptions.AMQPConnectionError)):
            connect(frame_max=4096)
        connect(frame_max=8192)
    else:
        connect(frame_max=4096)


def test_deaths_that_a_client_made_up_begin_anew_from_4_0_on(channel, queue, version):
    source = declare(channel, "dying", x_dead_letter_exchange="", x_dead_letter_routing_key=queue)
    death = {"queue": source, "reason": "rejected", "count": 7, "exchange": ""}
    properties = pika.BasicProperties(
        headers={"x-death": [death | {"routing-keys": [source]}], "x-first-death-queue": "older"}
    )
    channel.basic_publish("", source, b"", properties)
    channel.basic_reject(channel.basic_get(source)[0].delivery_tag, requeue=False)
    _, headers = next_of(channel, queue)
    found = headers["x-death"][0]["count"], headers["x-first-death-queue"]
    assert found == ((8, "older") if version == "3.13" else (1, source))


def test_message_of_a_quorum_queue_dies_of_its_21st_return_from_4_0_on(channel, queue, version):
    letters = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": queue}
    source = declare(channel, "poisoned", x_queue_type="quorum", **letters)
    channel.basic_publish("", source, b"poison")
    for count in range(21):
        tag, headers = next_of(channel, source)
        if count or version == "3.13":
            assert headers["x-delivery-count"] == count
        channel.basic_reject(tag, requeue=True)
    if version == "3.13":
        assert next_of(channel, source)[1]["x-delivery-count"] == 21
    else:
        assert next_of(channel, queue)[1]["x-death"][0]["reason"] == "delivery_limit"
        assert channel.basic_get(source)[0] is None


def test_policy_may_have_no_delivery_limit_from_4_0_on(channel, version):
    source = declare(channel, "endless", x_queue_type="quorum")
    channel.basic_publish("", source, b"")
    for _ in range(22):
        channel.basic_reject(next_of(channel, source)[0], requeue=True)
    assert next_of(channel, source)[1]["x-delivery-count"] == 22


@needs_leveret
@pytest.mark.parametrize(
    ("version", "definition", "fault"),
    [
        ("3.13", {"delivery-limit": -1}, "-1 is not a valid delivery limit"),
        ("4.0", {"ha-mode": "all"}, "ha-mode"),
        ("3.13", {"federation-upstream": "x"}, "federation-upstream"),
    ],
)
def test_policy_with_keys_that_are_not_there_stops_the_start(tmp_path, version, definition, fault):
    definitions = tmp_path / "definitions.json"
    definitions.write_text(json.dumps({"policies": [ENDLESS | {"definition": definition}]}))
    process = LeveretProcess(
        LEVERET, tmp_path, "--emulate", version, "--definitions", str(definitions)
    )
    with pytest.raises(AssertionError, match=fault):
        process.start()


@needs_leveret
def test_parameter_of_a_plugin_that_is_not_there_stops_the_start(tmp_path):
    definitions = tmp_path / "definitions.json"
    shovel = {"vhost": "/", "component": "shovel", "name": "mine", "value": {}}
    definitions.write_text(json.dumps({"parameters": [shovel]}))
    process = LeveretProcess(LEVERET, tmp_path, "--definitions", str(definitions))
    with pytest.raises(AssertionError, match="component 'shovel' not found"):
        process.start()


def test_topic_permissions_are_about_the_keys_of_cc_too_from_4_0_on(own, connect, version):
    channel = connect(TOPICAL, PASSWORD).channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(headers={"CC": ["foreign"]})
    if version == "3.13":
        channel.basic_publish("amq.topic", "own", b"", properties)
        return
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_publish("amq.topic", "own", b"", properties)
    assert closed.value.args == (
        403,
        "ACCESS_REFUSED - access to topic 'foreign' in exchange 'amq.topic' in vhost"
        f" '{own.vhost}' refused for user '{TOPICAL}'",
    )


def test_nack_does_not_count_towards_the_delivery_limit_from_4_3_on(channel, version):
    source = declare(channel, "nacked", x_queue_type="quorum")
    channel.basic_publish("", source, b"")
    for _ in range(3):
        channel.basic_nack(next_of(channel, source)[0], requeue=True)
    _, headers = next_of(channel, source)
    assert headers == {"x-acquired-count" if version == "4.3" else "x-delivery-count": 3}


def test_prefetch_of_the_channel_is_one_of_each_consumer_from_4_3_on(channel, queue, version):
    channel.basic_qos(prefetch_count=1, global_qos=True)
    got = []
    for _ in range(2):
        channel.basic_consume(queue, lambda *delivery: got.append(delivery))
    for _ in range(4):
        channel.basic_publish("", queue, b"")
    channel.queue_declare(queue, passive=True)
    channel.connection.process_data_events()
    assert len(got) == (2 if version == "4.3" else 1)


def test_passive_declare_needs_some_permission_from_4_3_on(own, connect, channel, version):
    declare(channel, "seen")
    unprivileged = connect(NOBODY, PASSWORD).channel()
    if version != "4.3":
        unprivileged.queue_declare("seen", passive=True)
        return
    with pytest.raises(ChannelClosedByBroker) as closed:
        unprivileged.queue_declare("seen", passive=True)
    assert closed.value.args == (
        403,
        f"ACCESS_REFUSED - access to queue 'seen' in vhost '{own.vhost}' refused for user"
        f" '{NOBODY}'",
    )


def test_mandatory_direct_reply_is_returned_though_delivered_before_4_2(channel, queue, version):
    replies, returned = [], []
    reply_to = "amq.rabbitmq.reply-to"
    channel.basic_consume(reply_to, lambda *reply: replies.append(reply[3]), auto_ack=True)
    channel.add_on_return_callback(lambda *message: returned.append(message[3]))
    channel.basic_publish("", queue, b"?", pika.BasicProperties(reply_to=reply_to))
    address = channel.basic_get(queue)[1].reply_to
    channel.basic_publish("", address, b"!", mandatory=True)
    channel.queue_declare(queue, passive=True)
    channel.connection.process_data_events()
    assert replies == [b"!"]
    assert returned == ([] if version == "4.3" else [b"!"])


def test_classic_queue_may_have_a_leader_locator_from_4_0_on(channel, version):
    if version != "3.13":
        declare(channel, "located", x_queue_leader_locator="balanced")
        return
    with pytest.raises(ChannelClosedByBroker) as closed:
        declare(channel, "located", x_queue_leader_locator="balanced")
    assert closed.value.reply_code == 406


@needs_leveret  # or the plugin
def test_duplicates_of_a_queue_are_dead_letters_from_4_1_on(channel, queue, version):
    declare(
        channel,
        "deduplicating",
        x_message_deduplication=True,
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=queue,
    )
    properties = pika.BasicProperties(headers={"x-deduplication-header": "a"})
    for body in (b"first", b"second"):
        channel.basic_publish("", "deduplicating", body, properties)
    assert channel.queue_declare("deduplicating", passive=True).method.message_count == 1
    assert channel.basic_get(queue)[2] == (b"second" if version == "4.3" else None)

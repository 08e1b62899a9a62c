"""What an operator does about policies and queues while clients use them; with pika."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest
from operators import CommandError, Operator
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

PATIENCE_S = 5


@pytest.fixture
def channel(connect: Callable[..., pika.BlockingConnection]) -> BlockingChannel:
    """A confirming channel in the test's vhost."""
    channel = connect().channel()
    channel.confirm_delivery()
    return channel


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that rabbitmqctl can use, which becomes the user rabbitmq where it is called as root."""
    with tempfile.TemporaryDirectory(prefix="leveret-definitions-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def trace(channel: BlockingChannel) -> str:
    """A queue that is bound to the firehose, for everything."""
    trace = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(trace, "amq.rabbitmq.trace", "publish.#")
    return trace


def publish(channel: BlockingChannel, count: int, queue: str = "q") -> None:
    for number in range(count):
        channel.basic_publish("", queue, str(number).encode())


def bodies(channel: BlockingChannel, queue: str = "q") -> list[bytes]:
    found = []
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(got[2])
    return found


def ready(channel: BlockingChannel, queue: str = "q") -> int:
    return channel.queue_declare(queue, passive=True).method.message_count


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- policies ---------------------------------------------------------------------------------


def test_policy_limits_a_queue_that_is_there_and_has_too_many_messages(operate, vhost, channel):
    channel.queue_declare("q")
    publish(channel, 5)
    operate("set_policy", "-p", vhost, "short", "^q$", '{"max-length": 2}')
    wait_until(lambda: ready(channel) == 2)
    assert bodies(channel) == [b"3", b"4"]


def test_policy_that_is_cleared_limits_nothing_any_more(operate, vhost, channel):
    channel.queue_declare("q")
    operate("set_policy", "-p", vhost, "short", "^q$", '{"max-length": 1}')
    publish(channel, 3)
    assert ready(channel) == 1
    operate("clear_policy", "-p", vhost, "short")
    publish(channel, 3)
    assert ready(channel) == 4


def test_better_policy_takes_over_and_gives_back(operate, vhost, channel):
    channel.queue_declare("q")
    lists = ("list_queues", "-p", vhost, "policy")
    operate("set_policy", "-p", vhost, "usual", ".*", '{"max-length": 3}', "--priority", "1")
    operate("set_policy", "-p", vhost, "better", "^q", '{"max-length": 1}', "--priority", "2")
    assert operate(*lists) == [["better"]]
    publish(channel, 5)
    assert ready(channel) == 1
    operate("clear_policy", "-p", vhost, "better")
    assert operate(*lists) == [["usual"]]
    publish(channel, 5)
    assert ready(channel) == 3


def test_operator_policy_limits_what_a_policy_allows(operate, vhost, channel):
    channel.queue_declare("q")
    operate("set_policy", "-p", vhost, "many", ".*", '{"max-length": 4}')
    operate("set_operator_policy", "-p", vhost, "cap", ".*", '{"max-length": 2}')
    publish(channel, 5)
    assert ready(channel) == 2
    operate("clear_operator_policy", "-p", vhost, "cap")
    publish(channel, 5)
    assert ready(channel) == 4


def test_dead_letters_follow_the_policy_of_the_moment(operate, vhost, channel):
    channel.queue_declare("q")
    channel.queue_declare("dead")
    definition = {"dead-letter-exchange": "", "dead-letter-routing-key": "dead"}
    for rejected in range(3):
        if rejected == 1:
            operate("set_policy", "-p", vhost, "dying", "^q$", json.dumps(definition))
        if rejected == 2:
            operate("clear_policy", "-p", vhost, "dying")
        channel.basic_publish("", "q", str(rejected).encode())
        channel.basic_reject(channel.basic_get("q")[0].delivery_tag, requeue=False)
    wait_until(lambda: ready(channel, "dead") > 0)
    time.sleep(0.2)
    assert bodies(channel, "dead") == [b"1"]


def test_time_to_live_of_a_policy_counts_for_what_waits_already(operate, vhost, channel):
    channel.queue_declare("q")
    publish(channel, 2)
    operate("set_policy", "-p", vhost, "fleeting", "^q$", '{"message-ttl": 100}')
    publish(channel, 1)
    time.sleep(0.5)
    channel.basic_publish("", "q", b"new")
    assert bodies(channel)[-1:] == [b"new"]


def test_unused_queue_expires_by_a_policy_that_comes_later(operate, vhost, channel):
    channel.queue_declare("q")
    operate("set_policy", "-p", vhost, "leased", "^q$", '{"expires": 100}')
    time.sleep(1)
    with pytest.raises(ChannelClosedByBroker, match="no queue 'q'"):
        channel.queue_declare("q", passive=True)


def test_alternate_exchange_comes_and_goes_with_a_policy(operate, vhost, channel):
    channel.exchange_declare("x", "direct")
    channel.queue_declare("q")
    channel.queue_bind("q", "amq.fanout")
    channel.basic_publish("x", "nowhere", b"before")
    definition = '{"alternate-exchange": "amq.fanout"}'
    operate("set_policy", "-p", vhost, "straying", "^x$", definition, "--apply-to", "exchanges")
    channel.basic_publish("x", "nowhere", b"meanwhile")
    operate("clear_policy", "-p", vhost, "straying")
    channel.basic_publish("x", "nowhere", b"after")
    assert bodies(channel) == [b"meanwhile"]


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ('{"max-length": -1}', "-1 is not a valid maximum length"),
        ('{"max-tallness": 1}', "max-tallness"),
        ("{}", "policy|definition"),
        ('{"federation-upstream": "x"}', "federation-upstream"),
    ],
)
def test_policy_that_makes_no_sense_is_refused(
    operate: Operator, vhost: str, channel: BlockingChannel, definition: str, reason: str
):
    channel.queue_declare("q")
    with pytest.raises(CommandError, match=reason):
        operate("set_policy", "-p", vhost, "odd", ".*", definition)
    assert operate("list_queues", "-p", vhost, "policy") == [[""]]


# --- queues -----------------------------------------------------------------------------------


def test_queues_are_listed_with_what_they_hold(operate, vhost, channel):
    channel.queue_declare("q")
    publish(channel, 3)
    channel.basic_get("q")
    channel.queue_declare("r")
    channel.basic_consume("r", lambda *_: None, consumer_tag="tag")
    columns = ("name", "messages_ready", "messages_unacknowledged", "consumers")
    expected = [["q", "2", "1", "0"], ["r", "0", "0", "1"]]
    wait_until(lambda: sorted(operate("list_queues", "-p", vhost, *columns)) == expected)
    assert operate("list_consumers", "-p", vhost, "queue_name", "consumer_tag") == [["r", "tag"]]


def test_purged_queue_keeps_what_is_out_with_consumers(operate, vhost, channel):
    channel.queue_declare("q")
    publish(channel, 3)
    method, _, _ = channel.basic_get("q")
    operate("purge_queue", "-p", vhost, "q")
    assert ready(channel) == 0
    channel.basic_nack(method.delivery_tag)
    assert bodies(channel) == [b"0"]


def test_consumers_of_a_deleted_queue_are_told(operate, vhost, channel):
    cancelled = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    channel.queue_declare("q")
    channel.basic_consume("q", lambda *_: None, consumer_tag="tag")
    operate("delete_queue", "-p", vhost, "q")
    channel.start_consuming()  # ends when there is no consumer left
    assert cancelled == ["tag"]
    with pytest.raises(ChannelClosedByBroker, match="no queue 'q'"):
        channel.queue_declare("q", passive=True)


@pytest.mark.parametrize("command", ["purge_queue", "delete_queue"])
def test_queue_that_is_not_there_is_an_error(operate: Operator, vhost: str, command: str):
    with pytest.raises(CommandError):
        operate(command, "-p", vhost, "nothing")


# --- tracing ----------------------------------------------------------------------------------


def test_vhost_is_traced_from_the_moment_that_it_is_turned_on(operate, vhost, channel, trace):
    channel.queue_declare("q")
    publish(channel, 1)
    operate("trace_on", "-p", vhost)
    channel.basic_publish("", "q", b"traced")
    wait_until(lambda: ready(channel, trace) > 0)
    operate("trace_off", "-p", vhost)
    publish(channel, 1)
    time.sleep(0.2)
    assert bodies(channel, trace) == [b"traced"]


# --- definitions ------------------------------------------------------------------------------


def test_definitions_are_declared_while_clients_are_connected(operate, vhost, channel, folder):
    import_definitions(operate, folder, definitions(vhost))
    channel.basic_publish("news", "order.new", b"new")
    assert bodies(channel, "orders") == [b"new"]
    channel.queue_declare("orders", durable=True, arguments={"x-max-length": 10})


def test_definitions_leave_what_is_there_as_it_is(operate, vhost, channel, folder):
    channel.queue_declare("orders", durable=True, arguments={"x-max-length": 1})
    publish(channel, 1, "orders")
    import_definitions(operate, folder, definitions(vhost))
    channel.queue_declare("orders", durable=True, arguments={"x-max-length": 1})
    assert ready(channel, "orders") == 1


def test_parameters_of_plugins_that_are_not_there_are_refused(operate, vhost, folder):
    shovel = {"vhost": vhost, "component": "shovel", "name": "mine", "value": {}}
    with pytest.raises(CommandError, match="shovel"):
        import_definitions(operate, folder, {"parameters": [shovel]})


def test_what_clients_declare_durable_is_exported(operate, vhost, channel, folder):
    channel.queue_declare("kept", durable=True, arguments={"x-max-length": 3})
    channel.exchange_declare("news", "topic", durable=True)
    channel.queue_bind("kept", "news", "order.#")
    exported = export_definitions(operate, folder)

    def own(kind: str) -> list[dict[str, object]]:
        return [each for each in exported[kind] if each["vhost"] == vhost]

    [queue] = own("queues")
    assert (queue["name"], queue["durable"], queue["auto_delete"]) == ("kept", True, False)
    assert queue["arguments"]["x-max-length"] == 3
    assert [(each["name"], each["type"]) for each in own("exchanges")] == [("news", "topic")]
    bindings = [
        (each["source"], each["destination"], each["routing_key"]) for each in own("bindings")
    ]
    assert bindings == [("news", "kept", "order.#")]


def definitions(vhost: str) -> dict[str, list[dict[str, object]]]:
    durable = {"vhost": vhost, "durable": True, "auto_delete": False}
    return {
        "queues": [{**durable, "name": "orders", "arguments": {"x-max-length": 10}}],
        "exchanges": [
            {**durable, "name": "news", "type": "topic", "internal": False, "arguments": {}}
        ],
        "bindings": [
            {
                "vhost": vhost,
                "source": "news",
                "destination": "orders",
                "destination_type": "queue",
                "routing_key": "order.#",
                "arguments": {},
            }
        ],
    }


def import_definitions(operate: Operator, folder: Path, document: object) -> None:
    file = folder / "definitions.json"
    file.write_text(json.dumps(document))
    operate("import_definitions", str(file))


def export_definitions(operate: Operator, folder: Path) -> dict[str, list[dict[str, object]]]:
    operate("export_definitions", str(folder / "exported.json"))
    return json.loads((folder / "exported.json").read_text())

"""The command line tools of Debian's amqp-tools, built on the C client librabbitmq."""

import shutil
import subprocess
import time

import pika
import pytest

DEADLINE_S = 10

pytestmark = pytest.mark.skipif(
    shutil.which("amqp-publish") is None, reason="not run: amqp-tools is not installed"
)


@pytest.fixture
def login(broker):
    """The options that every tool takes to reach the broker."""
    return [
        f"--server={broker.host}",
        f"--port={broker.port}",
        f"--vhost={broker.vhost}",
        f"--username={broker.user}",
        f"--password={broker.password}",
    ]


@pytest.fixture
def tool(login):
    """tool("get", "-q", name): runs amqp-get against the broker, and gives the finished process."""

    def run(command, *arguments, text=None):
        command_line = [f"amqp-{command}", *login, *arguments]
        return subprocess.run(
            command_line, input=text, capture_output=True, text=True, timeout=DEADLINE_S
        )

    return run


@pytest.fixture
def queue(tool, unique):
    name = unique("queue")
    assert tool("declare-queue", "-q", name).stdout == f"{name}\n"
    return name


def test_queue_is_declared_filled_read_and_deleted(tool, unique):
    queue = unique("queue")
    assert tool("declare-queue", "-d", "-q", queue).stdout == f"{queue}\n"
    assert tool("publish", "-r", queue, "-b", "hello", "-p").returncode == 0
    got = tool("get", "-q", queue)
    assert (got.stdout, got.returncode) == ("hello", 0)
    assert tool("publish", "-r", queue, "-b", "left over").returncode == 0
    deleted = tool("delete-queue", "-q", queue)
    assert (deleted.stdout, deleted.returncode) == ("1\n", 0)


def test_server_makes_the_name_of_a_queue_without_one(tool):
    declared = tool("declare-queue", "-q", "")
    name = declared.stdout.strip()
    assert name.startswith("amq.gen-")
    assert tool("delete-queue", "-q", name).returncode == 0


def test_get_from_an_empty_queue_exits_with_2(tool, queue):
    assert tool("get", "-q", queue).returncode == 2


def test_properties_reach_other_clients(tool, queue, janitor):
    published = tool(
        "publish",
        *("-r", queue, "-C", "text/plain", "-E", "utf-8", "-t", "somewhere"),
        *("-H", "colour: red", "-H", "shape: round", "-p", "-b", "body"),
    )
    assert published.returncode == 0
    channel = janitor.channel()
    _, properties, body = channel.basic_get(queue, auto_ack=True)
    channel.close()
    assert (body, properties.content_type, properties.content_encoding) == (
        b"body",
        "text/plain",
        "utf-8",
    )
    assert (properties.reply_to, properties.delivery_mode) == ("somewhere", 2)
    assert properties.headers == {"colour": "red", "shape": "round"}


def test_every_line_becomes_a_message_and_is_consumed_in_order(tool, queue):
    lines = "".join(f"{number}\n" for number in range(50))
    assert tool("publish", "-r", queue, "-l", text=lines).returncode == 0
    consumed = tool("consume", "-q", queue, "-c", "50", "-p", "3", "cat")
    assert (consumed.stdout, consumed.returncode) == (lines, 0)
    assert tool("get", "-q", queue).returncode == 2


def test_message_whose_command_failed_is_given_back(tool, queue):
    assert tool("publish", "-r", queue, "-b", "body").returncode == 0
    # grep reads all of the message, without which amqp-consume may die of a broken pipe.
    assert tool("consume", "-q", queue, "-c", "1", "grep", "absent").returncode == 0
    got = tool("get", "-q", queue)
    assert (got.stdout, got.returncode) == ("body", 0)


def test_messages_consumed_without_ack_are_gone(tool, queue):
    assert tool("publish", "-r", queue, "-b", "body").returncode == 0
    assert tool("consume", "-q", queue, "-A", "-c", "1", "cat").stdout == "body"
    assert tool("get", "-q", queue).returncode == 2


def test_body_of_a_megabyte_arrives(tool, queue):
    body = "leveret " * (1 << 17)
    assert tool("publish", "-r", queue, text=body).returncode == 0
    assert tool("get", "-q", queue).stdout == body


def test_consumer_binds_a_queue_of_its_own_to_an_exchange(login, janitor, unique):
    queue, key = unique("queue"), unique("key")
    command = ["amqp-consume", *login, "-q", queue, "-x", "-e", "amq.topic", "-r", f"*.{key}"]
    with subprocess.Popen([*command, "-c", "1", "cat"], stdout=subprocess.PIPE) as consumer:
        channel = janitor.channel()
        channel.confirm_delivery()
        publish_once_bound(channel, "amq.topic", f"any.{key}", b"hello")
        channel.close()
        assert consumer.communicate(timeout=DEADLINE_S)[0] == b"hello"


def publish_once_bound(channel, exchange, key, body):
    """Publishes again and again until the message is routed."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return channel.basic_publish(exchange, key, body, mandatory=True)
        except pika.exceptions.UnroutableError:
            assert time.monotonic() < deadline, f"nothing was bound to {exchange}"


def test_wrong_password_is_told(tool):
    refused = tool("publish", "--password=wrong", "-r", "key", "-b", "body")
    assert refused.returncode == 1
    assert "server connection error 403, message: ACCESS_REFUSED - Login was" in refused.stderr


@pytest.mark.parametrize("vhost", ["nowhere", ""])
def test_unknown_vhost_is_told(tool, vhost):
    refused = tool("publish", f"--vhost={vhost}", "-r", "key", "-b", "body")
    assert refused.returncode == 1
    assert (
        f"server connection error 530, message: NOT_ALLOWED - vhost {vhost} not found"
        in refused.stderr
    )


def test_missing_queue_and_exchange_are_told(tool, unique):
    missing = unique("missing")
    for command, what in (
        (("get", "-q", missing), "queue"),
        (("consume", "-q", missing, "-c", "1", "cat"), "queue"),
        (("publish", "-e", missing, "-r", "key", "-b", "body"), "exchange"),
    ):
        failed = tool(*command)
        assert failed.returncode == 1
        assert (
            f"server channel error 404, message: NOT_FOUND - no {what} '{missing}' in vhost '/'"
            in failed.stderr
        )


def test_queue_with_messages_is_not_deleted_if_empty(tool, queue):
    assert tool("publish", "-r", queue, "-b", "body").returncode == 0
    refused = tool("delete-queue", "-e", "-q", queue)
    assert refused.returncode == 1
    assert (
        f"406, message: PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"
        in refused.stderr
    )

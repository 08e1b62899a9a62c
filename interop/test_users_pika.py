"""pika's BlockingConnection and users with different rights, in several vhosts."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from leveret_process import LeveretProcess
from pika.adapters.blocking_connection import BlockingChannel
from restarting import LEVERET, needs_leveret

pytestmark = needs_leveret

SETTINGS = """
vhosts = ["/", "orders"]

[[users]]
name = "admin"
password = "secret"
permissions."/" = { configure = ".*", write = ".*", read = ".*" }
permissions."orders" = { configure = ".*", write = ".*", read = ".*" }

[[users]]
name = "shop"
password = "secret"
permissions."orders" = { configure = "^own$", write = "^(own|inbox)$", read = "^(own|amq.direct)$" }
"""


@pytest.fixture(scope="module")
def own_broker() -> Iterator[LeveretProcess]:
    with tempfile.TemporaryDirectory(prefix="leveret-users-") as folder:
        process = LeveretProcess(LEVERET, Path(folder), settings=SETTINGS)
        process.start()
        yield process
        process.kill()


@pytest.fixture
def connect(own_broker):
    connections = []

    def connect(user: str, vhost: str) -> BlockingChannel:
        login = pika.PlainCredentials(user, "secret")
        connections.append(
            pika.BlockingConnection(
                pika.ConnectionParameters("127.0.0.1", own_broker.port, vhost, login)
            )
        )
        return connections[-1].channel()

    yield connect
    for connection in connections:
        if connection.is_open:
            connection.close()


@pytest.fixture
def shop(connect) -> BlockingChannel:
    """A channel of a user who may not do everything; `own` and `inbox` are there."""
    channel = connect("admin", "orders")
    channel.queue_declare("own")
    channel.exchange_declare("inbox", "fanout")
    return connect("shop", "orders")


def test_user_without_permissions_in_a_vhost_cannot_open_it(connect):
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError):
        connect("shop", "/")


def test_vhosts_know_nothing_of_each_other(connect):
    connect("admin", "orders").queue_declare("apart")
    with pytest.raises(
        pika.exceptions.ChannelClosedByBroker, match="no queue 'apart' in vhost '/'"
    ):
        connect("admin", "/").queue_declare("apart", passive=True)


def test_user_may_do_what_the_patterns_allow(shop):
    shop.queue_declare("own")
    shop.queue_bind("own", "amq.direct", "key")
    shop.confirm_delivery()
    shop.basic_publish("inbox", "", b"x")
    shop.queue_purge("own")
    assert shop.basic_get("own") == (None, None, None)


@pytest.mark.parametrize(
    ("operation", "resource"),
    [
        (lambda shop: shop.queue_declare("other"), "queue 'other'"),
        (lambda shop: shop.queue_delete("other"), "queue 'other'"),
        (lambda shop: shop.exchange_declare("other"), "exchange 'other'"),
        (lambda shop: shop.queue_bind("own", "amq.fanout"), "exchange 'amq.fanout'"),
        (lambda shop: shop.basic_get("other"), "queue 'other'"),
        (lambda shop: shop.basic_consume("other", print), "queue 'other'"),
        (lambda shop: shop.queue_purge("other"), "queue 'other'"),
    ],
    ids=["declare", "delete", "declare exchange", "bind", "get", "consume", "purge"],
)
def test_user_may_do_nothing_else(shop, operation, resource):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as raised:
        operation(shop)
    assert raised.value.reply_code == 403
    assert raised.value.reply_text == (
        f"ACCESS_REFUSED - access to {resource} in vhost 'orders' refused for user 'shop'"
    )


def test_user_may_publish_only_where_allowed_to(shop):
    shop.confirm_delivery()
    with pytest.raises(
        pika.exceptions.ChannelClosedByBroker, match=r"access to exchange 'amq\.topic'"
    ):
        shop.basic_publish("amq.topic", "key", b"x")

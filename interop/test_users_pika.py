"""pika's BlockingConnection and users with different rights, in several vhosts."""

import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest
from administered import Connections, Definitions, administered
from conftest import Broker
from leveret_process import LeveretProcess
from pika.adapters.blocking_connection import BlockingChannel
from restarting import LEVERET

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


def define(vhost: str) -> Definitions:
    """The same for a broker that has it from definitions."""
    configured = tomllib.loads(SETTINGS)
    return {
        "vhosts": [{"name": "orders"}],
        "users": [
            {"name": user["name"], "password": user["password"], "tags": ""}
            for user in configured["users"]
        ],
        "permissions": [
            {"user": user["name"], "vhost": name, **patterns}
            for user in configured["users"]
            for name, patterns in user["permissions"].items()
        ],
    }


@pytest.fixture(scope="module")
def own(broker: Broker) -> Iterator[Broker]:
    if not LEVERET:
        with administered(broker, define) as own:
            yield own
        return
    with tempfile.TemporaryDirectory(prefix="leveret-users-") as folder:
        process = LeveretProcess(LEVERET, Path(folder), settings=SETTINGS)
        process.start()
        yield broker._replace(host="127.0.0.1", port=process.port)
        process.kill()


@pytest.fixture
def connect(own: Broker) -> Iterator[Callable[[str, str], BlockingChannel]]:
    connections = Connections(own)
    yield lambda user, vhost: connections.open(user, "secret", vhost).channel()
    connections.close()


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

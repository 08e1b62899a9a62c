"""Vhosts that operators make and delete, and what they and users are limited to."""

import pytest
from pamqp.commands import Channel, Exchange, Queue

from durable_server import DurableServer
from fake_client import FakeServer, refused_open
from leveret.broker.administration import Administration
from leveret.broker.configuration import GUEST, Configuration, Permissions, User
from leveret.broker.permissions import Patterns

ALL = Patterns(".*", ".*", ".*")

CONFIGURED = Configuration(
    vhosts=("/", "listed"),
    users=(GUEST, User("fixed", "pw", permissions={"/": Permissions("", "w", "")})),
)


def test_a_vhost_that_the_file_lists_no_more_can_be_deleted() -> None:
    server = DurableServer(configuration=CONFIGURED)
    server = server.restarted(configuration=Configuration())
    Administration(server.broker).delete_vhost("listed")
    assert list(server.broker.vhosts) == ["/"]


def test_vhosts_are_worlds_of_their_own(server: FakeServer, shop: Administration) -> None:
    seller, guest = server.connect("seller", "pw", "shop"), server.connect()
    seller.declare("q")
    guest.declare("q")
    seller.publish(b"m", "q")
    assert (seller.ready_in("q"), guest.ready_in("q")) == (1, 0)


def test_deleting_a_vhost_closes_its_connections_and_drops_what_is_in_it(
    server: FakeServer, shop: Administration
) -> None:
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.consume("q")
    shop.delete_vhost("shop")
    server.end_turn()
    client.expect_connection_closed(320, "CONNECTION_FORCED - vhost 'shop' is deleted", (0, 0))
    shop.set_vhost("shop")
    assert shop.vhost("shop").queues == {}
    assert not shop.user("seller").may_enter("shop")


def test_the_default_type_goes_to_queues_that_can_be_of_it(
    server: FakeServer, administration: Administration
) -> None:
    vhost = administration.set_vhost("/", default_queue_type="quorum")
    client = server.connect()
    client.declare("durable", durable=True)
    client.declare("durable", durable=True)
    client.declare("transient")
    types = {name: "x-queue-type" in queue.arguments for name, queue in vhost.queues.items()}
    assert types == {"durable": True, "transient": False}


def test_a_vhost_is_traced_over_restarts_until_that_is_turned_off() -> None:
    server = DurableServer()
    Administration(server.broker).set_tracing("/", True)
    server.end_turn()
    server = server.restarted()
    client = server.connect()
    client.declare("traces")
    client.bind("traces", "amq.rabbitmq.trace", "publish.#")
    client.publish(b"m", "nowhere")
    assert client.ready_in("traces") == 1
    Administration(server.broker).set_tracing("/", False)
    client.publish(b"m", "nowhere")
    assert client.ready_in("traces") == 1


# --- limits -----------------------------------------------------------------------------------


def test_a_vhost_takes_no_more_queues_than_its_limit(
    server: FakeServer, administration: Administration
) -> None:
    administration.set_vhost_limits("/", {"max-queues": 1})
    client = server.connect()
    client.declare("q")
    client.declare("q")
    client.send(Queue.Declare(queue="r", arguments={"x-max-length": -1}))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - cannot declare queue 'r': queue limit in vhost '/' (1) is reached",
        (50, 10),
    )


def test_a_vhost_takes_no_more_connections_than_its_limit(
    server: FakeServer, administration: Administration
) -> None:
    administration.set_vhost_limits("/", {"max-connections": 1})
    first = server.connect()
    refused_open(server, "guest", "guest", "/").expect_connection_closed(
        530,
        "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is"
        " reached",
        (10, 40),
    )
    first.disconnect()
    server.connect()


def test_a_user_has_no_more_connections_than_their_limit(
    server: FakeServer, administration: Administration
) -> None:
    administration.set_user_limits("guest", {"max-connections": 0})
    refused_open(server, "guest", "guest", "/").expect_connection_closed(
        530,
        "NOT_ALLOWED - connection refused for user 'guest': user connection limit (0) is reached",
        (10, 40),
    )


def test_a_user_has_no_more_channels_than_their_limit(
    server: FakeServer, administration: Administration
) -> None:
    client, other = server.connect(), server.connect()
    administration.set_user_limits("guest", {"max-channels": 3})
    client.open_channel(2)
    other.send(Channel.Open(), channel=2)
    other.expect_connection_closed(
        530,
        "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed"
        " user limit of (3)",
        (0, 0),
    )


def test_a_negative_limit_is_none(server: FakeServer, administration: Administration) -> None:
    administration.set_vhost_limits("/", {"max-queues": -1, "max-connections": -1})
    server.connect().declare("q")


@pytest.mark.parametrize("clean", [True, False])
def test_a_deleted_vhost_takes_its_durable_queues_and_messages_along(clean: bool) -> None:
    server = DurableServer()
    administration = Administration(server.broker)
    administration.set_vhost("shop")
    administration.set_permissions("guest", "shop", ALL)
    client = server.connect(vhost="shop")
    client.request(Exchange.Declare(exchange="x", durable=True), Exchange.DeclareOk)
    client.declare("q", durable=True)
    client.bind("q", "x", "k")
    client.publish(b"m", "q", delivery_mode=2)
    administration.delete_vhost("shop")
    server.end_turn()
    server = server.restarted(clean=clean)
    assert list(server.broker.vhosts) == ["/"]
    assert server.journal.statistics().messages == 0

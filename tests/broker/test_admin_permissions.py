"""What users may do, as operators say."""

import pytest
from pamqp.base import Frame
from pamqp.commands import Channel, Exchange, Queue

from fake_client import FakeServer, refused_open
from leveret.broker.administration import Administration, Invalid, NoSuchThing
from leveret.broker.passwords import (
    SHA256,
    checked_hash,
    hashed,
)
from leveret.broker.permissions import Patterns, TopicPatterns

ALL = Patterns(".*", ".*", ".*")


def test_permissions_taken_away_hold_for_open_connections(
    server: FakeServer, shop: Administration
) -> None:
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.publish(b"m", "q")
    shop.set_permissions("seller", "shop", Patterns(".*", "^$", ".*"))
    client.publish(b"m", "q")
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - access to exchange 'amq.default' in vhost 'shop' refused for user"
        " 'seller'",
        (60, 40),
    )


def test_cleared_permissions_leave_an_open_connection_with_none(
    server: FakeServer, shop: Administration
) -> None:
    client = server.connect("seller", "pw", "shop")
    shop.clear_permissions("seller", "shop")
    client.send(Queue.Declare(queue="q"))
    client.expect(Channel.Close)
    refused = refused_open(server, "seller", "pw", "shop")
    refused.expect_connection_closed(
        530, "NOT_ALLOWED - access to vhost 'shop' refused for user 'seller'", (10, 40)
    )


def test_topic_permissions_are_about_routing_keys(server: FakeServer, shop: Administration) -> None:
    shop.set_topic_permissions(
        "seller", "shop", {"amq.topic": TopicPatterns(r"^{username}\.", r"^{vhost}\.")}
    )
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.bind("q", "amq.topic", "shop.#")
    client.publish(b"m", "seller.x", exchange="amq.topic")
    client.publish(b"m", "elsewhere", exchange="amq.direct")
    client.publish(b"m", "other.x", exchange="amq.topic")
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - access to topic 'other.x' in exchange 'amq.topic' in vhost 'shop'"
        " refused for user 'seller'",
        (60, 40),
    )
    client.open_channel(2)
    client.send(Queue.Bind(queue="q", exchange="amq.topic", routing_key="other.#"), channel=2)
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - access to topic 'other.#' in exchange 'amq.topic' in vhost 'shop'"
        " refused for user 'seller'",
        (50, 20),
        2,
    )


def test_an_empty_topic_pattern_allows_the_empty_routing_key_only(
    server: FakeServer, shop: Administration
) -> None:
    shop.set_topic_permissions("seller", "shop", {"amq.topic": TopicPatterns("", "")})
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.bind("q", "amq.topic", "")
    client.publish(b"m", "", exchange="amq.topic")
    assert client.ready_in("q") == 1
    client.publish(b"m", "k", exchange="amq.topic")
    client.expect(Channel.Close)


def test_topic_permissions_hold_at_once(server: FakeServer, shop: Administration) -> None:
    client = server.connect("seller", "pw", "shop")
    client.publish(b"m", "k", exchange="amq.topic")
    shop.set_topic_permissions("seller", "shop", {"amq.topic": TopicPatterns("^x", "")})
    client.publish(b"m", "k", exchange="amq.topic")
    client.expect(Channel.Close)


@pytest.mark.parametrize(
    ("call", "at"),
    [
        (Queue.Unbind(queue="q", exchange="amq.topic", routing_key="x"), (50, 50)),
        (Exchange.Unbind(destination="amq.fanout", source="amq.topic", routing_key="x"), (40, 40)),
    ],
)
def test_unbinding_needs_the_right_to_the_topic_too(
    server: FakeServer, shop: Administration, call: Frame, at: tuple[int, int]
) -> None:
    shop.set_topic_permissions("seller", "shop", {"amq.topic": TopicPatterns("", "^a")})
    client = server.connect("seller", "pw", "shop")
    client.declare("q")
    client.send(call)
    client.expect_channel_closed(
        403,
        "ACCESS_REFUSED - access to topic 'x' in exchange 'amq.topic' in vhost 'shop'"
        " refused for user 'seller'",
        at,
    )


def test_topic_permissions_alone_do_not_open_a_vhost(
    server: FakeServer, shop: Administration
) -> None:
    shop.set_topic_permissions("seller", "/", {"amq.topic": TopicPatterns("", "")})
    refused_open(server, "seller", "pw", "/").expect_connection_closed(
        530, "NOT_ALLOWED - access to vhost '/' refused for user 'seller'", (10, 40)
    )


def test_permissions_given_again_hold_for_open_connections_and_topics_are_still_restricted(
    server: FakeServer, shop: Administration
) -> None:
    shop.set_topic_permissions("seller", "shop", {"amq.topic": TopicPatterns("^a", "")})
    client = server.connect("seller", "pw", "shop")
    shop.clear_permissions("seller", "shop")
    shop.set_permissions("seller", "shop", ALL)
    client.declare("q")
    client.publish(b"m", "x", exchange="amq.topic")
    client.expect(Channel.Close)


@pytest.mark.parametrize("name", ["a(", "a.b", "{vhost}"])
def test_names_stand_for_themselves_in_topic_permissions(
    server: FakeServer, shop: Administration, name: str
) -> None:
    shop.set_user(name, checked_hash(hashed(b"pw", b"salt", SHA256).encoded))
    shop.set_permissions(name, "shop", ALL)
    shop.set_topic_permissions(name, "shop", {"amq.topic": TopicPatterns("^{username}$", "")})
    client = server.connect(name, "pw", "shop")
    client.publish(b"m", name, exchange="amq.topic")
    assert not client.received()
    client.publish(b"m", name.replace(".", "x") + "x", exchange="amq.topic")
    client.expect(Channel.Close)


@pytest.mark.parametrize("pattern", ["a{99999999999999999999}", "(" * 20_000 + ")" * 20_000])
def test_a_pattern_too_large_for_the_engine_is_refused(shop: Administration, pattern: str) -> None:
    with pytest.raises(Invalid):
        shop.set_permissions("seller", "shop", Patterns(pattern, "", ""))


# --- looking up -------------------------------------------------------------------------------


def test_permissions_are_listed_by_user_and_vhost(shop: Administration) -> None:
    shop.set_topic_permissions("seller", "/", {"amq.topic": TopicPatterns("w", "")})
    assert shop.permissions() == [("guest", "/", ALL), ("seller", "shop", ALL)]
    assert shop.permissions(user="seller") == [("seller", "shop", ALL)]
    assert shop.permissions(vhost="/") == [("guest", "/", ALL)]
    assert shop.topic_permissions() == [("seller", "/", "amq.topic", TopicPatterns("w", ""))]
    assert shop.topic_permissions(vhost="shop") == []
    for wrong in ({"user": "nobody"}, {"vhost": "nowhere"}):
        with pytest.raises(NoSuchThing):
            shop.permissions(**wrong)

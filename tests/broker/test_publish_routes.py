"""What publish frames mean is remembered, within bounds."""

from fake_client import FakeClient, FakeServer
from leveret.broker.publish_route import PublishRoutes


def routes_of(client: FakeClient) -> PublishRoutes:
    return client.connection.channels[1].publisher.routes


def publish_to_many_keys(client: FakeClient, count: int, prefix: str = "k") -> None:
    for number in range(count):
        client.publish(b"", f"{prefix}{number}", exchange="amq.topic")


def test_thousands_of_routing_keys_are_remembered(client: FakeClient) -> None:
    publish_to_many_keys(client, 3000)
    assert len(routes_of(client).current()) == 3000


def test_a_channel_with_more_keys_than_there_is_room_for_begins_anew(
    server: FakeServer, client: FakeClient
) -> None:
    client.declare("q")
    client.bind("q", "amq.topic", "#")
    memory = server.broker.route_memory
    memory.left_bytes = whole = 100_000
    publish_to_many_keys(client, 3000)
    known = len(routes_of(client).current())
    assert 0 < known < 3000
    assert 0 <= memory.left_bytes <= whole
    assert client.declare("q", passive=True).message_count == 3000


def test_what_one_channel_takes_another_lacks_but_for_a_few(
    server: FakeServer, client: FakeClient
) -> None:
    other = server.connect()
    publish_to_many_keys(client, 1000)
    server.broker.route_memory.left_bytes = 0
    publish_to_many_keys(other, 600)
    assert len(routes_of(client).current()) == 1000
    assert len(routes_of(other).current()) == 600 - 512


def test_a_route_to_many_queues_counts_for_more(server: FakeServer, client: FakeClient) -> None:
    memory = server.broker.route_memory
    publish_to_many_keys(client, 513)
    before = memory.left_bytes
    publish_to_many_keys(client, 1, "few")
    to_none = before - memory.left_bytes
    routes_of(client).forget()
    for number in range(100):
        client.declare(f"q{number}")
        client.bind(f"q{number}", "amq.topic", "#")
    publish_to_many_keys(client, 513)
    before = memory.left_bytes
    publish_to_many_keys(client, 1, "few")
    assert before - memory.left_bytes >= to_none + 100 * 8


def fill(server: FakeServer, client: FakeClient) -> None:
    """Have a channel take all the room there is."""
    server.broker.route_memory.left_bytes = 100_000
    while server.broker.route_memory.left_bytes > 500:
        publish_to_many_keys(client, 1, f"of one {len(routes_of(client).current())} ")


def test_who_publishes_no_more_gives_the_room_to_who_does(
    server: FakeServer, client: FakeClient
) -> None:
    fill(server, client)
    other = server.connect()
    publish_to_many_keys(other, 512 + 512 + 100)
    assert not routes_of(client).current()
    assert len(routes_of(other).current()) > 512
    client.publish(b"", "of one 0 0", exchange="amq.topic")
    assert len(routes_of(client).current()) == 1


def test_who_publishes_keeps_the_room(server: FakeServer, client: FakeClient) -> None:
    fill(server, client)
    known = len(routes_of(client).current())
    other = server.connect()
    for number in range(3000):
        other.publish(b"", f"k{number}", exchange="amq.topic")
        client.publish(b"", "of one 0 0", exchange="amq.topic")
    assert len(routes_of(client).current()) == known
    assert len(routes_of(other).current()) <= 513


def test_routes_that_are_out_of_date_make_room_at_once(
    server: FakeServer, client: FakeClient
) -> None:
    fill(server, client)
    other = server.connect()
    other.declare("q")
    other.bind("q", "amq.topic", "k1")
    publish_to_many_keys(other, 700)
    assert len(routes_of(other).current()) == 700
    assert other.ready_in("q") == 1


def test_a_closed_channel_gives_its_room_back(server: FakeServer, client: FakeClient) -> None:
    whole = server.broker.route_memory.left_bytes
    publish_to_many_keys(client, 1000)
    assert server.broker.route_memory.left_bytes < whole
    client.connection.lost("gone")
    server.end_turn()
    assert server.broker.route_memory.left_bytes == whole


def test_a_change_of_the_topology_gives_the_room_back(
    server: FakeServer, client: FakeClient
) -> None:
    whole = server.broker.route_memory.left_bytes
    publish_to_many_keys(client, 1000)
    client.declare("q")
    client.bind("q", "amq.topic", "k1")
    client.publish(b"", "k1", exchange="amq.topic")
    assert server.broker.route_memory.left_bytes == whole
    assert client.declare("q", passive=True).message_count == 1

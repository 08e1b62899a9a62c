"""Who is connected: connections, channels and consumers, seen and ended by an operator."""

import pytest
from pamqp.commands import Basic, Channel

from fake_client import FakeClient, FakeServer
from leveret.broker.administration import Administration, NoSuchThing
from leveret.broker.alarms import Alarm
from leveret.broker.permissions import Patterns


def connected(server: FakeServer, name: str, *login: str) -> FakeClient:
    client = server.connect(*login)
    client.connection.name = name
    return client


@pytest.fixture
def clients(server: FakeServer, administration: Administration) -> list[FakeClient]:
    """Connections b and a of guest, c of a seller in the vhost shop."""
    administration.set_vhost("shop")
    administration.set_user("seller", "pw")
    administration.set_permissions("seller", "shop", Patterns(".*", ".*", ".*"))
    return [
        connected(server, "b"),
        connected(server, "a"),
        connected(server, "c", "seller", "pw", "shop"),
    ]


def test_connections_are_listed_by_user_and_vhost(
    server: FakeServer, administration: Administration, clients: list[FakeClient]
) -> None:
    server.accept()  # has not logged in
    assert [each.name for each in administration.connections()] == ["a", "b", "c"]
    assert [each.name for each in administration.connections(user="guest")] == ["a", "b"]
    assert [each.name for each in administration.connections(vhost="shop")] == ["c"]
    assert administration.connection("c").user.name == "seller"


def test_connections_of_a_user_are_closed(
    server: FakeServer, administration: Administration, clients: list[FakeClient]
) -> None:
    assert administration.close_connections("maintenance", user="guest") == 2
    server.end_turn()
    for client in clients[:2]:
        client.expect_connection_closed(320, "CONNECTION_FORCED - maintenance", (0, 0))
    clients[2].declare("q")


def test_a_channel_is_closed_and_what_it_holds_returns(
    server: FakeServer, administration: Administration, clients: list[FakeClient]
) -> None:
    client = clients[0]
    client.open_channel(2)
    client.declare("q")
    client.publish(b"m", "q")
    client.get("q", channel=2)
    assert [(each.connection.name, each.number) for each in administration.channels()] == [
        ("a", 1),
        ("b", 1),
        ("b", 2),
        ("c", 1),
    ]
    administration.close_channel("b", 2, "enough")
    server.end_turn()
    client.expect_channel_closed(406, "PRECONDITION_FAILED - enough", (0, 0), 2)
    assert client.ready_in("q") == 1
    assert [each.number for each in administration.channels("b")] == [1]
    client.open_channel(2)


def test_a_consumer_is_cancelled_and_its_client_told(
    server: FakeServer, administration: Administration, clients: list[FakeClient]
) -> None:
    client = clients[0]
    client.declare("q", auto_delete=True)
    client.declare("r")
    client.consume("q", "t")
    client.consume("r", "u")
    assert [each.tag for each in administration.consumers()] == ["t", "u"]
    assert [each.tag for each in administration.consumers(vhost="/", queue="r")] == ["u"]
    assert administration.consumers(vhost="shop") == []
    administration.cancel_consumer("b", 1, "t")
    server.end_turn()
    assert client.expect(Basic.Cancel).consumer_tag == "t"
    assert [queue.name for queue in administration.queues("/")] == ["r"]


def test_what_is_not_there_is_not_ended(
    administration: Administration, clients: list[FakeClient]
) -> None:
    for end in (
        lambda: administration.close_connection("d", ""),
        lambda: administration.close_channel("a", 9, ""),
        lambda: administration.cancel_consumer("a", 1, "t"),
    ):
        with pytest.raises(NoSuchThing):
            end()


def test_alarms_are_told(server: FakeServer, administration: Administration) -> None:
    assert administration.alarms() == []
    server.broker.alarms.set(Alarm.MEMORY, True)
    server.broker.alarms.set(Alarm.DISK, True)
    assert administration.alarms() == [Alarm.DISK, Alarm.MEMORY]


def test_closing_a_channel_twice_finds_it_gone(
    server: FakeServer, administration: Administration, clients: list[FakeClient]
) -> None:
    administration.close_channel("a", 1, "enough")
    with pytest.raises(NoSuchThing):
        administration.close_channel("a", 1, "enough")
    server.end_turn()
    clients[1].expect(Channel.Close)

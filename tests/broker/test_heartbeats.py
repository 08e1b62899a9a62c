import pytest
from pamqp.commands import Basic
from pamqp.heartbeat import Heartbeat

from fake_client import FakeClient, FakeServer, encoded, message

BEAT = encoded(Heartbeat())


def beats(client: FakeClient) -> int:
    """How many heartbeats have come, and nothing else."""
    received = client.received()
    assert all(isinstance(each.call, Heartbeat) and each.channel == 0 for each in received)
    return len(received)


def test_the_first_heartbeat_comes_after_half_the_interval(server: FakeServer) -> None:
    client = server.connect(heartbeat=10)
    server.advance(4.9)
    assert beats(client) == 0
    server.advance(0.1)
    assert beats(client) == 1


def test_an_idle_connection_gets_two_heartbeats_in_every_interval(server: FakeServer) -> None:
    client = server.connect(heartbeat=10)
    for _ in range(20):
        client.feed(BEAT)
        server.advance(5)
        assert beats(client) == 1


def test_an_idle_connection_gets_heartbeats_again_after_something_else(server: FakeServer) -> None:
    client = server.connect(heartbeat=10)
    for _ in range(3):
        server.advance(5)
        assert beats(client) == 1
        server.advance(3)
        client.declare("q")
        server.advance(4.9)
        assert beats(client) == 0
        server.advance(0.1)
        assert beats(client) == 1


def test_whoever_gets_something_else_gets_no_heartbeats(server: FakeServer) -> None:
    client, publisher = server.connect(heartbeat=10), server.connect()
    client.declare("q")
    client.consume("q", no_ack=True)
    for _ in range(20):
        publisher.publish(b"a", "q")
        client.feed(BEAT)
        assert client.bodies() == [b"a"]
        server.advance(2.5)
        assert beats(client) == 0


@pytest.mark.parametrize("interval", [1, 2, 60, 600])
def test_a_silent_client_is_lost_after_two_looks_in_vain(server: FakeServer, interval: int) -> None:
    client = server.connect(heartbeat=interval)
    client.declare("q", exclusive=True)
    server.advance(interval)
    server.advance(2 * interval - 0.1)
    assert not client.hung_up
    server.advance(0.1)
    assert client.hung_up
    assert beats(client) > 0
    assert not server.broker.connections
    assert not server.broker.vhosts["/"].queues


@pytest.mark.parametrize("sent", [BEAT, message(b"", "nowhere"), message(b"", "nowhere")[:1]])
def test_every_byte_is_a_sign_of_life(server: FakeServer, sent: bytes) -> None:
    client = server.connect(heartbeat=10)
    server.advance(29)
    client.feed(sent)
    server.advance(20.9)
    assert not client.hung_up
    server.advance(0.1)
    assert client.hung_up


def test_one_look_in_vain_is_forgiven(server: FakeServer) -> None:
    client = server.connect(heartbeat=10)
    for _ in range(10):
        client.feed(BEAT)
        server.advance(19.9)
    assert not client.hung_up


def test_zero_turns_heartbeats_off(server: FakeServer) -> None:
    client = server.connect(heartbeat=0)
    server.advance(100_000)
    assert beats(client) == 0
    assert not client.hung_up


def test_heartbeats_are_on_from_tune_ok_on(server: FakeServer) -> None:
    client = server.connect(heartbeat=10)
    assert client.connection.heartbeats is not None
    assert server.broker.timers.next_deadline() == 5


@pytest.mark.parametrize("end", ["lost", "closed"])
def test_they_end_with_the_connection(server: FakeServer, end: str) -> None:
    client = server.connect(heartbeat=10)
    if end == "lost":
        client.disconnect()
    else:
        client.feed(b"\x09\0\1\0\0\0\1a\xce")
        client.received()
    server.advance(100)
    assert not client.received()
    assert server.broker.timers.next_deadline() is None


def full(server: FakeServer) -> FakeClient:
    """A client that has asked for more than it takes, and so is not read from."""
    client = server.connect(heartbeat=10)
    client.declare("q")
    client.reading = False
    for _ in range(50):
        client.publish(b"x" * 100_000, "q")
        client.send(Basic.Get(queue="q", no_ack=True))
    assert client.connection.is_full
    client.connection.paused = True
    return client


def test_a_client_that_takes_none_of_its_answers_is_lost() -> None:
    server = FakeServer()
    client = full(server)
    server.advance(29)
    assert not client.hung_up
    server.advance(11)
    assert client.hung_up


def test_a_client_that_takes_its_answers_slowly_is_not_lost() -> None:
    server = FakeServer()
    client = full(server)
    for _ in range(20):
        server.advance(9)
        client.connection.output_bytes -= 1000
    assert client.connection.is_full
    assert not client.hung_up


def test_a_client_that_is_not_read_from_for_another_reason_is_not_lost() -> None:
    server = FakeServer()
    client = server.connect(heartbeat=10)
    client.connection.paused = True
    server.advance(100)
    assert not client.hung_up

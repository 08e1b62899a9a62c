"""How much is done in a turn, and how what a client sends is cut up, changes nothing of what comes
of it.
"""

import random
from typing import Any

import pytest
from pamqp.commands import Basic, Channel, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, encoded, message
from leveret.broker.turn_bounds import TurnBounds

CHANNELS = (1, 2)
QUEUES = ("prioritised", "plain")
IN_ONE_TURN = TurnBounds(effort=1_000_000)
TINY = TurnBounds(acknowledged=1, settled=1, published=1, effort=1, looked_at=1)


def made_up(choices: random.Random) -> bytes:
    """What a client may send on two channels: much of it makes sense, some ends a channel."""
    sent = list[bytes]()
    got = dict.fromkeys(CHANNELS, 0)
    for _ in range(choices.randint(20, 100)):
        channel, queue = choices.choice(CHANNELS), choices.choice(QUEUES)
        tag = choices.randint(1, max(got[channel], 1))
        match choices.randrange(8):
            case 0 | 1 | 2:
                key, mode = choices.choice((queue, "nowhere")), choices.choice((1, 2))
                some = message(b"%d" % len(sent), key, channel=channel, delivery_mode=mode)
                sent.append(some * choices.randint(1, 6))
            case 3:
                got[channel] += 1
                sent.append(encoded(Basic.Get(queue=queue), channel=channel))
            case 4:
                multiple = choices.random() < 0.3
                sent.append(encoded(Basic.Ack(tag, multiple=multiple), channel=channel))
            case 5:
                requeue = choices.random() < 0.5
                sent.append(encoded(Basic.Nack(tag, requeue=requeue), channel=channel))
            case 6:
                sent.append(encoded(Queue.Declare(queue=queue, passive=True), channel=channel))
            case _:
                got[channel] = 0
                calls = (Queue.Purge(queue="none"), Channel.CloseOk(), Channel.Open())
                sent.append(encoded(*calls, channel=channel))
    return b"".join(sent)


def one_turn(server: FakeServer) -> None:
    server.broker.finish_turn()
    for connection in server.broker.take_touched():
        connection.transport.flush()


def shown(client: FakeClient) -> list[Any]:
    """What a client has received, so that it can be compared."""
    return [
        (each.channel, each.call.name, str(dict(each.call)), each.body)
        for each in client.received()
    ]


def outcome(data: bytes, bounds: TurnBounds, pieces: random.Random | None = None) -> Any:
    """What a client receives that sends this, and what is in the queues then."""
    server = DurableServer(turn_bounds=bounds)
    client = server.connect()
    client.open_channel(2)
    client.declare("prioritised", durable=True, arguments={"x-max-priority": 2})
    client.declare("plain", durable=True)
    at = 0
    while at < len(data):
        size = pieces.choice((1, 20, 100, 1000)) if pieces else len(data)
        client.connection.receive(data[at : at + size])
        at += size
        for _ in range(pieces.randint(0, 3) if pieces else 0):
            one_turn(server)
    server.end_turn()
    received = shown(client)
    client.disconnect()
    other = server.connect()
    left = [
        [other.get(queue, no_ack=True).body for _ in range(other.ready_in(queue))]
        for queue in QUEUES
    ]
    return received, left


@pytest.mark.parametrize("seed", range(40))
def test_what_comes_of_it_is_the_same(seed: int) -> None:
    data = made_up(random.Random(seed))
    expected = outcome(data, IN_ONE_TURN)
    assert outcome(data, TINY) == expected
    assert outcome(data, TINY, random.Random(seed)) == expected
    assert outcome(data, TurnBounds(effort=10), random.Random(seed)) == expected

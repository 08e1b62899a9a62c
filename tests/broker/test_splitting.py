"""However a client's bytes are cut on their way, the outcome is the same; and whatever bytes they
are, it is never an internal error.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic, Channel, Confirm, Connection, Exchange, Queue, Tx
from pamqp.heartbeat import Heartbeat

from fake_client import FakeClient, FakeServer, encoded, message, shown
from leveret.amqp.frames import BODY, HEADER, METHOD, frame
from leveret.broker.configuration import Configuration
from leveret.broker.configuration import Connection as ConnectionSettings
from method_calls import NUMBERS

FRAME_MAX = 4096


def connected() -> FakeClient:
    """A client with the channels 1 and 2 open, q bound to amq.fanout, and r bound to amq.direct."""
    client = FakeServer().connect(frame_max=FRAME_MAX)
    client.open_channel(2)
    client.declare("q")
    client.declare("r")
    client.bind("q", "amq.fanout")
    client.bind("r", "amq.direct", "r")
    return client


def state(client: FakeClient) -> list[Any]:
    """What the broker holds after a client has been served."""
    broker, vhost = client.server.broker, client.server.broker.vhosts["/"]
    queues = [
        (
            queue.name,
            [(each.body, each.raw_properties, each.address) for each in queue.ready],
            [each.body for _, each in sorted(queue.returned, key=lambda entry: entry[0])],
            [(consumer.tag, consumer.unsettled) for consumer in queue.consumers.all],
        )
        for queue in vhost.queues.values()
    ]
    channels = [
        (number, [(tag, each[0].body) for tag, each in channel.unsettled.deliveries.items()])
        for number, channel in sorted(client.connection.channels.items())
    ]
    return [client.connection.state, len(broker.connections), queues, channels]


# --- what clients send ------------------------------------------------------------------------

sizes = st.sampled_from([0, 1, 5, 100, 4088, 4089, 9000])
numbers = st.sampled_from([1, 1, 1, 2])


def publish(number: int, size: int, address: tuple[str, str], options: dict[str, Any]) -> bytes:
    exchange, routing_key = address
    return message(
        b"x" * size,
        routing_key,
        exchange=exchange,
        channel=number,
        payload_max=FRAME_MAX - 8,
        **options,
    )


publishes = st.builds(
    publish,
    numbers,
    sizes,
    st.sampled_from([("", "q"), ("", "r"), ("amq.fanout", "k"), ("amq.direct", "r"), ("", "-")]),
    st.sampled_from(
        [
            {},
            {"mandatory": True},
            {"headers": {"CC": ["r"]}},
            {"delivery_mode": 2, "app_id": "me"},
            {"user_id": "guest"},
        ]
    ),
)
calls = st.builds(
    lambda number, call: encoded(call, channel=number),
    numbers,
    st.sampled_from(
        [
            Basic.Get(queue="q"),
            Basic.Get(queue="r", no_ack=True),
            Basic.Ack(0, multiple=True),
            Basic.Nack(0, multiple=True, requeue=True),
            Basic.Recover(requeue=True),
            Basic.Qos(prefetch_count=1),
            Basic.Cancel("c"),
            Queue.Declare(queue="q", passive=True),
            Queue.Purge(queue="r"),
            Confirm.Select(),
            Exchange.Declare(exchange="x", passive=True),
            Channel.Close(200, "", 0, 0),
            Channel.CloseOk(),
            Channel.Open(),
            Tx.Select(),
            Tx.Commit(),
        ]
    ),
)
acks = st.builds(
    lambda number, tags: encoded(*map(Basic.Ack, tags), channel=number),
    numbers,
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
)
beats = st.just(encoded(Heartbeat()))
streams = st.lists(st.one_of(publishes, publishes, calls, acks, beats), max_size=14)


def frames_of(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at + 3 : at + 7])
        yield data[at:end]
        at = end


def interleaved(draw: Callable[[Any], Any], parts: list[bytes]) -> bytes:
    """The frames of each channel in order, but those of different channels mixed."""
    lanes = {number: list[bytes]() for number in (0, 1, 2)}
    for part in parts:
        for each in frames_of(part):
            lanes[int.from_bytes(each[1:3])].append(each)
    mixed = list[bytes]()
    while left := [number for number, lane in lanes.items() if lane]:
        mixed.append(lanes[draw(st.sampled_from(left))].pop(0))
    return b"".join(mixed)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:end] for start, end in pairwise(places)]


cuts = st.lists(st.integers(0, 1 << 16), max_size=12)


def outcome(pieces: list[bytes]) -> tuple[bytes, list[Any]]:
    """All that comes back if the pieces arrive within one turn, and the state behind."""
    client = connected()
    client.wire.clear()
    for piece in pieces:
        client.connection.receive(piece)
    client.server.end_turn()
    return bytes(client.wire), state(client)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.data(), streams, cuts)
def test_cutting_makes_no_difference(
    data: st.DataObject, parts: list[bytes], at: list[int]
) -> None:
    sent = interleaved(data.draw, parts)
    whole = outcome([sent])
    assert outcome(cut(sent, at)) == whole
    if len(sent) < 2000:
        assert outcome([bytes((byte,)) for byte in sent]) == whole


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(streams, cuts, st.integers(0, 1 << 16), st.integers(1, 255))
@example([message(b"", "q")], [30], 27, 1)
def test_cutting_makes_no_difference_if_a_byte_is_wrong(
    parts: list[bytes], at: list[int], place: int, flip: int
) -> None:
    sent = bytearray(b"".join(parts) or b"\0")
    sent[place % len(sent)] ^= flip
    sent += encoded(Queue.Declare(queue="behind"))
    whole = outcome([bytes(sent)])
    assert outcome(cut(bytes(sent), at)) == whole
    assert b"INTERNAL_ERROR" not in whole[0]


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(publishes, min_size=1, max_size=12), cuts)
def test_cutting_into_turns_makes_no_difference_to_what_is_delivered(
    parts: list[bytes], at: list[int]
) -> None:
    sent = b"".join(parts)

    def served(pieces: list[bytes]) -> list[Any]:
        client = connected()
        for number in (1, 2):
            client.request(Confirm.Select(), Confirm.SelectOk, channel=number)
        client.consume("q", "c", no_ack=True)
        client.consume("r", "d", channel=2)
        for piece in pieces:
            client.feed(piece)
        received = client.received()
        confirmed = {
            each.channel: each.call.delivery_tag
            for each in received
            if isinstance(each.call, Basic.Ack)
        }
        came = [
            [(each.body, each.properties, shown(each)) for each in received if of(each.call)]
            for of in (
                lambda call: isinstance(call, Basic.Return),
                lambda call: isinstance(call, Basic.Deliver) and call.consumer_tag == "c",
                lambda call: isinstance(call, Basic.Deliver) and call.consumer_tag == "d",
            )
        ]
        return [confirmed, came, state(client)]

    assert served(cut(sent, at)) == served([sent])


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    cuts, st.lists(st.sampled_from([0, 10, 300_000, 900_000, 2_000_000]), min_size=2, max_size=4)
)
def test_large_messages_may_be_cut_anywhere(at: list[int], body_sizes: list[int]) -> None:
    settings = ConnectionSettings(frame_max_bytes=1 << 20)
    client = FakeServer(Configuration(connection=settings)).connect(frame_max=1 << 20)
    client.declare("q")
    bodies = [bytes((number,)) * size for number, size in enumerate(body_sizes)]
    sent = b"".join(message(body, "q", payload_max=(1 << 20) - 8) for body in bodies)
    for piece in cut(sent, [place * 61 for place in at]):
        client.feed(piece)
    assert [client.get("q").body for _ in bodies] == bodies
    assert not client.connection.lacks_bytes


# --- garbage ----------------------------------------------------------------------------------

HARD = {501, 503, 504, 505, 530, 540}


def assert_served_or_closed(client: FakeClient) -> None:
    """Nothing but closes with a reason that is the client's own fault."""
    for each in client.received():
        if isinstance(each.call, Connection.Close):
            assert each.call.reply_code in HARD, shown(each)
            assert each.call.reply_text


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.binary(min_size=1, max_size=300), cuts)
def test_noise_is_never_an_internal_error(noise: bytes, at: list[int]) -> None:
    client = connected()
    for piece in cut(noise, at):
        client.feed(piece)
    assert_served_or_closed(client)


method_numbers = st.sampled_from([n for n in NUMBERS.values() if n >> 16 != 10])


@pytest.mark.slow
@settings(deadline=None, max_examples=250)
@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda number, method, arguments: frame(
                    METHOD, number, method.to_bytes(4) + arguments
                ),
                numbers,
                method_numbers,
                st.binary(max_size=40),
            ),
            st.builds(
                lambda number, head, rest: frame(HEADER, number, head + rest),
                numbers,
                st.sampled_from([b"\0\x3c\0\0" + bytes(8), b"\0\x3c\0\0" + (5).to_bytes(8)]),
                st.binary(max_size=40),
            ),
            st.builds(lambda number, rest: frame(BODY, number, rest), numbers, st.binary()),
            publishes,
            calls,
            st.just(encoded(Basic.Publish(routing_key="q"))),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_frames_full_of_noise_are_never_an_internal_error(frames: list[bytes]) -> None:
    client = connected()
    for each in frames:
        client.feed(each)
    assert_served_or_closed(client)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.booleans())
def test_noise_in_the_handshake_is_never_an_internal_error(noise: bytes, framed: bool) -> None:
    client = FakeServer().accept()
    client.feed(b"AMQP\0\0\x09\1")
    client.expect(Connection.Start, 0)
    client.feed(frame(METHOD, 0, b"\0\x0a\0\x0b" + noise) if framed else noise)
    assert_served_or_closed(client)
    client.server.advance(30)
    assert client.hung_up


@pytest.mark.parametrize("number", sorted(NUMBERS.values()))
def test_every_method_may_come_without_its_arguments(number: int) -> None:
    for channel in (0, 1):
        client = connected()
        client.feed(frame(METHOD, channel, number.to_bytes(4)))
        assert_served_or_closed(client)

"""Streams: what is dropped when, and what a restart brings back."""

from collections.abc import Sequence
from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer
from leveret.broker import stream_queue
from leveret.broker.policy import Policy
from leveret.broker.stream_log import StreamLog
from leveret.broker.stream_queue import StreamQueue
from leveret.storage.journal import Journal

STREAM: dict[str, Any] = {"x-queue-type": "stream"}
ABOUT_100_BYTES = 60
"""The body of a message that counts as about 100 bytes: properties and frames count too."""


@pytest.fixture(params=[FakeServer, DurableServer])
def server(request: pytest.FixtureRequest) -> FakeServer:
    return request.param()


def declare(client: FakeClient, **more: Any) -> None:
    arguments = {name.replace("_", "-"): value for name, value in more.items()}
    client.declare(durable=True, arguments=STREAM | arguments)


def publish(client: FakeClient, count: int, begin: int = 0) -> None:
    for number in range(begin, begin + count):
        client.publish(b"%d" % number + b"." * ABOUT_100_BYTES, "q")


def read(client: FakeClient, offset: Any = "first") -> list[tuple[int, int]]:
    """Offsets and numbers of everything from an offset on."""
    client.request(Basic.Qos(prefetch_count=60_000), Basic.QosOk)
    client.consume(arguments={"x-stream-offset": offset})
    found = client.deliveries()
    client.request(Basic.Cancel("c"), Basic.CancelOk)
    return [(each.headers["x-stream-offset"], int(each.body.rstrip(b"."))) for each in found]


def same(numbers: range) -> list[tuple[int, int]]:
    return [(number, number) for number in numbers]


def test_old_segments_go_when_there_are_too_many_bytes(server: FakeServer):
    client = server.connect()
    declare(client, x_max_length_bytes=3000, x_stream_max_segment_size_bytes=1000)
    publish(client, 100)
    found = read(client)
    first = found[0][0]
    assert 60 < first < 80
    assert found == same(range(first, 100))
    assert client.ready_in("q") == 100 - first


def test_the_segment_being_filled_stays(server: FakeServer):
    client = server.connect()
    declare(client, x_max_length_bytes=10)
    publish(client, 100)
    assert read(client) == same(range(100))


def test_old_segments_go_when_all_of_them_is_too_old(server: FakeServer):
    client = server.connect()
    declare(client, x_max_age="1m", x_stream_max_segment_size_bytes=1000)
    publish(client, 52)
    server.advance(61)
    publish(client, 1, 52)
    assert read(client)[0][0] == 0, "nothing happens before a segment is full"
    publish(client, 20, 53)
    found = read(client)
    assert 40 < found[0][0] <= 52
    assert found == same(range(found[0][0], 73))


def test_a_slow_consumer_goes_on_with_what_is_left(server: FakeServer):
    client = server.connect()
    declare(client, x_max_length_bytes=2000, x_stream_max_segment_size_bytes=500)
    publish(client, 10)
    client.request(Basic.Qos(prefetch_count=1), Basic.QosOk)
    client.consume(arguments={"x-stream-offset": "first"})
    assert client.deliveries()[0].headers["x-stream-offset"] == 0
    publish(client, 100, 10)
    client.send(Basic.Ack(1))
    later = client.deliveries()
    assert later[0].headers["x-stream-offset"] > 70


def test_policies_count_at_once(server: FakeServer):
    client = server.connect()
    declare(client, x_stream_max_segment_size_bytes=1000)
    publish(client, 100)
    policies = server.broker.vhosts["/"].policies
    policies.set(Policy("short", "^q$", {"max-length-bytes": 3000}, 0, "streams"))
    server.end_turn()
    assert client.ready_in("q") < 40


@pytest.mark.parametrize("clean", [True, False])
def test_offsets_survive_a_restart(clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, x_max_length_bytes=3000, x_stream_max_segment_size_bytes=1000)
    publish(client, 100)
    before = read(client)
    server = server.restarted(clean=clean)
    client = server.connect()
    assert read(client) == before
    publish(client, 5, 100)
    assert [offset for offset, _ in read(client, 100)] == [100, 101, 102, 103, 104]


def test_what_was_dropped_stays_dropped_if_a_crash_came_in_between(
    monkeypatch: pytest.MonkeyPatch,
):
    server = DurableServer()
    client = server.connect()
    declare(client, x_max_length_bytes=3000, x_stream_max_segment_size_bytes=1000)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "settle", lambda *_: None)
        patched.setattr(Journal, "settle_many", lambda *_: None)
        publish(client, 100)
    before = read(client)
    assert before[0][0] > 60
    server = server.restarted(clean=False)
    assert read(server.connect()) == before
    server = server.restarted(clean=False)
    assert read(server.connect()) == before


def test_large_messages_are_not_kept_in_memory():
    server = DurableServer()
    client = server.connect()
    declare(client)
    for _ in range(40):
        client.publish(bytes(1_000_000), "q")
    assert server.broker.vhosts["/"].queues["q"].memory_bytes < 4_000_000
    client.request(Basic.Qos(prefetch_count=100), Basic.QosOk)
    client.consume(arguments={"x-stream-offset": "first"})
    assert len(client.deliveries()) == 40


@pytest.mark.parametrize("when", ["before", "after"])
def test_policies_for_other_queues_change_nothing(server: FakeServer, when: str):
    client = server.connect()
    policies = server.broker.vhosts["/"].policies
    policy = Policy("all", ".*", {"message-ttl": 0, "max-length": 1, "expires": 1}, 0, "all")
    if when == "before":
        policies.set(policy)
    declare(client)
    publish(client, 10)
    policies.set(policy)
    server.advance(10)
    assert read(client) == same(range(10))


def test_it_goes_on_dropping_after_a_restart():
    server = DurableServer()
    client = server.connect()
    declare(client, x_max_length_bytes=3000, x_stream_max_segment_size_bytes=1000)
    publish(client, 100)
    for round_ in range(1, 4):
        server = server.restarted()
        client = server.connect()
        publish(client, 100, 100 * round_)
        found = read(client)
        assert found == same(range(found[0][0], 100 * (round_ + 1)))
        assert 15 < len(found) < 50


def test_transient_messages_survive_a_restart():
    server = DurableServer()
    client = server.connect()
    declare(client)
    client.publish(b"1", "q", delivery_mode=1)
    server = server.restarted(clean=False)
    assert read(server.connect()) == [(0, 1)]


def test_ages_survive_a_restart():
    server = DurableServer()
    client = server.connect()
    declare(client, x_max_age="1m", x_stream_max_segment_size_bytes=1000)
    publish(client, 55)
    server = server.restarted(after_s=3600)
    client = server.connect()
    publish(client, 12, 55)
    found = read(client)
    assert 40 < found[0][0] <= 55
    client = server.connect()
    assert read(client, "1m") == same(range(55, 67))


def test_deleting_it_leaves_nothing_on_disk():
    server = DurableServer()
    client = server.connect()
    declare(client, x_stream_max_segment_size_bytes=1000)
    publish(client, 100)
    client.request(Queue.Delete(queue="q"), Queue.DeleteOk)
    server = server.restarted()
    client = server.connect()
    declare(client)
    assert read(client) == []
    publish(client, 1)
    assert read(client) == same(range(1))


def test_a_confirm_waits_for_the_disk():
    server = DurableServer()
    client = server.connect()
    declare(client)
    client.request(Confirm.Select(), Confirm.SelectOk)
    client.publish(b"1", "q", delivery_mode=1)
    client.expect(Basic.Ack)
    server = server.restarted(clean=False)
    assert read(server.connect()) == [(0, 1)]


def test_memory_holds_little_of_a_long_stream():
    server = DurableServer()
    client = server.connect()
    declare(client)
    publish(client, 20_000)
    queue = server.broker.vhosts["/"].queues["q"]
    assert queue.memory_bytes < 1100 * 1000
    queue.page_out()
    assert queue.memory_bytes == 0
    assert read(client, 19_998) == same(range(19_998, 20_000))


def log_of(server: FakeServer) -> StreamLog:
    stream = server.broker.vhosts["/"].queues["q"]
    assert isinstance(stream, StreamQueue)
    return stream._log  # pyright: ignore[reportPrivateUsage] - what clients can't see


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("noted_bytes", [500, 1 << 20])
def test_sizes_are_known_exactly_after_a_restart(
    clean: bool, noted_bytes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stream_queue, "NOTED_BYTES", noted_bytes)
    server = DurableServer()
    client = server.connect()
    declare(client, x_stream_max_segment_size_bytes=3000, x_max_length_bytes=9000)
    for count in (17, 1, 90, 25):
        publish(client, count, client.ready_in("q"))
        before = log_of(server)
        server = server.restarted(clean=clean)
        after = log_of(server)
        assert after.kept_bytes == before.kept_bytes
        assert after.open_segment == before.open_segment
        assert after.segment_count == before.segment_count
        client = server.connect()


def test_a_clean_stop_spares_the_next_start_reading(monkeypatch: pytest.MonkeyPatch):
    server = DurableServer()
    client = server.connect()
    declare(client)
    publish(client, 50)
    read: list[int] = []
    read_many = Journal.read_many

    def counted(self: Journal, ids: Sequence[int]) -> Any:
        read.extend(ids)
        return read_many(self, ids)

    monkeypatch.setattr(Journal, "read_many", counted)
    server = server.restarted()
    assert not read
    assert log_of(server).next_offset == 50


def test_old_segments_go_within_an_hour_though_nothing_is_published(server: FakeServer):
    client = server.connect()
    declare(client, x_max_age="1h", x_stream_max_segment_size_bytes=1000)
    publish(client, 25)
    server.advance(3599)
    assert client.ready_in("q") == 25
    server.advance(3602)
    assert 0 < client.ready_in("q") <= 10, "the segment that is being filled stays"
    assert server.broker.timers.next_deadline() is None
    publish(client, 25, 25)
    client.send(Queue.Delete(queue="q"))
    client.expect(Queue.DeleteOk)
    assert server.broker.timers.next_deadline() is None


def test_ages_are_looked_at_after_a_restart():
    server = DurableServer()
    client = server.connect()
    declare(client, x_max_age="1h", x_stream_max_segment_size_bytes=1000)
    publish(client, 25)
    client = server.restarted(after_s=3601).connect()
    assert 0 < client.ready_in("q") <= 10


def test_there_are_not_too_many_segments(server: FakeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("leveret.broker.stream_log.SEGMENTS_ABOUT", 20)
    client = server.connect()
    declare(client, x_stream_max_segment_size_bytes=1)
    publish(client, 400)
    assert 20 < log_of(server).segment_count < 100
    assert read(client) == same(range(400))


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        ("1Y", 31_536_000),
        ("1M", 2_592_000),
        ("2D", 172_800),
        ("3h", 10_800),
        ("5m", 300),
        ("7s", 7),
    ],
)
def test_ages_have_rabbitmqs_units(server: FakeServer, age: str, seconds: int):
    client = server.connect()
    declare(client, x_max_age=age, x_stream_max_segment_size_bytes=1)
    publish(client, 1)
    server.advance(seconds - 0.001)
    publish(client, 2, 1)
    assert client.ready_in("q") == 3
    server.advance(0.002)
    publish(client, 1, 3)
    assert read(client)[0] == (1, 1)


def test_deleting_it_in_the_middle_of_a_segment_leaves_nothing_defined():
    server = DurableServer()
    definitions = server.journal.statistics().definitions
    client = server.connect()
    declare(client, x_stream_max_segment_size_bytes=1000)
    publish(client, 25)
    server = server.restarted()
    client = server.connect()
    client.send(Queue.Delete(queue="q"))
    client.expect(Queue.DeleteOk)
    assert server.journal.statistics().definitions == definitions

"""Where what came back to a quorum queue stands after a restart."""

from array import array
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from pamqp.commands import Basic

from durable_server import DurableServer
from fake_client import FakeClient
from leveret.broker.configuration import Configuration
from leveret.broker.quorum_places import places_of
from leveret.broker.returns import NEVER, Place, Returns, note_of, read_place, read_returns
from leveret.broker.rules import EmulatedVersion
from leveret.storage.journal import Journal
from quorum import bodies, count_of, declare, hand_back, returned, tag_of

LIMITED = {"x-delivery-limit": 99}
crash_or_stop = pytest.mark.parametrize("clean", [True, False])


def publish(client: FakeClient, count: int, first: int = 1) -> None:
    for number in range(first, first + count):
        client.publish(b"%d" % number, "q")


def get(client: FakeClient, count: int) -> list[int]:
    """The delivery tags of so many messages."""
    return [tag_of(client.get()) for _ in range(count)]


def in_order(client: FakeClient) -> list[int]:
    """The numbers of all messages, in the order in which they are gotten."""
    return [int(client.get(no_ack=True).body) for _ in range(client.ready_in("q"))]


@crash_or_stop
def test_what_came_back_goes_first_in_the_order_of_its_return(clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, LIMITED)
    publish(client, 6)
    first, second, third = get(client, 3)
    hand_back(client, third, first, second)
    client = server.restarted(clean=clean).connect()
    assert bodies(client) == (b"3+1+2+456" if clean else b"3+1+2+4+5+6+")


@crash_or_stop
def test_the_last_return_of_a_message_counts(clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, LIMITED)
    publish(client, 4)
    hand_back(client, *get(client, 3))
    returned(client, 2)
    client = server.restarted(clean=clean).connect()
    assert in_order(client) == [3, 1, 2, 4]


@crash_or_stop
def test_without_a_limit_it_stands_behind_what_was_published_before(clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client)
    publish(client, 6)
    first, second, third = get(client, 3)
    hand_back(client, third, first)
    publish(client, 1, first=7)
    hand_back(client, second)
    server = server.restarted(clean=clean)
    client = server.connect()
    publish(client, 1, first=8)
    expected = b"4563+1+72+8" if clean else b"4+5+6+3+1+7+2+8"
    assert bodies(client) == expected


def test_what_a_client_leaves_behind_when_the_broker_stops_goes_first():
    server = DurableServer()
    client = server.connect()
    declare(client)
    publish(client, 5)
    _, second, _ = get(client, 3)
    hand_back(client, second)
    client.disconnect()
    assert bodies(server.restarted().connect()) == b"1+3+452+"


def test_what_was_out_at_a_crash_stands_where_it_did_before():
    server = DurableServer()
    client = server.connect()
    declare(client, LIMITED)
    publish(client, 6)
    _, second, third = get(client, 3)
    hand_back(client, third, second)
    assert client.get().body == b"3"
    client = server.restarted(clean=False).connect()
    got = [client.get() for _ in range(6)]
    assert [int(each.body) for each in got] == [3, 2, 1, 4, 5, 6]
    assert [count_of(each) for each in got] == [1, 1, 0, 0, 0, 0]
    assert all(each.call.redelivered for each in got)


@crash_or_stop
def test_what_comes_back_after_a_restart_stands_behind_what_did_before(clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, LIMITED)
    publish(client, 5)
    first, second, third = get(client, 3)
    hand_back(client, third, second, first)
    for _ in range(2):
        server = server.restarted(clean=clean)
        client = server.connect()
        hand_back(client, *get(client, 1))
    hand_back(client, *get(client, 4))
    assert in_order(server.restarted(clean=clean).connect()) == [1, 3, 2, 4, 5]


def test_very_many_keep_their_order_over_restarts_and_while_they_are_on_disk():
    server = DurableServer()
    client = server.connect()
    declare(client, LIMITED)
    publish(client, 1500)
    tags = get(client, 1200)
    hand_back(client, *reversed(tags))
    server = server.restarted(clean=False)
    client = server.connect()
    hand_back(client, *get(client, 3))
    expected = [*range(1197, 0, -1), 1200, 1199, 1198, *range(1201, 1501)]
    client = server.restarted().connect()
    hand_back(client, *get(client, 2))
    assert in_order(client) == [*expected[2:1200], *expected[:2], *expected[1200:]]


def test_counts_and_bytes_are_right_when_it_comes_back_behind_others_on_disk():
    server = DurableServer()
    client = server.connect()
    declare(client, LIMITED | {"x-max-length-bytes": 10})
    publish(client, 5)
    hand_back(client, *get(client, 4))
    client = server.restarted().connect()
    hand_back(client, *get(client, 1))
    publish(client, 5, first=6)
    assert client.ready_in("q") == 9
    got = [client.get() for _ in range(4)]
    assert [(int(each.body), count_of(each)) for each in got] == [(3, 1), (4, 1), (1, 2), (5, 0)]


@pytest.mark.parametrize("version", ["4.0", "4.3"])
@crash_or_stop
def test_what_came_back_goes_before_all_priorities(version: EmulatedVersion, clean: bool):
    server = DurableServer(configuration=Configuration(emulate=version))
    client = server.connect()
    declare(client)
    for number, priority in enumerate([1, 9, 1, 9, 9], 1):
        client.publish(b"%d" % number, "q", priority=priority)
    got = [client.get() for _ in range(4)]
    assert [int(each.body) for each in got] == ([2, 4, 1, 5] if version == "4.0" else [2, 4, 5, 1])
    hand_back(client, *map(tag_of, reversed(got)))
    client = server.restarted(clean=clean).connect()
    client.publish(b"6", "q", priority=9)
    assert in_order(client) == ([5, 1, 4, 2, 6, 3] if version == "4.0" else [1, 5, 4, 2, 6, 3])


@pytest.mark.parametrize(("more", "version"), [(LIMITED, "4.3"), ({}, "3.13")])
def test_what_a_crash_left_in_doubt_stays_flagged_whatever_came_back(
    more: dict[str, int], version: EmulatedVersion
):
    server = DurableServer(configuration=Configuration(emulate=version))
    client = server.connect()
    declare(client, more)
    for number, priority in enumerate([5, 9, 1, 9, 7], 1):
        client.publish(b"%d" % number, "q", priority=priority)
    server = server.restarted(clean=False)
    client = server.connect()
    tags = get(client, 2)
    hand_back(client, *tags)
    client.publish(b"6", "q", priority=1)
    server.page_out("q")
    for _ in range(2):
        server = server.restarted()
    expected = b"2+4+5+1+3+6" if version == "4.3" else b"3+4+5+1+2+6"
    assert bodies(server.connect()) == expected


def test_what_came_back_before_a_restart_takes_no_turn_of_the_priorities():
    server = DurableServer(configuration=Configuration(emulate="4.0"))
    client = server.connect()
    declare(client, LIMITED)
    publish(client, 6)
    for number in range(7, 11):
        client.publish(b"%d" % number, "q", priority=9)
    hand_back(client, *get(client, 3))
    client = server.restarted().connect()
    client.consume()
    assert b" ".join(client.bodies()) == b"7 8 1 9 10 2 3 4 5 6"


@crash_or_stop
def test_what_went_to_the_end_stands_behind_the_ordinary_messages(clean: bool):
    server = DurableServer(configuration=Configuration(emulate="4.3"))
    client = server.connect()
    declare(client, {"x-delivery-limit": -1})
    client.publish(b"1", "q", priority=9)
    (tag,) = get(client, 1)
    publish(client, 2, first=2)
    client.publish(b"4", "q", priority=9)
    hand_back(client, tag)
    server = server.restarted(clean=clean)
    client = server.connect()
    publish(client, 1, first=5)
    client.publish(b"6", "q", priority=9)
    assert in_order(client) == [4, 6, 2, 3, 1, 5]


@pytest.mark.parametrize("more", [{}, {"x-max-length": 9}])
def test_a_restart_leaves_no_trace_in_a_queue_to_which_nothing_came_back(more: dict[str, int]):
    server = DurableServer(configuration=Configuration(emulate="4.3"))
    client = server.connect()
    declare(client, more)
    publish(client, 3)
    server = server.restarted()
    features = server.broker.vhosts["/"].queues["q"].features
    assert features is None or not features.mixed
    assert bodies(server.connect()) == b"123"


def test_the_journal_keeps_places_when_it_rewrites_what_lives():
    server = DurableServer()
    client = server.connect()
    declare(client, LIMITED)
    client.declare("passing", durable=True)
    publish(client, 6)
    first, second, third, fourth = get(client, 4)
    hand_back(client, fourth, second, third, first)
    for _ in range(130):
        client.publish(bytes(1_000_000), "passing", delivery_mode=2)
        client.get("passing", no_ack=True)
    assert server.journal.statistics().rewritten_bytes > 0
    assert 1 not in server.journal.segments
    server = server.restarted(clean=False)
    assert in_order(server.connect()) == [4, 2, 3, 1, 5, 6]


def test_notes_of_earlier_versions_have_no_place():
    returns = Returns(3, 2, 77)
    old = note_of(returns, Place(5, 6))[:16]
    assert read_returns(old) == returns
    assert read_place(old) == Place()
    assert read_returns(b"") == NEVER


def test_what_earlier_versions_noted_goes_first_in_the_order_of_publishing(
    monkeypatch: pytest.MonkeyPatch,
):
    server = DurableServer()
    client = server.connect()
    declare(client, LIMITED)
    publish(client, 5)
    first, second, third = get(client, 3)
    note = Journal.note

    def note_as_before(self: Journal, owner: int, message_id: int, said: bytes) -> None:
        note(self, owner, message_id, said[:16])

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "note", note_as_before)
        hand_back(client, third, second)
    hand_back(client, first)
    client = server.restarted().connect()
    assert bodies(client) == b"2+3+1+45"


@given(
    times=st.integers(0, (1 << 32) - 1),
    due_ms=st.integers(0, (1 << 64) - 1),
    turn=st.integers(0, (1 << 64) - 1),
    before=st.integers(0, (1 << 64) - 1),
)
def test_notes_are_read_as_they_were_written(times: int, due_ms: int, turn: int, before: int):
    returns, place = Returns(times, times // 2, due_ms), Place(turn, before)
    note = note_of(returns, place)
    assert read_returns(note) == returns
    assert read_place(note) == place


@given(
    ids=st.sets(st.integers(1, 60)),
    moves=st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.integers(0, 3))),
)
def test_places_are_those_that_a_list_would_show(ids: set[int], moves: list[tuple[int, bool, int]]):
    """Each move gives a message back, first or to the end, and some are published after it."""
    front: list[int] = []
    others = sorted(ids)
    notes: dict[int, bytes] = {}
    next_id = 61
    for turn, (stored, at_end, published) in enumerate(moves, 1):
        if stored not in ids:
            continue
        for line in (front, others):
            if stored in line:
                line.remove(stored)
        (others if at_end else front).append(stored)
        notes[stored] = note_of(NEVER, Place(turn, next_id if at_end else 0))
        others += range(next_id, next_id + published)
        next_id += published
    all_ids = array("Q", sorted(front + others))
    places = places_of(all_ids, notes | {999: note_of(NEVER, Place(1))})
    assert list(places.first) == front
    new = places.without_those(all_ids)
    assert list(new) == sorted(each for each in all_ids if each not in notes)
    assert list(places.with_those_at_end(new)) == others


@given(
    limited=st.booleans(),
    steps=st.lists(
        st.tuples(st.sampled_from(["publish", "get", "back", "ack"]), st.integers(0, 9)),
        max_size=40,
    ),
    clean=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_order_is_the_same_as_without_a_restart(
    limited: bool, steps: list[tuple[str, int]], clean: bool
):
    orders: list[list[int]] = []
    for restarts in (False, True):
        server = DurableServer()
        client = server.connect()
        declare(client, LIMITED if limited else {})
        count, out = 0, list[int]()
        for what, number in [*steps, *[("back", 0)] * len(steps)]:
            if what == "publish":
                publish(client, number % 4, first=count)
                count += number % 4
            elif what == "get" and client.ready_in("q"):
                out += get(client, 1)
            elif what in ("back", "ack") and out:
                tag = out.pop(number % len(out))
                call: Any = Basic.Ack(tag) if what == "ack" else Basic.Nack(tag, requeue=True)
                client.send(call)
        if restarts:
            server = server.restarted(clean=clean)
            client = server.connect()
        orders.append(in_order(client))
    assert orders[0] == orders[1]

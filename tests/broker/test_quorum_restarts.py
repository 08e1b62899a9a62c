"""What a quorum queue keeps on disk, and what a restart makes of it."""

from collections.abc import Callable
from typing import Any

import pytest
from pamqp.commands import Basic, Confirm

from durable_server import DurableServer
from quorum import count_of, declare, hand_back, returned, tag_of


def test_what_was_handed_back_and_paged_out_keeps_its_place_and_count():
    server = DurableServer()
    client = server.connect()
    declare(client)
    for number in range(2000):
        client.publish(b"%d" % number, "q")
    hand_back(client, tag_of(client.get()))
    for number in range(2000, 2010):
        client.publish(b"%d" % number, "q")
    server.page_out("q")
    hand_back(client, tag_of(client.get()))
    got = [client.get(no_ack=True) for _ in range(2010)]
    places = [*range(2, 2000), 0, *range(2000, 2010), 1]
    assert [int(each.body) for each in got] == places
    assert [each.call.redelivered for each in got] == [place < 2 for place in places]
    assert [count_of(each) for each in got] == [int(place < 2) for place in places]


def test_transient_messages_survive_a_restart():
    server = DurableServer()
    client = server.connect()
    declare(client)
    client.publish(b"transient", "q")
    client.publish(b"expiring", "q", expiration="60000")
    client = server.restarted(clean=False).connect()
    assert [client.get().body for _ in range(2)] == [b"transient", b"expiring"]


def test_confirms_of_transient_messages_wait_for_the_disk():
    server = DurableServer()
    client = server.connect()
    declare(client)
    client.request(Confirm.Select(), Confirm.SelectOk)
    position = server.journal.durable
    client.publish(b"x", "q")
    client.expect(Basic.Ack)
    assert server.journal.durable > position


def test_beside_classic_queues_only_the_quorum_queue_keeps_what_is_transient():
    server = DurableServer()
    client = server.connect()
    declare(client)
    client.declare("classic", durable=True)
    for queue in ("q", "classic"):
        client.bind(queue, "amq.fanout")
    client.publish(b"x", "", exchange="amq.fanout")
    assert client.get("classic", no_ack=True).body == b"x"
    client.publish(b"y", "", exchange="amq.fanout")
    server = server.restarted()
    client = server.connect()
    assert client.ready_in("classic") == 0
    assert [client.get().body for _ in range(2)] == [b"x", b"y"]


@pytest.mark.parametrize("clean", [True, False])
def test_counts_survive_a_restart(clean: bool):
    server = DurableServer()
    client = server.connect()
    declare(client, {"x-delivery-limit": 2})
    client.publish(b"1", "q")
    client.publish(b"2", "q")
    returned(client, 2)
    client = server.restarted(clean=clean).connect()
    first = client.get()
    assert (first.body, count_of(first), first.call.redelivered) == (b"1", 2, True)
    client.send(Basic.Reject(delivery_tag=tag_of(first), requeue=True))
    second = client.get()
    assert (second.body, count_of(second)) == (b"2", 0)
    assert second.call.redelivered is not clean


@pytest.mark.parametrize("looked_at", [False, True])
def test_what_a_crash_may_have_cut_short_stays_flagged_over_further_restarts(looked_at: bool):
    server = DurableServer()
    client = server.connect()
    declare(client)
    client.publish(b"1", "q")
    client.publish(b"2", "q")
    server = server.restarted(clean=False)
    client = server.connect()
    client.publish(b"3", "q")
    if looked_at:
        got = client.get()
        client.send(Basic.Ack(tag_of(got)))
    client = server.restarted(clean=True).connect()
    flags = {got.body: got.call.redelivered for got in (client.get(no_ack=True) for _ in "23")}
    assert flags == ({b"2": True, b"3": False} if looked_at else {b"1": True, b"2": True})


@pytest.mark.parametrize("limit", [None, 9])
def test_counts_survive_being_paged_out(limit: int | None):
    server = DurableServer()
    client = server.connect()
    declare(client, None if limit is None else {"x-delivery-limit": limit})
    for number in range(2000):
        client.publish(b"%d" % number, "q")
    got = [client.get() for _ in range(1500)]
    client.send(Basic.Nack(delivery_tag=tag_of(got[-1]), multiple=True, requeue=True))
    server.page_out("q")
    counts = [count_of(client.get(no_ack=True)) for _ in range(2000)]
    first, last = ([1] * 1500, [0] * 500) if limit else ([0] * 500, [1] * 1500)
    assert counts == first + last


@pytest.mark.parametrize("settle", [Basic.Ack, lambda tag: Basic.Reject(tag, requeue=False)])
def test_nothing_is_left_of_what_is_settled(settle: Callable[..., Any]):
    server = DurableServer()
    client = server.connect()
    declare(client)
    client.publish(b"x", "q")
    returned(client, 2)
    client.send(settle(tag_of(client.get())))
    client = server.restarted().connect()
    client.get_nothing()

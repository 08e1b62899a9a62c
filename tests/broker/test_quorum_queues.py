"""x-queue-type quorum, on one node."""

from collections.abc import Callable
from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Queue

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer, Received
from leveret.broker.configuration import Configuration
from leveret.broker.rules import EmulatedVersion

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
Q = "queue 'q' in vhost '/'"


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    return server.connect()


def declare(client: FakeClient, more: dict[str, Any] | None = None, **options: Any) -> None:
    client.declare(durable=True, arguments=QUORUM | (more or {}), **options)


def returned(client: FakeClient, times: int = 1, queue: str = "q") -> None:
    """Get the first message and hand it back, so many times."""
    for _ in range(times):
        got = client.get(queue)
        client.send(Basic.Reject(delivery_tag=tag_of(got), requeue=True))


def tag_of(received: Received) -> int:
    tag = received.call.delivery_tag
    assert tag is not None
    return tag


def count_of(received: Received) -> Any:
    return (received.headers or {}).get("x-delivery-count")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"durable": False}, "non-durable"),
        ({"durable": True, "auto_delete": True}, "auto-delete"),
        ({"durable": True, "exclusive": True}, "exclusive-owner"),
    ],
)
def test_it_must_be_durable_and_neither_exclusive_nor_auto_delete(
    client: FakeClient, options: dict[str, bool], name: str
):
    client.send(Queue.Declare(queue="q", arguments=QUORUM, **options))
    client.expect_channel_closed(
        406, f"PRECONDITION_FAILED - invalid property '{name}' for {Q}", (50, 10)
    )


def test_it_must_have_a_name(client: FakeClient):
    client.send(Queue.Declare(queue="", durable=True, arguments=QUORUM))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue",
        (50, 10),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-max-priority", 1),
        ("x-queue-mode", "lazy"),
        ("x-queue-version", 2),
        ("x-max-age", "1D"),
        ("x-initial-cluster-size", 1),
    ],
)
def test_arguments_of_other_types_are_refused(client: FakeClient, name: str, value: Any):
    client.send(Queue.Declare(queue="q", durable=True, arguments=QUORUM | {name: value}))
    client.expect_channel_closed(
        406,
        f"PRECONDITION_FAILED - invalid arg '{name}' for {Q} of queue type rabbit_quorum_queue",
        (50, 10),
    )


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("x-dead-letter-strategy", "never", "invalid_dlx_strategy"),
        ("x-queue-leader-locator", "here", "invalid_queue_locator_arg"),
        ("x-quorum-initial-group-size", 0, "{value_zero,0}"),
        ("x-max-in-memory-length", -1, "{value_negative,-1}"),
    ],
)
def test_bad_values_are_refused(client: FakeClient, name: str, value: Any, why: str):
    client.send(Queue.Declare(queue="q", durable=True, arguments=QUORUM | {name: value}))
    client.expect_channel_closed(
        406, f"PRECONDITION_FAILED - invalid arg '{name}' for {Q}: {why}", (50, 10)
    )


def test_all_its_arguments_are_accepted(client: FakeClient):
    declare(
        client,
        {
            "x-delivery-limit": 3,
            "x-dead-letter-exchange": "",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-quorum-initial-group-size": 3,
            "x-queue-leader-locator": "balanced",
            "x-max-in-memory-length": 10,
            "x-max-in-memory-bytes": 10,
            "x-single-active-consumer": True,
        },
    )


def test_another_type_is_not_equivalent(client: FakeClient):
    declare(client)
    client.send(Queue.Declare(queue="q", durable=True))
    client.expect_channel_closed(
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for {Q}: received none but current"
        " is the value 'quorum' of type 'longstr'",
        (50, 10),
    )


@pytest.mark.parametrize(
    ("options", "flag"), [({"if_empty": True}, "if-empty"), ({"if_unused": True}, "if-unused")]
)
def test_it_is_deleted_without_conditions_only(
    client: FakeClient, options: dict[str, bool], flag: str
):
    declare(client)
    client.send(Queue.Delete(queue="q", **options))
    client.expect_connection_closed(
        540,
        f"NOT_IMPLEMENTED - cannot delete {Q}. queue.delete operations with {flag} flag set are"
        " not supported by quorum queues",
        (50, 40),
    )


def test_it_is_not_consumed_from_with_a_limit_of_the_channel(client: FakeClient):
    declare(client)
    client.send(Basic.Qos(prefetch_count=1, global_=True))
    client.expect(Basic.QosOk)
    client.send(Basic.Consume(queue="q"))
    client.expect_connection_closed(
        540, f"NOT_IMPLEMENTED - {Q} does not support global qos", (60, 20)
    )


def test_exclusive_consumers_are_like_others(client: FakeClient):
    declare(client)
    client.consume("q", "one", exclusive=True)
    client.consume("q", "two", exclusive=True)


def test_nobody_gets_from_one_with_a_single_active_consumer(client: FakeClient):
    declare(client, {"x-single-active-consumer": True})
    client.send(Basic.Get(queue="q"))
    client.expect_channel_closed(
        405,
        f"RESOURCE_LOCKED - cannot obtain access to locked {Q}. basic.get operations are not"
        " supported by quorum queues with single active consumer",
        (60, 70),
    )


def test_deliveries_tell_how_often_the_message_came_back(client: FakeClient):
    declare(client)
    client.publish(b"x", "q", headers={"a": 1})
    client.consume()
    (first,) = client.deliveries()
    assert first.headers == {"a": 1}
    client.send(Basic.Nack(delivery_tag=1, requeue=True))
    (second,) = client.deliveries()
    assert second.call.redelivered
    assert second.headers == {"x-delivery-count": 1, "a": 1}
    client.send(Basic.Reject(delivery_tag=2, requeue=True))
    (third,) = client.deliveries()
    assert third.headers == {"x-delivery-count": 2, "a": 1}
    assert third.body == b"x"


def test_getting_a_message_always_tells_the_count(client: FakeClient):
    declare(client)
    client.publish(b"x", "q")
    assert count_of(client.get("q", no_ack=True)) == 0


def publish_six_and_get_three(client: FakeClient) -> list[int]:
    """The delivery tags of the three."""
    for number in range(1, 7):
        client.publish(b"%d" % number, "q")
    return [tag_of(client.get()) for _ in range(3)]


def hand_back(client: FakeClient, *tags: int) -> None:
    for tag in tags:
        client.send(Basic.Nack(delivery_tag=tag, requeue=True))


def bodies(client: FakeClient) -> bytes:
    """All ready messages joined, those flagged redelivered with a plus."""
    found = b""
    while client.ready_in("q"):
        got = client.get(no_ack=True)
        found += got.body + b"+" * got.call.redelivered
    return found


def test_with_a_limit_what_comes_back_goes_first_in_the_order_of_its_return(client: FakeClient):
    declare(client, {"x-delivery-limit": 9})
    first, second, third = publish_six_and_get_three(client)
    hand_back(client, third, first, second)
    assert bodies(client) == b"3+1+2+456"


def test_without_a_limit_what_is_handed_back_goes_to_the_end(client: FakeClient):
    declare(client)
    first, second, third = publish_six_and_get_three(client)
    hand_back(client, third, first)
    client.publish(b"7", "q")
    client.send(Basic.Reject(delivery_tag=second, requeue=True))
    assert bodies(client) == b"4563+1+72+"
    features = client.server.broker.vhosts["/"].queues["q"].features
    assert features is not None
    assert not features.mixed


def test_what_a_channel_leaves_behind_goes_first_all_the_same(
    client: FakeClient, server: FakeServer
):
    declare(client)
    _, second, _ = publish_six_and_get_three(client)
    hand_back(client, second)
    client.disconnect()
    assert bodies(server.connect()) == b"1+3+4562+"


def test_consumer_gets_what_was_handed_back_last(client: FakeClient):
    declare(client)
    _, second, _ = publish_six_and_get_three(client)
    client.send(Basic.Nack(delivery_tag=second, multiple=True, requeue=True))
    client.publish(b"7", "q")
    client.consume()
    came = client.deliveries()
    assert [(each.body, each.call.redelivered, count_of(each)) for each in came] == [
        (b"4", False, None),
        (b"5", False, None),
        (b"6", False, None),
        (b"1", True, 1),
        (b"2", True, 1),
        (b"7", False, None),
    ]
    hand_back(client, tag_of(came[0]))
    assert client.bodies() == [b"4"]


@pytest.mark.parametrize("emulate", ["3.13", "4.0", "4.3"])
@pytest.mark.parametrize("reject", [False, True])
def test_only_nack_goes_to_the_end_from_4_3_on(emulate: EmulatedVersion, reject: bool):
    client = FakeServer(Configuration(emulate=emulate)).connect()
    declare(client, {"x-delivery-limit": -1})
    first, _, _ = publish_six_and_get_three(client)
    method = Basic.Reject if reject else Basic.Nack
    client.send(method(delivery_tag=first, requeue=True))
    goes_first = emulate == "4.3" and reject
    assert bodies(client) == (b"1+456" if goes_first else b"4561+")


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


def test_declaring_it_again_does_not_keep_it_from_expiring(client: FakeClient, server: FakeServer):
    declare(client, {"x-expires": 1000})
    server.advance(0.6)
    declare(client, {"x-expires": 1000})
    client.declare(passive=True)
    server.advance(0.6)
    client.send(Queue.Declare(queue="q", passive=True))
    client.expect_channel_closed(404, "NOT_FOUND - no queue 'q' in vhost '/'", (50, 10))


def test_getting_from_it_keeps_it_from_expiring(client: FakeClient, server: FakeServer):
    declare(client, {"x-expires": 1000})
    server.advance(0.6)
    client.get_nothing()
    server.advance(0.6)
    client.declare(passive=True)


def test_counts_belong_to_one_queue(client: FakeClient):
    for queue in ("q", "other"):
        declare(client, queue=queue)
        client.bind(queue, "amq.fanout")
    client.publish(b"x", "", exchange="amq.fanout")
    returned(client, 2)
    assert count_of(client.get("other")) == 0
    assert count_of(client.get("q")) == 2


def test_message_dies_of_the_return_after_its_limit(client: FakeClient):
    declare(
        client,
        {
            "x-delivery-limit": 2,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dead",
        },
    )
    declare(client, queue="dead")
    client.publish(b"x", "q", headers={"a": 1})
    returned(client, 2)
    assert client.ready_in("q") == 1
    returned(client)
    assert client.ready_in("q") == 0
    client.consume("dead")
    (letter,) = client.deliveries()
    assert letter.headers["x-death"][0]["reason"] == "delivery_limit"
    assert letter.headers["a"] == 1
    assert count_of(letter) is None


def test_dead_letters_tell_no_count(client: FakeClient):
    declare(client, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    client.declare("dead")
    client.publish(b"x", "q")
    client.send(Basic.Reject(delivery_tag=tag_of(client.get()), requeue=False))
    assert count_of(client.get("dead")) is None


def test_arguments_for_consuming_streams_are_refused(client: FakeClient):
    declare(client)
    client.send(Basic.Consume(queue="q", arguments={"x-stream-offset": "first"}))
    client.expect_channel_closed(
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for {Q}"
        " of queue type rabbit_quorum_queue",
        (60, 20),
    )


def test_without_dead_letters_it_is_dropped(client: FakeClient):
    declare(client, {"x-delivery-limit": 0})
    client.publish(b"x", "q")
    returned(client)
    assert client.ready_in("q") == 0


@pytest.mark.parametrize("limit", [{}, {"x-delivery-limit": -1}])
def test_without_a_limit_it_comes_back_for_ever(client: FakeClient, limit: dict[str, int]):
    declare(client, limit)
    client.publish(b"x", "q")
    returned(client, 30)
    assert count_of(client.get()) == 30


def test_from_4_0_on_the_limit_is_20():
    client = FakeServer(Configuration(emulate="4.0")).connect()
    declare(client)
    client.publish(b"x", "q")
    returned(client, 20)
    assert client.ready_in("q") == 1
    returned(client)
    assert client.ready_in("q") == 0


def test_from_4_3_on_a_nack_does_not_count():
    client = FakeServer(Configuration(emulate="4.3")).connect()
    declare(client, {"x-delivery-limit": 0})
    client.publish(b"x", "q")
    client.send(Basic.Nack(delivery_tag=tag_of(client.get()), requeue=True))
    again = client.get()
    assert again.call.redelivered
    client.send(Basic.Reject(delivery_tag=tag_of(again), requeue=True))
    assert client.ready_in("q") == 0


def test_from_4_3_on_returns_and_failures_are_told_apart():
    server = DurableServer(configuration=Configuration(emulate="4.3"))
    client = server.connect()
    declare(client)
    client.publish(b"x", "q", headers={"a": 1})
    first = client.get()
    assert first.headers == {"a": 1}
    client.send(Basic.Nack(delivery_tag=tag_of(first), requeue=True))
    second = client.get()
    assert second.headers == {"x-acquired-count": 1, "a": 1}
    client.send(Basic.Reject(delivery_tag=tag_of(second), requeue=True))
    third = client.get()
    assert third.headers == {"x-acquired-count": 2, "x-delivery-count": 1, "a": 1}
    client.disconnect()
    client = server.restarted(clean=False).connect()
    assert client.get().headers == {"x-acquired-count": 3, "x-delivery-count": 2, "a": 1}


def test_from_4_3_on_dead_letters_tell_neither_count():
    client = FakeServer(Configuration(emulate="4.3")).connect()
    declare(client, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    client.declare("dead", durable=True)
    client.publish(b"x", "q")
    returned(client)
    client.send(Basic.Reject(delivery_tag=tag_of(client.get()), requeue=False))
    headers = client.get("dead").headers
    assert not {"x-delivery-count", "x-acquired-count"} & headers.keys()


def test_from_4_0_on_a_first_get_tells_no_count():
    client = FakeServer(Configuration(emulate="4.0")).connect()
    declare(client)
    client.publish(b"x", "q")
    first = client.get()
    assert count_of(first) is None
    client.send(Basic.Nack(delivery_tag=tag_of(first), requeue=True))
    assert count_of(client.get()) == 1


def test_what_times_out_counts_as_returned_only():
    client = FakeServer(Configuration(emulate="4.3")).connect()
    declare(client, {"x-consumer-timeout": 60_000})
    client.publish(b"x", "q")
    client.consume()
    assert len(client.deliveries()) == 1
    client.server.advance(200)
    client.expect(Basic.Cancel)
    assert client.get().headers == {"x-acquired-count": 1}


def test_closing_the_channel_counts(client: FakeClient, server: FakeServer):
    declare(client)
    client.publish(b"x", "q")
    client.get()
    client.disconnect()
    assert count_of(server.connect().get()) == 1


@pytest.mark.parametrize("overflow", ["drop-head", "reject-publish-dlx"])
def test_head_gives_way_in_a_full_queue(client: FakeClient, overflow: str):
    declare(client, {"x-max-length": 1, "x-overflow": overflow})
    client.publish(b"1", "q")
    client.publish(b"2", "q")
    assert client.get().body == b"2"


def test_full_queue_refuses_from_its_limit_on(client: FakeClient):
    declare(client, {"x-max-length": 1, "x-overflow": "reject-publish"})
    client.request(Confirm.Select(), Confirm.SelectOk)
    client.publish(b"1", "q")
    client.expect(Basic.Ack)
    client.publish(b"2", "q")
    client.expect(Basic.Nack)
    assert bodies(client) == b"1"


def test_what_comes_back_too_large_for_the_queue_goes_to_a_consumer_that_waits(client: FakeClient):
    declare(client, {"x-max-length-bytes": 5})
    client.consume()
    client.publish(b"too large", "q")
    assert client.bodies() == [b"too large"]
    client.send(Basic.Nack(1, requeue=True))
    assert client.bodies() == [b"too large"]
    client.send(Basic.Cancel("c"), Basic.Nack(2, requeue=True))
    client.expect(Basic.CancelOk)
    assert client.ready_in("q") == 0


def test_overdue_messages_expire_also_after_they_came_back(client: FakeClient, server: FakeServer):
    declare(client, {"x-message-ttl": 1000})
    client.publish(b"x", "q")
    returned(client)
    assert client.ready_in("q") == 1
    server.advance(1.1)
    assert client.ready_in("q") == 0


@pytest.mark.parametrize("limit", [-1, 9])
def test_messages_that_came_back_in_any_order_expire(
    client: FakeClient, server: FakeServer, limit: int
):
    declare(client, {"x-delivery-limit": limit})
    for number, expiration in enumerate(("2000", None, "1000", None)):
        client.publish(b"%d" % number, "q", expiration=expiration)
    first, second, third = (tag_of(client.get()) for _ in range(3))
    hand_back(client, third, second, first)
    server.advance(1.1)
    assert client.ready_in("q") == 3 + (limit < 0)
    client.send(Basic.Nack(delivery_tag=tag_of(client.get()), requeue=True))
    server.advance(1.1)
    assert bodies(client) == (b"1+3+" if limit < 0 else b"1+3")


# --- on disk ----------------------------------------------------------------------------------


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

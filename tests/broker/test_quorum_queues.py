"""x-queue-type quorum, on one node."""

from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Queue

from fake_client import FakeClient, FakeServer
from quorum import QUORUM, bodies, declare, hand_back, returned, tag_of

Q = "queue 'q' in vhost '/'"


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


def test_arguments_for_consuming_streams_are_refused(client: FakeClient):
    declare(client)
    client.send(Basic.Consume(queue="q", arguments={"x-stream-offset": "first"}))
    client.expect_channel_closed(
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for {Q}"
        " of queue type rabbit_quorum_queue",
        (60, 20),
    )


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

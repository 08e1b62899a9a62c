import re

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Queue, Tx

from fake_client import FakeClient, encoded, message

REPLY_TO = "amq.rabbitmq.reply-to"
CONSUME, PUBLISH, DECLARE = (60, 20), (60, 40), (50, 10)


@pytest.fixture
def requester(client: FakeClient) -> FakeClient:
    """A client with a queue of requests named q, that consumes from amq.rabbitmq.reply-to."""
    client.declare("q")
    client.consume(REPLY_TO, "replies", no_ack=True)
    return client


def request(requester: FakeClient, replier: FakeClient) -> str:
    """Send a request; return the address for the reply that the replier finds in it."""
    requester.publish(b"question", "q", reply_to=REPLY_TO, headers={"a": 1}, correlation_id="c")
    got = replier.get("q", no_ack=True)
    assert (got.body, got.headers, got.properties.correlation_id) == (b"question", {"a": 1}, "c")
    address = got.properties.reply_to
    assert address is not None
    return address


def test_a_reply_finds_its_way_back(requester: FakeClient, other: FakeClient) -> None:
    address = request(requester, other)
    assert re.fullmatch(rf"{re.escape(REPLY_TO)}\.[\w-]+", address)
    for size in (0, 10, 300_000):
        other.publish(b"x" * size, address, correlation_id="c")
        (reply,) = requester.deliveries()
        assert (reply.call.consumer_tag, reply.call.redelivered) == ("replies", False)
        assert (reply.call.exchange, reply.call.routing_key) == ("", address)
        assert (reply.body, reply.properties.correlation_id) == (b"x" * size, "c")


def test_requests_in_one_go_all_get_the_address(requester: FakeClient, other: FakeClient) -> None:
    requester.feed(message(b"a", "q", reply_to=REPLY_TO) * 3)
    addresses = {other.get("q").properties.reply_to for _ in range(3)}
    assert len(addresses) == 1


def test_another_reply_to_is_left_alone(requester: FakeClient, other: FakeClient) -> None:
    for address in ("me", REPLY_TO + ".someone", REPLY_TO.upper()):
        requester.publish(b"", "q", reply_to=address)
        assert other.get("q").properties.reply_to == address


def test_a_reply_that_is_mandatory_is_returned_although_it_arrives_as_before_rabbitmq_4_2(
    requester: FakeClient, other: FakeClient
) -> None:
    other.publish(b"reply", request(requester, other), mandatory=True)
    assert other.expect_content(Basic.Return).body == b"reply"
    assert requester.bodies() == [b"reply"]


def test_a_reply_does_not_wait_for_the_commit_as_before_rabbitmq_4_2(
    requester: FakeClient, other: FakeClient
) -> None:
    address = request(requester, other)
    other.declare("also")
    other.send(Tx.Select())
    other.expect(Tx.SelectOk)
    other.publish(b"reply", address, headers={"CC": ["also"]})
    assert requester.bodies() == [b"reply"]
    other.send(Tx.Commit())
    other.expect(Tx.CommitOk)
    assert requester.bodies() == []
    assert other.get("also").body == b"reply"


def test_a_reply_is_not_taken_back_by_a_rollback(requester: FakeClient, other: FakeClient) -> None:
    address = request(requester, other)
    other.send(Tx.Select())
    other.expect(Tx.SelectOk)
    other.publish(b"reply", address)
    other.send(Tx.Rollback())
    other.expect(Tx.RollbackOk)
    assert requester.bodies() == [b"reply"]


def test_a_mandatory_reply_in_a_transaction_is_returned_at_the_commit(
    requester: FakeClient, other: FakeClient
) -> None:
    address = request(requester, other)
    other.send(Tx.Select())
    other.expect(Tx.SelectOk)
    other.publish(b"reply", address, mandatory=True)
    assert requester.bodies() == [b"reply"]
    other.send(Tx.Commit())
    assert other.expect_content(Basic.Return).body == b"reply"
    other.expect(Tx.CommitOk)


@pytest.mark.parametrize("address", [REPLY_TO, REPLY_TO + ".nobody"])
def test_a_reply_to_nobody_is_dropped_or_returned(client: FakeClient, address: str) -> None:
    client.publish(b"reply", address)
    assert not client.received()
    client.publish(b"reply", address, mandatory=True)
    client.expect_content(Basic.Return)


# --- the consumer -----------------------------------------------------------------------------


def test_replies_cannot_be_acknowledged(client: FakeClient) -> None:
    client.send(Basic.Consume(queue=REPLY_TO, consumer_tag="c"))
    client.expect_channel_closed(
        406, "PRECONDITION_FAILED - reply consumer cannot acknowledge", CONSUME
    )


def test_a_channel_has_one_consumer_of_replies(requester: FakeClient) -> None:
    requester.open_channel(2)
    requester.consume(REPLY_TO, "replies", channel=2, no_ack=True)
    requester.send(Basic.Consume(queue=REPLY_TO, consumer_tag="more", no_ack=True))
    requester.expect_channel_closed(
        406, "PRECONDITION_FAILED - reply consumer already set", CONSUME
    )


def test_a_consumer_of_replies_may_have_no_tag_and_need_no_answer(client: FakeClient) -> None:
    tag = client.consume(REPLY_TO, "", no_ack=True)
    assert re.fullmatch(r"amq\.ctag-[\w-]{22}", tag)
    client.open_channel(2)
    client.send(
        Basic.Consume(queue=REPLY_TO, consumer_tag="c", no_ack=True, nowait=True), channel=2
    )
    assert not client.received()


def test_after_cancel_there_is_another_address(requester: FakeClient, other: FakeClient) -> None:
    old = request(requester, other)
    requester.request(Basic.Cancel("replies"), Basic.CancelOk)
    other.publish(b"late", old, mandatory=True)
    other.expect_content(Basic.Return)
    requester.consume(REPLY_TO, "replies", no_ack=True)
    other.publish(b"late", old, mandatory=True)
    other.expect_content(Basic.Return)
    assert request(requester, other) != old


@pytest.mark.parametrize("end", ["cancel", "channel", "connection"])
def test_nothing_is_left_of_a_consumer_of_replies(
    requester: FakeClient, other: FakeClient, end: str
) -> None:
    match end:
        case "cancel":
            requester.send(Basic.Cancel("replies"))
        case "channel":
            requester.send(Channel.Close(200, "", 0, 0))
        case _:
            requester.disconnect()
    assert not other.connection.vhost.reply_queues


@pytest.mark.parametrize("number", [1, 2])
def test_a_request_needs_a_consumer_of_replies_on_its_channel(
    requester: FakeClient, number: int
) -> None:
    requester.open_channel(2)
    requester.request(Basic.Cancel("replies"), Basic.CancelOk)
    requester.consume(REPLY_TO, "replies", channel=3 - number, no_ack=True)
    requester.publish(b"", "q", reply_to=REPLY_TO, channel=number)
    requester.expect_channel_closed(
        406, "PRECONDITION_FAILED - fast reply consumer does not exist", PUBLISH, channel=number
    )


def test_replies_come_while_prefetch_is_used_up(requester: FakeClient, other: FakeClient) -> None:
    address = request(requester, other)
    requester.request(Basic.Qos(prefetch_count=1, global_=True), Basic.QosOk)
    requester.feed(message(b"", "q") * 2 + encoded(Basic.Consume(queue="q", consumer_tag="c")))
    requester.received()
    other.publish(b"reply", address)
    assert requester.bodies() == [b"reply"]


# --- asking whether somebody waits ------------------------------------------------------------


@pytest.mark.parametrize("passive", [False, True])
def test_an_address_can_be_declared_while_somebody_waits(
    requester: FakeClient, other: FakeClient, passive: bool
) -> None:
    address = request(requester, other)
    declared = other.declare(address, passive=passive)
    assert (declared.queue, declared.message_count, declared.consumer_count) == (address, 0, 1)
    requester.request(Basic.Cancel("replies"), Basic.CancelOk)
    other.send(Queue.Declare(queue=address, passive=passive))
    other.expect_channel_closed(404, f"NOT_FOUND - no queue '{address}' in vhost '/'", DECLARE)


@pytest.mark.parametrize("passive", [False, True])
def test_the_plain_name_can_always_be_declared(client: FakeClient, passive: bool) -> None:
    declared = client.declare(REPLY_TO, passive=passive)
    assert (declared.message_count, declared.consumer_count) == (0, 1)
    client.send(Queue.Declare(queue=REPLY_TO, passive=passive, nowait=True))
    assert not client.received()


@pytest.mark.parametrize("name", [REPLY_TO, REPLY_TO + ".x"])
@pytest.mark.parametrize("what", ["get", "purge", "bind"])
def test_it_is_no_queue_otherwise(client: FakeClient, name: str, what: str) -> None:
    calls: dict[str, tuple[Frame, tuple[int, int]]] = {
        "get": (Basic.Get(queue=name), (60, 70)),
        "purge": (Queue.Purge(queue=name), (50, 30)),
        "bind": (Queue.Bind(queue=name, exchange="amq.direct", routing_key="k"), (50, 20)),
    }
    call, at = calls[what]
    client.send(call)
    client.expect_channel_closed(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", at)


def test_an_address_cannot_be_deleted(requester: FakeClient, other: FakeClient) -> None:
    address = request(requester, other)
    assert other.request(Queue.Delete(queue=address), Queue.DeleteOk).message_count == 0
    other.publish(b"reply", address)
    assert requester.bodies() == [b"reply"]

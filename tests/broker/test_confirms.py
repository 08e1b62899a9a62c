import pytest
from pamqp.commands import Basic, Channel, Confirm, Tx

from fake_client import FakeClient, Received, encoded, message


@pytest.fixture
def confirming(client: FakeClient) -> FakeClient:
    """A client with channel 1 in confirm mode, and a queue q."""
    client.declare("q")
    client.request(Confirm.Select(), Confirm.SelectOk)
    return client


def confirmed(client: FakeClient) -> list[tuple[int | None, bool]]:
    """What has been acknowledged: tags, and whether all up to them are meant."""
    return [confirm(each) for each in client.received()]


def confirm(received: Received) -> tuple[int | None, bool]:
    """The tag of an ack or nack, and whether all up to it are meant."""
    return received.call.delivery_tag, received.call.multiple


def test_publishes_are_counted_from_select_on(client: FakeClient) -> None:
    client.declare("q")
    client.publish(b"before", "q")
    assert not client.received()
    client.request(Confirm.Select(), Confirm.SelectOk)
    client.publish(b"a", "q")
    assert confirmed(client) == [(1, False)]
    client.request(Confirm.Select(), Confirm.SelectOk)
    client.publish(b"b", "q")
    assert confirmed(client) == [(2, False)]


def test_select_may_need_no_answer(client: FakeClient) -> None:
    client.send(Confirm.Select(nowait=True))
    client.publish(b"a", "nowhere")
    assert confirmed(client) == [(1, False)]


def test_one_ack_confirms_all_of_a_turn(confirming: FakeClient) -> None:
    confirming.feed(message(b"a", "q") * 3)
    assert confirmed(confirming) == [(3, True)]
    confirming.feed(message(b"a", "q") + message(b"b", "nowhere") + message(b"c" * 200_000, "q"))
    assert confirmed(confirming) == [(6, True)]
    confirming.feed(message(b"a", "q"))
    assert confirmed(confirming) == [(7, False)]


def test_a_message_without_a_queue_is_confirmed(confirming: FakeClient) -> None:
    for exchange in ("", "amq.direct", "amq.headers"):
        confirming.publish(b"a", "nowhere", exchange=exchange)
    assert confirmed(confirming) == [(1, False), (2, False), (3, False)]


def test_a_returned_message_comes_before_its_ack(confirming: FakeClient) -> None:
    confirming.feed(message(b"a", "q") + message(b"b", "nowhere", mandatory=True))
    assert confirming.expect_content(Basic.Return).body == b"b"
    assert confirmed(confirming) == [(2, True)]


def test_a_delivered_message_is_confirmed_too(confirming: FakeClient) -> None:
    confirming.consume("q")
    confirming.publish(b"a", "q")
    kinds = {type(each.call) for each in confirming.received()}
    assert kinds == {Basic.Ack, Basic.Deliver}


def test_every_channel_counts_for_itself(confirming: FakeClient) -> None:
    confirming.open_channel(2)
    confirming.request(Confirm.Select(), Confirm.SelectOk, channel=2)
    confirming.open_channel(3)
    confirming.feed(
        message(b"a", "q")
        + message(b"b", "q", channel=2)
        + message(b"c", "q", channel=3)
        + message(b"d", "q")
    )
    assert confirming.expect(Basic.Ack, 1).delivery_tag == 2
    assert confirming.expect(Basic.Ack, 2).delivery_tag == 1
    assert not confirming.received()


def test_a_bad_publish_and_those_after_it_are_not_confirmed(confirming: FakeClient) -> None:
    confirming.feed(message(b"a", "q") + message(b"b", "q", exchange="nope") + message(b"c", "q"))
    assert confirming.expect(Basic.Ack).delivery_tag == 1
    close = confirming.expect(Channel.Close)
    assert close.reply_code == 404
    assert not confirming.received()


def test_a_message_with_bad_properties_is_not_confirmed(confirming: FakeClient) -> None:
    confirming.feed(message(b"a", "q") + message(b"b", "q", user_id="other") + message(b"c", "q"))
    assert confirming.expect(Basic.Ack).delivery_tag == 1
    confirming.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'",
        (60, 40),
    )


def test_what_is_done_is_confirmed_before_the_channel_closes(confirming: FakeClient) -> None:
    confirming.feed(message(b"a", "q") * 2 + encoded(Channel.Close(200, "", 0, 0)))
    assert confirming.expect(Basic.Ack).delivery_tag == 2
    confirming.expect(Channel.CloseOk)
    confirming.open_channel(1)
    confirming.publish(b"c", "q")
    assert not confirming.received()


def test_what_was_refused_is_told_apart_from_what_was_not(confirming: FakeClient) -> None:
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    confirming.declare("full", arguments=full)
    good, bad = message(b"a", "q"), message(b"b", "full")
    confirming.feed(good + good + bad + bad + good + bad + good + good)
    received = [(type(each.call), *confirm(each)) for each in confirming.received()]
    assert received == [
        (Basic.Ack, 2, True),
        (Basic.Nack, 3, False),
        (Basic.Nack, 4, False),
        (Basic.Ack, 5, False),
        (Basic.Nack, 6, False),
        (Basic.Ack, 8, True),
    ]


def test_a_channel_that_confirms_cannot_become_transactional(confirming: FakeClient) -> None:
    confirming.send(Tx.Select())
    confirming.expect_channel_closed(
        406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", (90, 10)
    )


def test_a_transactional_channel_cannot_confirm(client: FakeClient) -> None:
    client.request(Tx.Select(), Tx.SelectOk)
    client.send(Confirm.Select())
    client.expect_channel_closed(
        406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", (85, 10)
    )

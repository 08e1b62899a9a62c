"""What comes back to a quorum queue: its place, its count, and the limit of that."""

import pytest
from pamqp.commands import Basic

from durable_server import DurableServer
from fake_client import FakeClient, FakeServer
from leveret.broker.configuration import Configuration
from leveret.broker.rules import EmulatedVersion
from quorum import bodies, count_of, declare, hand_back, returned, tag_of


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

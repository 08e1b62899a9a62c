"""pika's BlockingConnection and a broker that is killed or stopped, and started again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pika
import pytest
from leveret_process import LeveretProcess
from pika.adapters.blocking_connection import BlockingChannel
from restarting import needs_leveret, own_broker, restart

__all__ = ["own_broker", "restart"]  # fixtures

pytestmark = needs_leveret

PERSISTENT = pika.BasicProperties(delivery_mode=2)
TRANSIENT = pika.BasicProperties(delivery_mode=1)


@contextmanager
def channel_to(broker: LeveretProcess) -> Iterator[BlockingChannel]:
    """A confirming channel; the broker may be gone at the end."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    connection.close()


@contextmanager
def channel_until_the_end(broker: LeveretProcess) -> Iterator[BlockingChannel]:
    """The same for a connection that ends with the broker."""
    with pytest.raises((pika.exceptions.AMQPError, OSError)), channel_to(broker) as channel:
        yield channel


def bodies_in(channel: BlockingChannel, queue: str) -> list[tuple[bytes, bool]]:
    """All messages of a queue and whether they are flagged redelivered; they stay unsettled."""
    found = []
    while (got := channel.basic_get(queue))[0] is not None:
        found.append((got[2], got[0].redelivered))
    return found


def test_what_is_durable_and_confirmed_is_there_after_a_restart(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    with channel_until_the_end(own_broker) as channel:
        channel.exchange_declare("orders", "topic", durable=True)
        channel.queue_declare("all", durable=True)
        channel.queue_bind("all", "orders", "#")
        for number in range(100):
            channel.basic_publish("orders", f"a.{number}", str(number), PERSISTENT, mandatory=True)
        restart()
    with channel_to(own_broker) as channel:
        channel.exchange_declare("orders", passive=True)
        assert channel.queue_declare("all", passive=True).method.message_count == 100
        assert [int(body) for body, _ in bodies_in(channel, "all")] == list(range(100))
        channel.basic_publish("orders", "a.b", b"routed", PERSISTENT, mandatory=True)


def test_what_is_transient_is_gone_after_a_restart(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    with channel_until_the_end(own_broker) as channel:
        channel.queue_declare("durable", durable=True)
        channel.queue_declare("transient")
        channel.basic_publish("", "durable", b"transient", TRANSIENT)
        channel.basic_publish("", "durable", b"persistent", PERSISTENT)
        channel.basic_publish("", "transient", b"persistent", PERSISTENT)
        restart()
    with channel_to(own_broker) as channel:
        assert [body for body, _ in bodies_in(channel, "durable")] == [b"persistent"]
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
            channel.queue_declare("transient", passive=True)
        assert closed.value.reply_code == 404


def test_what_was_acknowledged_stays_away_and_what_was_delivered_is_flagged(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    with channel_until_the_end(own_broker) as channel:
        channel.queue_declare("q", durable=True)
        for body in (b"settled", b"delivered"):
            channel.basic_publish("", "q", body, PERSISTENT)
        settled, _, _ = channel.basic_get("q")
        channel.basic_get("q")
        channel.basic_ack(settled.delivery_tag)
        # Confirmed, and therefore on disk with all that came before it.
        channel.basic_publish("", "q", b"last", PERSISTENT)
        restart()
    with channel_to(own_broker) as channel:
        (delivered, flag), (last, _) = bodies_in(channel, "q")
        assert (delivered, flag, last) == (b"delivered", True, b"last")


def test_deleted_queues_and_bindings_stay_deleted(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    with channel_until_the_end(own_broker) as channel:
        for queue in ("kept", "deleted"):
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, "amq.fanout")
        channel.queue_bind("kept", "amq.direct", "key")
        channel.queue_unbind("kept", "amq.fanout")
        channel.queue_delete("deleted")
        # Deletions do not wait for the disk, but what is confirmed after them does.
        channel.basic_publish("amq.direct", "key", b"", PERSISTENT, mandatory=True)
        restart()
    with channel_to(own_broker) as channel:
        with pytest.raises(pika.exceptions.UnroutableError):
            channel.basic_publish("amq.fanout", "", b"", PERSISTENT, mandatory=True)
        channel.basic_publish("amq.direct", "key", b"", PERSISTENT, mandatory=True)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            channel.queue_declare("deleted", passive=True)


def test_a_committed_transaction_is_there_whole_and_an_open_one_not_at_all(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    connection = pika.BlockingConnection(pika.URLParameters(own_broker.url))
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.tx_select()
    for body in (b"1", b"2"):
        channel.basic_publish("", "q", body, PERSISTENT)
    channel.tx_commit()
    channel.basic_publish("", "q", b"3", PERSISTENT)
    restart()
    with pytest.raises((pika.exceptions.AMQPError, OSError)):
        connection.process_data_events(time_limit=5)
    with channel_to(own_broker) as channel:
        assert [body for body, _ in bodies_in(channel, "q")] == [b"1", b"2"]


def test_offsets_of_a_stream_are_the_same_after_a_restart(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    arguments = {
        "x-queue-type": "stream",
        "x-max-length-bytes": 20_000,
        "x-stream-max-segment-size-bytes": 5_000,
    }

    def offsets(channel: BlockingChannel) -> list[tuple[int, int]]:
        channel.basic_qos(prefetch_count=2000)
        found = []
        consuming = channel.consume(
            "log", arguments={"x-stream-offset": "first"}, inactivity_timeout=1
        )
        for method, properties, body in consuming:
            if method is None:
                break
            found.append((properties.headers["x-stream-offset"], int(body)))
        channel.cancel()
        return found

    with channel_until_the_end(own_broker) as channel:
        channel.queue_declare("log", durable=True, arguments=arguments)
        in_bulk = channel.connection.channel()
        for number in range(999):
            in_bulk.basic_publish("", "log", str(number), TRANSIENT)
        channel.basic_publish("", "log", "999", TRANSIENT)
        before = offsets(channel)
        restart()
    assert 0 < before[0][0] < 1000
    assert before == [(number, number) for number in range(before[0][0], 1000)]
    with channel_to(own_broker) as channel:
        assert offsets(channel) == before
        channel.basic_publish("", "log", b"1000", TRANSIENT)
        assert offsets(channel)[-1] == (1000, 1000)


def test_what_has_expired_meanwhile_is_a_dead_letter_after_a_restart(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    with channel_until_the_end(own_broker) as channel:
        letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        channel.queue_declare("dead", durable=True)
        channel.queue_declare("q", durable=True, arguments=letters | {"x-message-ttl": 60_000})
        channel.basic_publish("", "q", b"stays", PERSISTENT)
        channel.queue_declare("brief", durable=True, arguments=letters | {"x-message-ttl": 100})
        channel.basic_publish("", "brief", b"expired", PERSISTENT)
        restart()
    with channel_to(own_broker) as channel:
        method, properties, body = next(channel.consume("dead", inactivity_timeout=5))
        assert (body, properties.headers["x-death"][0]["reason"]) == (b"expired", "expired")
        channel.basic_ack(method.delivery_tag)
        assert [body for body, _ in bodies_in(channel, "q")] == [b"stays"]


def test_what_is_out_with_a_consumer_of_a_quorum_queue_comes_back_with_its_count(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    with channel_until_the_end(own_broker) as channel:
        channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", "q", b"x", TRANSIENT)
        channel.basic_reject(channel.basic_get("q")[0].delivery_tag, requeue=True)
        channel.basic_get("q")
        channel.queue_declare("other", durable=True)
        channel.basic_publish("", "other", b"on disk, and so all before it", PERSISTENT)
        restart()
    with channel_to(own_broker) as channel:
        method, properties, body = channel.basic_get("q")
        assert (method.redelivered, body) == (True, b"x")
        assert properties.headers["x-delivery-count"] >= 1  # the return; not what was out besides


@pytest.mark.parametrize(
    ("limit", "order"), [(9, ["3", "1", "2", "4", "5"]), (-1, ["4", "3", "1", "2", "5"])]
)
def test_what_came_back_to_a_quorum_queue_stands_in_its_place_after_a_restart(
    own_broker: LeveretProcess, restart: Callable[[], None], limit: int, order: list[str]
):
    with channel_until_the_end(own_broker) as channel:
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": limit}
        channel.queue_declare("q", durable=True, arguments=arguments)
        for number in range(1, 5):
            channel.basic_publish("", "q", str(number), TRANSIENT)
        first, second, third = (channel.basic_get("q")[0].delivery_tag for _ in range(3))
        for tag in (third, first, second):
            channel.basic_nack(tag, requeue=True)
        channel.basic_publish("", "q", "5", TRANSIENT)
        channel.queue_declare("other", durable=True)
        channel.basic_publish("", "other", b"on disk, and so all before it", PERSISTENT)
        restart()
    with channel_to(own_broker) as channel:
        assert [channel.basic_get("q")[2].decode() for _ in range(5)] == order


def test_duplicates_are_known_after_a_restart(
    own_broker: LeveretProcess, restart: Callable[[], None]
):
    def publish(channel: BlockingChannel, exchange: str, key: str, value: str) -> None:
        headers = {"x-deduplication-header": value}
        properties = pika.BasicProperties(delivery_mode=2, headers=headers)
        channel.basic_publish(exchange, key, value, properties)

    kind = "x-message-deduplication"
    with channel_until_the_end(own_broker) as channel:
        arguments = {"x-cache-size": 10, "x-cache-persistence": "disk"}
        channel.exchange_declare("once", kind, durable=True, arguments=arguments)
        channel.queue_declare("plain", durable=True)
        channel.queue_declare("deduplicating", durable=True, arguments={kind: True})
        channel.queue_bind("plain", "once")
        publish(channel, "once", "", "a")
        publish(channel, "", "deduplicating", "a")
        restart()
    with channel_to(own_broker) as channel:
        for value in ("a", "b"):
            publish(channel, "once", "", value)
        assert [body for body, _ in bodies_in(channel, "plain")] == [b"a", b"b"]
        with pytest.raises(pika.exceptions.NackError):
            publish(channel, "", "deduplicating", "a")
        assert [body for body, _ in bodies_in(channel, "deduplicating")] == [b"a"]

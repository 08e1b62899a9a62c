"""kombu over py-amqp: entities, producers, consumers, retries, serializers, as Celery uses them."""

import time
from collections.abc import Callable

import amqp
import kombu
import pytest
from kombu.common import eventloop
from kombu.exceptions import OperationalError
from kombu.mixins import ConsumerMixin
from kombu.pools import producers
from kombu.transport import native_delayed_delivery

DEADLINE_S = 10


@pytest.fixture
def connection(broker):
    with kombu.Connection(broker.url, connect_timeout=DEADLINE_S) as connection:
        yield connection


@pytest.fixture
def channel(connection):
    return connection.channel()


@pytest.fixture
def queue(channel, unique):
    """A queue bound to an exchange of its own, both declared."""
    exchange = kombu.Exchange(unique("exchange"), "direct", durable=False, auto_delete=True)
    queue = kombu.Queue(unique("queue"), exchange, routing_key="key", exclusive=True)
    bound = queue(channel)
    bound.declare()
    return bound


@pytest.fixture
def producer(channel, queue):
    return kombu.Producer(channel, exchange=queue.exchange, routing_key="key")


def test_connection_opens_and_closes(broker):
    connection = kombu.Connection(broker.url)
    connection.connect()
    assert connection.connected
    connection.release()
    assert not connection.connected


def test_wrong_password_is_refused(broker):
    url = f"amqp://{broker.user}:wrong@{broker.host}:{broker.port}//"
    with pytest.raises(amqp.AccessRefused, match="ACCESS_REFUSED - Login was refused"):
        kombu.Connection(url).connect()


def test_prefetch_can_be_changed_while_consuming(connection):
    # False is kombu's word for RabbitMQ's meaning of a global qos, which Celery needs.
    connection.connect()
    assert connection.transport.qos_semantics_matches_spec(connection.connection) is False


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_message_is_serialized_and_read_back(channel, queue, producer, serializer):
    sent = {"number": 1, "text": "grüße", "list": [1, 2, {"three": None}]}
    producer.publish(sent, serializer=serializer, headers={"kept": [1, "two"]})
    message = queue.get(accept=[serializer])
    assert message.payload == sent
    assert message.headers == {"kept": [1, "two"]}
    message.ack()


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma"])
def test_message_is_compressed_and_read_back(queue, producer, compression):
    producer.publish("x" * 100_000, compression=compression)
    message = queue.get()
    assert message.payload == "x" * 100_000
    message.ack()


def test_consumer_acks_rejects_and_requeues(connection, channel, queue, producer):
    received = []

    def on_message(body, message):
        received.append((body, message.delivery_info["redelivered"]))
        if body == "reject":
            message.reject()
        elif body == "requeue" and not message.delivery_info["redelivered"]:
            message.requeue()
        else:
            message.ack()

    with kombu.Consumer(channel, queue, callbacks=[on_message], prefetch_count=1):
        for body in ("ack", "reject", "requeue", "last"):
            producer.publish(body)
        while len(received) < 5:
            connection.drain_events(timeout=DEADLINE_S)
        assert queue.get() is None
    assert received == [
        ("ack", False),
        ("reject", False),
        ("requeue", False),
        ("requeue", True),
        ("last", False),
    ]


def test_prefetch_is_raised_for_a_running_consumer(connection, channel, queue, producer):
    received = []
    consumer = kombu.Consumer(channel, queue, on_message=received.append)
    consumer.qos(prefetch_count=1, apply_global=True)
    for number in range(3):
        producer.publish(number)
    with consumer:
        connection.drain_events(timeout=DEADLINE_S)
        assert queue.queue_declare(passive=True).message_count == 2
        consumer.qos(prefetch_count=2, apply_global=True)
        while len(received) < 2:
            connection.drain_events(timeout=DEADLINE_S)
        assert queue.queue_declare(passive=True).message_count == 1
    assert [message.payload for message in received] == [0, 1]


def test_topic_fanout_and_headers_exchanges_route(channel, unique):
    received = []
    for kind, binding, publish in (
        ("topic", {"routing_key": "a.#"}, {"routing_key": "a.b"}),
        ("fanout", {}, {"routing_key": "whatever"}),
        ("headers", {"binding_arguments": {"x-match": "all", "n": 1}}, {"headers": {"n": 1}}),
    ):
        exchange = kombu.Exchange(unique(kind), kind, durable=False, auto_delete=True)
        queue = kombu.Queue(unique("queue"), exchange, exclusive=True, **binding)(channel)
        queue.declare()
        kombu.Producer(channel, exchange).publish(kind, **publish)
        received.append(queue.get(no_ack=True).payload)
    assert received == ["topic", "fanout", "headers"]


def test_queue_can_be_bound_several_times(channel, unique):
    exchange = kombu.Exchange(unique("exchange"), "direct", durable=False, auto_delete=True)
    bindings = [kombu.binding(exchange, routing_key=key) for key in ("one", "two")]
    queue = kombu.Queue(unique("queue"), bindings=bindings, exclusive=True)(channel)
    queue.declare()
    producer = kombu.Producer(channel, exchange)
    for key in ("one", "two", "three"):
        producer.publish(key, routing_key=key)
    assert [queue.get(no_ack=True).payload for _ in range(2)] == ["one", "two"]
    assert queue.get() is None


def test_exchange_is_bound_to_another(channel, queue, unique):
    source = kombu.Exchange(unique("source"), "topic", durable=False, auto_delete=True)
    source(channel).declare()
    queue.exchange.bind_to(source.name, routing_key="#")
    kombu.Producer(channel, source).publish("through both", routing_key="key")
    assert queue.get(no_ack=True).payload == "through both"


def test_unroutable_mandatory_message_is_returned(connection, channel, unique):
    returned = []
    producer = kombu.Producer(channel, on_return=lambda *args: returned.append(args))
    producer.publish("body", routing_key=unique("nowhere"), mandatory=True)
    while not returned:
        connection.drain_events(timeout=DEADLINE_S)
    error, exchange, _, message = returned[0]
    assert (error.reply_code, exchange, message.body) == (312, "", "body")


def test_confirmed_publish_returns_after_the_ack(broker, unique):
    options = {"confirm_publish": True}
    with kombu.Connection(broker.url, transport_options=options) as connection:
        channel = connection.channel()
        queue = kombu.Queue(unique("queue"), exclusive=True)(channel)
        queue.declare()
        kombu.Producer(channel).publish("body", routing_key=queue.name)
        assert queue.queue_declare(passive=True).message_count == 1


def test_simple_queue_puts_and_gets(connection, unique):
    options = {"durable": False, "auto_delete": False}
    with connection.SimpleQueue(
        unique("simple"), queue_opts=options, exchange_opts=options
    ) as simple:
        simple.put({"number": 1})
        simple.put({"number": 2})
        assert simple.get(timeout=DEADLINE_S).payload == {"number": 1}
        message = simple.get(timeout=DEADLINE_S)
        message.requeue()
        message = simple.get(timeout=DEADLINE_S)
        assert message.payload == {"number": 2}
        message.ack()
        with pytest.raises(simple.Empty):
            simple.get_nowait()
        assert simple.clear() == 0


def test_event_loop_hands_messages_to_several_consumers(connection, unique):
    received = {"first": [], "second": []}
    queues = {word: kombu.Queue(unique(word), durable=False) for word in received}
    consumers = [
        connection.Consumer(
            queue, callbacks=[lambda body, message, word=word: received[word].append(body)]
        )
        for word, queue in queues.items()
    ]
    with consumers[0], consumers[1]:
        producer = connection.Producer()
        for word, queue in queues.items():
            producer.publish(word, routing_key=queue.name)
        for _ in eventloop(connection, timeout=DEADLINE_S):
            if received["first"] and received["second"]:
                break
    assert received == {"first": ["first"], "second": ["second"]}


def test_purge_and_delete(queue, producer):
    for number in range(3):
        producer.publish(number)
    assert queue.purge() == 3
    queue.delete()
    with pytest.raises(queue.channel.connection.channel_errors) as error:
        queue.queue_declare(passive=True)
    assert error.value.reply_code == 404


def test_pooled_producer_publishes_again_after_the_connection_was_cut(proxy, proxy_url, unique):
    queue = kombu.Queue(unique("queue"), durable=False)
    policy = {"max_retries": 10, "interval_start": 0.05, "interval_step": 0.1}
    # Without confirms, a message sent just before the cut would be lost.
    options = {"confirm_publish": True}
    with kombu.Connection(proxy_url, transport_options=options) as connection:
        for body in ("before", "after"):
            with producers[connection].acquire(block=True) as producer:
                producer.publish(
                    body,
                    routing_key=queue.name,
                    declare=[queue],
                    retry=True,
                    retry_policy=policy,
                )
            proxy.cut()
        connection.ensure_connection(max_retries=3)
        received = [queue(connection.channel()).get(no_ack=True).payload for _ in range(2)]
    producers[connection].force_close_all()
    assert received == ["before", "after"]


def test_refused_connection_gives_up_after_the_retries(proxy, proxy_url):
    proxy.refuse()
    with pytest.raises(OperationalError):
        kombu.Connection(proxy_url).ensure_connection(
            max_retries=2, interval_start=0.05, interval_step=0.05
        )
    assert proxy.connections_accepted == 3


class Worker(ConsumerMixin):
    """Notes what it receives, and asks `on_received` whether to stop."""

    connect_max_retries = 10

    def __init__(self, connection: kombu.Connection, queue: kombu.Queue) -> None:
        self.connection = connection
        self.queue = queue
        self.received: list[str] = []
        self.on_received: Callable[[str], None] = lambda body: None

    def get_consumers(self, consumer_class, channel):
        return [consumer_class([self.queue], callbacks=[self.on_message])]

    def on_message(self, body, message):
        self.received.append(body)
        message.ack()
        self.on_received(body)


def test_worker_consumes_on_after_its_connection_was_cut(
    connection, channel, proxy, proxy_url, unique
):
    queue = kombu.Queue(unique("queue"), durable=False)
    queue(channel).declare()
    producer = kombu.Producer(channel, routing_key=queue.name)

    def cut_then_stop(body):
        if worker.received == ["before"]:
            proxy.cut()
            producer.publish("after")
        worker.should_stop = body == "after"

    with kombu.Connection(proxy_url) as worker_connection:
        worker = Worker(worker_connection, queue)
        worker.on_received = cut_then_stop
        producer.publish("before")
        worker.run()
    # The ack of the first may be lost with its connection: then it comes twice.
    assert list(dict.fromkeys(worker.received)) == ["before", "after"]
    assert proxy.connections_accepted == 2


@pytest.fixture
def delaying(connection, janitor, unique):
    """The prefix of exchanges and queues that delay messages by powers of two in seconds."""
    prefix = unique("delay")
    native_delayed_delivery.declare_native_delayed_delivery_exchanges_and_queues(
        connection, "classic", prefix
    )
    yield prefix
    names = [f"{prefix}_celery_delayed_{level}" for level in range(28)]
    channel = janitor.channel()
    for name in names:
        channel.queue_delete(name)
    for name in [*names, f"{prefix}_celery_delayed_delivery"]:
        channel.exchange_delete(name)
    channel.close()


def test_message_is_delayed_by_dead_letters(connection, channel, delaying, unique):
    exchange = kombu.Exchange(unique("exchange"), "topic", durable=False, auto_delete=True)
    queue = kombu.Queue(unique("queue"), exchange, routing_key="key", exclusive=True)(channel)
    queue.declare()
    native_delayed_delivery.bind_queue_to_native_delayed_delivery_exchange(
        connection, queue, delaying
    )
    before = time.monotonic()
    key = native_delayed_delivery.calculate_routing_key(3, "key")  # two levels: 2 s and 1 s
    kombu.Producer(channel).publish(
        "late", exchange=f"{delaying}_celery_delayed_27", routing_key=key
    )
    while (message := queue.get(no_ack=True)) is None:
        assert time.monotonic() - before < DEADLINE_S
        time.sleep(0.05)
    assert message.payload == "late"
    assert time.monotonic() - before >= 2.9
    deaths = message.headers["x-death"]
    assert [death["queue"][-2:] for death in deaths] == ["_0", "_1"]
    assert {death["reason"] for death in deaths} == {"expired"}

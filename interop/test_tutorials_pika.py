"""The patterns of RabbitMQ's tutorials with pika, every program on a connection of its own."""

import threading
from itertools import islice

import pika
import pytest

DEADLINE_S = 10


@pytest.fixture
def program(broker):
    """Opens the channel of one more program; their connections are closed at the end."""
    connections = []

    def start():
        connections.append(pika.BlockingConnection(pika.URLParameters(broker.url)))
        return connections[-1].channel()

    yield start
    for connection in connections:
        if connection.is_open:
            connection.close()


def test_hello_world(program, unique):
    queue = unique("hello")
    sender, receiver = program(), program()
    sender.queue_declare(queue=queue)
    sender.basic_publish(exchange="", routing_key=queue, body="Hello World!")

    receiver.queue_declare(queue=queue)
    received = []

    def callback(channel, method, properties, body):
        received.append(body)
        channel.stop_consuming()

    receiver.basic_consume(queue=queue, auto_ack=True, on_message_callback=callback)
    receiver.connection.call_later(DEADLINE_S, receiver.stop_consuming)
    receiver.start_consuming()
    assert received == [b"Hello World!"]


def test_work_queue_shares_tasks_and_survives_a_dying_worker(program, unique):
    queue = unique("task_queue")
    boss, dying, living = program(), program(), program()
    boss.queue_declare(queue=queue, durable=True)
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    for number in range(4):
        boss.basic_publish("", queue, f"task {number}", persistent)

    for worker in (dying, living):
        worker.queue_declare(queue=queue, durable=True)
        worker.basic_qos(prefetch_count=1)
    [(_, _, unfinished)] = islice(dying.consume(queue, inactivity_timeout=DEADLINE_S), 1)
    done = []
    for method, _, body in living.consume(queue, inactivity_timeout=DEADLINE_S):
        done.append((body, method.redelivered))
        if len(done) == 3:
            dying.connection.close()
        living.basic_ack(method.delivery_tag)
        if len(done) == 4:
            break
    assert unfinished == b"task 0"
    assert done == [
        (b"task 1", False),
        (b"task 2", False),
        (b"task 3", False),
        (b"task 0", True),
    ]


def test_publish_subscribe_gives_every_listener_a_copy(program, unique):
    exchange = unique("logs")
    publisher = program()
    publisher.exchange_declare(exchange, "fanout")
    publisher.basic_publish(exchange, "", "nobody listens yet")
    publisher.exchange_declare(exchange, "fanout")

    listeners = []
    for _ in range(2):
        listener = program()
        listener.exchange_declare(exchange, "fanout")
        queue = listener.queue_declare(queue="", exclusive=True).method.queue
        listener.queue_bind(queue, exchange)
        listeners.append((listener, queue))
    publisher.basic_publish(exchange, "", "info: Hello World!")
    for listener, queue in listeners:
        consumer = listener.consume(queue, auto_ack=True, inactivity_timeout=DEADLINE_S)
        [(_, _, body)] = islice(consumer, 1)
        assert body == b"info: Hello World!"


def test_routing_selects_by_severity(program, unique):
    exchange = unique("direct_logs")
    publisher, errors_only, everything = program(), program(), program()
    queues = {}
    for listener, severities in (
        (errors_only, ["error"]),
        (everything, ["info", "warning", "error"]),
    ):
        listener.exchange_declare(exchange, "direct")
        queues[listener] = listener.queue_declare(queue="", exclusive=True).method.queue
        for severity in severities:
            listener.queue_bind(queues[listener], exchange, routing_key=severity)
    for severity in ("info", "debug", "error", "warning"):
        publisher.basic_publish(exchange, severity, f"a {severity}")

    received = []
    for listener, count in ((errors_only, 1), (everything, 3)):
        consumer = listener.consume(queues[listener], auto_ack=True, inactivity_timeout=DEADLINE_S)
        received.append([body for _, _, body in islice(consumer, count)])
    assert received == [[b"a error"], [b"a info", b"a error", b"a warning"]]


def test_topics_select_by_pattern(program, unique):
    exchange = unique("topic_logs")
    publisher, listener = program(), program()
    patterns = {
        "#": ["kern.critical", "kern.info", "cron.critical", "auth.login.failed"],
        "kern.*": ["kern.critical", "kern.info"],
        "*.critical": ["kern.critical", "cron.critical"],
        "auth.#": ["auth.login.failed"],
    }
    listener.exchange_declare(exchange, "topic")
    queues = {}
    for pattern in patterns:
        queues[pattern] = listener.queue_declare(queue="", exclusive=True).method.queue
        listener.queue_bind(queues[pattern], exchange, routing_key=pattern)
    for key in patterns["#"]:
        publisher.basic_publish(exchange, key, key)

    for pattern, keys in patterns.items():
        consumer = listener.consume(queues[pattern], auto_ack=True, inactivity_timeout=DEADLINE_S)
        assert [method.routing_key for method, _, _ in islice(consumer, len(keys))] == keys
        listener.cancel()


def test_rpc_calls_a_function_in_another_program(program, unique):
    queue = unique("rpc_queue")
    server, client = program(), program()

    def fibonacci(number):
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    def on_request(channel, method, properties, body):
        channel.basic_publish(
            "",
            properties.reply_to,
            str(fibonacci(int(body))),
            pika.BasicProperties(correlation_id=properties.correlation_id),
        )
        channel.basic_ack(method.delivery_tag)

    server.queue_declare(queue=queue)
    server.basic_qos(prefetch_count=1)
    server.basic_consume(queue, on_request)
    serving = threading.Thread(target=server.start_consuming)
    serving.start()

    callback_queue = client.queue_declare(queue="", exclusive=True).method.queue
    replies = client.consume(callback_queue, auto_ack=True, inactivity_timeout=DEADLINE_S)
    answers = {}
    for number in (1, 10, 20):
        request = pika.BasicProperties(reply_to=callback_queue, correlation_id=f"call {number}")
        client.basic_publish("", queue, str(number), request)
        _, properties, body = next(replies)
        answers[properties.correlation_id] = int(body)
    server.connection.add_callback_threadsafe(server.stop_consuming)
    serving.join(DEADLINE_S)
    assert answers == {"call 1": 1, "call 10": 55, "call 20": 6765}


def test_publisher_confirms(program, unique):
    queue = unique("confirmed")
    publisher, reader = program(), program()
    publisher.queue_declare(queue=queue, durable=True)
    publisher.confirm_delivery()
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    for number in range(100):
        publisher.basic_publish("", queue, str(number), persistent, mandatory=True)
    declared = reader.queue_declare(queue=queue, durable=True, passive=True)
    assert declared.method.message_count == 100
    with pytest.raises(pika.exceptions.UnroutableError):
        publisher.basic_publish("", unique("nowhere"), "lost", persistent, mandatory=True)

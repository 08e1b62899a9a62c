"""The patterns of RabbitMQ's tutorials with aio-pika, every program on a connection of its own."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from aio_pika import DeliveryMode, ExchangeType, Message, connect

DEADLINE_S = 10


@pytest.fixture
async def program(broker):
    """Opens the channel of one more program; their connections are closed at the end."""
    async with AsyncExitStack() as connections:

        async def start(**options):
            connection = await connections.enter_async_context(await connect(broker.url))
            return await connection.channel(**options)

        yield start


@pytest.fixture
def receive():
    """receive(queue, n): the next n messages of a queue, acknowledged one by one."""

    async def receive_some(queue, count):
        messages = []
        async with asyncio.timeout(DEADLINE_S), queue.iterator() as iterator:
            async for message in iterator:
                async with message.process():
                    messages.append(message)
                if len(messages) == count:
                    return messages

    return receive_some


async def test_hello_world(program, unique):
    name = unique("hello")
    sender, receiver = await program(), await program()
    await sender.declare_queue(name)
    await sender.default_exchange.publish(Message(b"Hello World!"), routing_key=name)

    received = asyncio.Queue()
    queue = await receiver.declare_queue(name)
    await queue.consume(received.put, no_ack=True)
    async with asyncio.timeout(DEADLINE_S):
        assert (await received.get()).body == b"Hello World!"


async def test_work_queue_shares_tasks_and_survives_a_dying_worker(program, unique):
    name = unique("task_queue")
    boss, dying, living = await program(), await program(), await program()
    await boss.declare_queue(name, durable=True)
    for number in range(4):
        task = Message(f"task {number}".encode(), delivery_mode=DeliveryMode.PERSISTENT)
        await boss.default_exchange.publish(task, routing_key=name)

    started, done = asyncio.Queue(), []
    for worker in (dying, living):
        await worker.set_qos(prefetch_count=1)
    await (await dying.declare_queue(name, durable=True)).consume(started.put)
    async with asyncio.timeout(DEADLINE_S):
        assert (await started.get()).body == b"task 0"
        queue = await living.declare_queue(name, durable=True)
        async with queue.iterator() as tasks:
            async for task in tasks:
                done.append((task.body, task.redelivered))
                if len(done) == 3:
                    await dying.close()
                await task.ack()
                if len(done) == 4:
                    break
    assert done == [
        (b"task 1", False),
        (b"task 2", False),
        (b"task 3", False),
        (b"task 0", True),
    ]


async def test_publish_subscribe_gives_every_listener_a_copy(program, unique, receive):
    name = unique("logs")
    publisher = await program()
    logs = await publisher.declare_exchange(name, ExchangeType.FANOUT)
    queues = []
    for _ in range(2):
        listener = await program()
        exchange = await listener.declare_exchange(name, ExchangeType.FANOUT)
        queues.append(await listener.declare_queue(exclusive=True))
        await queues[-1].bind(exchange)
    await logs.publish(Message(b"info: Hello World!"), routing_key="")
    for queue in queues:
        assert [message.body for message in await receive(queue, 1)] == [b"info: Hello World!"]


async def test_routing_selects_by_severity(program, unique, receive):
    name = unique("direct_logs")
    publisher, listener = await program(), await program()
    logs = await publisher.declare_exchange(name, ExchangeType.DIRECT)
    received = []
    queues = {}
    for severities in (("error",), ("info", "warning", "error")):
        queues[severities] = await listener.declare_queue(exclusive=True)
        for severity in severities:
            await queues[severities].bind(name, routing_key=severity)
    for severity in ("info", "debug", "error", "warning"):
        await logs.publish(Message(severity.encode()), routing_key=severity, mandatory=False)
    for severities, queue in queues.items():
        received.append([message.body for message in await receive(queue, len(severities))])
    assert received == [[b"error"], [b"info", b"error", b"warning"]]


async def test_topics_select_by_pattern(program, unique, receive):
    name = unique("topic_logs")
    publisher, listener = await program(), await program()
    logs = await publisher.declare_exchange(name, ExchangeType.TOPIC)
    patterns = {
        "#": ["kern.critical", "kern.info", "cron.critical", "auth.login.failed"],
        "kern.*": ["kern.critical", "kern.info"],
        "*.critical": ["kern.critical", "cron.critical"],
        "auth.#": ["auth.login.failed"],
    }
    queues = {}
    for pattern in patterns:
        queues[pattern] = await listener.declare_queue(exclusive=True)
        await queues[pattern].bind(name, routing_key=pattern)
    for key in patterns["#"]:
        await logs.publish(Message(key.encode()), routing_key=key)
    for pattern, keys in patterns.items():
        received = await receive(queues[pattern], len(keys))
        assert [message.routing_key for message in received] == keys


async def test_rpc_calls_a_function_in_another_program(program, unique):
    name = unique("rpc_queue")
    server, client = await program(), await program()

    async def on_request(request):
        async with request.process(requeue=False):
            answer = Message(
                str(int(request.body) ** 2).encode(), correlation_id=request.correlation_id
            )
            await server.default_exchange.publish(answer, routing_key=request.reply_to)

    await (await server.declare_queue(name)).consume(on_request)

    answers = {f"call {number}": asyncio.Future() for number in range(10)}

    async def on_answer(message):
        answers[message.correlation_id].set_result(int(message.body))

    callback_queue = await client.declare_queue(exclusive=True)
    await callback_queue.consume(on_answer, no_ack=True)
    for number, call in enumerate(answers):
        question = Message(str(number).encode(), correlation_id=call, reply_to=callback_queue.name)
        await client.default_exchange.publish(question, routing_key=name)
    async with asyncio.timeout(DEADLINE_S):
        assert await asyncio.gather(*answers.values()) == [n**2 for n in range(10)]


async def test_publisher_confirms_one_by_one_and_in_batches(program, unique):
    name = unique("confirmed")
    publisher, reader = await program(publisher_confirms=True), await program()
    await publisher.declare_queue(name, durable=True)

    def publish(number):
        message = Message(str(number).encode(), delivery_mode=DeliveryMode.PERSISTENT)
        return publisher.default_exchange.publish(message, routing_key=name)

    async with asyncio.timeout(DEADLINE_S):
        for number in range(10):
            await publish(number)
        for batch in range(10, 100, 30):
            await asyncio.gather(*(publish(number) for number in range(batch, batch + 30)))
    queue = await reader.declare_queue(name, durable=True)
    assert queue.declaration_result.message_count == 100

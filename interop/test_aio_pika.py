"""aio-pika over a plain connection (`aio_pika.connect`); test_aio_pika_robust.py has the other."""

import asyncio
import datetime
import decimal

import aio_pika
import aiormq
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.exceptions import (
    AMQPConnectionError,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    QueueEmpty,
)
from aio_pika.patterns import Master

DEADLINE_S = 10


async def acknowledge(message):
    await message.ack()


@pytest.fixture
async def connection(broker):
    async with await aio_pika.connect(broker.url) as connection:
        yield connection


@pytest.fixture
async def channel(connection):
    return await connection.channel()


@pytest.fixture
async def queue(channel, unique):
    return await channel.declare_queue(unique("queue"), exclusive=True)


@pytest.fixture
async def filled_queue(channel, queue):
    """`queue` with five messages in it: b"0" to b"4"."""
    for number in range(5):
        await channel.default_exchange.publish(Message(b"%d" % number), queue.name)
    return queue


async def test_connection_and_channel_open_and_close(broker):
    connection = await aio_pika.connect(broker.url)
    channel = await connection.channel()
    assert not channel.is_closed
    await channel.close()
    assert channel.is_closed
    await connection.close()
    assert connection.is_closed


async def test_wrong_password_is_refused(broker):
    with pytest.raises(AMQPConnectionError, match="ACCESS_REFUSED"):
        await aio_pika.connect(
            host=broker.host, port=broker.port, login=broker.user, password="not the password"
        )


async def test_secret_can_be_updated(broker, connection):
    await connection.update_secret(broker.password, reason="rotated")
    assert not (await connection.channel()).is_closed


async def test_properties_arrive_as_they_were_sent(broker, channel, queue):
    sent = Message(
        b"body",
        headers={
            "yes": True,
            "int": 2**31 - 1,
            "long": 2**40,
            "negative": -5,
            "float": 2.5,
            "decimal": decimal.Decimal("3.14"),
            "text": "grüße, мир",
            "bytes": bytearray(b"\x00\xff\x80"),
            "moment": datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.UTC),
            "nothing": None,
            "list": [1, "two", [3.5], {"four": True}],
            "table": {"inner": {"innermost": ["deep"]}},
        },
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=DeliveryMode.PERSISTENT,
        priority=7,
        correlation_id="correlation",
        reply_to="somewhere",
        message_id="message",
        timestamp=datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.UTC),
        type="type",
        user_id=broker.user,
        app_id="interop",
    )
    await channel.default_exchange.publish(sent, queue.name)
    received = await queue.get()
    expected = sent.info()
    assert received.headers == sent.headers
    assert {name: received.info()[name] for name in expected if expected[name] is not None} == {
        name: value for name, value in expected.items() if value is not None
    }
    await received.ack()


async def test_body_of_8_megabytes_arrives(channel, queue):
    body = bytes(range(256)) * (8 * 4096)
    await channel.default_exchange.publish(Message(body), queue.name)
    received = await queue.get(no_ack=True)
    assert received.body == body


async def test_get_from_an_empty_queue_fails_or_gives_none(queue):
    with pytest.raises(QueueEmpty):
        await queue.get()
    assert await queue.get(fail=False) is None


async def test_iterator_gives_messages_in_order(filled_queue):
    received = []
    async with asyncio.timeout(DEADLINE_S), filled_queue.iterator() as messages:
        async for message in messages:
            async with message.process():
                received.append(message.body)
            if len(received) == 5:
                break
    assert received == [b"0", b"1", b"2", b"3", b"4"]
    assert await filled_queue.get(fail=False) is None


async def test_failed_processing_requeues_a_message_once(filled_queue):
    async def fail_on(message):
        async with message.process(requeue=True, reject_on_redelivered=True):
            raise ValueError("always")

    seen = []
    for _ in range(3):
        message = await filled_queue.get()
        seen.append((message.body, message.redelivered))
        with pytest.raises(ValueError, match="always"):
            await fail_on(message)
    assert seen == [(b"0", False), (b"0", True), (b"1", False)]


async def test_nack_requeues_in_order(filled_queue):
    messages = [await filled_queue.get() for _ in range(3)]
    await messages[2].nack(multiple=True)
    again = [await filled_queue.get() for _ in range(5)]
    assert [message.body for message in again] == [b"0", b"1", b"2", b"3", b"4"]
    assert [message.redelivered for message in again] == [True, True, True, False, False]
    await again[4].ack(multiple=True)


async def test_rejected_message_is_dropped(filled_queue):
    await (await filled_queue.get()).reject()
    message = await filled_queue.get(no_ack=True)
    assert message.body == b"1"


async def test_prefetch_holds_back_what_is_not_acked(connection, filled_queue):
    received = asyncio.Queue()
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=2)
    queue = await channel.get_queue(filled_queue.name)
    await queue.consume(received.put)
    async with asyncio.timeout(DEADLINE_S):
        first, second = [await received.get() for _ in range(2)]
        assert (await channel.get_queue(filled_queue.name)).declaration_result.message_count == 3
        assert received.empty()
        await first.ack()
        third = await received.get()
    assert [message.body for message in (first, second, third)] == [b"0", b"1", b"2"]


async def test_global_prefetch_is_shared_by_consumers(connection, filled_queue):
    received = asyncio.Queue()
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=3, global_=True)
    queue = await channel.get_queue(filled_queue.name)
    for _ in range(2):
        await queue.consume(received.put)
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(3):
            await received.get()
    declared = await channel.get_queue(filled_queue.name)
    assert (declared.declaration_result.message_count, received.empty()) == (2, True)


async def test_direct_fanout_topic_and_headers_exchanges_route(channel, queue, unique):
    direct = await channel.declare_exchange(unique("direct"), ExchangeType.DIRECT)
    fanout = await channel.declare_exchange(unique("fanout"), ExchangeType.FANOUT)
    topic = await channel.declare_exchange(unique("topic"), ExchangeType.TOPIC)
    headers = await channel.declare_exchange(unique("headers"), ExchangeType.HEADERS)
    await queue.bind(direct, "key")
    await queue.bind(fanout)
    await queue.bind(topic, "a.*.#")
    await queue.bind(headers, arguments={"x-match": "any", "a": 1, "b": 2})
    await direct.publish(Message(b"direct"), "key")
    await direct.publish(Message(b"no"), "other", mandatory=False)
    await fanout.publish(Message(b"fanout"), "whatever")
    await topic.publish(Message(b"topic"), "a.b.c.d")
    await topic.publish(Message(b"no"), "b.a", mandatory=False)
    await headers.publish(Message(b"headers", headers={"b": 2}), "")
    await headers.publish(Message(b"no", headers={"b": 1}), "", mandatory=False)
    bodies = []
    while message := await queue.get(no_ack=True, fail=False):
        bodies.append(message.body)
    assert bodies == [b"direct", b"fanout", b"topic", b"headers"]


async def test_exchanges_can_be_bound_to_each_other(channel, queue, unique):
    source = await channel.declare_exchange(unique("source"), ExchangeType.DIRECT)
    destination = await channel.declare_exchange(unique("destination"), ExchangeType.FANOUT)
    await destination.bind(source, "key")
    await queue.bind(destination)
    await source.publish(Message(b"through both"), "key")
    assert (await queue.get(no_ack=True)).body == b"through both"
    await destination.unbind(source, "key")
    await source.publish(Message(b"no"), "key", mandatory=False)
    assert await queue.get(fail=False) is None


async def test_alternate_exchange_gets_what_is_not_routed(channel, queue, unique):
    alternate = await channel.declare_exchange(unique("alternate"), ExchangeType.FANOUT)
    exchange = await channel.declare_exchange(
        unique("exchange"), arguments={"alternate-exchange": alternate.name}
    )
    await queue.bind(alternate)
    await exchange.publish(Message(b"unrouted"), "nowhere")
    assert (await queue.get(no_ack=True)).body == b"unrouted"


async def test_internal_exchange_cannot_be_published_to(channel, unique):
    exchange = await channel.declare_exchange(unique("internal"), internal=True)
    with pytest.raises(ValueError, match="internal exchange"):
        await exchange.publish(Message(b"no"), "key")
    underlay = await channel.get_underlay_channel()
    with pytest.raises(ChannelClosed, match="cannot publish to internal exchange"):
        await underlay.basic_publish(b"no", exchange=exchange.name)


async def test_publish_waits_for_the_confirm(channel, queue):
    confirmation = await channel.default_exchange.publish(Message(b"body"), queue.name)
    assert isinstance(confirmation, aiormq.spec.Basic.Ack)


async def test_hundred_publishes_in_flight_are_confirmed(channel, queue):
    confirmations = await asyncio.gather(
        *(channel.default_exchange.publish(Message(b"body"), queue.name) for _ in range(100))
    )
    assert all(isinstance(each, aiormq.spec.Basic.Ack) for each in confirmations)
    assert (await queue.declare()).message_count == 100


async def test_unroutable_mandatory_message_is_returned(channel, unique):
    returned = []
    channel.return_callbacks.add(lambda _, message: returned.append(message))
    message = Message(b"body", message_id="returned")
    answer = await channel.default_exchange.publish(message, unique("nowhere"))
    assert (answer.delivery.reply_code, answer.delivery.reply_text) == (312, "NO_ROUTE")
    [message] = returned
    assert (message.body, message.message_id) == (b"body", "returned")


async def test_unroutable_mandatory_message_raises_where_asked_to(connection, unique):
    channel = await connection.channel(on_return_raises=True)
    with pytest.raises(DeliveryError) as error:
        await channel.default_exchange.publish(Message(b"body"), unique("nowhere"))
    assert error.value.frame.reply_code == 312


async def test_publishing_to_a_missing_exchange_closes_the_channel(channel, unique):
    missing = unique("missing")
    exchange = await channel.get_exchange(missing, ensure=False)
    with pytest.raises(ChannelNotFoundEntity) as error:
        await exchange.publish(Message(b"body"), "key")
    assert error.value.args == (f"NOT_FOUND - no exchange '{missing}' in vhost '/'",)
    assert channel.is_closed


async def test_passive_declare_finds_or_fails(connection, queue, unique):
    missing = unique("missing")
    assert (await (await connection.channel()).get_queue(queue.name)).name == queue.name
    for declare in ("get_queue", "get_exchange"):
        with pytest.raises(ChannelNotFoundEntity):
            await getattr(await connection.channel(), declare)(missing)


async def test_redeclaring_otherwise_closes_the_channel_which_can_be_reopened(channel, unique):
    name = unique("queue")
    await channel.declare_queue(name)
    with pytest.raises(ChannelPreconditionFailed) as error:
        await channel.declare_queue(name, durable=True)
    assert error.value.args == (
        f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{name}' in vhost '/': "
        "received 'true' but current is 'false'",
    )
    await channel.reopen()
    await channel.declare_queue(name)


async def test_exclusive_queue_is_locked_for_other_connections(broker, channel, unique):
    name = unique("exclusive")
    await channel.declare_queue(name, exclusive=True)
    async with await aio_pika.connect(broker.url) as other:
        with pytest.raises(ChannelClosed, match="RESOURCE_LOCKED"):
            await (await other.channel()).declare_queue(name, exclusive=True)


async def test_exclusive_consumer_keeps_others_out(connection, filled_queue):
    await filled_queue.consume(acknowledge, exclusive=True)
    queue = await (await connection.channel()).get_queue(filled_queue.name)
    with pytest.raises(ChannelClosed, match="in exclusive use"):
        await queue.consume(acknowledge)


async def test_auto_delete_queue_goes_with_its_last_consumer(connection, channel, unique):
    queue = await channel.declare_queue(unique("auto-delete"), auto_delete=True)
    tag = await queue.consume(acknowledge)
    await queue.cancel(tag)
    with pytest.raises(ChannelNotFoundEntity):
        await (await connection.channel()).get_queue(queue.name)


async def test_purge_and_delete_count_messages(channel, filled_queue):
    assert (await filled_queue.purge()).message_count == 5
    await channel.default_exchange.publish(Message(b"last"), filled_queue.name)
    with pytest.raises(ChannelPreconditionFailed, match="not empty"):
        await filled_queue.delete()
    await channel.reopen()
    deleted = await channel.queue_delete(filled_queue.name)
    assert deleted.message_count == 1


async def test_consumer_is_told_when_its_queue_is_deleted(connection, channel, queue):
    cancelled = asyncio.Queue()
    (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(cancelled.put)
    tag = await queue.consume(acknowledge)
    await (await connection.channel()).queue_delete(queue.name)
    async with asyncio.timeout(DEADLINE_S):
        frame = await cancelled.get()
    assert frame.consumer_tag == tag
    assert not channel.is_closed


async def test_transaction_commits(connection, queue):
    channel = await connection.channel(publisher_confirms=False)
    async with channel.transaction():
        await channel.default_exchange.publish(Message(b"committed"), queue.name)
        assert (await queue.declare()).message_count == 0
    assert (await queue.declare()).message_count == 1


async def test_transaction_rolls_back(connection, queue):
    channel = await connection.channel(publisher_confirms=False)
    transaction = channel.transaction()
    await transaction.select()
    await channel.default_exchange.publish(Message(b"discarded"), queue.name)
    await transaction.rollback()
    assert (await queue.declare()).message_count == 0


async def test_flow_can_be_switched_on(channel):
    assert (await channel.flow(True)).active


async def test_200_channels_work_side_by_side(connection, queue):
    channels = await asyncio.gather(*(connection.channel() for _ in range(200)))
    await asyncio.gather(
        *(each.default_exchange.publish(Message(b"body"), queue.name) for each in channels)
    )
    assert (await queue.declare()).message_count == 200


async def test_idle_connection_stays_open_by_heartbeats(broker):
    async with await aio_pika.connect(f"{broker.url}?heartbeat=1") as connection:
        await asyncio.sleep(3.5)
        assert not (await connection.channel()).is_closed


async def test_direct_reply_to_answers_a_question(channel, queue):
    replies = asyncio.Queue()
    reply_queue = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
    await reply_queue.consume(replies.put, no_ack=True)
    question = Message(b"question", reply_to=reply_queue.name, correlation_id="42")
    await channel.default_exchange.publish(question, queue.name)
    asked = await queue.get(no_ack=True)
    answer = Message(b"answer", correlation_id=asked.correlation_id)
    await channel.default_exchange.publish(answer, asked.reply_to, mandatory=False)
    async with asyncio.timeout(DEADLINE_S):
        reply = await replies.get()
    assert (reply.body, reply.correlation_id) == (b"answer", "42")


async def test_lost_connection_closes_the_channel(proxy, proxy_url):
    connection = await aio_pika.connect(proxy_url)
    channel = await connection.channel()
    proxy.cut()
    async with asyncio.timeout(DEADLINE_S):
        await channel.closed()
    assert channel.is_closed
    with pytest.raises(RuntimeError, match="closed"):
        await connection.channel()


async def test_master_hands_tasks_to_workers(channel, unique):
    name = unique("task")
    done = asyncio.Queue()

    async def work(number):
        await done.put(number)

    master = Master(channel)
    worker = await master.create_worker(name, work, auto_delete=True)
    for number in range(5):
        await master.create_task(name, kwargs={"number": number})
    async with asyncio.timeout(DEADLINE_S):
        assert [await done.get() for _ in range(5)] == [0, 1, 2, 3, 4]
    await worker.close()


async def test_quorum_queue_counts_what_comes_back(channel, unique):
    queue = await channel.declare_queue(
        unique("quorum"),
        durable=True,
        arguments={"x-queue-type": "quorum", "x-delivery-limit": 1},
    )
    try:
        await channel.default_exchange.publish(Message(b"x"), queue.name)
        first = await queue.get(timeout=DEADLINE_S)
        await first.nack(requeue=True)
        async with asyncio.timeout(DEADLINE_S):
            async with queue.iterator() as messages:
                async for again in messages:
                    assert again.redelivered
                    assert again.headers["x-delivery-count"] == 1
                    await again.reject(requeue=True)
                    break
        assert await queue.get(fail=False) is None
    finally:
        await queue.delete(if_unused=False, if_empty=False)

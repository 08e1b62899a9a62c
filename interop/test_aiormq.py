"""aiormq: bare AMQP methods on asyncio, and the errors that close a whole connection."""

import asyncio
import datetime

import aiormq
import pytest
from aiormq import exceptions, spec

DEADLINE_S = 10


@pytest.fixture
async def connection(broker):
    connection = await aiormq.connect(broker.url)
    yield connection
    await connection.close()


@pytest.fixture
async def channel(connection):
    return await connection.channel()


@pytest.fixture
async def queue(channel):
    return (await channel.queue_declare(exclusive=True)).queue


@pytest.fixture
async def filled_queue(channel, queue):
    """`queue` with five messages in it: b"0" to b"4"."""
    for number in range(5):
        await channel.basic_publish(b"%d" % number, routing_key=queue)
    return queue


async def test_connection_and_channel_open_and_close(broker):
    connection = await aiormq.connect(broker.url)
    channel = await connection.channel()
    await channel.close()
    assert channel.is_closed
    await connection.close()
    assert connection.is_closed


async def test_server_offers_every_capability(connection):
    offered = connection.server_properties["capabilities"]
    for capability in (
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ):
        assert offered[capability] is True


async def test_frame_and_channel_limits_are_those_of_rabbitmq(connection):
    tune = connection.connection_tune
    assert (tune.frame_max, tune.channel_max, tune.heartbeat) == (131072, 2047, 60)


async def test_wrong_password_is_refused(broker):
    url = f"amqp://{broker.user}:wrong@{broker.host}:{broker.port}/"
    with pytest.raises(exceptions.AMQPConnectionError, match="ACCESS_REFUSED"):
        await aiormq.connect(url)


async def test_message_with_properties_is_published_and_got(channel, queue):
    sent = spec.Basic.Properties(
        content_type="text/plain",
        headers={"number": 1, "list": ["a", 2.5, None], "table": {"inner": True}},
        delivery_mode=2,
        correlation_id="correlation",
        message_id="message",
        timestamp=datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.UTC),
    )
    confirmed = await channel.basic_publish(b"body", routing_key=queue, properties=sent)
    assert isinstance(confirmed, spec.Basic.Ack)
    received = await channel.basic_get(queue, no_ack=True)
    assert received.body == b"body"
    assert dict(received.header.properties) == dict(sent)
    assert (received.delivery.exchange, received.delivery.routing_key) == ("", queue)
    assert received.delivery.message_count == 0


async def test_get_from_an_empty_queue_gives_get_empty(channel, queue):
    assert isinstance((await channel.basic_get(queue)).delivery, spec.Basic.GetEmpty)


async def test_consumer_gets_messages_in_order_and_acks_them(connection, filled_queue):
    received = asyncio.Queue()
    channel = await connection.channel()
    started = await channel.basic_consume(filled_queue, received.put, consumer_tag="tag")
    assert started.consumer_tag == "tag"
    async with asyncio.timeout(DEADLINE_S):
        messages = [await received.get() for _ in range(5)]
    assert [message.body for message in messages] == [b"0", b"1", b"2", b"3", b"4"]
    await channel.basic_ack(messages[-1].delivery.delivery_tag, multiple=True)
    assert (await channel.basic_cancel("tag")).consumer_tag == "tag"
    await channel.close()
    reader = await connection.channel()
    assert isinstance((await reader.basic_get(filled_queue)).delivery, spec.Basic.GetEmpty)


async def test_cancelling_an_unknown_consumer_is_answered(channel):
    assert (await channel.basic_cancel("unknown")).consumer_tag == "unknown"


async def test_requeued_messages_keep_their_order(channel, filled_queue):
    for _ in range(3):
        await channel.basic_get(filled_queue)
    await channel.basic_reject(1, requeue=True)
    await channel.basic_nack(3, multiple=True, requeue=True)
    messages = [await channel.basic_get(filled_queue) for _ in range(5)]
    assert [message.body for message in messages] == [b"0", b"1", b"2", b"3", b"4"]
    redelivered = [message.delivery.redelivered for message in messages]
    assert redelivered == [True, True, True, False, False]


async def test_recover_requeues_everything_unacked(channel, filled_queue):
    await channel.basic_get(filled_queue)
    await channel.basic_recover(requeue=True)
    message = await channel.basic_get(filled_queue)
    assert (message.body, message.delivery.redelivered) == (b"0", True)


async def test_recover_without_an_answer_requeues_too(channel, filled_queue):
    await channel.basic_get(filled_queue)
    await channel.basic_recover(requeue=True, nowait=True)
    message = await channel.basic_get(filled_queue)
    assert (message.body, message.delivery.redelivered) == (b"0", True)


async def test_methods_without_an_answer_are_carried_out(channel, unique):
    exchange, queue = unique("exchange"), unique("queue")
    await channel.exchange_declare(exchange, exchange_type="fanout", nowait=True)
    await channel.queue_declare(queue, exclusive=True, nowait=True)
    await channel.queue_bind(queue, exchange, nowait=True)
    await channel.basic_publish(b"1", exchange=exchange)
    assert (await channel.queue_declare(queue, passive=True)).message_count == 1
    await channel.queue_purge(queue, nowait=True)
    assert (await channel.queue_declare(queue, passive=True)).message_count == 0
    await channel.queue_delete(queue, nowait=True)
    await channel.exchange_delete(exchange, nowait=True)
    with pytest.raises(exceptions.ChannelNotFoundEntity):
        await channel.exchange_declare(exchange, passive=True)


async def test_exchanges_are_bound_and_unbound(channel, queue, unique):
    source, destination = unique("source"), unique("destination")
    await channel.exchange_declare(source, exchange_type="topic")
    await channel.exchange_declare(destination, exchange_type="headers")
    await channel.exchange_bind(destination, source, "a.*")
    await channel.queue_bind(queue, destination, arguments={"x-match": "all", "n": 1})
    properties = spec.Basic.Properties(headers={"n": 1})
    publish = {"exchange": source, "routing_key": "a.b", "properties": properties}
    await channel.basic_publish(b"through both", **publish)
    assert (await channel.basic_get(queue)).body == b"through both"
    await channel.exchange_unbind(destination, source, "a.*")
    await channel.basic_publish(b"no", **publish)
    assert isinstance((await channel.basic_get(queue)).delivery, spec.Basic.GetEmpty)


async def test_unroutable_mandatory_message_is_returned(channel, unique):
    with pytest.raises(exceptions.PublishError) as error:
        await channel.basic_publish(b"body", routing_key=unique("nowhere"), mandatory=True)
    assert error.value.message.delivery.reply_code == 312
    assert error.value.message.body == b"body"


async def test_thousand_publishes_in_flight_are_confirmed(channel, queue):
    confirmations = await asyncio.gather(
        *(channel.basic_publish(b"body", routing_key=queue) for _ in range(1000))
    )
    assert all(isinstance(each, spec.Basic.Ack) for each in confirmations)
    assert (await channel.queue_declare(queue, passive=True)).message_count == 1000


async def test_body_of_4_megabytes_arrives(channel, queue):
    body = bytes(range(256)) * (4 * 4096)
    await channel.basic_publish(body, routing_key=queue)
    assert (await channel.basic_get(queue, no_ack=True)).body == body


async def test_transaction_commits_and_rolls_back(connection, queue):
    channel = await connection.channel(publisher_confirms=False)
    await channel.tx_select()
    await channel.basic_publish(b"discarded", routing_key=queue)
    await channel.tx_rollback()
    await channel.basic_publish(b"committed", routing_key=queue)
    await channel.tx_commit()
    assert (await channel.basic_get(queue, no_ack=True)).body == b"committed"
    assert isinstance((await channel.basic_get(queue)).delivery, spec.Basic.GetEmpty)


async def test_confirming_channel_cannot_be_transactional(channel):
    with pytest.raises(exceptions.ChannelPreconditionFailed) as error:
        await channel.tx_select()
    assert error.value.args == ("PRECONDITION_FAILED - cannot switch from confirm to tx mode",)


async def test_missing_queue_closes_the_channel_with_404(channel, unique):
    missing = unique("missing")
    with pytest.raises(exceptions.ChannelNotFoundEntity) as error:
        await channel.queue_declare(missing, passive=True)
    assert error.value.args == (f"NOT_FOUND - no queue '{missing}' in vhost '/'",)
    assert channel.is_closed


async def test_exclusive_queue_of_another_connection_is_locked(broker, channel, unique):
    queue = unique("exclusive")
    await channel.queue_declare(queue, exclusive=True)
    other = await aiormq.connect(broker.url)
    with pytest.raises(exceptions.ChannelLockedResource, match="RESOURCE_LOCKED - cannot obtain"):
        await (await other.channel()).basic_get(queue)
    await other.close()


async def test_exclusive_consumer_keeps_others_out(connection, channel, queue):
    async def ignore(message):
        pass

    await channel.basic_consume(queue, ignore, exclusive=True)
    with pytest.raises(exceptions.ChannelAccessRefused) as error:
        await (await connection.channel()).basic_consume(queue, ignore)
    assert error.value.args == (f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use",)


async def test_consumer_is_told_when_its_queue_is_deleted(connection, channel, queue):
    cancelled = asyncio.Queue()
    channel.on_consumer_cancel_callbacks.add(cancelled.put)
    await channel.basic_consume(queue, cancelled.put, consumer_tag="tag")
    await (await connection.channel()).queue_delete(queue)
    async with asyncio.timeout(DEADLINE_S):
        frame = await cancelled.get()
    assert (frame.consumer_tag, channel.is_closed) == ("tag", False)


async def test_unknown_delivery_tag_closes_the_channel(channel, queue):
    await channel.basic_ack(7)
    with pytest.raises(exceptions.ChannelPreconditionFailed) as error:
        await channel.queue_declare(queue, passive=True)
    assert error.value.args == ("PRECONDITION_FAILED - unknown delivery tag 7",)


@pytest.mark.parametrize(
    ("operation", "error", "text"),
    [
        (
            lambda channel: channel.flow(False),
            exceptions.ConnectionNotImplemented,
            "NOT_IMPLEMENTED - active=false",
        ),
        (
            lambda channel: channel.basic_qos(prefetch_size=10),
            exceptions.ConnectionNotImplemented,
            "NOT_IMPLEMENTED - prefetch_size!=0 (10)",
        ),
        (
            lambda channel: channel.basic_recover(requeue=False),
            exceptions.ConnectionNotImplemented,
            "NOT_IMPLEMENTED - requeue=false",
        ),
        (
            lambda channel: channel.basic_publish(b"", routing_key="any", immediate=True),
            exceptions.ConnectionNotImplemented,
            "NOT_IMPLEMENTED - immediate=true",
        ),
        (
            lambda channel: channel.exchange_declare("any", exchange_type="x-no-such-type"),
            exceptions.ConnectionCommandInvalid,
            "COMMAND_INVALID - unknown exchange type 'x-no-such-type'",
        ),
    ],
    ids=["flow off", "prefetch size", "recover", "immediate", "exchange type"],
)
async def test_hard_error_closes_the_connection(broker, operation, error, text):
    connection = await aiormq.connect(broker.url)
    channel = await connection.channel()
    with pytest.raises(error) as closed:
        await operation(channel)
    assert text in str(closed.value)
    assert connection.is_closed


async def test_flow_can_be_switched_on(channel):
    assert (await channel.flow(True)).active is True


async def test_secret_can_be_updated(broker, connection):
    answer = await connection.update_secret(broker.password)
    assert isinstance(answer, spec.Connection.UpdateSecretOk)


async def test_idle_connection_stays_open_by_heartbeats(broker):
    connection = await aiormq.connect(f"{broker.url}?heartbeat=1")
    await asyncio.sleep(3.5)
    await connection.channel()
    await connection.close()


async def test_direct_reply_to_answers_a_question(channel, queue):
    replies = asyncio.Queue()
    reply_to = "amq.rabbitmq.reply-to"
    await channel.basic_consume(reply_to, replies.put, no_ack=True)
    question = spec.Basic.Properties(reply_to=reply_to)
    await channel.basic_publish(b"question", routing_key=queue, properties=question)
    asked = await channel.basic_get(queue, no_ack=True)
    await channel.basic_publish(b"answer", routing_key=asked.header.properties.reply_to)
    async with asyncio.timeout(DEADLINE_S):
        assert (await replies.get()).body == b"answer"


async def test_lost_connection_closes_its_channels(proxy, proxy_url):
    connection = await aiormq.connect(proxy_url)
    channel = await connection.channel()
    proxy.cut()
    with pytest.raises(exceptions.AMQPConnectionError):
        async with asyncio.timeout(DEADLINE_S):
            await connection.closing
    assert channel.is_closed

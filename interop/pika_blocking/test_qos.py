"""Prefetch limits, per consumer and per channel."""

DEADLINE_S = 10


def settled(connection, channel, queue):
    """Returns when everything sent before has been handled, and its deliveries dispatched."""
    # By the first round trip the queue has decided on its deliveries. RabbitMQ's channel may pass
    # the answer on before these, but not that of the second.
    channel.queue_declare(queue, passive=True)
    channel.queue_declare(queue, passive=True)
    connection.process_data_events()


def test_consumer_gets_no_more_than_its_prefetch_until_it_acks(connection, channel, filled_queue):
    received = []
    channel.basic_qos(prefetch_count=2)
    channel.basic_consume(filled_queue, lambda *message: received.append(message[3]))
    settled(connection, channel, filled_queue)
    assert received == [b"0", b"1"]
    channel.basic_ack(1)
    settled(connection, channel, filled_queue)
    assert received == [b"0", b"1", b"2"]
    channel.basic_ack(3, multiple=True)
    settled(connection, channel, filled_queue)
    assert received == [b"0", b"1", b"2", b"3", b"4"]


def test_prefetch_is_counted_for_each_consumer(connection, channel, filled_queue):
    received = []
    channel.basic_qos(prefetch_count=2)
    for _ in range(2):
        channel.basic_consume(filled_queue, lambda *message: received.append(message[3]))
    settled(connection, channel, filled_queue)
    assert sorted(received) == [b"0", b"1", b"2", b"3"]


def test_new_prefetch_holds_for_later_consumers_only(connection, channel, filled_queue):
    received = []
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(filled_queue, lambda *message: received.append("first"))
    channel.basic_qos(prefetch_count=2)
    settled(connection, channel, filled_queue)
    assert received == ["first"]
    channel.basic_consume(filled_queue, lambda *message: received.append("second"))
    settled(connection, channel, filled_queue)
    assert received == ["first", "second", "second"]


def test_global_prefetch_is_shared_by_the_channels_consumers(connection, channel, filled_queue):
    received = []
    channel.basic_qos(prefetch_count=3, global_qos=True)
    for _ in range(2):
        channel.basic_consume(filled_queue, lambda *message: received.append(message[3]))
    settled(connection, channel, filled_queue)
    assert sorted(received) == [b"0", b"1", b"2"]
    channel.basic_ack(1)
    while len(received) < 4:
        connection.process_data_events(time_limit=DEADLINE_S)
    settled(connection, channel, filled_queue)
    assert sorted(received) == [b"0", b"1", b"2", b"3"]


def test_raised_global_prefetch_reaches_running_consumers(connection, channel, filled_queue):
    received = []
    channel.basic_qos(prefetch_count=1, global_qos=True)
    channel.basic_consume(filled_queue, lambda *message: received.append(message[3]))
    settled(connection, channel, filled_queue)
    assert received == [b"0"]
    channel.basic_qos(prefetch_count=3, global_qos=True)
    while len(received) < 3:
        connection.process_data_events(time_limit=DEADLINE_S)
    settled(connection, channel, filled_queue)
    assert received == [b"0", b"1", b"2"]


def test_consumer_and_global_prefetch_hold_together(connection, channel, filled_queue):
    received = []
    channel.basic_qos(prefetch_count=2)
    channel.basic_qos(prefetch_count=3, global_qos=True)
    for tag in ("first", "second"):
        channel.basic_consume(
            filled_queue,
            lambda _, delivery, *rest: received.append(delivery.consumer_tag),
            consumer_tag=tag,
        )
    settled(connection, channel, filled_queue)
    assert sorted(received) == ["first", "first", "second"]


def test_prefetch_zero_is_no_limit(connection, channel, filled_queue):
    received = []
    channel.basic_qos(prefetch_count=1)
    channel.basic_qos(prefetch_count=0)
    channel.basic_consume(filled_queue, lambda *message: received.append(message[3]))
    settled(connection, channel, filled_queue)
    assert received == [b"0", b"1", b"2", b"3", b"4"]


def test_auto_ack_consumers_and_get_ignore_the_prefetch(connection, channel, filled_queue):
    received = []
    channel.basic_qos(prefetch_count=1)
    assert [channel.basic_get(filled_queue)[2] for _ in range(2)] == [b"0", b"1"]
    channel.basic_consume(filled_queue, lambda *message: received.append(message[3]), auto_ack=True)
    settled(connection, channel, filled_queue)
    assert received == [b"2", b"3", b"4"]


def test_consumer_at_its_limit_is_passed_over(connection, channel, filled_queue):
    received = {"full": [], "free": []}
    full, free = connection.channel(), connection.channel()
    full.basic_qos(prefetch_count=1)
    full.basic_consume(filled_queue, lambda *message: received["full"].append(message[3]))
    settled(connection, full, filled_queue)
    free.basic_consume(filled_queue, lambda *message: received["free"].append(message[3]))
    settled(connection, free, filled_queue)
    assert received == {"full": [b"0"], "free": [b"1", b"2", b"3", b"4"]}

"""Publishers to consumers through queues, as fast as the broker goes; or into queues only."""

from contextlib import ExitStack
from functools import partial

from client import NO_ARGUMENTS, BrokerError, Connection
from consume import Consumer, read_probe
from flow import Flow
from measure import Latencies, Result, result
from publish import Publisher, block
from target import Target
from topology import numbered, queues

import wire

WINDOW_MESSAGES = 10_000
WINDOW_BYTES = 4 << 20
GATHER_BYTES = 1 << 16
STORED_MESSAGES = 200_000


def window_messages(body_bytes: int) -> int:
    """How many messages may be under way, so that neither they nor their bytes are too many."""
    return min(WINDOW_MESSAGES, WINDOW_BYTES // body_bytes)


def gather_messages(body_bytes: int, window: int) -> int:
    """After how many deliveries a consumer is worth waking."""
    return max(1, min(GATHER_BYTES // body_bytes, window // 16))


def deliver(
    target: Target,
    *,
    body_bytes: int,
    lanes: int = 1,
    prefetch: int = 0,
    confirm_window: int = 0,
    safe: bool = False,
    priorities: int = 0,
) -> Result:
    """As many publishers, queues and consumers as lanes; every publisher sends to every queue.

    With a prefetch, deliveries are acknowledged, half a prefetch at a time. `safe` means durable
    queues and persistent messages. Latency is to the consumer, or with confirms to the confirm.
    With `priorities`, the queues know so many above 0, and the messages have those below it in
    turn; latency, which is then the backlog's more than the broker's, is not measured.
    """
    window = window_messages(body_bytes)
    names = numbered(lanes)
    options = {"x-max-priority": priorities} if priorities else NO_ARGUMENTS
    with ExitStack() as stack:
        stack.enter_context(queues(target.address, names, durable=safe, options=options))
        connect = partial(Connection, target.address)
        consuming = [stack.enter_context(connect()) for _ in names]
        for connection, name in zip(consuming, names, strict=True):
            connection.consume(name, "c", prefetch=prefetch)
        make_block = partial(
            block,
            "",
            names,
            body_bytes,
            messages=2 * window,
            persistent=safe,
            header_properties=[wire.properties(priority=each) for each in range(priorities)],
        )
        publishers = [
            Publisher(stack.enter_context(connect()), make_block(publisher=lane), confirm_window)
            for lane in range(lanes)
        ]
        publishers[0].send_first(lanes)
        consumers = [
            Consumer(
                connection,
                read_probe(connection),
                ack_every=-(-prefetch // 2),
                gather=gather_messages(body_bytes, window),
                varied=priorities > 0,
            )
            for connection in consuming
        ]

        def arrived() -> int:
            return sum(consumer.count for consumer in consumers)

        flow = Flow(publishers, consumers, window, arrived, lambda: arrived() == flow.begun)
        usage, operations = flow.measure(target)
        flow.finish()
        latencies = publishers[0].confirm_latencies if confirm_window else flow.latencies
        if priorities:
            latencies = Latencies()
        return result("delivery", operations, usage, target.processes, latencies)


def store(target: Target, *, body_bytes: int, confirm_window: int) -> Result:
    """Persistent messages into a durable queue that nobody consumes; latency to the confirm."""
    names = numbered(1)
    messages = block("", names, body_bytes, messages=2 * confirm_window, persistent=True)
    with (
        queues(target.address, names, durable=True) as admin,
        Connection(target.address) as connection,
    ):
        publisher = Publisher(connection, messages, confirm_window)
        flow = Flow([publisher], [], confirm_window, publisher.confirmed, lambda: True)
        usage, operations = flow.measure(target, STORED_MESSAGES)
        flow.finish()
        stored = admin.declare_queue(names[0], durable=True, passive=True)
        if stored != publisher.begun:
            raise BrokerError(f"{publisher.begun} messages confirmed, {stored} in the queue")
        return result(
            "confirm",
            operations,
            usage,
            target.processes,
            publisher.confirm_latencies,
            stored_bytes=body_bytes,
        )

"""A queue filled while nobody consumes, then drained: speed both ways, and memory per message."""

import time
from contextlib import ExitStack

from client import BrokerError, Connection
from consume import Consumer, read_probe
from flow import Flow
from loop import Loop
from measure import Interval, Result, result
from publish import Publisher, block
from target import Target
from throughput import GATHER_BYTES
from topology import numbered, queues

FILL_TIMEOUT_S = 120.0
SETTLE_S = 0.5
PREFETCH = 100
BLOCK_MESSAGES = 2000


def _wait_for_messages(admin: Connection, queue: str, count: int, durable: bool) -> None:
    deadline = time.perf_counter() + FILL_TIMEOUT_S
    while (ready := admin.declare_queue(queue, durable=durable, passive=True)) != count:
        if time.perf_counter() > deadline or ready > count:
            raise BrokerError(f"{ready} messages in the queue, {count} were published")
        time.sleep(0.005)


def fill_drain(
    target: Target, *, body_bytes: int, messages: int, confirm_window: int = 0
) -> Result:
    """An operation is one message through both halves; latency is not measured.

    With a confirm window, also: durable queue, persistent messages, manual acknowledgements.
    """
    safe = confirm_window > 0
    names = numbered(1)
    with ExitStack() as stack:
        admin = stack.enter_context(queues(target.address, names, durable=safe))
        publishing = stack.enter_context(Connection(target.address))
        consuming = stack.enter_context(Connection(target.address))
        publisher = Publisher(
            publishing,
            block("", names, body_bytes, messages=BLOCK_MESSAGES, persistent=safe),
            confirm_window,
        )
        fill = Flow([publisher], [], messages, publisher.confirmed, lambda: True)
        empty_bytes = target.processes.rss_bytes()
        interval = Interval(target.processes)
        fill.run(FILL_TIMEOUT_S, messages)
        fill.finish()
        _wait_for_messages(admin, names[0], messages, safe)
        filling = interval.stop()
        time.sleep(SETTLE_S)
        full_bytes = target.processes.rss_bytes()

        interval = Interval(target.processes)
        consuming.consume(names[0], "c", prefetch=PREFETCH if safe else 0)
        consumer = Consumer(
            consuming,
            read_probe(consuming),
            ack_every=PREFETCH // 2 if safe else 0,
            gather=GATHER_BYTES // body_bytes,
        )
        loop = Loop()
        loop.add(consuming, consumer.receive)
        loop.run_until(lambda: consumer.count == messages, lambda: consumer.count)
        draining = interval.stop()
        consumer.verify_last()
        return result(
            "message",
            messages,
            filling.plus(draining),
            target.processes,
            memory=((full_bytes - empty_bytes) / messages, "queued message"),
            stored_bytes=body_bytes if safe else 0,
            fill_rate=messages / filling.seconds,
            fill_cpu_us=filling.broker_cpu_s / messages * 1e6,
            drain_rate=messages / draining.seconds,
            drain_cpu_us=draining.broker_cpu_s / messages * 1e6,
        )

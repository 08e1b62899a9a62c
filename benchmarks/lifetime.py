"""Messages that end otherwise than with an acknowledgement: rejected, or expired."""

import time
from contextlib import ExitStack
from dataclasses import replace

from client import BrokerError, Connection
from consume import Consumer, read_probe
from flow import Flow
from measure import Result, result
from publish import Publisher, block
from target import Target
from throughput import gather_messages, window_messages
from topology import numbered, queues

import wire

EXPIRE_TIMEOUT_S = 15.0


def deadletter(target: Target, *, body_bytes: int, prefetch: int) -> Result:
    """A consumer rejects everything, half a prefetch at a time; another gets the dead letters.

    An operation is one message through both queues, and latency is to the second consumer.
    """
    window = window_messages(body_bytes)
    gather = gather_messages(body_bytes, window)
    source, grave = numbered(2)
    options = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave}
    with ExitStack() as stack:
        stack.enter_context(queues(target.address, [grave]))
        stack.enter_context(queues(target.address, [source], options=options))
        rejecting = stack.enter_context(Connection(target.address))
        rejecting.consume(source, "c", prefetch=prefetch)
        mourning = stack.enter_context(Connection(target.address))
        mourning.consume(grave, "c")
        messages = block("", [source], body_bytes, messages=2 * window)
        publisher = Publisher(stack.enter_context(Connection(target.address)), messages)
        publisher.send_first()
        rejecter = Consumer(
            rejecting,
            read_probe(rejecting),
            ack_every=prefetch // 2,
            gather=gather,
            settle=wire.reject,
        )
        rejecter.settle_all()
        # The header x-death tells the time, which differs.
        mourner = Consumer(mourning, read_probe(mourning), gather=gather, varied=True)

        def arrived() -> int:
            return mourner.count

        flow = Flow([publisher], [mourner], window, arrived, lambda: arrived() == flow.begun)

        def read() -> None:
            # After a silence nothing more may come, and the last run is to be rejected, too.
            if rejecter.receive() is None:
                rejecter.settle_all()

        flow.loop.add(rejecting, read)
        usage, operations = flow.measure(target)
        flow.finish()
        rejecter.verify_last()
        return result("dead letter", operations, usage, target.processes, flow.latencies)


def expire(
    target: Target, *, body_bytes: int, queue_count: int, ttl_ms: int, confirm_window: int
) -> Result:
    """Publishes to many queues in turn, whose messages expire; latency to the confirm.

    Warms up until messages expire as fast as they come, so that an operation is a message's whole
    life.
    """
    names = numbered(queue_count)
    messages = block("", names, body_bytes, messages=max(queue_count, 2 * confirm_window))
    options = {"x-message-ttl": ttl_ms}
    steady = replace(target, warmup_s=max(target.warmup_s, 1.5 * ttl_ms / 1000))
    with (
        queues(target.address, names, options=options) as admin,
        Connection(target.address) as connection,
    ):
        publisher = Publisher(connection, messages, confirm_window)
        flow = Flow([publisher], [], confirm_window, publisher.confirmed, lambda: True)
        usage, operations = flow.measure(steady)
        flow.finish()
        rss_bytes = target.processes.rss_bytes()
        _wait_until_empty(admin, names)
        return result(
            "confirm",
            operations,
            usage,
            target.processes,
            publisher.confirm_latencies,
            memory=(rss_bytes, "process"),
        )


def _wait_until_empty(admin: Connection, names: list[str]) -> None:
    deadline = time.perf_counter() + EXPIRE_TIMEOUT_S
    for name in names:
        while messages := admin.declare_queue(name, passive=True):
            if time.perf_counter() > deadline:
                raise BrokerError(f"{messages} messages in {name} do not expire")
            time.sleep(0.005)

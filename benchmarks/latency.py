"""Messages at a steady rate that the broker handles easily: how long does each one take?"""

import select
from contextlib import ExitStack
from time import perf_counter

from client import Connection
from consume import Consumer, read_probe
from flow import Flow
from measure import Interval, Result, result
from publish import Publisher, block
from target import Target
from topology import numbered, queues


def paced(target: Target, *, body_bytes: int, rate: int) -> Result:
    """One publisher sends on schedule, whatever has become of the messages before."""
    names = numbered(1)
    with ExitStack() as stack:
        stack.enter_context(queues(target.address, names))
        consuming = stack.enter_context(Connection(target.address))
        consuming.consume(names[0], "c")
        publisher = Publisher(
            stack.enter_context(Connection(target.address)),
            block("", names, body_bytes, messages=10 * rate),
        )
        publisher.send_first()
        consumer = Consumer(consuming, read_probe(consuming))

        def arrived() -> int:
            return consumer.count

        flow = Flow([publisher], [consumer], 1, arrived, lambda: arrived() == publisher.begun)

        def run(seconds: float) -> None:
            # select() can wait for less than a millisecond, poll() can not.
            first, start = publisher.begun, perf_counter()
            while (now := perf_counter()) < start + seconds:
                publisher.send(first + int((now - start) * rate))
                next_s = start + (publisher.begun - first + 1) / rate
                if select.select([consuming.socket], [], [], max(0.0, next_s - perf_counter()))[0]:
                    flow.loop.turn(0)

        run(target.warmup_s)
        flow.latencies.clear()
        before = arrived()
        interval = Interval(target.processes)
        run(target.seconds)
        usage = interval.stop()
        operations = arrived() - before
        flow.finish()
        return result("delivery", operations, usage, target.processes, flow.latencies)

"""What a broker does besides messages: opening many connections, declaring and deleting queues."""

import time
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from client import Connection
from measure import Interval, Latencies, Result, result
from target import Target
from topology import numbered

OPENING_AT_ONCE = 16
# RabbitMQ's processes give memory back when they have been idle for a while.
SETTLE_S = 3.0


def connections(target: Target, *, count: int) -> Result:
    """Connections with a channel and an exclusive queue each; memory per connection held open."""
    latencies = Latencies()

    def open_one(queue: str) -> Connection:
        start = perf_counter()
        connection = Connection(target.address)
        connection.declare_queue(queue, exclusive=True)
        latencies.record(perf_counter() - start)
        return connection

    with Connection(target.address) as admin, ThreadPoolExecutor(OPENING_AT_ONCE) as pool:
        time.sleep(SETTLE_S)
        before_bytes = target.processes.rss_bytes()
        names = numbered(count)
        interval = Interval(target.processes)
        opened = list(pool.map(open_one, names))
        usage = interval.stop()
        time.sleep(SETTLE_S)
        memory_bytes = (target.processes.rss_bytes() - before_bytes) / count
        interval = Interval(target.processes)
        list(pool.map(Connection.close, opened))
        closing = interval.stop()
        for name in names:
            # Not passive: that they can be declared anew shows that they went with their owners.
            admin.declare_queue(name)
            admin.delete_queue(name)
        return result(
            "connection",
            count,
            usage,
            target.processes,
            latencies,
            memory=(memory_bytes, "connection"),
            close_cpu_us=closing.broker_cpu_s / count * 1e6,
        )


def churn(target: Target) -> Result:
    """Declares and deletes a queue, one after the other: an operation is both."""
    latencies = Latencies()
    with Connection(target.address) as connection:

        def run(seconds: float) -> int:
            start = now = perf_counter()
            operations = 0
            while now < start + seconds:
                name = f"benchmark-churn-{operations % 1000:03}"
                connection.declare_queue(name)
                connection.delete_queue(name)
                operations += 1
                previous, now = now, perf_counter()
                latencies.record(now - previous)
            return operations

        run(target.warmup_s)
        latencies.clear()
        interval = Interval(target.processes)
        operations = run(target.seconds)
        return result("queue", operations, interval.stop(), target.processes, latencies)

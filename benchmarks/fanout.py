"""One publisher to many queues through a fanout exchange."""

from contextlib import ExitStack

from client import Connection
from consume import Consumer, read_probe
from flow import Flow
from measure import Result, result
from publish import Publisher, block
from target import Target
from throughput import WINDOW_MESSAGES, gather_messages
from topology import exchange, numbered, queues

EXCHANGE = "benchmark"


def fanout(target: Target, *, body_bytes: int, queue_count: int, connections: int) -> Result:
    """Every message goes to every queue; the queues' consumers share a few connections."""
    names = numbered(queue_count)
    per_connection = queue_count // connections
    window = max(20, WINDOW_MESSAGES // queue_count)
    with ExitStack() as stack:
        admin = stack.enter_context(queues(target.address, names))
        stack.enter_context(exchange(admin, EXCHANGE, "fanout"))
        consuming = [stack.enter_context(Connection(target.address)) for _ in range(connections)]
        for number, name in enumerate(names):
            admin.bind(name, EXCHANGE, "")
            consuming[number % connections].consume(name, f"c{number:04}")
        messages = block(EXCHANGE, ["k"], body_bytes, messages=2 * window)
        publisher = Publisher(stack.enter_context(Connection(target.address)), messages)
        publisher.send_first()
        gather = gather_messages(body_bytes, window * per_connection)
        consumers = [Consumer(each, read_probe(each), gather=gather) for each in consuming]

        def arrived() -> int:
            return min(consumer.count for consumer in consumers) // per_connection

        def complete() -> bool:
            return all(each.count == publisher.begun * per_connection for each in consumers)

        flow = Flow([publisher], consumers, window, arrived, complete)
        usage, operations = flow.measure(target)
        flow.finish()
        deliveries = operations * queue_count
        return result("delivery", deliveries, usage, target.processes, flow.latencies)

"""One publisher to many queues: through a fanout exchange, or a topic exchange's patterns."""

import random
from collections.abc import Iterable, Sequence
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
TOPIC_QUEUES = 10
TOPIC_KEYS = 10_000
TOPIC_WORDS = [f"w{number:02}" for number in range(20)]


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


def topic_patterns(count: int, choose: random.Random) -> list[str]:
    """First a pattern for each word a key can begin with; narrow ones of all kinds after that."""
    patterns = {f"{word}.#": None for word in TOPIC_WORDS}
    while len(patterns) < count:
        words = choose.choices(TOPIC_WORDS, k=3)
        wildcard = choose.choice((0, 1, 2, None))
        if wildcard is not None:
            words[wildcard] = "*"
        patterns[".".join(words)] = None
    return list(patterns)


def matching(key: str, patterns: Iterable[str]) -> Sequence[str]:
    """Which of the patterns, all made by `topic_patterns`, match a key of three words."""
    first, second, third = key.split(".")
    candidates = (
        key,
        f"{first}.#",
        f"*.{second}.{third}",
        f"{first}.*.{third}",
        f"{first}.{second}.*",
    )
    return [pattern for pattern in candidates if pattern in patterns]


def topic(target: Target, *, body_bytes: int, bindings: int) -> Result:
    """Random keys through many bindings to ten queues; the broker's routing is checked by count."""
    choose = random.Random(bindings)
    names = numbered(TOPIC_QUEUES)
    queue_of = {
        pattern: names[number % TOPIC_QUEUES]
        for number, pattern in enumerate(topic_patterns(bindings, choose))
    }
    keys = [".".join(choose.choices(TOPIC_WORDS, k=3)) for _ in range(TOPIC_KEYS)]
    # Deliveries due after so many messages of a block: one for each queue with a match.
    due = [0]
    for key in keys:
        due.append(due[-1] + len({queue_of[pattern] for pattern in matching(key, queue_of)}))
    window = TOPIC_KEYS // 2
    with ExitStack() as stack:
        admin = stack.enter_context(queues(target.address, names))
        stack.enter_context(exchange(admin, EXCHANGE, "topic"))
        for pattern, name in queue_of.items():
            admin.bind(name, EXCHANGE, pattern)
        consuming = stack.enter_context(Connection(target.address))
        for number, name in enumerate(names):
            consuming.consume(name, f"c{number:04}")
        messages = block(EXCHANGE, keys, body_bytes, messages=TOPIC_KEYS)
        publisher = Publisher(stack.enter_context(Connection(target.address)), messages)
        publisher.send_first()
        gather = gather_messages(body_bytes, window)
        consumer = Consumer(consuming, read_probe(consuming), gather=gather)

        def complete() -> bool:
            rounds, rest = divmod(publisher.begun, TOPIC_KEYS)
            return consumer.count == rounds * due[-1] + due[rest]

        def arrived() -> int:
            return consumer.count * TOPIC_KEYS // due[-1]

        flow = Flow([publisher], [consumer], window, arrived, complete)
        usage, operations = flow.measure(target)
        flow.finish()
        per_message = due[-1] / TOPIC_KEYS
        return result(
            "message",
            operations,
            usage,
            target.processes,
            flow.latencies,
            deliveries_per_message=per_message,
        )

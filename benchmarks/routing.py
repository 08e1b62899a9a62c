"""One publisher through a topic or headers exchange with many bindings to ten queues.

The broker's routing is checked by count: the workloads know for each message how many queues it
must reach.
"""

import random
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from client import NO_ARGUMENTS, Arguments, Connection
from consume import Consumer, read_probe
from fanout import EXCHANGE
from flow import Flow
from measure import Result, result
from publish import Block, Publisher, block
from target import Target
from throughput import gather_messages
from topology import exchange, numbered, queues

import wire

QUEUES = 10
MESSAGES = 10_000
TOPIC_WORDS = [f"w{number:02}" for number in range(20)]
HEADERS = [f"h{number}" for number in range(10)]
VALUES = [f"v{number}" for number in range(10)]


class Binding(NamedTuple):
    queue: str
    routing_key: str
    arguments: Arguments = NO_ARGUMENTS


def topic(target: Target, *, body_bytes: int, bindings: int) -> Result:
    """Random keys of three words; every key matches some pattern."""
    choose = random.Random(bindings)
    names = numbered(QUEUES)
    queue_of = {
        pattern: names[number % QUEUES]
        for number, pattern in enumerate(topic_patterns(bindings, choose))
    }
    keys = [".".join(choose.choices(TOPIC_WORDS, k=3)) for _ in range(MESSAGES)]
    reached = [len({queue_of[pattern] for pattern in matching(key, queue_of)}) for key in keys]
    messages = block(EXCHANGE, keys, body_bytes, messages=MESSAGES)
    bound = [Binding(queue, pattern) for pattern, queue in queue_of.items()]
    return _route(target, "topic", bound, messages, reached, body_bytes=body_bytes)


def headers(target: Target, *, body_bytes: int, bindings: int) -> Result:
    """Three random headers; the bindings ask for two, half of them for all and half for any."""
    choose = random.Random(bindings)
    names = numbered(QUEUES)
    bound = [
        Binding(
            names[number % QUEUES],
            "",
            {"x-match": "all" if number // QUEUES % 2 else "any", **random_headers(2, choose)},
        )
        for number in range(bindings)
    ]
    contents = [random_headers(3, choose) for _ in range(MESSAGES)]
    reached = [len({each.queue for each in bound if selects(each, held)}) for held in contents]
    messages = block(
        EXCHANGE,
        [""],
        body_bytes,
        messages=MESSAGES,
        header_properties=[wire.properties(headers=held) for held in contents],
    )
    return _route(target, "headers", bound, messages, reached, body_bytes=body_bytes)


def _route(
    target: Target,
    kind: str,
    bindings: Sequence[Binding],
    messages: Block,
    reached: Sequence[int],
    *,
    body_bytes: int,
) -> Result:
    """Publishes the block's messages; `reached` says how many queues each of them must reach."""
    due = [0]
    for count in reached:
        due.append(due[-1] + count)
    names = numbered(QUEUES)
    window = MESSAGES // 2
    with ExitStack() as stack:
        admin = stack.enter_context(queues(target.address, names))
        stack.enter_context(exchange(admin, EXCHANGE, kind))
        for binding in bindings:
            admin.bind(binding.queue, EXCHANGE, binding.routing_key, binding.arguments)
        consuming = stack.enter_context(Connection(target.address))
        for number, name in enumerate(names):
            consuming.consume(name, f"c{number:04}")
        publisher = Publisher(stack.enter_context(Connection(target.address)), messages)
        # Up to the first message that reaches a queue, and so becomes the probe.
        publisher.send_first(due.index(next(filter(None, due))))
        gather = gather_messages(body_bytes, window)
        varied = kind == "headers"
        consumer = Consumer(consuming, read_probe(consuming), gather=gather, varied=varied)

        def complete() -> bool:
            rounds, rest = divmod(publisher.begun, MESSAGES)
            return consumer.count == rounds * due[-1] + due[rest]

        def arrived() -> int:
            return consumer.count * MESSAGES // due[-1]

        flow = Flow([publisher], [consumer], window, arrived, complete)
        usage, operations = flow.measure(target)
        flow.finish()
        per_message = due[-1] / MESSAGES
        return result(
            "message",
            operations,
            usage,
            target.processes,
            flow.latencies,
            deliveries_per_message=per_message,
        )


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


def random_headers(count: int, choose: random.Random) -> dict[str, str]:
    return {name: choose.choice(VALUES) for name in choose.sample(HEADERS, k=count)}


def selects(binding: Binding, held: Arguments) -> bool:
    """Whether a headers exchange sends a message with these headers along the binding."""
    wanted = {name: value for name, value in binding.arguments.items() if name != "x-match"}
    equal = [held.get(name) == value for name, value in wanted.items()]
    return all(equal) if binding.arguments["x-match"] == "all" else any(equal)

"""The workloads by name; README.md says what each one does."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from backlog import fill_drain
from connections import churn, connections
from fanout import fanout
from latency import paced
from lifetime import deadletter, expire
from measure import Result
from routing import headers, topic
from rpc import rpc
from target import Target
from throughput import deliver, store


class Workload(NamedTuple):
    """`fresh`: the memory that it measures means something only in a broker just started."""

    run: Callable[[Target], Result]
    fresh: bool = False


def _confirmed(confirm_window: int, body_bytes: int, *, safe: bool = True) -> Workload:
    return Workload(
        partial(
            deliver,
            body_bytes=body_bytes,
            prefetch=100,
            confirm_window=confirm_window,
            safe=safe,
        )
    )


WORKLOADS: dict[str, Workload] = {
    "autoack-100": Workload(partial(deliver, body_bytes=100)),
    "autoack-1k": Workload(partial(deliver, body_bytes=1024)),
    "autoack-64k": Workload(partial(deliver, body_bytes=65536)),
    "ack100-100": Workload(partial(deliver, body_bytes=100, prefetch=100)),
    "ack100-1k": Workload(partial(deliver, body_bytes=1024, prefetch=100)),
    "confirm1000-transient-100": _confirmed(1000, 100, safe=False),
    "confirm1-100": _confirmed(1, 100),
    "confirm1-1k": _confirmed(1, 1024),
    "confirm100-100": _confirmed(100, 100),
    "confirm100-1k": _confirmed(100, 1024),
    "confirm1000-100": _confirmed(1000, 100),
    "confirm1000-1k": _confirmed(1000, 1024),
    "many-4x4x4-100": Workload(partial(deliver, body_bytes=100, lanes=4)),
    "fanout-10-100": Workload(partial(fanout, body_bytes=100, queue_count=10, connections=1)),
    "fanout-100-100": Workload(partial(fanout, body_bytes=100, queue_count=100, connections=10)),
    "topic-100-100": Workload(partial(topic, body_bytes=100, bindings=100)),
    "topic-1000-100": Workload(partial(topic, body_bytes=100, bindings=1000)),
    "headers-100-100": Workload(partial(headers, body_bytes=100, bindings=100)),
    "priority-10-100": Workload(partial(deliver, body_bytes=100, prefetch=100, priorities=10)),
    "deadletter-100": Workload(partial(deadletter, body_bytes=100, prefetch=100)),
    "ttl-10000": Workload(
        partial(expire, body_bytes=100, queue_count=10_000, ttl_ms=1000, confirm_window=1000),
        fresh=True,
    ),
    "rpc-1": Workload(partial(rpc, concurrency=1)),
    "rpc-16": Workload(partial(rpc, concurrency=16)),
    "rpc-64x8": Workload(partial(rpc, concurrency=8, clients=8)),
    "latency-1000-100": Workload(partial(paced, body_bytes=100, rate=1000)),
    "churn": Workload(churn),
    "store1-1k": Workload(partial(store, body_bytes=1024, confirm_window=1)),
    "store100-1k": Workload(partial(store, body_bytes=1024, confirm_window=100)),
    "store1000-1k": Workload(partial(store, body_bytes=1024, confirm_window=1000)),
    "connections-500": Workload(partial(connections, count=500), fresh=True),
    "fill-drain-100": Workload(partial(fill_drain, body_bytes=100, messages=200_000), fresh=True),
    "fill-drain-1k": Workload(partial(fill_drain, body_bytes=1024, messages=100_000), fresh=True),
    "fill-drain-1k-safe": Workload(
        partial(fill_drain, body_bytes=1024, messages=50_000, confirm_window=1000), fresh=True
    ),
}

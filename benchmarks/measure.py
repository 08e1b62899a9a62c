"""What a run measures: processor time and memory of the broker, latencies, and its own share.

Everything comes from /proc, so this is for Linux only.
"""

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LIMITED_SHARE = 0.85


class ProcessStat(NamedTuple):
    parent: int
    cpu_ticks: int
    rss_pages: int


def process_stat(pid: int) -> ProcessStat | None:
    """From /proc/PID/stat (proc(5)); the time of children that were waited for is included."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, in parentheses, may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessStat(int(fields[1]), sum(map(int, fields[11:15])), int(fields[21]))


def process_name(pid: int) -> str | None:
    """The name of its program, cut to 15 characters."""
    try:
        return (PROC / str(pid) / "comm").read_text().rstrip()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _written_bytes(pid: int) -> int:
    # Left out for processes of other users, which only root may ask about.
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for line in (PROC / str(pid) / "io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
    return 0


def process_tree(roots: Iterable[int]) -> dict[int, ProcessStat]:
    """The processes given and all their descendants."""
    every = {
        int(entry.name): stat
        for entry in PROC.iterdir()
        if entry.name.isdigit() and (stat := process_stat(int(entry.name))) is not None
    }
    children: dict[int, list[int]] = {}
    for pid, stat in every.items():
        children.setdefault(stat.parent, []).append(pid)
    tree: dict[int, ProcessStat] = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in every and pid not in tree:
            tree[pid] = every[pid]
            waiting += children.get(pid, [])
    return tree


@dataclass(frozen=True, slots=True)
class Processes:
    """The broker's processes, by the ids of the first ones; without any, everything is 0."""

    roots: Sequence[int]

    def cpu_s(self) -> float:
        return sum(stat.cpu_ticks for stat in process_tree(self.roots).values()) / TICKS_PER_SECOND

    def written_bytes(self) -> int:
        """Bytes sent towards a disk (not into a file system in memory) since they started."""
        return sum(map(_written_bytes, process_tree(self.roots)))

    def rss_bytes(self) -> int:
        return sum(stat.rss_pages for stat in process_tree(self.roots).values()) * PAGE_BYTES


@dataclass(slots=True)
class Latencies:
    """Samples in seconds."""

    samples: list[float] = field(default_factory=list[float])

    def record(self, seconds: float) -> None:
        self.samples.append(seconds)

    def clear(self) -> None:
        self.samples.clear()

    def percentiles_us(self, *percents: float) -> list[float | None]:
        """Nearest-rank percentiles in microseconds, None each without samples."""
        ordered = sorted(self.samples)
        if not ordered:
            return [None for _ in percents]
        last = len(ordered) - 1
        return [ordered[min(last, int(len(ordered) * p / 100))] * 1e6 for p in percents]


class Usage(NamedTuple):
    """Time passed, and what was used meanwhile.

    `generator_wait_s` is how long the generator was ready to run but had no processor.
    """

    broker_cpu_s: float
    broker_written_bytes: float
    seconds: float
    generator_cpu_s: float
    generator_wait_s: float

    def plus(self, other: "Usage") -> "Usage":
        return Usage(*(mine + its for mine, its in zip(self, other, strict=True)))

    @property
    def generator_share(self) -> float:
        """How much of the time that it could run the generator did run: near 1, it is the limit."""
        able_s = self.seconds - self.generator_wait_s
        return self.generator_cpu_s / able_s if able_s > 0 else 1.0


class Interval:
    """Starts measuring when made."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        # Looking through /proc takes milliseconds, which are to be outside the interval.
        self._broker = self._read_broker()
        self._own = _read_own()

    def _read_broker(self) -> tuple[float, float]:
        return self._processes.cpu_s(), self._processes.written_bytes()

    def stop(self) -> Usage:
        """What was used since the start."""
        own = _read_own()
        now = (*self._read_broker(), *own)
        then = (*self._broker, *self._own)
        return Usage(*(after - before for after, before in zip(now, then, strict=True)))


def _read_own() -> tuple[float, float, float]:
    wait_ns = int((PROC / "self/schedstat").read_text().split()[1])
    return time.perf_counter(), time.process_time(), wait_ns / 1e9


@dataclass(slots=True)
class Result:
    """One run, as it is printed; `_us` and `written_bytes` are per operation.

    `unwritten`: messages that were confirmed as stored did not go to a disk.
    """

    workload: str
    operation: str
    operations: int
    seconds: float
    rate: float
    broker_cpu_us: float
    written_bytes: float
    unwritten: bool
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    rss_bytes: int
    memory_bytes: float
    memory_of: str
    generator_cpu_us: float
    generator_share: float
    generator_limited: bool
    details: dict[str, float]


def result(
    operation: str,
    operations: int,
    usage: Usage,
    processes: Processes,
    latencies: Latencies | None = None,
    *,
    memory: tuple[float, str] | None = None,
    stored_bytes: int = 0,
    **details: float,
) -> Result:
    """A result, still without its workload's name.

    `memory` is bytes and what of, by default the process; `stored_bytes` is what the broker has
    promised to have stored for each operation.
    """
    if not operations:
        raise ValueError(f"no {operation} at all in {usage.seconds:.1f} s")
    p50, p95, p99 = (latencies or Latencies()).percentiles_us(50, 95, 99)
    rss_bytes = processes.rss_bytes()
    memory_bytes, memory_of = memory or (rss_bytes, "process")
    share = usage.generator_share
    return Result(
        workload="",
        operation=operation,
        operations=operations,
        seconds=usage.seconds,
        rate=operations / usage.seconds,
        broker_cpu_us=usage.broker_cpu_s / operations * 1e6,
        written_bytes=usage.broker_written_bytes / operations,
        unwritten=usage.broker_written_bytes < stored_bytes * operations,
        p50_us=p50,
        p95_us=p95,
        p99_us=p99,
        rss_bytes=rss_bytes,
        memory_bytes=memory_bytes,
        memory_of=memory_of,
        generator_cpu_us=usage.generator_cpu_s / operations * 1e6,
        generator_share=share,
        generator_limited=share >= LIMITED_SHARE,
        details=details,
    )

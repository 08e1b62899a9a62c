"""Keeps a freshly started leveret under full load and watches its memory.

Several workloads run at the same time, each in a vhost and a process of its own, over and over
again: deliveries with and without acknowledgements, confirmed and stored messages, requests and
replies, and the opening and closing of connections and queues. Resident memory is sampled all
along. The end of the run is compared with its beginning, after a warm-up: the program fails if
memory has grown by more than the tolerance, or if a workload fails.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import NamedTuple, NoReturn

import report
from brokers import HOST, Broker, Leveret
from client import BrokerError

WORKLOADS = (
    "autoack-1k",
    "ack100-100",
    "confirm1000-100",
    "fanout-10-100",
    "rpc-16",
    "churn",
    "connections-500",
)
SLICE_S = 2.0
STALL_S = 120.0
SAMPLES = 40
WARMUP_SHARE = 0.25
COMPARED_SHARE = 0.25


class Sample(NamedTuple):
    seconds: float
    operations: int
    rss_bytes: int
    data_bytes: int
    descriptors: int


class Load:
    """Repeats one workload until told to stop; `error` says why if it has ended before."""

    def __init__(self, workload: str, port: int, stop: Event) -> None:
        self.workload = workload
        self.operations = 0
        self.error = ""
        self._stop = stop
        self._command = [
            *(sys.executable, str(Path(__file__).with_name("load.py")), workload),
            *("--host", HOST, "--port", str(port), "--vhost", workload),
            *("--warmup", "0.1", "--seconds", str(SLICE_S)),
        ]
        self._thread = Thread(target=self._repeat, name=workload)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of what is under way; `stop` must be set."""
        self._thread.join()

    def _repeat(self) -> None:
        while not self._stop.is_set() and not self.error:
            try:
                done = subprocess.run(
                    self._command, capture_output=True, text=True, timeout=STALL_S, check=False
                )
            except subprocess.TimeoutExpired:
                self.error = f"no end after {STALL_S:g} s"
                return
            if done.returncode:
                self.error = done.stderr.strip() or f"exit status {done.returncode}"
                return
            self.operations += json.loads(done.stdout)["operations"]


def watch(broker: Broker, loads: Sequence[Load], directory: Path, seconds: float) -> list[Sample]:
    """Samples taken at equal distances, until the end or until something goes wrong."""
    samples: list[Sample] = []
    start = time.monotonic()
    print("  time   ops/s       RSS      data  descriptors")
    for number in range(1, SAMPLES + 1):
        time.sleep(max(0.0, start + number * seconds / SAMPLES - time.monotonic()))
        if not broker.alive or any(load.error for load in loads):
            break
        sample = Sample(
            time.monotonic() - start,
            sum(load.operations for load in loads),
            broker.processes.rss_bytes(),
            _size(directory),
            sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in broker.processes.roots),
        )
        previous = samples[-1] if samples else Sample(0, 0, 0, 0, 0)
        rate = (sample.operations - previous.operations) / (sample.seconds - previous.seconds)
        print(
            f"{sample.seconds:5.0f} s  {report.rate(rate):>6}"
            f"  {report.memory(sample.rss_bytes):>8}  {report.memory(sample.data_bytes):>8}"
            f"  {sample.descriptors:11}",
            flush=True,
        )
        samples.append(sample)
    return samples


def growth_bytes(samples: Sequence[Sample]) -> float:
    """By how much memory has grown: the median of the last samples less that of the first ones
    after the warm-up.
    """
    compared = max(1, int(len(samples) * COMPARED_SHARE))
    first = int(len(samples) * WARMUP_SHARE)
    before = [sample.rss_bytes for sample in samples[first : first + compared]]
    after = [sample.rss_bytes for sample in samples[-compared:]]
    return statistics.median(after) - statistics.median(before)


def soak(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        configuration = directory / "leveret.toml"
        configuration.write_text(_configuration())
        flags = [f"--config={configuration}", f"--data-dir={directory}/data"]
        broker = stack.enter_context(
            Leveret(options.leveret.absolute(), [*flags, "--log-level=error"])
        )
        stop = Event()
        loads: list[Load] = []
        try:
            loads += [Load(workload, broker.port, stop) for workload in options.workloads]
            samples = watch(broker, loads, directory / "data", options.seconds)
        finally:
            stop.set()
            for load in loads:
                load.join()
        failures = [f"{load.workload}: {load.error}" for load in loads if load.error]
        if not broker.alive:
            failures.append("the broker has stopped")
    print()
    for load in loads:
        print(f"{load.workload:18}{report.rate(load.operations):>7} operations")
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures:
        return 1
    grown, tolerated_bytes = growth_bytes(samples), options.tolerance * 1e6
    print(f"\nmemory has grown by {report.memory(grown)} since the warm-up", end="")
    print(f" ({report.memory(tolerated_bytes)} are tolerated)")
    return 1 if grown > tolerated_bytes else 0


def _configuration() -> str:
    names = ", ".join(f'"{workload}"' for workload in WORKLOADS)
    everything = "{ configure = '.*', write = '.*', read = '.*' }"
    rights = "\n".join(f'permissions."{workload}" = {everything}' for workload in WORKLOADS)
    return f'vhosts = [{names}]\n[[users]]\nname = "guest"\npassword = "guest"\n{rights}\n'


def _size(directory: Path) -> int:
    """The bytes in a directory's files, some of which may be about to be deleted."""
    return sum(_file_size(file) for file in directory.rglob("*"))


def _file_size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"default: {' '.join(WORKLOADS)}"
    )
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="how long; default: 600, ten minutes"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=16.0,
        metavar="MB",
        help="by how much memory may grow after the warm-up; default: 16",
    )
    parser.add_argument(
        "--leveret",
        type=Path,
        metavar="PATH",
        default=Path(sys.executable).with_name("leveret"),
        help="the command to run; default: the one beside this Python",
    )
    options = parser.parse_args()
    options.workloads = options.workloads or list(WORKLOADS)
    unknown = [name for name in options.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return soak(options)
    except KeyboardInterrupt:
        return 130
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

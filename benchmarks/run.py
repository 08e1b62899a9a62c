"""Measures leveret, and RabbitMQ beside it if that is installed; prints one table.

Both brokers are started by this program, measured in turn, and stopped at the end. Progress goes
to standard error, the table to standard output.
"""

import argparse
import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import report
from brokers import HOST, Broker, Leveret, RabbitMQ
from client import BrokerError
from measure import Result
from restart import restart
from workloads import WORKLOADS

STARTUP = "startup"
# By what their restart follows: whether the broker was killed.
RESTARTS = {"restart": False, "restart-killed": True}
IDLE_S = 1.0
RUN_TIMEOUT_S = 300.0
DEBIAN_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Contestant:
    """A broker that is started when needed, anew if asked, and stopped."""

    def __init__(self, name: str, start: Callable[[], Broker]) -> None:
        self.name = name
        self.version = "?"
        self._start = start
        self._broker: Broker | None = None

    def stop(self) -> None:
        if self._broker is not None:
            self._broker.stop()
            self._broker = None

    def broker(self, *, fresh: bool) -> Broker:
        if self._broker is None or fresh or not self._broker.alive:
            self.stop()
            self._broker = self._start()
            self.version = self._broker.version
        return self._broker

    def measure(self, workload: str, warmup_s: float, seconds: float) -> Result:
        if workload == STARTUP:
            return _startup(self.broker(fresh=True))
        if workload in RESTARTS:
            return self._restart(workload)
        broker = self.broker(fresh=WORKLOADS[workload].fresh)
        return _load(workload, broker, warmup_s, seconds)

    def _restart(self, workload: str) -> Result:
        try:
            result = restart(self.broker(fresh=True), killed=RESTARTS[workload])
        finally:
            # Its queue is not to weigh on what is measured next.
            self.stop()
        result.workload = workload
        return result


def _startup(broker: Broker) -> Result:
    start_us = broker.start_s * 1e6
    time.sleep(IDLE_S)
    rss_bytes = broker.processes.rss_bytes()
    return Result(
        workload=STARTUP,
        operation="start",
        operations=1,
        seconds=broker.start_s,
        rate=1 / broker.start_s,
        broker_cpu_us=broker.start_cpu_s * 1e6,
        written_bytes=broker.processes.written_bytes(),
        unwritten=False,
        p50_us=start_us,
        p95_us=start_us,
        p99_us=start_us,
        rss_bytes=rss_bytes,
        memory_bytes=rss_bytes,
        memory_of="process",
        generator_cpu_us=0,
        generator_share=0,
        generator_limited=False,
        details={},
    )


def _load(workload: str, broker: Broker, warmup_s: float, seconds: float) -> Result:
    """Runs load.py in a process of its own, so that its processor time is only the run's."""
    command = [sys.executable, str(Path(__file__).with_name("load.py")), workload]
    command += ["--host", HOST, "--port", str(broker.port)]
    command += ["--warmup", str(warmup_s), "--seconds", str(seconds)]
    for pid in broker.processes.roots:
        command += ["--pid", str(pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=RUN_TIMEOUT_S + seconds)
        except subprocess.TimeoutExpired as error:
            raise BrokerError(f"{workload}: no end after {error.timeout:.0f} s") from error
        finally:
            process.kill()
    if process.returncode:
        raise BrokerError(f"{workload} failed against {broker.name}")
    return Result(**json.loads(output))


def _rounds(
    contestants: Sequence[Contestant], options: argparse.Namespace
) -> tuple[dict[str, dict[str, list[Result]]], bool]:
    """All results by workload and broker, and whether every run succeeded."""
    results: dict[str, dict[str, list[Result]]] = {name: {} for name in options.workloads}
    complete = True
    for number in range(1, options.rounds + 1):
        for workload in options.workloads:
            for contestant in contestants:
                place = f"round {number}/{options.rounds}  {workload:26}{contestant.name:10}"
                try:
                    result = contestant.measure(workload, options.warmup, options.seconds)
                except BrokerError as error:
                    complete = False
                    print(f"{place}{error}", file=sys.stderr)
                    continue
                results[workload].setdefault(contestant.name, []).append(result)
                figures = f"{report.rate(result.rate)}/s, {report.time_us(result.broker_cpu_us)}"
                print(f"{place}{figures}", file=sys.stderr)
        for contestant in contestants:
            contestant.stop()
    return results, complete


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = [STARTUP, *RESTARTS, *WORKLOADS]
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="default: all of them")
    parser.add_argument("--list", action="store_true", help="print the workloads' names, stop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="to measure, in each run")
    parser.add_argument("--warmup", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument("--leveret-only", action="store_true", help="leave RabbitMQ out")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every result there")
    parser.add_argument(
        "--leveret",
        type=Path,
        metavar="PATH",
        default=Path(sys.executable).with_name("leveret"),
        help="the command to measure; default: the one beside this Python",
    )
    parser.add_argument(
        "--leveret-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="for `leveret serve`, written --leveret-option=--name=value; may be given several "
        "times; {directory} stands for the run's temporary directory",
    )
    parser.add_argument(
        "--rabbitmq",
        type=Path,
        metavar="PATH",
        default=DEBIAN_RABBITMQ,
        help="rabbitmq-server; default: Debian's, %(default)s",
    )
    options = parser.parse_args()
    if options.list:
        print(*names, sep="\n")
        raise SystemExit
    options.workloads = options.workloads or names
    unknown = [name for name in options.workloads if name not in names]
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}; --list shows them")
    if not options.leveret.exists():
        parser.error(f"{options.leveret} does not exist; `make bench` installs it")
    return options


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    # Stopping takes a moment, in which another Ctrl-C must not leave anything behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    options = _arguments()
    contestants = [
        Contestant("leveret", lambda: Leveret(options.leveret.absolute(), options.leveret_option))
    ]
    if options.leveret_only:
        pass
    elif options.rabbitmq.exists():
        contestants.append(Contestant("RabbitMQ", lambda: RabbitMQ(options.rabbitmq.absolute())))
    else:
        print(f"RabbitMQ is not installed ({options.rabbitmq}): leveret alone", file=sys.stderr)
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        results, complete = _rounds(contestants, options)
    except KeyboardInterrupt:
        return 130
    finally:
        for contestant in contestants:
            contestant.stop()
    versions = ", ".join(f"{contestant.name} {contestant.version}" for contestant in contestants)
    print(
        f"{versions}; Python {platform.python_version()}, Linux {platform.release()}, "
        f"{os.cpu_count()} processors; medians of {options.rounds} runs of {options.seconds:g} s\n"
    )
    brokers = [contestant.name for contestant in contestants]
    print(report.table(results, brokers, markdown=options.markdown))
    if notes := report.notes(results):
        print(f"\n{notes}")
    if options.json is not None:
        every = {
            workload: {
                broker: [dataclasses.asdict(result) for result in runs]
                for broker, runs in by_broker.items()
            }
            for workload, by_broker in results.items()
        }
        options.json.write_text(json.dumps(every, indent=1) + "\n")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())

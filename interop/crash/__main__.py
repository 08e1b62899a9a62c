"""`python -m crash --leveret COMMAND --rounds 20`: kill -9 leveret under load, again and again.

A round starts the broker on the directory that the last one left, loads it, and kills its whole
process group at a random moment; some brokers are killed while they recover. All that they
promised is reconciled at the end, against what a last one has in its queues.
"""

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import pika
from leveret_process import LeveretProcess

from .ledger import BrokenPromise, Ledger, Name
from .loads import LOADS, MARKS, PERSISTENT, Load, body_of, name_of

OLD = "crash-old"
OLD_MESSAGES = 20
"""They stay in their queue all the time, and must be carried along when space is reclaimed."""
PATIENCE_S = 20


class Crashes:
    """The rounds on one data directory."""

    def __init__(self, leveret: str, folder: Path, seed: int):
        self.chance = random.Random(seed)
        self.broker = LeveretProcess(leveret, folder)
        self.ledgers = [Ledger(queue) for queue in LOADS]
        self.killed_recovering = 0

    def prepare(self) -> None:
        """Declare everything, and leave the old messages."""
        self.broker.start()
        connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        channel = connection.channel()
        channel.confirm_delivery()
        for queue in (*LOADS, MARKS, OLD):
            channel.queue_declare(queue, durable=True)
        for number in range(OLD_MESSAGES):
            channel.basic_publish("", OLD, body_of(("old", number), 1000), PERSISTENT)
        self.broker.kill()

    def round(self) -> None:
        """One life under load."""
        if self.chance.random() < 0.3:
            self.broker.launch()
            time.sleep(self.chance.uniform(0, 0.5))
            self.broker.kill()
            self.killed_recovering += 1
        self.broker.start()
        gone = threading.Event()
        threads: list[threading.Thread] = []
        for ledger in self.ledgers:
            ledger.begin_life()
            for load in LOADS[ledger.queue]:
                seed = self.chance.randrange(1 << 30)
                arguments = (load, self.broker.url, ledger, seed, gone)
                thread = threading.Thread(target=_until_gone, args=arguments, daemon=True)
                thread.name = load.__name__
                threads.append(thread)
        for thread in threads:
            thread.start()
        time.sleep(self.chance.uniform(0.2, 1.8))
        gone.set()
        self.broker.kill()
        for thread in threads:
            thread.join(PATIENCE_S)
            if thread.is_alive():
                traceback.print_stack(sys._current_frames()[thread.ident or 0])
                raise BrokenPromise(f"{thread.name} has not noticed the broker's end")
        for ledger in self.ledgers:
            ledger.check()

    def reconcile(self) -> None:
        """Empty the queues of a last broker."""
        self.broker.start()
        connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        for ledger in self.ledgers:
            ledger.begin_life()
            rest: list[Name] = []
            for name, redelivered in _all_in(connection, ledger.queue):
                ledger.deliver(name, redelivered)
                rest.append(name)
            ledger.check_rest(rest)
        old = [name for name, _ in _all_in(connection, OLD)]
        if old != [("old", number) for number in range(OLD_MESSAGES)]:
            raise BrokenPromise(f"{OLD} has {old}")
        connection.close()
        self.broker.stop()

    def _log_files(self) -> str:
        names = sorted(path.name for path in self.broker.data_dir.glob("journal-*"))
        return f"{len(names)} files from {names[0]} on"

    def summary(self) -> str:
        confirmed = sum(len(ledger.confirmed) for ledger in self.ledgers)
        settled = sum(len(ledger.settled) for ledger in self.ledgers)
        redelivered = sum(ledger.redelivered for ledger in self.ledgers)
        return (
            f"{confirmed} messages confirmed, {settled} acknowledged for certain,"
            f" {redelivered} redelivered; killed while recovering {self.killed_recovering} times;"
            f" log now {self._log_files()}"
        )


def _until_gone(load: Load, url: str, ledger: Ledger, seed: int, gone: threading.Event) -> None:
    """Run a load. The broker's end is its end, and clients raise all sorts of things then."""
    try:
        load(url, ledger, seed, gone)
        problem = "ended"
    except (Exception, asyncio.CancelledError) as error:
        problem = repr(error)
    if not gone.is_set():
        ledger.complain(f"{load.__name__}: {problem} while the broker ran")


def _all_in(connection: pika.BlockingConnection, queue: str) -> list[tuple[Name, bool]]:
    channel = connection.channel()
    found: list[tuple[Name, bool]] = []
    expected = channel.queue_declare(queue, passive=True).method.message_count
    while len(found) < expected:
        for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE_S):
            if method is None:
                raise BrokenPromise(f"{queue}: {len(found)} of {expected} messages came")
            found.append((name_of(body), method.redelivered))
            if len(found) == expected:
                break
        channel.cancel()
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="crash")
    parser.add_argument("--leveret", required=True, help="the command")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    chosen = parser.parse_args(arguments)
    folder = tempfile.mkdtemp(prefix="leveret-crash-")
    crashes = Crashes(chosen.leveret, Path(folder), chosen.seed)
    started = time.monotonic()
    # Clients tell at length that their connection is gone.
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    print(f"{chosen.rounds} rounds with seed {chosen.seed} in {folder}", flush=True)
    try:
        crashes.prepare()
        for _ in range(chosen.rounds):
            crashes.round()
        crashes.reconcile()
    except Exception as problem:
        traceback.print_exc()
        print(f"FAILED in life {crashes.ledgers[0].life}: {problem!r}")
        print(f"data directory and log are left in {folder}")
        return 1
    finally:
        crashes.broker.kill()
    print(f"{chosen.rounds} rounds in {time.monotonic() - started:.0f} s: {crashes.summary()}")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

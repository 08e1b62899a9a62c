"""A Celery worker in a process of its own, as it runs in production."""

import os
import subprocess
import sys
import time
from pathlib import Path

import celery_tasks

INTEROP = Path(__file__).parent
READY_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10


class CeleryWorker:
    """`celery worker` on one queue of `broker_url`, with two child processes.

    No threads: after a restart of the broker several of them set the prefetch at once and wait for
    the answers on the same socket, some for ever (Celery 5.7).
    """

    def __init__(self, broker_url: str, queue: str, log: Path, queue_type: str = "classic"):
        self.name = f"{queue}@interop"
        self.log = log
        self._environment = os.environ | {
            "PYTHONPATH": str(INTEROP),
            celery_tasks.BROKER: broker_url,
            celery_tasks.QUEUE: queue,
            celery_tasks.QUEUE_TYPE: queue_type,
        }
        command = ["worker", "--pool", "prefork", "--concurrency", "2", "--hostname", self.name]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*self._celery(), *command, "--loglevel", "INFO"],
                cwd=log.parent,
                env=self._environment,
                stdout=output,
                stderr=output,
            )
        self._wait_until_ready()

    def command(self, *arguments: str) -> str:
        """What `celery <arguments>` prints; it must succeed."""
        done = subprocess.run(
            [*self._celery(), *arguments],
            cwd=self.log.parent,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=READY_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def stop(self) -> None:
        """A warm shutdown, and if it takes too long a cold one."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _celery(self) -> list[str]:
        # -P keeps the working directory off the path, see test_import_isolation.py.
        return [sys.executable, "-P", "-m", "celery", "-A", "celery_tasks"]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while f"{self.name} ready" not in self.log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f"the worker did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)

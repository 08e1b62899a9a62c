"""The application that the Celery tests and their workers share.

A worker is `celery -A celery_tasks worker` with its settings in the environment; the tests call
`make_app` themselves.
"""

import os
import time
from pathlib import Path

from celery import Celery

BROKER, QUEUE, QUEUE_TYPE = "CELERY_TASKS_BROKER", "CELERY_TASKS_QUEUE", "CELERY_TASKS_QUEUE_TYPE"
DEADLINE_S = 20


def make_app(broker_url: str, queue: str, queue_type: str = "classic") -> Celery:
    """Celery with its tasks in a queue of that name, and their results over rpc://."""
    app = Celery("interop", broker=broker_url, backend="rpc://", set_as_current=False)
    app.conf.update(
        task_default_queue=queue,
        task_default_queue_type=queue_type,
        task_default_exchange_type="topic",  # native delayed delivery cannot do with direct
        broker_native_delayed_delivery_queue_type=queue_type,
        broker_transport_options={"confirm_publish": True},
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=4,
    )
    app.task(add)
    app.task(when)
    app.task(wait_for)
    app.task(record, acks_late=True)
    app.task(
        succeed_at,
        bind=True,
        autoretry_for=(ConnectionError,),
        max_retries=3,
        default_retry_delay=0.1,
    )
    return app


def add(first: int, second: int) -> int:
    return first + second


def when() -> float:
    """The time at which it runs, in seconds since the epoch."""
    return time.time()


def wait_for(file: str) -> str:
    """Ends once `file` is there."""
    deadline = time.monotonic() + DEADLINE_S
    while not Path(file).exists():
        assert time.monotonic() < deadline, f"{file} is not there"
        time.sleep(0.02)
    return "it is there"


def record(folder: str, number: int) -> None:
    """Leaves a file in `folder`, named by `number`."""
    time.sleep(0.05)
    Path(folder, str(number)).touch()


def succeed_at(task, attempt: int) -> int:
    """Fails until it is tried for the time with this number; from 0."""
    if task.request.retries < attempt:
        raise ConnectionError(f"not before attempt {attempt}")
    return task.request.retries


if QUEUE in os.environ:
    app = make_app(os.environ[BROKER], os.environ[QUEUE], os.environ[QUEUE_TYPE])

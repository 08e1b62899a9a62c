"""Celery with a real worker: results, countdowns, retries, remote control, broker restarts."""

import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from celery_tasks import make_app
from celery_worker import CeleryWorker
from leveret_process import LeveretProcess
from restarting import KILLED, LEVERET, STOPPED, needs_leveret

TIMEOUT_S = 15
RESTART_S = 40
DELAY_LEVELS = 28
DELAYED_DELIVERY = "celery_delayed_delivery"


@pytest.fixture(scope="module")
def queue(janitor) -> Iterator[str]:
    name = f"celery-{uuid.uuid4().hex[:12]}"
    yield name
    delete(janitor, [name], [name])


@pytest.fixture(scope="module")
def app(broker, queue) -> Iterator[Celery]:
    with make_app(broker.url, queue) as app:
        yield app


@pytest.fixture(scope="module")
def worker(broker, queue, tmp_path_factory) -> Iterator[CeleryWorker]:
    worker = CeleryWorker(broker.url, queue, tmp_path_factory.mktemp("worker") / "worker.log")
    yield worker
    worker.stop()


@pytest.fixture
def inspect(app, worker):
    """Asks the worker through its mailbox."""
    return app.control.inspect(destination=[worker.name], timeout=TIMEOUT_S, limit=1)


def delete(janitor, queues, exchanges) -> None:
    channel = janitor.channel()
    for name in queues:
        channel.queue_delete(name)
    for name in exchanges:
        channel.exchange_delete(name)
    channel.close()


def send(app: Celery, task: str, *arguments, **options):
    return app.send_task(f"celery_tasks.{task}", arguments, **options)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def test_results_come_back_over_rpc(app, worker):
    results = [send(app, "add", number, 1) for number in range(50)]
    assert [result.get(TIMEOUT_S) for result in results] == list(range(1, 51))


@pytest.mark.parametrize("delay_s", [0.5, 1.0])
def test_task_waits_for_its_countdown(app, worker, delay_s):
    before = time.time()
    ran_at = send(app, "when", countdown=delay_s).get(TIMEOUT_S)
    assert delay_s - 0.1 <= ran_at - before < delay_s + 5


def test_task_is_retried_until_it_succeeds(app, worker):
    assert send(app, "succeed_at", 3).get(TIMEOUT_S) == 3


def test_task_whose_retries_are_used_up_fails(app, worker):
    with pytest.raises(ConnectionError, match="not before attempt 4"):
        send(app, "succeed_at", 4).get(TIMEOUT_S)


def test_worker_answers_a_ping(inspect, worker):
    assert inspect.ping() == {worker.name: {"ok": "pong"}}
    assert worker.name in worker.command("inspect", "ping", "--destination", worker.name)


def test_running_task_is_seen_by_inspect(app, inspect, worker, tmp_path):
    file = tmp_path / "go"
    result = send(app, "wait_for", str(file))
    wait_until(lambda: bool(inspect.active()[worker.name]), "a task is active")
    assert [task["id"] for task in inspect.active()[worker.name]] == [result.id]
    file.touch()
    assert result.get(TIMEOUT_S) == "it is there"


def test_revoked_task_does_not_run(app, inspect, worker):
    result = send(app, "when", countdown=1)
    wait_until(lambda: bool(inspect.scheduled()[worker.name]), "the task is scheduled")
    app.control.revoke(result.id, destination=[worker.name], reply=True, timeout=TIMEOUT_S, limit=1)
    with pytest.raises(TaskRevokedError):
        result.get(TIMEOUT_S)


def test_worker_stops_consuming_and_starts_again_when_told_to(app, inspect, worker, queue):
    how = {"destination": [worker.name], "reply": True, "timeout": TIMEOUT_S, "limit": 1}
    app.control.cancel_consumer(queue, **how)
    wait_until(lambda: inspect.active_queues()[worker.name] == [], "it does not consume")
    result = send(app, "add", 1, 1)
    app.control.add_consumer(queue, **how)
    assert result.get(TIMEOUT_S) == 2


@pytest.fixture
def delayed_queue(janitor, unique) -> Iterator[str]:
    """The name for a quorum queue, with which Celery delays tasks in the broker."""
    name = unique("celery")
    yield name
    levels = [f"celery_delayed_{level}" for level in range(DELAY_LEVELS)]
    delete(janitor, levels, [*levels, DELAYED_DELIVERY])


def test_quorum_queue_has_tasks_delayed_by_the_broker(broker, janitor, delayed_queue, tmp_path):
    log = tmp_path / "worker.log"
    worker = CeleryWorker(broker.url, delayed_queue, log, queue_type="quorum")
    try:
        with make_app(broker.url, delayed_queue, "quorum") as app:
            before = time.time()
            ran_at = send(app, "when", countdown=3).get(TIMEOUT_S)
        assert 2 <= ran_at - before < 8
        channel = janitor.channel()
        channel.exchange_declare(DELAYED_DELIVERY, passive=True)
        channel.close()
    finally:
        worker.stop()


@pytest.fixture
def steady_broker() -> Iterator[LeveretProcess]:
    """A leveret that has the same port whenever it is started."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="leveret-celery-") as folder:
        process = LeveretProcess(LEVERET, Path(folder), port=port)
        process.start()
        yield process
        process.kill()


@needs_leveret
@pytest.mark.timeout(90)
@pytest.mark.parametrize("ending", [KILLED, STOPPED])
def test_no_task_is_lost_when_the_broker_restarts(steady_broker, tmp_path, ending):
    worker = CeleryWorker(steady_broker.url, "tasks", tmp_path / "worker.log")
    done = tmp_path / "done"
    done.mkdir()
    numbers = {str(number) for number in range(120)}
    try:
        with make_app(steady_broker.url, "tasks") as app:
            for number in range(100):
                send(app, "record", str(done), number, ignore_result=True)
        wait_until(lambda: len(list(done.iterdir())) >= 10, "ten tasks are done")
        if ending == KILLED:
            steady_broker.kill()
        else:
            steady_broker.stop()
        steady_broker.start()
        assert len(list(done.iterdir())) < 100, "the broker was not restarted in the middle"
        with make_app(steady_broker.url, "tasks") as app:
            for number in range(100, 120):
                send(app, "record", str(done), number, ignore_result=True)
        wait_until(
            lambda: {file.name for file in done.iterdir()} == numbers, "all are done", RESTART_S
        )
    finally:
        worker.stop()
    with pika.BlockingConnection(pika.URLParameters(steady_broker.url)) as connection:
        left = connection.channel().queue_declare("tasks", passive=True)
        assert left.method.message_count == 0

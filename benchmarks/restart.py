"""How long a broker with a full queue takes to start: until the queue holds every message again."""

import time
from signal import SIGKILL, SIGTERM

from brokers import HOST, Broker
from client import Address, BrokerError, Connection
from flow import Flow
from measure import Latencies, Result, Usage, result
from publish import Publisher, block

MESSAGES = 1_000_000
BODY_BYTES = 100
CONFIRM_WINDOW = 1000
FILL_TIMEOUT_S = 300.0
QUEUE = "benchmark"


def restart(broker: Broker, *, killed: bool) -> Result:
    """Fills a durable queue with confirmed persistent messages, ends the broker, starts it anew.

    `killed`: it ends by SIGKILL, otherwise in good order. An operation is the start, from exec
    until the queue could be declared passively and held all messages.
    """
    _fill(Address(HOST, broker.port))
    stopping = time.perf_counter()
    broker.halt(SIGKILL if killed else SIGTERM)
    stop_s = time.perf_counter() - stopping
    broker.start()
    with Connection(Address(HOST, broker.port)) as connection:
        found = connection.declare_queue(QUEUE, durable=True, passive=True)
    seconds = time.perf_counter() - broker.started
    if found != MESSAGES:
        raise BrokerError(f"{found} messages after the restart, {MESSAGES} were confirmed")
    # The processes are new: all that they have used so far is the start's.
    processes = broker.processes
    usage = Usage(processes.cpu_s(), processes.written_bytes(), seconds, 0.0, 0.0)
    times = Latencies([seconds])
    return result("start", 1, usage, processes, times, stop_s=stop_s)


def _fill(address: Address) -> None:
    messages = block("", [QUEUE], BODY_BYTES, messages=2 * CONFIRM_WINDOW, persistent=True)
    with Connection(address) as admin, Connection(address) as connection:
        admin.declare_queue(QUEUE, durable=True)
        publisher = Publisher(connection, messages, CONFIRM_WINDOW)
        flow = Flow([publisher], [], CONFIRM_WINDOW, publisher.confirmed, lambda: True)
        flow.run(FILL_TIMEOUT_S, MESSAGES)
        flow.finish()
        if publisher.begun != MESSAGES:
            raise BrokerError(f"{publisher.begun} messages in {FILL_TIMEOUT_S:.0f} s, too few")

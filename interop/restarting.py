"""What the restart tests of every client share: how a broker may end, and one that can."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from leveret_process import LeveretProcess

KILLED, STOPPED = "kill -9", "SIGTERM"
LEVERET = os.environ.get("LEVERET", "")

needs_leveret = pytest.mark.skipif(
    not LEVERET, reason="not run: BROKER is given, and this needs a leveret of its own"
)


@pytest.fixture
def own_broker() -> Iterator[LeveretProcess]:
    """A running leveret with a fresh data directory."""
    with tempfile.TemporaryDirectory(prefix="leveret-restart-") as folder:
        process = LeveretProcess(LEVERET, Path(folder))
        process.start()
        yield process
        process.kill()


@pytest.fixture(params=[KILLED, STOPPED])
def restart(request: pytest.FixtureRequest, own_broker: LeveretProcess) -> Callable[[], None]:
    """Ends the broker, in either way, and starts it again on the same data directory."""

    def end_and_start() -> None:
        if request.param == KILLED:
            own_broker.kill()
        else:
            own_broker.stop()
        own_broker.start()

    return end_and_start

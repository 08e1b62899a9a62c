"""A server that is short of memory, and clients with a queue on it."""

import pytest

from durable_server import DurableServer
from fake_client import FakeClient
from held import ARGUMENTS, BUDGET_BYTES


@pytest.fixture
def server() -> DurableServer:
    server = DurableServer()
    server.broker.memory.budget_bytes = BUDGET_BYTES
    return server


@pytest.fixture
def client(server: DurableServer) -> FakeClient:
    """A client on whose channel 1 there is a durable queue q."""
    client = server.connect()
    client.declare("q", durable=True)
    return client


@pytest.fixture(params=ARGUMENTS, ids=lambda arguments: next(iter(arguments), "plain"))
def any_client(server: DurableServer, request: pytest.FixtureRequest) -> FakeClient:
    """The same, with a queue that may be a special one."""
    client = server.connect()
    client.declare("q", durable=True, arguments=request.param)
    return client

import pytest

pytest.register_assert_rewrite("fake_client")

from fake_client import FakeClient, FakeServer  # noqa: E402 - only what is imported later is rewritten


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    """A client with channel 1 open."""
    return server.connect()


@pytest.fixture
def other(server: FakeServer) -> FakeClient:
    """A second client of the same server, also with channel 1 open."""
    return server.connect()

import pytest

pytest.register_assert_rewrite("fake_client")

from fake_client import FakeClient, FakeServer  # noqa: E402 - only what is imported later is rewritten
from leveret.broker.administration import Administration  # noqa: E402 - likewise
from leveret.broker.permissions import Patterns  # noqa: E402 - likewise


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


@pytest.fixture
def administration(server: FakeServer) -> Administration:
    """What operators can do with the server."""
    return Administration(server.broker)


@pytest.fixture
def shop(administration: Administration) -> Administration:
    """A broker with a vhost `shop` and a user `seller` who may do everything in it."""
    administration.set_vhost("shop")
    administration.set_user("seller", "pw", tags=["management"])
    administration.set_permissions("seller", "shop", Patterns(".*", ".*", ".*"))
    return administration

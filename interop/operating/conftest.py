"""What the tests of operators share: a broker that is operated, a vhost and a user of their own."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

import pika
import pytest
from administered import Connections
from conftest import Broker
from operators import PASSWORD, CommandError, Operator, operated


@pytest.fixture(scope="module")
def operation(broker: Broker) -> Iterator[tuple[Broker, Operator]]:
    with operated(broker) as both:
        yield both


@pytest.fixture
def operate(operation: tuple[Broker, Operator]) -> Operator:
    return operation[1]


@pytest.fixture
def vhost(operation: tuple[Broker, Operator]) -> Iterator[str]:
    """A vhost of the test's own, where the broker's user may do everything."""
    broker, operate = operation
    name = f"own-{uuid.uuid4().hex[:8]}"
    operate("add_vhost", name)
    operate("set_permissions", "-p", name, broker.user, ".*", ".*", ".*")
    yield name
    with suppress(CommandError):  # the test may have deleted it
        operate("delete_vhost", name)


@pytest.fixture
def user(operate: Operator, vhost: str) -> Iterator[str]:
    """A user with the password `PASSWORD` who may do everything in the vhost."""
    name = f"user-{uuid.uuid4().hex[:8]}"
    operate("add_user", name, PASSWORD)
    operate("set_permissions", "-p", vhost, name, ".*", ".*", ".*")
    yield name
    with suppress(CommandError):
        operate("delete_user", name)


@pytest.fixture
def connect(
    operation: tuple[Broker, Operator], vhost: str
) -> Iterator[Callable[..., pika.BlockingConnection]]:
    """Connects as the broker's user, or as another one, to the vhost, or to another one."""
    connections = Connections(operation[0]._replace(vhost=vhost))
    yield connections.open
    connections.close()

"""Queues and exchanges that exist for one run only."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from client import NO_ARGUMENTS, Address, Arguments, Connection


@contextmanager
def queues(
    address: Address,
    names: Sequence[str],
    *,
    durable: bool = False,
    options: Arguments = NO_ARGUMENTS,
) -> Generator[Connection]:
    """Declares empty queues, deletes them at the end; gives the connection it does so on."""
    with Connection(address) as connection:
        for name in names:
            connection.delete_queue(name)
            connection.declare_queue(name, durable=durable, options=options)
        yield connection
        for name in names:
            connection.delete_queue(name)


@contextmanager
def exchange(connection: Connection, name: str, kind: str) -> Generator[None]:
    """Declares an exchange without bindings, deletes it at the end."""
    connection.delete_exchange(name)
    connection.declare_exchange(name, kind)
    yield
    connection.delete_exchange(name)


def numbered(count: int) -> list[str]:
    """Names of queues, equally long."""
    return [f"benchmark-{number:04}" for number in range(count)]

"""Setting policies, and what is in queues before and after, for tests of what they do."""

from typing import Any

from fake_client import FakeClient, FakeServer
from leveret.broker.policies import Policies
from leveret.broker.policy_checks import checked_policy


def policies(server: FakeServer) -> Policies:
    return server.broker.vhosts["/"].policies


def set_policy(
    server: FakeServer,
    definition: dict[str, Any],
    pattern: str = ".*",
    *,
    name: str = "policy",
    priority: int = 0,
    applies_to: str = "all",
    operator: bool = False,
) -> None:
    policy = checked_policy(
        name, pattern, definition, priority=priority, applies_to=applies_to, operator=operator
    )
    policies(server).set(policy, operator=operator)
    server.end_turn()


def delete_policy(server: FakeServer, name: str = "policy", *, operator: bool = False) -> None:
    assert policies(server).delete(name, operator=operator)
    server.end_turn()


def publish(client: FakeClient, count: int, first: int = 0, queue: str = "q") -> None:
    for number in range(first, first + count):
        client.publish(b"%d" % number, queue)


def bodies(client: FakeClient, queue: str = "q") -> list[bytes]:
    """All that waits in a queue."""
    found: list[bytes] = []
    while client.ready_in(queue):
        found.append(client.get(queue, no_ack=True).body)
    return found

"""A queue with x-message-deduplication holds what a plain reading of its rules says, whatever is
done to it.
"""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pamqp.commands import Basic, Queue

from durable_server import DurableServer
from exchange_client import bodies_in

LIMIT = 3
ARGUMENTS: list[dict[str, Any]] = [{}, {"x-max-priority": 2}, {"x-max-length": LIMIT}]


class Deduplicating(RuleBasedStateMachine):
    """The queue q; `ready` and `out` are what should be in it and with the client, by values."""

    def __init__(self) -> None:
        super().__init__()
        self.server = DurableServer()
        self.client = self.server.connect()
        self.ready: list[str] = []
        self.out: dict[int, str] = {}
        self.purged: set[int] = set()
        """Tags of what was out when the queue was purged, which makes it forget the values."""
        self.limited = False

    @property
    def values(self) -> set[str]:
        return {*self.ready, *(self.out[tag] for tag in self.out.keys() - self.purged)}

    @initialize(arguments=st.sampled_from(ARGUMENTS))
    def declare(self, arguments: dict[str, Any]) -> None:
        self.limited = "x-max-length" in arguments
        arguments = {"x-message-deduplication": True, **arguments}
        self.client.declare("q", durable=True, arguments=arguments)

    @rule(value=st.sampled_from("abcd"))
    def publish(self, value: str) -> None:
        headers = {"x-deduplication-header": value}
        self.client.publish(value.encode(), "q", headers=headers, delivery_mode=2)
        if value not in self.values:
            self.ready.append(value)
            self._drop_head()

    def _drop_head(self) -> None:
        if self.limited:
            self.ready = self.ready[-LIMIT:]

    @precondition(lambda self: self.ready)
    @rule(no_ack=st.booleans())
    def get(self, no_ack: bool) -> None:
        got = self.client.get("q", no_ack=no_ack)
        value = got.body.decode()
        self.ready.remove(value)
        if not no_ack:
            self.out[got.call.delivery_tag] = value

    @precondition(lambda self: self.out)
    @rule(outcome=st.sampled_from(["ack", "reject", "return"]))
    def settle(self, outcome: str) -> None:
        tag = min(self.out)
        returns = outcome == "return" and tag not in self.purged
        if outcome == "ack":
            self.client.send(Basic.Ack(delivery_tag=tag))
        else:
            self.client.send(Basic.Nack(delivery_tag=tag, requeue=returns))
        value = self.out.pop(tag)
        if returns:
            self.ready.insert(0, value)
            self._drop_head()

    @rule()
    def purge(self) -> None:
        self.client.request(Queue.Purge(queue="q"), Queue.PurgeOk)
        self.ready = []
        self.purged |= set(self.out)

    @rule()
    def page_out(self) -> None:
        self.server.page_out("q")

    @precondition(lambda self: not self.purged & set(self.out))
    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        self.server = self.server.restarted(clean=clean)
        self.client = self.server.connect()
        self.ready = [*self.out.values(), *self.ready]
        self.out, self.purged = {}, set()
        self._drop_head()

    @invariant()
    def holds_the_values(self) -> None:
        queue = self.server.broker.vhosts["/"].queues.get("q")
        if queue is None:
            return
        self.server.advance(0.001)
        assert queue.features is not None
        assert queue.features.deduplication is not None
        assert queue.features.deduplication.value_count == len(self.values)
        assert queue.message_count == len(self.ready)

    def teardown(self) -> None:
        if "q" in self.server.broker.vhosts["/"].queues:
            ready = [value.encode() for value in self.ready]
            assert sorted(bodies_in(self.client, "q")) == sorted(ready)


@pytest.mark.slow
class TestDeduplicating(Deduplicating.TestCase):
    settings = settings(deadline=None, max_examples=30, stateful_step_count=40)

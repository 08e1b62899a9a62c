"""Policies have changed: what they match is looked at anew, a bit at a time where that is much."""

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING

from .exchange import Exchange
from .features import DROPPED_AT_ONCE
from .policy import EXCHANGE, Policy, best_first
from .queue import Queue
from .queue_settings import queue_type

if TYPE_CHECKING:
    from .vhost import VirtualHost

SEARCHES_AT_ONCE = 2_000
"""How many patterns are searched for in one turn: some 8 ms."""

FOLLOWED, DROPPED = 4, 4
"""To follow a policy takes as long as so many searches, and to drop so many messages as one: it may
be that all must go at the end of the turn, up to a bound for each queue.
"""


class PolicyChange:
    """The exchanges and queues of a vhost that the `changed` policies may match, as `Work`.

    What is declared meanwhile knows the policies already.
    """

    __slots__ = ("_by_kind", "_changed", "_left", "_vhost", "dirty", "name", "vhost_name")

    def __init__(self, vhost: "VirtualHost", changed: Collection[Policy]):
        self._vhost = vhost
        self._changed = changed
        self._by_kind: dict[str, tuple[Policy, ...]] = {}
        """Of what has changed, the policies that are for a kind."""
        self._left: deque[Exchange | Queue] = deque(vhost.exchanges.values())
        self._left += vhost.queues.values()
        self.name = "policies"
        self.vhost_name = vhost.name
        self.dirty = False

    def dispatch(self) -> bool:
        """Have some do what is set for them now; True if there are more. Raises JournalError."""
        vhost, left, searches = self._vhost, self._left, 0
        while left and searches < SEARCHES_AT_ONCE:
            thing = left.popleft()
            searches += len(self._changed)
            if self._is_matched(thing):
                searches += len(vhost.policies) + FOLLOWED
                vhost.follow_policies(thing)
                if isinstance(thing, Queue):
                    searches += min(thing.message_count, DROPPED_AT_ONCE) // DROPPED
        vhost.epoch += 1
        self.dirty = bool(left)
        return self.dirty

    def _is_matched(self, thing: Exchange | Queue) -> bool:
        """Whether one of the policies is for it, and it is still there."""
        if isinstance(thing, Queue):
            there, kind = self._vhost.queues, queue_type(thing.arguments)
        else:
            there, kind = self._vhost.exchanges, EXCHANGE
        if kind not in self._by_kind:
            self._by_kind[kind] = best_first(self._changed, kind, self._vhost.rules)
        policies = self._by_kind[kind]
        return there.get(thing.name) is thing and any(
            policy.matches_name(thing.name) for policy in policies
        )

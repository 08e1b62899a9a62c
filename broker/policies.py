"""The policies and operator policies of one vhost."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .policy import Definition, Policy, best_match, merged
from .rules import DEFAULT_RULES, Rules

if TYPE_CHECKING:
    from .definitions import Definitions


class Matching(NamedTuple):
    """The policy and the operator policy that count for a queue or an exchange."""

    policy: Policy | None
    operator_policy: Policy | None

    @property
    def definition(self) -> Definition:
        """What they set together."""
        return merged(self.policy, self.operator_policy)


class Policies:
    """They are kept in the journal, and whatever changes takes effect at once.

    `apply` is called after each change: to look anew at all that policies may match. It is then to
    be followed by the end of a turn. JournalError comes from it if messages that a new limit must
    count cannot be read back.
    """

    __slots__ = (
        "_apply",
        "_definitions",
        "_operator_policies",
        "_policies",
        "_rules",
        "_vhost_name",
    )

    def __init__(
        self,
        vhost_name: str,
        definitions: "Definitions",
        apply: Callable[[], None],
        rules: Rules = DEFAULT_RULES,
    ):
        self._vhost_name = vhost_name
        self._definitions = definitions
        self._apply = apply
        self._rules = rules
        self._policies: dict[str, Policy] = {}
        self._operator_policies: dict[str, Policy] = {}

    def all(self, *, operator: bool = False) -> list[Policy]:
        """Those that there are, by their names."""
        policies = self._of(operator)
        return [policies[name] for name in sorted(policies)]

    def get(self, name: str, *, operator: bool = False) -> Policy | None:
        """The one of that name."""
        return self._of(operator).get(name)

    def set(self, policy: Policy, *, operator: bool = False) -> None:
        """Add a policy, which has been checked, or replace the one of its name."""
        if self._of(operator).get(policy.name) == policy:
            return
        self._of(operator)[policy.name] = policy
        self._definitions.add_policy(self._vhost_name, policy, operator=operator)
        self._apply()

    def delete(self, name: str, *, operator: bool = False) -> bool:
        """Remove a policy and what it did; False if there is none of that name."""
        if self._of(operator).pop(name, None) is None:
            return False
        self._definitions.remove_policy(self._vhost_name, name, operator=operator)
        self._apply()
        return True

    def clear(self) -> None:
        """Remove all from the journal: the vhost is being deleted, queues and all."""
        for operator in (False, True):
            for name in self._of(operator):
                self._definitions.remove_policy(self._vhost_name, name, operator=operator)
            self._of(operator).clear()

    def restore(self, policy: Policy, *, operator: bool) -> None:
        """Have a policy again that is in the journal; it is not applied yet."""
        self._of(operator)[policy.name] = policy

    def matching(self, kind: str, name: str) -> Matching:
        """Those that count for a thing of that name; `kind` is `policy.EXCHANGE` or a type of
        queue.
        """
        return Matching(
            best_match(self._policies.values(), kind, name, self._rules),
            best_match(self._operator_policies.values(), kind, name, self._rules),
        )

    def _of(self, operator: bool) -> dict[str, Policy]:
        return self._operator_policies if operator else self._policies

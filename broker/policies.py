"""The policies and operator policies of one vhost."""

from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from .policy import Definition, Policy, best_first, merged
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

    `apply` is called after changes with the policies that were and those that are instead: to look
    anew at all that one of them matches. It is then to be followed by the end of a turn.
    JournalError comes from it if messages that a new limit must count cannot be read back.
    """

    __slots__ = (
        "_apply",
        "_best_first",
        "_changed",
        "_definitions",
        "_operator_policies",
        "_policies",
        "_rules",
        "_together",
        "_vhost_name",
    )

    def __init__(
        self,
        vhost_name: str,
        definitions: "Definitions",
        apply: Callable[[Collection[Policy]], None],
        rules: Rules = DEFAULT_RULES,
    ):
        self._vhost_name = vhost_name
        self._definitions = definitions
        self._apply = apply
        self._rules = rules
        self._policies: dict[str, Policy] = {}
        self._operator_policies: dict[str, Policy] = {}
        self._best_first: dict[tuple[bool, str], tuple[Policy, ...]] = {}
        """What `best_first` gave, by whether they are operator policies, and by the kind."""
        self._changed: list[Policy] = []
        self._together = False

    def all(self, *, operator: bool = False) -> list[Policy]:
        """Those that there are, by their names."""
        policies = self._of(operator)
        return [policies[name] for name in sorted(policies)]

    def get(self, name: str, *, operator: bool = False) -> Policy | None:
        """The one of that name."""
        return self._of(operator).get(name)

    def set(self, policy: Policy, *, operator: bool = False) -> None:
        """Add a policy, which has been checked, or replace the one of its name."""
        before = self._of(operator).get(policy.name)
        if before == policy:
            return
        self._of(operator)[policy.name] = policy
        self._definitions.add_policy(self._vhost_name, policy, operator=operator)
        self._have_changed(*(() if before is None else (before,)), policy)

    def delete(self, name: str, *, operator: bool = False) -> bool:
        """Remove a policy and what it did; False if there is none of that name."""
        before = self._of(operator).pop(name, None)
        if before is None:
            return False
        self._definitions.remove_policy(self._vhost_name, name, operator=operator)
        self._have_changed(before)
        return True

    @contextmanager
    def together(self) -> Generator[None]:
        """What changes in this context takes effect at its end, which takes no longer for many
        policies than for one.
        """
        self._together = True
        try:
            yield
        finally:
            self._together = False
            self._have_changed()

    def _have_changed(self, *policies: Policy) -> None:
        self._best_first.clear()
        self._changed += policies
        if self._changed and not self._together:
            changed, self._changed = self._changed, []
            self._apply(changed)

    def take_away(self) -> Generator[None, None, None]:
        """Remove all, one in each step: the vhost is gone, queues and all."""
        for operator in (False, True):
            policies = self._of(operator)
            while policies:
                name, _ = policies.popitem()
                self._definitions.remove_policy(self._vhost_name, name, operator=operator)
                yield

    def restore(self, policy: Policy, *, operator: bool) -> None:
        """Have a policy again that is in the journal; it is not applied yet."""
        self._of(operator)[policy.name] = policy
        self._best_first.clear()

    def matching(self, kind: str, name: str) -> Matching:
        """Those that count for a thing of that name; `kind` is `policy.EXCHANGE` or a type of
        queue.
        """
        return Matching(self._best(kind, name, False), self._best(kind, name, True))

    def _best(self, kind: str, name: str, operator: bool) -> Policy | None:
        ordered = self._best_first.get((operator, kind))
        if ordered is None:
            ordered = best_first(self._of(operator).values(), kind, self._rules)
            self._best_first[operator, kind] = ordered
        return next((policy for policy in ordered if policy.matches_name(name)), None)

    def __len__(self) -> int:
        return len(self._policies) + len(self._operator_policies)

    def _of(self, operator: bool) -> dict[str, Policy]:
        return self._operator_policies if operator else self._policies

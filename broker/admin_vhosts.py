"""The part of `Administration` that is about vhosts: limits, tracing, policies, and parameters."""

from collections.abc import Iterable, Mapping

from .admin_checks import (
    AdministrationPart,
    Invalid,
    NoSuchThing,
    check_name,
    check_text,
    checked_limits,
    checked_tags,
)
from .configuration import DEFAULT_VHOSTS
from .json_arguments import InvalidJson, json_copy
from .policy import JsonValue, Policy
from .policy_checks import checked_policy
from .vhost import VirtualHost
from .vhost_deletion import VhostDeletion
from .vhost_settings import VHOST_LIMITS

QUEUE_TYPES = ("classic", "quorum", "stream")


class VhostAdministration(AdministrationPart):
    """Vhosts, what is set for each of them, and what is set for the broker as a whole."""

    def vhosts(self) -> list[VirtualHost]:
        """All vhosts, by their names."""
        return [self._broker.vhosts[name] for name in sorted(self._broker.vhosts)]

    def set_vhost(
        self,
        name: str,
        *,
        description: str = "",
        tags: Iterable[str] = (),
        default_queue_type: str | None = None,
    ) -> VirtualHost:
        """Add a vhost, or change one. A queue declared without x-queue-type is of the default
        type.
        """
        check_name("vhost", name)
        if default_queue_type not in (None, *QUEUE_TYPES):
            raise Invalid(f"unknown queue type {default_queue_type!r}")
        check_text("the description", description)
        checked = checked_tags(tags)
        broker = self._broker
        if name in broker.vhost_deletions:
            broker.vhost_deletions[name].finish()
        vhost = broker.vhosts.get(name) or broker.new_vhost(name)
        settings = vhost.settings
        settings.description, settings.tags = description, checked
        settings.default_queue_type = default_queue_type
        broker.vhosts[name] = vhost
        broker.definitions.add_vhost(vhost)
        return vhost

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost with all that is in it, closing its connections. One that the
        configuration file lists stays: it would be back after a restart, and empty.

        It is gone at once. If there is very much in it, that takes memory for some turns more; to
        add a vhost of that name so soon waits for the rest.
        """
        vhost, broker = self.vhost(name), self._broker
        configured = broker.configuration.vhosts
        if configured != DEFAULT_VHOSTS and name in configured:
            raise Invalid(f"vhost {name!r} is listed in the configuration file; remove it there")
        self._close(
            (each for each in broker.connections if each.is_open and each.vhost is vhost),
            f"vhost '{name}' is deleted",
        )
        with broker.definitions.together():
            for user in broker.users.values():
                if user.permissions.pop(name, None) is not None:
                    self._keep(user)
            VhostDeletion(broker, vhost).begin()

    def set_vhost_limits(self, name: str, limits: Mapping[str, int]) -> None:
        """Set all limits of a vhost: max-connections, max-queues; negative ones are none.

        They hold for what comes from now on.
        """
        vhost = self.vhost(name)
        vhost.settings.limits = checked_limits(limits, VHOST_LIMITS)
        self._broker.definitions.add_vhost(vhost)

    def set_tracing(self, name: str, tracing: bool) -> None:
        """Have all that is published and delivered in a vhost copied to amq.rabbitmq.trace
        (https://www.rabbitmq.com/docs/firehose), or not any more.
        """
        vhost = self.vhost(name)
        vhost.tracing = tracing
        self._broker.definitions.add_vhost(vhost)

    # --- policies -----------------------------------------------------------------------------

    def policies(self, vhost: str, *, operator: bool = False) -> list[Policy]:
        """The policies of a vhost, or its operator policies, by their names."""
        return self.vhost(vhost).policies.all(operator=operator)

    def policy(self, vhost: str, name: str, *, operator: bool = False) -> Policy:
        """The policy, or the operator policy, of that name."""
        policy = self.vhost(vhost).policies.get(name, operator=operator)
        if policy is None:
            raise _no_policy(vhost, name, operator)
        return policy

    def set_policy(
        self,
        vhost: str,
        name: str,
        pattern: str,
        definition: Mapping[str, JsonValue],
        *,
        priority: float = 0,
        applies_to: str = "all",
        operator: bool = False,
    ) -> Policy:
        """Set a policy, or an operator policy. Raises InvalidPolicy, which is an Invalid with
        RabbitMQ's text.
        """
        found = self.vhost(vhost)
        check_name("policy", name)
        policy = checked_policy(
            name,
            pattern,
            definition,
            priority=priority,
            applies_to=applies_to,
            operator=operator,
            rules=found.rules,
        )
        found.policies.set(policy, operator=operator)
        return policy

    def delete_policy(self, vhost: str, name: str, *, operator: bool = False) -> None:
        """Delete a policy, or an operator policy, and undo what it did."""
        if not self.vhost(vhost).policies.delete(name, operator=operator):
            raise _no_policy(vhost, name, operator)

    # --- global parameters --------------------------------------------------------------------

    def global_parameters(self) -> dict[str, JsonValue]:
        """Their values, in the order of their names."""
        return self._broker.global_parameters.all()

    def set_global_parameter(self, name: str, value: JsonValue) -> None:
        """Set a global parameter; `cluster_name` is what clients are told from now on, unless the
        configuration file has one.
        """
        check_name("global parameter", name)
        try:
            kept = json_copy(value)
        except InvalidJson as error:
            raise Invalid(str(error)) from error
        self._broker.global_parameters.set(name, kept)

    def delete_global_parameter(self, name: str) -> None:
        """Delete a global parameter."""
        if not self._broker.global_parameters.delete(name):
            raise NoSuchThing(f"no global parameter {name!r}")


def _no_policy(vhost: str, name: str, operator: bool) -> NoSuchThing:
    what = "operator policy" if operator else "policy"
    return NoSuchThing(f"no {what} {name!r} in vhost {vhost!r}")

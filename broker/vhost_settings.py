"""What operators set for a vhost as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VHOST_LIMITS = ("max-connections", "max-queues")
"""The names of the limits that a vhost may have."""


@dataclass(slots=True)
class VhostSettings:
    """`default_queue_type` is what a queue is that is declared without x-queue-type, None for
    classic; a negative limit is none.
    """

    description: str = ""
    tags: tuple[str, ...] = ()
    default_queue_type: str | None = None
    limits: dict[str, int] = field(default_factory=dict[str, int])

    def limit(self, name: str) -> int | None:
        """The limit of that name, if there is one."""
        limit = self.limits.get(name, -1)
        return limit if limit >= 0 else None

    @property
    def value(self) -> dict[str, Any]:
        """All of it, for the journal."""
        return {
            "description": self.description,
            "tags": self.tags,
            "default_queue_type": self.default_queue_type,
            "limits": self.limits,
        }


def restored_settings(value: Mapping[str, Any]) -> VhostSettings:
    """The inverse of `VhostSettings.value`."""
    return VhostSettings(
        value["description"],
        tuple(value["tags"]),
        value["default_queue_type"],
        dict(value["limits"]),
    )

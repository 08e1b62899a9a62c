"""Global parameters: named values that hold for the whole broker
(https://www.rabbitmq.com/docs/parameters#global-parameters).

Any name and any JSON value will do, as in RabbitMQ; tools and definition files keep what they like
in them. One of them the broker itself reads: `cluster_name`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from .policy import JsonValue

if TYPE_CHECKING:
    from .definitions import Definitions

CLUSTER_NAME = "cluster_name"


class GlobalParameters:
    """They are kept in the journal. `changed` is called after each change."""

    __slots__ = ("_changed", "_definitions", "_values")

    def __init__(self, definitions: "Definitions", changed: Callable[[], None]):
        self._definitions = definitions
        self._changed = changed
        self._values: dict[str, JsonValue] = {}

    def all(self) -> dict[str, JsonValue]:
        """Their values, in the order of their names."""
        return {name: self._values[name] for name in sorted(self._values)}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> JsonValue:
        """The value of that name; None as well if there is none."""
        return self._values.get(name)

    def set(self, name: str, value: JsonValue) -> None:
        """Add a value, or replace the one of its name."""
        self._values[name] = value
        self._definitions.add_global_parameter(name, value)
        self._changed()

    def delete(self, name: str) -> bool:
        """Remove a value; False if there is none of that name."""
        if name not in self._values:
            return False
        del self._values[name]
        self._definitions.remove_global_parameter(name)
        self._changed()
        return True

    def restore(self, name: str, value: JsonValue) -> None:
        """Have a value again that is in the journal."""
        self._values[name] = value
        self._changed()

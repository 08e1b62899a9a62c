"""What a client says of itself in connection.start-ok: its name, and what it understands
(https://www.rabbitmq.com/docs/connections#capabilities).
"""

from ..amqp.fields import Table


class ClientProperties:
    """The table of client properties, which may have anything in it."""

    __slots__ = ("_table",)

    def __init__(self, table: Table | None = None) -> None:
        self._table: Table = table or {}

    def capable(self, capability: str) -> bool:
        """Whether the client has said that it understands a capability."""
        capabilities = self._table.get("capabilities")
        if capabilities is None or not isinstance(capabilities.value, dict):
            return False
        field = capabilities.value.get(capability)
        return field is not None and field.value is True

    @property
    def connection_name(self) -> str | None:
        """How the client calls its connection, for logs."""
        field = self._table.get("connection_name")
        return field.text if field is not None and isinstance(field.value, bytes) else None

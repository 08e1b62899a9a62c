"""What operators do with a broker, as one object: the core of a command line, an HTTP API, or code
that embeds a broker.

Everything is synchronous and takes effect at once, also on connections that are open; it belongs
in a turn of the broker, whose end sends what there is to send. What is set here is in the journal
and comes back after a restart; after a crash, if it was on disk (see `when_durable`).
"""

from collections.abc import Callable

from .admin_checks import Invalid, NoSuchThing
from .admin_connections import ConnectionAdministration
from .admin_topology import QueueStatistics, TopologyAdministration
from .admin_users import UserAdministration
from .admin_vhosts import VhostAdministration
from .alarms import Alarm
from .definitions_export import export_definitions
from .definitions_file import DefinitionsFile, InvalidDefinitions, read_definitions
from .definitions_import import import_definitions
from .definitions_in_turns import ImportInTurns
from .passwords import PasswordHash, checked_hash
from .permissions import Patterns, TopicPatterns
from .policy_checks import InvalidPolicy

__all__ = [
    "Administration",
    "Invalid",
    "InvalidDefinitions",
    "InvalidPolicy",
    "NoSuchThing",
    "PasswordHash",
    "Patterns",
    "QueueStatistics",
    "TopicPatterns",
    "checked_hash",
    "read_definitions",
]


class Administration(
    UserAdministration, VhostAdministration, TopologyAdministration, ConnectionAdministration
):
    """All of it, of one broker; each theme is a class of its own, and all are this one object.

    What is set replaces what was there before. Methods raise NoSuchThing and Invalid, and have
    changed nothing then. What is listed are the broker's own objects: to look at, and to be changed
    through here only.
    """

    def when_durable(self, call: Callable[[], None]) -> None:
        """Have a call made once all that has been set is on disk: at once if it is, or if nothing
        is to be kept there. Whoever answers that something is set should wait for this.
        """
        position = self._broker.definitions.position
        if position <= self._broker.durable:
            call()
        else:
            self._broker.when_durable(self._broker.position, call)

    def import_definitions(self, document: DefinitionsFile) -> None:
        """Set everything that a document says (`definitions_file.read_definitions`), or nothing.

        Raises InvalidDefinitions, which tells where the fault is. Everybody waits meanwhile, some
        30 ms for a thousand queues: see `import_in_turns`.
        """
        import_definitions(self._broker, document)

    def import_in_turns(
        self, document: DefinitionsFile, then: Callable[[Exception | None], None]
    ) -> None:
        """The same bit by bit, with others served in between, after what is being imported already.
        `then` is called at the end, with what is wrong if nothing could be set.
        """
        self._broker.commits.add(ImportInTurns(self._broker, document, then))

    def export_definitions(self, *, vhost: str | None = None) -> DefinitionsFile:
        """Everything that is defined and durable, or what is in a vhost; `msgspec.json.encode`
        makes it a text that RabbitMQ and leveret import.
        """
        return export_definitions(self._broker, vhost=vhost)

    def alarms(self) -> list[Alarm]:
        """What runs low, so that publishers are blocked."""
        return self._broker.alarms.raised

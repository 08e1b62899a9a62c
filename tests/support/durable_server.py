"""A `FakeServer` with a journal in memory, which can be stopped or killed and started again."""

from fake_client import FakeServer
from leveret.broker.broker import Broker
from leveret.broker.configuration import Configuration
from leveret.broker.turn_bounds import TurnBounds
from leveret.storage.opening import open_journal
from memory_disk import MemoryDisk


class DurableServer(FakeServer):
    """Everything is on disk at the end of a turn."""

    def __init__(
        self,
        disk: MemoryDisk | None = None,
        epoch_ms: float = 0.0,
        configuration: Configuration | None = None,
        turn_bounds: TurnBounds | None = None,
    ):
        super().__init__()
        self.configuration = configuration or Configuration()
        self.disk = disk or MemoryDisk()
        self.journal, recovered = open_journal(self.disk)
        self.broker = Broker(
            self.configuration,
            self.broker.unique_name,
            self.journal,
            recovered,
            random_below=lambda end: 0,
            epoch_ms=epoch_ms,
            turn_bounds=turn_bounds or TurnBounds(),
        )
        self.end_turn()

    def end_turn(self) -> None:
        super().end_turn()
        while (batch := self.journal.take_batch()) is not None:
            batch.write_and_sync()
            self.broker.synced(self.journal.synced(batch))
            super().end_turn()

    def restarted(
        self,
        *,
        after_s: float = 0.0,
        clean: bool = True,
        configuration: Configuration | None = None,
    ) -> "DurableServer":
        """The server that comes up on the same disk, so much later; as configured, or anew."""
        if clean:
            self.broker.note_deliveries()
            self.journal.close()
        else:
            self.disk = self.disk.crash(lambda choices: 0)
        epoch_ms = self.broker.timers.wall_ms + after_s * 1000
        return DurableServer(self.disk, epoch_ms, configuration or self.configuration)

    def page_out(self, queue: str) -> None:
        """Have a queue keep only its first messages in memory."""
        self.broker.vhosts["/"].queues[queue].page_out()

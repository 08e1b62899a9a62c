"""Clients that come and go, and send when the broker reads from them."""

from typing import Any

from pamqp.commands import Channel, Confirm, Tx

from leveret.storage.errors import JournalError

from .compare import Comparison
from .stage import SimulatedClient, Stage
from .things import MClient
from .world import FRAME_MAX

_MODES = ("", "confirm", "tx")


class Conversation:
    """Between the clients on a stage and the broker; every step of it is compared."""

    def __init__(self, stage: Stage, comparison: Comparison):
        self._stage = stage
        self._comparison = comparison

    def connected(self, client: int) -> SimulatedClient:
        """A client; it connects if it has not."""
        if client not in self._stage.clients:
            self._stage.begin()
            fake = self._stage.world.connect(frame_max=FRAME_MAX)
            fake.send(Channel.Close(0, "", 0, 0), channel=1)
            fake.expect(Channel.CloseOk)
            self._stage.clients[client] = SimulatedClient(fake, MClient(fake.connection.name))
            self._comparison.look()
        return self._stage.clients[client]

    def disconnect(self, client: int) -> None:
        gone = self._stage.clients.pop(client, None)
        if gone is None:
            return
        self._stage.begin()
        gone.fake.disconnect()
        self._forget(gone)
        self._comparison.look()

    def _forget(self, gone: SimulatedClient) -> None:
        self._stage.model.lose(gone.model)
        if gone in self._stage.waiting:
            self._stage.waiting.remove(gone)

    def _open_channel(self, it: SimulatedClient, client: int, channel: int) -> None:
        it.may_send.add(channel)
        it.queue(channel, "open", {}, Channel.Open())
        mode = _MODES[(client + channel) % 3]
        if mode:
            select = Confirm.Select() if mode == "confirm" else Tx.Select()
            it.queue(channel, "select", {"mode": mode}, select)

    def ready(self, client: int, channel: int) -> SimulatedClient | None:
        """The client, if it may send something on that channel, which it opens if need be."""
        it = self.connected(client)
        known = it.model.channels.get(channel)
        sent = [each for each in (*it.outbox, *it.pending) if each.channel == channel]
        if channel not in it.may_send:
            if known is not None or sent:
                return None
            self._open_channel(it, client, channel)
        return it

    def send(
        self,
        client: int,
        channel: int,
        more: int,
        name: str,
        options: dict[str, Any],
        *calls: Any,
    ) -> None:
        it = self.ready(client, channel)
        if it is None:
            return
        for call in calls:
            it.queue(channel, name, options, call)
        it.flushed = it.flushed or not more

    def send_what_may_be_sent(self) -> None:
        """Let every client send that has something to say and that the broker reads from."""
        again = True
        while again and not self._stage.world.failed:
            again = False
            for it in list(self._stage.clients.values()):
                connection = it.fake.connection
                if not it.flushed or connection.waiting or connection.blocked:
                    continue
                again = True
                it.flushed = False
                self._stage.begin()
                data = it.send()
                cut = len(data) * 31 % (len(data) + 1)  # somewhere, also within a frame
                try:
                    it.fake.connection.receive(data[:cut])
                    it.fake.feed(data[cut:])
                except JournalError:  # a message could not be read back: the server stops
                    self._stage.world.failed = True
                self._comparison.look(it)

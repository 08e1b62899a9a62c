"""What clients do to exchanges, for the broker and for the model."""

from itertools import count

from pamqp.commands import Exchange

from .conversation import Conversation
from .exchanges import EXCHANGES, binding_arguments, binding_key
from .queues import QUEUES
from .stage import Stage

_QUEUE_NAMES = tuple(QUEUES)


class ExchangeDoings:
    """One method for each action on exchanges alone."""

    def __init__(self, stage: Stage, conversation: Conversation):
        self._stage = stage
        self._conversation = conversation
        self._send = conversation.send
        self._next_body = count(1).__next__
        self._next_tag = count(1).__next__

    def _need_exchange(self, client: int, channel: int, exchange: int) -> None:
        if list(EXCHANGES)[exchange] not in self._stage.model.exchanges:
            self.declare_exchange(client, channel, exchange, more=1)

    def declare_exchange(self, client: int, channel: int, exchange: int, more: int) -> None:
        name = list(EXCHANGES)[exchange]
        traits = EXCHANGES[name]
        declare = Exchange.Declare(
            exchange=name,
            exchange_type=traits.type,
            durable=traits.durable,
            auto_delete=traits.auto_delete,
            arguments=traits.arguments,
        )
        self._send(client, channel, more, "declare_exchange", {"exchange": name}, declare)

    def delete_exchange(self, client: int, channel: int, exchange: int, more: int) -> None:
        name = list(EXCHANGES)[exchange]
        delete = Exchange.Delete(exchange=name)
        self._send(client, channel, more, "delete_exchange", {"exchange": name}, delete)

    def link(
        self, client: int, channel: int, exchange: int, to: int, key: int, blind: int, more: int
    ) -> None:
        if not blind:
            self._need_exchange(client, channel, exchange)
            self._need_exchange(client, channel, to)
        self._link(client, channel, exchange, to, key, more, "link", Exchange.Bind)

    def unlink(
        self, client: int, channel: int, exchange: int, to: int, key: int, more: int
    ) -> None:
        self._link(client, channel, exchange, to, key, more, "unlink", Exchange.Unbind)

    def _link(
        self,
        client: int,
        channel: int,
        exchange: int,
        to: int,
        key: int,
        more: int,
        name: str,
        method: type[Exchange.Bind | Exchange.Unbind],
    ) -> None:
        source, destination = list(EXCHANGES)[exchange], list(EXCHANGES)[to]
        bound = binding_key(source, key, _QUEUE_NAMES[key])
        call = method(
            source=source,
            destination=destination,
            routing_key=bound,
            arguments=binding_arguments(source, bound),
        )
        options = {"exchange": source, "to": destination, "key": bound}
        self._send(client, channel, more, name, options, call)

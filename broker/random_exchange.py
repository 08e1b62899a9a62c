"""x-random: each message to one binding, whichever the dice say; as RabbitMQ's
rabbitmq_random_exchange. Keys and arguments do not matter.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .binding import Binding
from .exchange import Exchange
from .message import Message

if TYPE_CHECKING:
    from .binding import Destination


class RandomExchange(Exchange):
    """A destination bound twice is picked twice as often."""

    type = "x-random"
    __slots__ = ("_bound",)

    @property
    def routes_each_message(self) -> bool:
        return True

    def prepare(self) -> None:
        self._bound: list[Destination] = []

    def added(self, binding: Binding) -> None:
        self._bound.append(binding.destination)

    def removed(self, binding: Binding) -> None:
        self._bound.remove(binding.destination)

    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        bound = self._bound
        return (bound[self.random_below(len(bound))],) if bound else ()

"""Direct reply-to: the oracle for amq.rabbitmq.reply-to.

A channel that consumes from it, once and without acknowledging, has an address from then on. Its
requests, which there cannot be before, tell it, wherever they are, also after a restart. What
anybody publishes by this key to the default exchange comes to that consumer at once, before any
commit, and is never on disk. It counts as not routed even so. The address goes with the
consumer, and is nobody's ever after.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from re import fullmatch
from typing import TypeGuard

from .queues import REPLY_TO, Traits
from .things import Address, MChannel, MConsumer, MQueue, Refused, Violation

_TRAITS = Traits(durable=False, counts_as_routed=False)


@dataclass(slots=True)
class Replies:
    """All addresses that there are, and those that somebody has seen, also when they are gone."""

    living: dict[MChannel, Address] = field(default_factory=dict)
    seen: list[Address] = field(default_factory=list)

    @property
    def queues(self) -> list[MQueue]:
        """What replies wait in for their consumers, until the end of the turn."""
        return [address.queue for address in self.living.values()]

    def begin(self, channel: MChannel, tag: str, *, no_ack: bool) -> None:
        """A channel wants replies. Raises Refused."""
        if not no_ack or channel in self.living:
            raise Refused(406)
        queue = MQueue(f"replies to {tag}", 0, _TRAITS, None, 0, 0)
        consumer = MConsumer(tag, channel, queue, no_ack=True, prefetch=0)
        queue.consumers.append(consumer)
        channel.consumers[tag] = consumer
        self.living[channel] = Address(queue)

    def end(self, consumer: MConsumer) -> bool:
        """A consumer is gone; whether it was one of replies."""
        address = self.living.get(consumer.channel)
        if address is None or consumer.queue is not address.queue:
            return False
        del self.living[consumer.channel]
        address.queue.deleted_in = 0
        return True

    def address_of(self, channel: MChannel) -> Address:
        """What a request tells that is published on a channel. Raises Refused."""
        if channel not in self.living:
            raise Refused(406)
        return self.living[channel]

    def reached_by(self, keys: Collection[str]) -> list[MQueue]:
        """Where replies go that have these keys."""
        return [each.queue for each in self.living.values() if each.text in keys]

    def check_told(self, address: Address | None, told: str | None) -> None:
        """A message that has to tell this address, or none, tells that. Raises Violation."""
        if address is not None and address.text is None and _is_new(told, self.seen):
            address.text = address.queue.name = told
            self.seen.append(address)
        if told != (address and address.text):
            raise Violation(f"reply-to: {told} is told, not {address and address.text}")

    def after_start(self) -> "Replies":
        """What there is when the broker has been started again."""
        return Replies(seen=self.seen)


def _is_new(text: str | None, seen: Collection[Address]) -> TypeGuard[str]:
    """Whether it may be the address of somebody who had none."""
    known = any(each.text == text for each in seen)
    return not known and fullmatch(rf"{REPLY_TO}\..+", text or "") is not None

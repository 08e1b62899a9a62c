"""x-dead-letter-exchange: where messages go that a queue is done with without an ack.

They are published anew, to the exchange of that name as it is then (if there is none they are
dropped), with x-dead-letter-routing-key or else the keys they had, CC and BCC included. A message
that would come back by itself, with no reject on the way, to a queue that it has died in is not
let in there (https://www.rabbitmq.com/docs/dlx).

Unlike in RabbitMQ's classic queues nothing can get lost on the way: the dead letter stands in the
journal before the original is settled. That is done at the end of the turn, so that a queue may be
in the middle of anything when messages die in it.
"""

from typing import TYPE_CHECKING

from ..amqp.basic import split_address
from ..amqp.wire_types import shortstr
from .death import Death, Reason, died_in_by_itself, properties_after
from .intake import Intake
from .message import Message, copied_keys
from .notes import NO_NOTES, Notes

if TYPE_CHECKING:
    from .queue import Queue
    from .vhost import VirtualHost


class DeadLetters:
    """The dead letters of one queue. `routing_key` None stands for the keys that they had."""

    __slots__ = ("_dead", "_intake", "_queue", "_vhost", "exchange", "routing_key")

    def __init__(
        self,
        queue: "Queue",
        vhost: "VirtualHost",
        intake: Intake,
        exchange: str,
        routing_key: str | None,
    ):
        self._queue = queue
        self._vhost = vhost
        self._intake = intake
        self.exchange = exchange
        self.routing_key = routing_key
        self._dead: list[tuple[Message, Reason, bool]] = []

    def add(self, message: Message, reason: Reason, *, held: bool = True) -> None:
        """A message has died; `held` says that the queue had taken it in, and must settle it."""
        if not self._dead:
            self._intake.later(self._publish_all)
        self._dead.append((message, reason, held))

    def _publish_all(self) -> None:
        dead, self._dead = self._dead, []
        for message, reason, held in dead:
            self._publish(message, reason)
            if held and message.stored:
                self._queue.settle(message)

    def _publish(self, message: Message, reason: Reason) -> None:
        exchange = self._vhost.exchanges.get(self.exchange)
        if exchange is None:
            return
        properties = message.properties
        source, routing_key = split_address(message.address)
        copied = copied_keys(message)
        keys = (routing_key, *copied)
        death = Death(self._queue.name, reason, self._intake.timers.wall_ms // 1000, source, keys)
        notes = message.notes or NO_NOTES
        blind, spent = notes.bcc, notes.copies_spent
        if self.routing_key is not None:
            keys, blind, spent = (self.routing_key,), (), spent or bool(copied)
        letter = Message(
            self._intake.next_message_id(),
            shortstr(self.exchange) + shortstr(keys[0]),
            message.content,
            message.channel,
            message.body_bytes,
            properties.persistent,  # one that was paged out always seems to be
            notes=Notes(bcc=blind, copies_spent=spent) if blind or spent else None,
        )
        raw = properties_after(death, properties.raw, anew=notes.foreign_deaths)
        letter.replace_properties(raw)
        queues = self._vhost.route(exchange, (*keys, *blind), letter) or {}
        if queues and reason is not Reason.REJECTED:
            been_in = died_in_by_itself(raw)
            queues = [queue for queue in queues if queue.name not in been_in]
        self._intake.put(letter, tuple(queues))

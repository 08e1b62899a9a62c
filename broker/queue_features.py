"""From a queue's arguments to what the queue does."""

from typing import TYPE_CHECKING

from ..amqp.fields import Field
from .dead_letter import DeadLetters
from .expiry import Expiry
from .features import Features
from .limits import limits_of
from .priorities import PriorityQueue
from .single_active import SingleActive

if TYPE_CHECKING:
    from .intake import Intake
    from .queue import Queue
    from .vhost import VirtualHost


def add_features(queue: "Queue", vhost: "VirtualHost", intake: "Intake") -> None:
    """Give a new queue what its arguments, which have been checked, ask for."""
    arguments = queue.arguments
    ttl, limits = arguments.get("x-message-ttl"), limits_of(arguments)
    expiry = None if ttl is None else Expiry(ttl.integer, intake.timers, queue.look)
    prioritized = isinstance(queue, PriorityQueue)
    if expiry is not None or limits is not None or prioritized:
        queue.features = Features(queue, expiry, limits, prioritized=prioritized)
    if arguments.get("x-single-active-consumer") == Field("t", True):
        queue.single_active = SingleActive()
    exchange = arguments.get("x-dead-letter-exchange")
    if exchange is not None:
        routing_key = arguments.get("x-dead-letter-routing-key")
        key = None if routing_key is None else routing_key.text
        queue.dead_letters = DeadLetters(queue, vhost, intake, exchange.text, key)

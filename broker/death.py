"""Why messages die."""

from enum import Enum


class Reason(Enum):
    """Why a queue was done with a message that was not acknowledged; RabbitMQ's names."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    MAXLEN = "maxlen"

"""The firehose: the oracle for what amq.rabbitmq.trace gives out while an operator wants it.

Each message that a client publishes is copied as soon as that is not refused, and each message that
one is given by a queue: not what is given by no queue, as direct replies are. A copy tells where it
came from and where it leads, who did that on which channel, and how the message looked. What one
channel does is told in the order in which it is done.
"""

from dataclasses import dataclass
from typing import Any

from fake_client import Received

from . import contents
from .names import named, number_of
from .things import MChannel, Sent, Violation

TRACE_EXCHANGE = "amq.rabbitmq.trace"


@dataclass(slots=True)
class Traced:
    """Something that has to be told."""

    key: str
    channel: MChannel
    sent: Sent
    more: dict[str, Any]
    """What is only told of what is published, or given out."""


class Firehose:
    """What there is to be told, if it is `on`."""

    def __init__(self, *, on: bool = False):
        self.on = on
        self.due: list[Traced] = []

    def published(self, channel: MChannel, exchange: str, sent: Sent, queues: list[str]) -> None:
        """A client has published a message, which leads to these queues."""
        if self.on:
            more = {"routed_queues": sorted(queues)}
            self.due.append(Traced(f"publish.{exchange}", channel, sent, more))

    def given(self, channel: MChannel, queue: str, sent: Sent, *, redelivered: bool) -> None:
        """A client has been given a message of a queue."""
        if self.on:
            more = {"redelivered": int(redelivered)}
            self.due.append(Traced(f"deliver.{queue}", channel, sent, more))

    def check(self, copies: list[Received], check_reply_to: contents.Check) -> None:
        """These copies have come in a step. Raises Violation."""
        due, self.due = self.due, []
        told: dict[tuple[str, int], list[Received]] = {}
        for copy in copies:
            whose = (copy.headers["connection"], copy.headers["channel"])
            told.setdefault(whose, []).append(copy)
        for traced in due:
            whose = (traced.channel.client.name, traced.channel.number)
            kind = traced.key.split(".")[0]
            found = [each for each in told.get(whose, ()) if _kind_of(each) == kind]
            if not found:
                raise Violation(f"firehose: {traced.key} of {traced.sent.name} is not told")
            told[whose].remove(found[0])
            _check_one(traced, found[0], check_reply_to)
        for left in told.values():
            for copy in left:
                raise Violation(f"firehose: {copy.call.routing_key} of {number_of(copy)} is told")


def _kind_of(copy: Received) -> str:
    return copy.call.routing_key.split(".")[0]


def _check_one(traced: Traced, copy: Received, check_reply_to: contents.Check) -> None:
    sent, told = traced.sent, dict(copy.headers)
    properties = told.pop("properties")
    contents.check_body(sent, copy)
    contents.check_properties(sent, properties, check_reply_to)
    headers = properties.get("headers", {})
    deaths = [(each["queue"], each["reason"], each["count"]) for each in headers.get("x-death", ())]
    name = named(sent.number, headers.get("CC", ()), deaths)
    if "routed_queues" in told:
        told["routed_queues"].sort()
    wanted = {
        "exchange_name": sent.exchange,
        "routing_keys": [sent.key, *sent.copies],
        "node": "leveret@localhost",
        "vhost": "/",
        "connection": traced.channel.client.name,
        "channel": traced.channel.number,
        "user": "guest",
        **traced.more,
    }
    if copy.call.exchange != TRACE_EXCHANGE or contents.properties_of(copy).keys() != {"headers"}:
        raise Violation(f"firehose: {copy.call} with {copy.properties} is no copy")
    if (copy.call.routing_key, name, told) != (traced.key, sent.name, wanted):
        raise Violation(f"firehose: {copy.call.routing_key}, {name} and {told}, not {traced}")

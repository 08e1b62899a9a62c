"""What messages say: that each has arrived as it was published, body and properties.

What it is published with later, as a dead letter, changes where it comes from and that it expires.
"""

from collections.abc import Callable
from typing import Any

from pamqp.commands import Basic

from fake_client import Received

from .exchanges import id_of
from .things import Address, Sent, Violation
from .world import body_of

Check = Callable[[Address | None, str | None], None]


def check(sent: Sent, got: Received, check_reply_to: Check) -> None:
    """A client has got this message. Raises Violation."""
    where = (got.call.exchange, got.call.routing_key)
    if where != (sent.exchange, sent.key):
        raise Violation(f"address: {sent.name} comes from {where}")
    check_properties(sent, properties_of(got), check_reply_to)
    check_headers(sent, got)
    check_body(sent, got)


def check_headers(sent: Sent, got: Received) -> None:
    """What they say of the first and the last death, and of a delay: that is negated once it is
    over. Raises Violation.
    """
    headers = got.headers or {}
    told = {
        "delay": headers.get("x-delay", 0),
        "first death": _death(headers, "first"),
        "last death": _death(headers, "last"),
    }
    wanted = {
        "delay": sent.delay_ms if isinstance(got.call, Basic.Return) else -sent.delay_ms,
        "first death": sent.first_death,
        "last death": sent.deaths[0][:2] if sent.deaths else None,
    }
    if told != wanted:
        raise Violation(f"content: {sent.name} has {told}, not {wanted}")


def _death(headers: dict[str, Any], which: str) -> tuple[str, str] | None:
    if f"x-{which}-death-queue" not in headers:
        return None
    return headers[f"x-{which}-death-queue"], headers[f"x-{which}-death-reason"]


def properties_of(got: Received) -> dict[str, Any]:
    """Those that a message has."""
    return {name: value for name, value in dict(got.properties).items() if value not in (None, "")}


def check_body(sent: Sent, got: Received) -> None:
    """Raises Violation if it is not the one of this message."""
    if got.body != body_of(sent.number, sent.size):
        raise Violation(f"content: {sent.name} has {got.body[:40]!r}, {len(got.body)} bytes")


def check_properties(sent: Sent, told: dict[str, Any], check_reply_to: Check) -> None:
    """Of a message that tells these, but for its headers. Raises Violation."""
    check_reply_to(sent.reply_to, told.get("reply_to"))
    said = {
        "delivery_mode": 2 if sent.persistent else 1,
        "priority": sent.priority or None,
        "expiration": None if sent.ttl_ms is None else str(sent.ttl_ms),
        "message_id": id_of(sent.value),
    }
    wanted = {name: value for name, value in said.items() if value is not None}
    rest = {name: told[name] for name in told.keys() - {"headers", "reply_to"}}
    if rest != wanted:
        raise Violation(f"content: {sent.name} has {rest}, not {wanted}")

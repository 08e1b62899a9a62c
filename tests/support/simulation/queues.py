"""The queues that stories are about.

A queue gets dead letters from one other queue at most: in which order those of several ones come,
when they come at the same time, is nothing that anybody may rely on.
"""

from dataclasses import dataclass
from typing import Any

from .exchanges import CRYPT, GRAVES

REPLY_TO = "amq.rabbitmq.reply-to"
DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX = "drop-head", "reject-publish", "reject-publish-dlx"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a queue is declared with. `takes_expirations` says that messages may be sent to it that
    expire by themselves.
    """

    durable: bool = True
    auto_delete: bool = False
    exclusive: bool = False
    max_priority: int = 0
    ttl_ms: int | None = None
    expires_ms: int | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = DROP_HEAD
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    takes_expirations: bool = False
    quorum: bool = False
    single_active: bool = False
    delivery_limit: int | None = None
    retry_type: str | None = None
    retry_min_ms: int = 0
    retry_max_ms: int = 0
    ack_timeout_ms: int | None = None
    hurries: bool = False
    """Whether there is a policy that sets an ack timeout."""
    keeps_all: bool = False
    """Transient messages as well."""
    governed: bool = False
    """Whether policies set other things for it from time to time."""
    may_refuse: bool = False
    """Whether one of them has it refuse messages."""
    deduplicates: bool = False
    """Whether it holds each value but once."""
    may_deduplicate: bool = False
    """Whether a policy has it do so from time to time."""
    stream: bool = False
    retained_bytes: int | None = None
    retained_s: int | None = None
    segment_bytes: int = 0
    counts_as_routed: bool = True
    """Whether a message that comes to it alone has come to a queue."""

    @property
    def refuses(self) -> bool:
        """Whether it refuses new messages when it is full."""
        return self.overflow != DROP_HEAD

    @property
    def lets_die(self) -> bool:
        """Whether its messages become dead letters."""
        return self.dead_letter_exchange is not None

    @property
    def keeps_keys(self) -> bool:
        """Whether they go where they went before, by all their keys."""
        return self.lets_die and self.dead_letter_key is None

    @property
    def counts_returns(self) -> bool:
        """Whether it counts how often messages come back."""
        return self.quorum or self.retry_type is not None

    @property
    def looks_at_values(self) -> bool:
        """Whether it may compare the values of messages."""
        return self.deduplicates or self.may_deduplicate

    @property
    def is_special(self) -> bool:
        """Whether its messages are looked at one by one."""
        limited = self.max_length is not None or self.max_bytes is not None
        timed = self.takes_expirations or self.ttl_ms is not None
        return self.governed or timed or limited or self.quorum or self.max_priority > 0

    @property
    def _type(self) -> str | None:
        return "quorum" if self.quorum else "stream" if self.stream else None

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of queue.declare."""
        overflow = self.overflow if self.refuses else None
        chosen = {
            "x-max-priority": self.max_priority or None,
            "x-message-ttl": self.ttl_ms,
            "x-expires": self.expires_ms,
            "x-max-length": self.max_length,
            "x-max-length-bytes": self.max_bytes or self.retained_bytes,
            "x-max-age": f"{self.retained_s}s" if self.retained_s else None,
            "x-stream-max-segment-size-bytes": self.segment_bytes or None,
            "x-overflow": overflow,
            "x-queue-type": self._type,
            "x-single-active-consumer": self.single_active or None,
            "x-delivery-limit": self.delivery_limit,
            "x-consumer-timeout": self.ack_timeout_ms,
            "x-delayed-retry-type": self.retry_type,
            "x-delayed-retry-min": self.retry_min_ms or None,
            "x-delayed-retry-max": self.retry_max_ms or None,
            "x-message-deduplication": self.deduplicates or None,
            "x-dead-letter-exchange": self.dead_letter_exchange,
            "x-dead-letter-routing-key": self.dead_letter_key,
        }
        return {name: value for name, value in chosen.items() if value is not None}


def _to_queue(name: str) -> dict[str, Any]:
    return {"dead_letter_exchange": "", "dead_letter_key": name}


QUEUES: dict[str, Traits] = {
    "d0": Traits(),
    "d1": Traits(),
    "t0": Traits(durable=False),
    "a0": Traits(auto_delete=True),
    "x": Traits(durable=False, exclusive=True),
    "p0": Traits(max_priority=3),
    "e0": Traits(ttl_ms=100, takes_expirations=True, **_to_queue("m0")),
    "e1": Traits(takes_expirations=True, dead_letter_exchange=GRAVES),
    "e2": Traits(ttl_ms=0, **_to_queue("r0")),
    "r0": Traits(**_to_queue("e2")),
    "n0": Traits(ttl_ms=200, **_to_queue("n0")),
    "m0": Traits(max_length=3, **_to_queue("d1")),
    "m1": Traits(max_length=3, overflow=REJECT_PUBLISH),
    "m2": Traits(max_bytes=700, overflow=REJECT_PUBLISH_DLX, **_to_queue("d0")),
    "b0": Traits(max_bytes=700, **_to_queue("e0")),
    "q0": Traits(quorum=True, keeps_all=True, delivery_limit=1, **_to_queue("b0")),
    "q1": Traits(quorum=True, keeps_all=True),
    "q2": Traits(quorum=True, keeps_all=True, delivery_limit=2, **_to_queue("q1")),
    "w2": Traits(stream=True, keeps_all=True, retained_s=1, segment_bytes=300),
    "s0": Traits(single_active=True),
    "s1": Traits(quorum=True, keeps_all=True, delivery_limit=4, single_active=True),
    "w0": Traits(stream=True, keeps_all=True, segment_bytes=300),
    "w1": Traits(stream=True, keeps_all=True, retained_bytes=2000, segment_bytes=300),
    "g0": Traits(takes_expirations=True, governed=True),
    "v0": Traits(),
    "g1": Traits(ttl_ms=300, max_length=4, governed=True, may_refuse=True, **_to_queue("v1")),
    "v1": Traits(durable=False),
    "y0": Traits(retry_type="all", retry_min_ms=50, retry_max_ms=120),
    "y1": Traits(
        quorum=True,
        keeps_all=True,
        delivery_limit=4,
        retry_type="failed",
        retry_min_ms=40,
        retry_max_ms=100,
    ),
    "y2": Traits(max_priority=3, retry_type="returned", retry_min_ms=60, retry_max_ms=100),
    "o0": Traits(ack_timeout_ms=500),
    "o1": Traits(quorum=True, keeps_all=True, delivery_limit=5, hurries=True),
    "u0": Traits(deduplicates=True),
    "u1": Traits(deduplicates=True, takes_expirations=True, **_to_queue("u2")),
    "u2": Traits(deduplicates=True, max_priority=3),
    "u3": Traits(deduplicates=True, max_length=2, overflow=REJECT_PUBLISH),
    "u4": Traits(deduplicates=True, ttl_ms=120, governed=True, may_deduplicate=True),
    "u5": Traits(ttl_ms=400, governed=True, may_deduplicate=True),
    "u6": Traits(deduplicates=True, retry_type="all", retry_min_ms=60),
    "u7": Traits(deduplicates=True, max_length=3),
    "z0": Traits(expires_ms=200),
    "l0": Traits(),
    "c0": Traits(ttl_ms=50, **_to_queue("c1")),
    "c1": Traits(max_length=2, dead_letter_exchange=CRYPT),
    "k0": Traits(),
    "k1": Traits(durable=False),
}
"""`x` stands for each client's own exclusive queue. `l0` gets what was delayed."""


def traits_of(name: str) -> Traits:
    """What a queue of that name is declared with."""
    if name.startswith(REPLY_TO):
        return Traits(durable=False)
    return QUEUES["x" if name[0] == "x" else name]


def is_grave(name: str) -> bool:
    """Whether dead letters of another queue come to that one by their key."""
    return any(traits.dead_letter_key == name for traits in QUEUES.values())


STREAM_POLICY, STREAM_POLICY_BYTES = "kept", 3000
"""What a policy says of streams counts more than what they are declared with."""

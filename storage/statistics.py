"""What a journal tells about itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """`bytes` are those of the log, written or not, `live_bytes` an estimate of what it needs.

    `pending_bytes` are not durable yet. `rewriting_stopped` says what made reclaiming space
    impossible, and is empty as long as nothing has.
    """

    segments: int
    bytes: int
    live_bytes: int
    messages: int
    definitions: int
    pending_bytes: int
    syncs: int
    rewritten_bytes: int
    rewriting_stopped: str
    page_segments: int
    page_bytes: int

"""The few numbers that decide how a journal uses its disk."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """The defaults suit a broker of any size.

    A segment is closed when it has `segment_bytes`. Rewriting begins when the log is longer than
    twice what lives in it plus `slack_segments` segments, or when little lives in its oldest
    segment; one batch rewrites about `rewrite_bytes`. With `snapshots` a clean stop leaves its
    index behind, so that the next start need not read the log.
    """

    segment_bytes: int = 16 * 1024 * 1024
    slack_segments: int = 4
    rewrite_bytes: int = 1024 * 1024
    snapshots: bool = True

    def __post_init__(self) -> None:
        if not 1024 <= self.segment_bytes <= 1 << 30:
            raise ValueError("segment_bytes must be between 1 KiB and 1 GiB")
        if self.slack_segments < 1 or self.rewrite_bytes < 1:
            raise ValueError("slack_segments and rewrite_bytes must be at least 1")

"""The scale of a simulation: few messages are many in it, and so reach all that is for many."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from leveret.broker import clearing as clearing_module
from leveret.broker import counting as counting_module
from leveret.broker import delay_line as delay_line_module
from leveret.broker import delayed_retries as delayed_retries_module
from leveret.broker import features as features_module
from leveret.broker import held_deliveries as held_deliveries_module
from leveret.broker import line as line_module
from leveret.broker import policy_change as policy_change_module
from leveret.broker import queue as queue_module
from leveret.broker import stream_cursor as stream_cursor_module
from leveret.broker import stream_queue as stream_queue_module
from leveret.broker.consistent_hash_exchange import ConsistentHashExchange
from leveret.broker.modulus_hash_exchange import ModulusHashExchange
from leveret.broker.queue import Queue
from leveret.broker.random_exchange import RandomExchange
from leveret.storage import log as log_module

from .choices import telling


@contextmanager
def small_scale() -> Generator[None, None, None]:
    """Make everything small, and have exchanges tell what they choose."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_module, "LOADED_MESSAGES", 3)
        patch.setattr(line_module, "PAGED_MESSAGES", 4)
        patch.setattr(delay_line_module, "BATCH_MESSAGES", 4)
        patch.setattr(held_deliveries_module, "SHED_AT_ONCE", 4)
        patch.setattr(clearing_module, "CLEARED_AT_ONCE", 2)
        patch.setattr(clearing_module, "IDS_PER_MESSAGE", 1)
        patch.setattr(counting_module, "COUNTED_AT_ONCE", 2)
        patch.setattr(delayed_retries_module, "RELEASED_AT_ONCE", 2)
        patch.setattr(delayed_retries_module, "PAUSE_S", 0.0)
        patch.setattr(features_module, "DROPPED_AT_ONCE", 2)
        patch.setattr(features_module, "DEAD_AT_ONCE", 1)
        patch.setattr(features_module, "PASSED_STEPS", 10_000)
        patch.setattr(policy_change_module, "SEARCHES_AT_ONCE", 2)
        patch.setattr(queue_module, "BATCH_MESSAGES", 4)
        patch.setattr(queue_module, "CATCH_UP_BATCHES", 10_000)
        patch.setattr(stream_queue_module, "BATCH_MESSAGES", 4)
        patch.setattr(stream_queue_module, "SHARE_MESSAGES", 2)
        patch.setattr(stream_queue_module, "NOTED_BYTES", 200)
        patch.setattr(stream_queue_module, "DROPPED_SEGMENTS", 1)
        patch.setattr(stream_cursor_module, "AHEAD_MESSAGES", 3)
        patch.setattr(log_module, "BLOCK_BYTES", 256)
        patch.setattr(Queue, "catch_up", _thorough(Queue.catch_up))
        for kind in (ConsistentHashExchange, ModulusHashExchange, RandomExchange):
            patch.setattr(kind, "match", telling(kind.match))
        yield


def _thorough(catch_up: Callable[[Queue], None]) -> Callable[[Queue], None]:
    """Have a queue that is looked into be done with all that has expired, not only with some."""

    def catch_up_with_all(self: Queue) -> None:
        before = -1
        while before != self.message_count:
            before = self.message_count
            catch_up(self)

    return catch_up_with_all

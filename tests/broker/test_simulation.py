"""The simulation: the stories of some seeds, and that it would notice and tell."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from leveret.amqp.content import EXPIRATION, MESSAGE_ID, Properties
from leveret.broker import consistent_hash_exchange as consistent_hash_module
from leveret.broker import quorum_priorities as quorum_priorities_module
from leveret.broker import store as store_module
from leveret.broker.channel import Channel
from leveret.broker.consumer import Consumer
from leveret.broker.consumer_priorities import PriorityRotation
from leveret.broker.dead_letter import DeadLetters
from leveret.broker.death import Reason, properties_after
from leveret.broker.deduplication import Deduplication
from leveret.broker.definitions import Definitions
from leveret.broker.delay_line import DelayLine
from leveret.broker.exchange import Exchange
from leveret.broker.features import Features
from leveret.broker.firehose import Firehose
from leveret.broker.message import Message
from leveret.broker.policy_change import PolicyChange
from leveret.broker.priorities import PriorityQueue
from leveret.broker.queue import Queue
from leveret.broker.quorum_queue import QuorumQueue
from leveret.broker.returns import Place
from leveret.broker.seen_values import KeptValues, SeenValues
from leveret.broker.single_active import SingleActive
from leveret.broker.store import JournalStore
from leveret.broker.stream_cursor import Cursor
from leveret.broker.stream_queue import StreamQueue
from leveret.broker.vhost import VirtualHost
from leveret.storage.batch import Batch
from leveret.storage.journal import Journal
from simulation.run import Run
from simulation.scale import small_scale
from simulation.shrink import failure, kind, report, shrink
from simulation.stories import Story, story

SEEDS_A_TEST = 50


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 200, SEEDS_A_TEST))
def test_every_promise_is_kept_in_the_stories_of_these_seeds(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        if (problem := report(seed)) is not None:
            pytest.fail(problem, pytrace=False)


def files_after(told: Story) -> dict[str, bytes]:
    with small_scale():
        run = Run(told, [])
        for action in told.actions:
            run.do(action)
    return run.world.disk.files()


def test_a_seed_replays_exactly() -> None:
    for seed in range(5):
        assert files_after(story(seed)) == files_after(story(seed))


def first_failure(kinds: Sequence[str]) -> Story:
    """The shortest form of the first story that fails, which must be in one of some ways."""
    for seed in range(400):
        told = story(seed)
        error = failure(told)
        if error is not None:
            assert kind(error) in kinds
            return shrink(told, kind(error))
    pytest.fail("nothing was noticed")


@pytest.mark.slow
def test_a_sync_that_is_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "_sync", lambda self, writer, write: None)
    assert len(first_failure(("lost", "hole", "Damaged")).actions) <= 10


@pytest.mark.slow
def test_acknowledgements_that_are_not_written_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Journal.settle

    def settle_delayed(self: DelayLine, message: Message) -> None:  # that is no acknowledgement
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "settle", settle)
            Queue.settle(self, message)

    monkeypatch.setattr(DelayLine, "settle", settle_delayed)
    monkeypatch.setattr(Journal, "settle", lambda self, owner, message_id: None)
    noticed = ("risen", "restart", "half a transaction", "space", "values")
    assert len(first_failure(noticed).actions) <= 12


@pytest.mark.slow
def test_a_delayed_message_that_stays_on_disk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DelayLine, "settle", lambda self, message: None)
    first_failure(("risen", "restart", "half a transaction", "space"))


@pytest.mark.slow
def test_a_message_that_returns_to_the_wrong_place_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def requeue_last(queue: Queue, message: Message, **how: bool) -> None:
        queue.enqueue(message)

    monkeypatch.setattr(Queue, "requeue", requeue_last)
    noticed = (
        "order",
        "redelivered",
        "wrong answer",
        "counts",
        "expired",
        "content",
        "UnmarshalingException",
    )
    assert len(first_failure(noticed).actions) <= 12


@pytest.mark.slow
def test_a_crash_in_the_code_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Channel, consumer: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Channel, "cancel", broken)
    assert len(first_failure(("internal error", "RuntimeError")).actions) <= 8


@pytest.mark.slow
def test_policies_that_are_not_written_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Definitions, "add_policy", lambda self, vhost, policy, operator: None)
    assert len(first_failure(("lost", "restart")).actions) <= 8


@pytest.mark.slow
def test_messages_that_a_new_limit_does_not_count_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Queue, "waiting", lambda self: self.ready)
    monkeypatch.setattr(PriorityQueue, "waiting", lambda self: ())
    first_failure(("count",))


@pytest.mark.slow
def test_offsets_that_begin_anew_after_a_restart_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Definitions, "keep_beginning", lambda *_: None)
    first_failure(("stream", "counts", "retention"))


@pytest.mark.slow
def test_a_message_of_a_stream_that_a_slow_consumer_misses_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forget_held(self: Cursor) -> None:
        self.offset += self.held_messages

    monkeypatch.setattr(Cursor, "forget_held", forget_held)
    first_failure(("stream", "stuck"))


@pytest.mark.slow
def test_a_stream_that_keeps_too_little_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        StreamQueue, "_first_segment_may_go", lambda self: self._log.segment_count > 1
    )
    first_failure(("retention",))


@pytest.mark.slow
def test_a_delivery_limit_that_is_one_too_high_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = QuorumQueue.delivery_limit.fget
    assert limit is not None

    def one_more(self: QuorumQueue) -> int | None:
        most = limit(self)
        return None if most is None else most + 1

    monkeypatch.setattr(QuorumQueue, "delivery_limit", property(one_more))
    first_failure(("counts", "order", "delivery count"))


@pytest.mark.slow
def test_returns_that_are_not_written_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JournalStore, "note_returns", lambda *_, **__: None)
    first_failure(("delivery count", "wrong answer", "retry"))


@pytest.mark.slow
def test_an_order_of_returns_that_a_restart_forgets_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_module, "Place", lambda turn, before: Place(0, before))
    first_failure(("order", "wrong answer"))


@pytest.mark.slow
def test_a_return_to_the_end_that_a_restart_forgets_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_module, "Place", lambda turn, before: Place(turn, 0))
    first_failure(("order", "wrong answer"))


@pytest.mark.slow
def test_a_message_that_is_settled_before_its_dead_letter_is_on_disk_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch has what was settled behind all messages: that must be got around."""
    settle, add = Journal.settle, DeadLetters.add

    def settle_now(self: Journal, owner: int, message_id: int) -> None:
        settle(self, owner, message_id)
        self.flush_settled()

    def add_settled(self: DeadLetters, message: Message, reason: Reason, *, held: bool = True):
        if held and message.stored:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Journal, "settle", settle_now)
                self._queue.settle(message)
        add(self, message, reason, held=False)

    monkeypatch.setattr(DeadLetters, "add", add_settled)
    first_failure(("lost",))


@pytest.mark.slow
def test_a_wrong_consumer_that_becomes_the_active_one_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elect = SingleActive.elect

    def elect_last(self: SingleActive, consumers: Sequence[Consumer]) -> Consumer | None:
        return elect(self, consumers[::-1])

    monkeypatch.setattr(SingleActive, "elect", elect_last)
    first_failure(("turns", "stuck"))


@pytest.mark.slow
def test_a_consumer_that_is_served_before_one_of_a_higher_priority_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PriorityRotation, "append", deque[Consumer].append)
    first_failure(("priority",))


@pytest.mark.slow
def test_a_consumer_that_does_not_get_its_turn_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PriorityRotation, "rotate", lambda self, n: None)
    first_failure(("turns",))


@pytest.mark.slow
def test_blind_copies_that_somebody_sees_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Properties, "without_header", lambda self, name: self.raw)
    first_failure(("order", "wrong answer", "risen", "restart"))


@pytest.mark.slow
def test_an_alternate_exchange_that_gets_nothing_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Exchange, "follow", lambda self, policy: None)
    first_failure(("counts", "wrong answer", "unexpected"))


@pytest.mark.slow
def test_a_policy_that_means_nothing_to_what_lives_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PolicyChange, "dispatch", lambda self: False)
    noticed = (
        "counts",
        "wrong answer",
        "unexpected",
        "retention",
        "order",
        "wrong confirm",
        "timeout",
    )
    first_failure(noticed)


@pytest.mark.slow
def test_a_reply_that_finds_its_way_after_its_consumer_has_gone_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(VirtualHost, "remove_reply_queue", lambda self, queue: None)
    first_failure(("wrong answer", "order"))


@pytest.mark.slow
def test_a_value_that_outlives_its_message_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deduplication, "remove", lambda self, message: None)
    first_failure(("counts", "wrong answer", "unexpected", "wrong confirm", "restart"))


@pytest.mark.slow
def test_values_of_a_queue_that_a_restart_forgets_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Features, "know_again", lambda self, ids: None)
    first_failure(("counts", "wrong answer", "unexpected", "wrong confirm", "restart"))


@pytest.mark.slow
def test_a_publish_that_the_firehose_does_not_tell_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published = Firehose.published

    def not_to_one_queue(self: Firehose, *what: Any) -> None:
        if what[1] != ["d0"]:
            published(self, *what)

    monkeypatch.setattr(Firehose, "published", not_to_one_queue)
    first_failure(("firehose", "content"))


@pytest.mark.slow
def test_properties_that_a_message_loses_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = Properties.replaced

    def without_id(self: Properties, changes: dict[int, bytes | None]) -> bytes:
        return replaced(self, {**changes, MESSAGE_ID: None})

    monkeypatch.setattr(Properties, "replaced", without_id)
    first_failure(("content", "firehose"))


@pytest.mark.slow
def test_values_of_an_exchange_that_are_not_written_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(KeptValues, "add", SeenValues.add)
    first_failure(("values", "counts", "wrong answer", "restart"))


@pytest.mark.slow
def test_a_hash_that_moves_more_than_it_must_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        consistent_hash_module, "jump_consistent_hash", lambda key, buckets: key % buckets
    )
    first_failure(("choice",))


@pytest.mark.slow
def test_a_dead_letter_that_still_tells_its_expiration_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replaced = Properties.replaced

    def replaced_but_expiration(self: Properties, changes: Mapping[int, bytes | None]) -> bytes:
        others = {flag: value for flag, value in changes.items() if flag != EXPIRATION}
        return replaced(self, others)

    monkeypatch.setattr(Properties, "replaced", replaced_but_expiration)
    properties_after.cache_clear()
    first_failure(("content", "firehose"))
    properties_after.cache_clear()


@pytest.mark.slow
def test_turns_of_priorities_that_are_wrong_by_the_rules_of_4_0_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quorum_priorities_module, "_TURNS", 4)
    first_failure(("order", "wrong answer"))


@pytest.mark.slow
def test_priorities_of_quorum_queues_that_a_restart_forgets_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        quorum_priorities_module.PrioritizedQuorumQueue, "line_up_new", QuorumQueue.line_up_new
    )
    first_failure(("order", "wrong answer"))

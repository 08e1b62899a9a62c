from hypothesis import given, settings
from hypothesis import strategies as st

from leveret.broker.timers import Timers


def run_until(timers: Timers, now: float) -> None:
    timers.now = now
    timers.run()


def test_calls_are_made_when_they_are_due() -> None:
    timers, made = Timers(), list[str]()
    timers.at(2, lambda: made.append("two"))
    timers.at(1, lambda: made.append("one"))
    timers.at(1, lambda: made.append("one, too"))
    run_until(timers, 0.9)
    assert made == []
    run_until(timers, 1)
    assert made == ["one", "one, too"]
    run_until(timers, 5)
    run_until(timers, 6)
    assert made == ["one", "one, too", "two"]


def test_a_cancelled_call_is_not_made() -> None:
    timers, made = Timers(), list[str]()
    first = timers.at(1, lambda: made.append("first"))
    timers.at(2, lambda: made.append("second"))
    first.cancel()
    first.cancel()
    assert timers.next_deadline() == 2
    run_until(timers, 3)
    assert made == ["second"]


def test_a_call_can_be_cancelled_by_one_that_is_due_at_the_same_time() -> None:
    timers, made = Timers(), list[str]()
    timers.at(1, lambda: second.cancel())
    second = timers.at(1, lambda: made.append("second"))
    run_until(timers, 1)
    assert made == []


def test_a_call_may_set_timers() -> None:
    timers, made = Timers(), list[float]()

    def again() -> None:
        made.append(timers.now)
        if len(made) < 3:
            timers.at(timers.now + 1, again)

    timers.at(1, again)
    for now in range(10):
        run_until(timers, now)
    assert made == [1, 2, 3]


def test_there_may_be_no_deadline() -> None:
    timers = Timers()
    assert timers.next_deadline() is None
    timers.at(1, lambda: None).cancel()
    assert timers.next_deadline() is None
    timers.run()


def test_whoever_sleeps_is_told_of_earlier_deadlines() -> None:
    timers, told = Timers(), list[float]()
    timers.on_earlier = told.append
    for due in (5, 7, 3, 3, 4, 1):
        timers.at(due, lambda: None)
    assert told == [5, 3, 1]


def test_cancelled_calls_do_not_pile_up_before_one_that_is_due_sooner() -> None:
    timers, made = Timers(), list[int]()
    kept = [timers.at(day, lambda day=day: made.append(day)) for day in (1, 3, 2)]
    for _ in range(20_000):
        timers.at(86_400, lambda: None).cancel()
        assert len(timers._heap) < 3000
    assert timers.next_deadline() == kept[0].due
    run_until(timers, 90_000)
    assert made == [1, 2, 3]
    assert timers.next_deadline() is None


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=20),
    st.lists(st.integers(0, 25), max_size=10).map(sorted),
)
def test_calls_come_in_order_and_once(due: list[tuple[int, bool]], looks: list[int]) -> None:
    timers, made = Timers(), list[tuple[int, int]]()
    for number, (at, cancelled) in enumerate(due):
        timer = timers.at(at, lambda at=at, number=number: made.append((at, number)))
        if cancelled:
            timer.cancel()
    wanted = sorted((at, number) for number, (at, cancelled) in enumerate(due) if not cancelled)
    for now in looks:
        run_until(timers, now)
        assert made == [each for each in wanted if each[0] <= now]
        left = [each[0] for each in wanted if each[0] > now]
        assert timers.next_deadline() == (left[0] if left else None)

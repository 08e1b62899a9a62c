"""The shortest story that still fails in the same way, found by leaving actions out."""

import traceback
from dataclasses import replace

from .run import play
from .stories import Story, story
from .things import Violation

_PLAYS_MAX = 1500


def failure(story: Story) -> BaseException | None:
    """What goes wrong in a story, if something does."""
    try:
        play(story)
    except Exception as error:
        return error
    return None


def kind(error: BaseException) -> str:
    """What tells one sort of failure from another."""
    if isinstance(error, Violation):
        return str(error).split(":", 1)[0]
    return type(error).__name__


def shrink(story: Story, wanted: str) -> Story:
    """Leave out what can be left out with the same kind of failure remaining."""
    plays = 0
    actions = list(story.actions)
    size = len(actions) // 2
    while size and plays < _PLAYS_MAX:
        at, shorter = 0, False
        while at < len(actions) and plays < _PLAYS_MAX:
            attempt = actions[:at] + actions[at + size :]
            plays += 1
            error = failure(replace(story, actions=tuple(attempt)))
            if error is not None and kind(error) == wanted:
                actions = attempt
                shorter = True
            else:
                at += size
        if size > 1 or not shorter:
            size //= 2
    return replace(story, actions=tuple(actions))


def told(seed: int, story_: Story, error: BaseException) -> str:
    """A failing story for people."""
    lines = [
        f"seed {seed}: {error or type(error).__name__}",
        f"  segments of {story_.segment_bytes} bytes, memory budget"
        f" {story_.memory_budget_bytes} bytes, snapshots {story_.snapshots},"
        f" {story_.at_once} at once, effort {story_.effort}",
        *(f"  {n}. {action}" for n, action in enumerate(story_.actions, 1)),
    ]
    return "\n".join(lines)


def report(seed: int) -> str | None:
    """Play a seed's story; if it fails, its shortest form."""
    whole = story(seed)
    error = failure(whole)
    if error is None:
        return None
    short = shrink(whole, kind(error))
    last = failure(short)
    assert last is not None
    trace = "".join(traceback.format_exception(last)[-6:])
    return f"{told(seed, short, last)}\n{trace}"

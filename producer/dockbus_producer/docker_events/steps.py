"""The starts and ends that were told of one container, and those that it must have taken besides. Pure.

Times are the Engine's, in nanoseconds. An event comes after what it tells of: `StartedAt` <= time of `start`, and
`FinishedAt` <= time of `die`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from dockbus.engine import Container, EngineEvent
from dockbus_producer.docker_events.envelope import nanoseconds

ON = ("running", "paused")
"""States of a container that lives."""
STEPS = 16
"""Steps that are kept of one container."""
_BLUR = 10**6
"""Nanoseconds by which two clocks of one Engine may differ."""
_DELAY = 5 * 10**9
"""Nanoseconds after which an Engine has told of what has happened, by its own clock."""


class Step(NamedTuple):
    """A start or an end that was told."""

    action: str
    time: int
    """When; of one that was not heard the earliest time that its event can have."""
    how: Literal["heard", "found", "lost", "old"] = "heard"
    """Found: seen, and its event may come yet. Lost: nobody saw more than that it must have been. Old: it was there at
    the first look, so that its event would be news."""
    until: int = 0
    """The latest time that it can have been, where it was lost."""


def is_on(steps: Sequence[Step]) -> bool:
    """Whether the last certain step began a life."""
    certain = _certain(steps)
    return bool(certain) and certain[-1].action == "start"


def has_hole(steps: Sequence[Step]) -> bool:
    """Whether there must be a step of which nobody saw more than that; told or not."""
    line = [step.action for step in _certain(steps)]
    whole = ["die", *line] if len(steps) < STEPS else line
    return any(one == other for one, other in pairwise(whole))


def in_order(*steps: Step) -> tuple[Step, ...]:
    """The last of these, oldest first."""
    return tuple(sorted(steps, key=lambda step: step.time))[-STEPS:]


def missing(steps: Sequence[Step], seen: Container) -> tuple[Step, ...]:
    """The steps that a container must have taken, as it is seen now, and that were not told, oldest first."""
    started, finished = nanoseconds(seen.started), nanoseconds(seen.finished)
    found: list[Step] = []
    certain = _certain(steps)
    is_over = seen.state not in ON and started > 0
    if is_over and finished + _DELAY < started:  # the Engine's clock was set back in between
        ends = [step for step in certain if step.action == "die" and step.time >= finished]
        return () if ends else (Step("die", started, "found"),)
    if started and not any(step.action == "start" and step.time >= started for step in certain):
        found.append(Step("start", started, "found"))
    line = in_order(*certain, *found)
    if is_over and is_on(line):
        found.append(Step("die", max(finished, line[-1].time + 1), "found"))
    return in_order(*found, *_lost(steps, found, nanoseconds(seen.created)))


def unended(steps: Sequence[Step], created: int, gone: int) -> tuple[Step, ...]:
    """The steps that a container must have taken before it was gone, and that were not told, oldest first."""
    found = [Step("die", gone, "found")] if is_on(steps) else []
    return in_order(*found, *_lost(steps, found, created))


def _lost(steps: Sequence[Step], found: Sequence[Step], created: int) -> list[Step]:
    """Between two starts there was an end, and between two ends a start: those of them that were not told."""
    line = in_order(*_certain(steps), *found)
    if len(steps) < STEPS:  # all its steps, so that there was none before the first
        line = (Step("die", created), *line)
    told = [step for step in steps if step.how == "lost"]
    lost: list[Step] = []
    for one, other in pairwise(line):
        if one.action != other.action:
            continue
        known = next((it for it in told if it.time < other.time and one.time < it.until), None)
        if known:
            told.remove(known)
        else:
            action = "die" if one.action == "start" else "start"
            lost.append(Step(action, one.time + 1, "lost", other.time - 1))
    return lost


def taken(
    steps: tuple[Step, ...], event: EngineEvent, seen: Container | None
) -> tuple[tuple[Step, ...], bool]:
    """The steps with one more that was heard, in its place, and whether that is to be told."""
    heard = Step(event.action, event.time_nano)
    if any(step[:2] == heard[:2] and step.how == "heard" for step in steps):
        return steps, False
    # A life that is seen to have begun in between, and was not told, parts them as well.
    times = [step.time for step in _certain(steps)]
    times += [nanoseconds(seen.started)] if seen else []

    def is_it(step: Step) -> bool:
        if step.action != heard.action or step.time > heard.time + _BLUR:
            return False
        if step.how == "lost":
            return heard.time <= step.until
        is_soon = heard.time <= step.time + _DELAY
        return (
            step.how != "heard"
            and is_soon
            and not any(step.time < time < heard.time for time in times)
        )

    same = min(filter(is_it, steps), key=lambda step: (step.until, -step.time), default=None)
    rest = tuple(step for step in steps if step is not same)
    return in_order(*rest, heard), same is None or same.how == "old"


def _certain(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.how != "lost"]

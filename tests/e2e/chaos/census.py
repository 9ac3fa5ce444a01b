"""What has to hold of the events of a crowd, counted from outside; each function says what is wrong, if anything."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import cast

from dockbus import Event
from e2e.chaos.crowd import Fact
from e2e.chaos.dweller import Dweller

CONTAINER = "io.dockbus.docker.container."
GAP = "io.dockbus.engine.gap"
NEXT = {
    "create": {"start", "destroy"},
    "start": {"die"},
    "die": {"start", "destroy"},
    "destroy": set[str](),
}
"""After which action on a container which others may come."""
BLUR = 0.1
"""Seconds by which a container's own clock may be wrong."""


@dataclass
class Told:
    """All events of a run, in the order of the stream."""

    events: Sequence[Event]

    @cached_property
    def of(self) -> Mapping[str, list[Event]]:
        """Create, start, die and destroy of each container, in the order of their times."""
        found: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            head, _, action = event.type.rpartition(".")
            if f"{head}." == CONTAINER and action in ("create", "start", "die", "destroy"):
                found[event.subject].append(event)
        return {one: _in_order(events) for one, events in found.items()}

    @cached_property
    def unheard(self) -> list[tuple[float, float]]:
        """Times of which it was told that events may be missing, in seconds since 1970."""
        return [
            (
                datetime.fromisoformat(cast("str", event.data["since"])).timestamp(),
                event.time.timestamp(),
            )
            for event in self.named(GAP)
            if "since" in event.data
        ]

    def named(self, type_: str) -> list[Event]:
        """All of this type."""
        return [event for event in self.events if event.type == type_]

    def was_heard(self, begin: float, end: float) -> bool:
        """Whether nothing can be missing of that time."""
        return not any(begin - BLUR <= to and since <= end + BLUR for since, to in self.unheard)

    def was_unheard(self, begin: float, end: float) -> bool:
        """Whether all of that time lies in one of which events may be missing."""
        return any(since - BLUR <= begin and end <= to + BLUR for since, to in self.unheard)


def doubled(told: Told) -> Iterator[str]:
    """No event is there twice, by its name or by what it tells."""
    for name, count in Counter((event.source, event.id) for event in told.events).items():
        if count > 1:
            yield f"event {name} is there {count} times"
    for container, events in told.of.items():
        for before, after in pairwise(map(_action, events)):
            if after not in NEXT[before]:
                yield f"{_tale(container, events)}: {after} after {before}"


def missed(told: Told, facts: Sequence[Fact], cut: set[str]) -> Iterator[str]:
    """Of each container that is there: it was made once, each life has a start and an end, the last with its exit code.

    Args:
        told: what the bus says.
        facts: what is true.
        cut: names of those that had not ended when the Engine was killed: it ends them, and may have forgotten a start.
    """
    for fact in facts:
        events = told.of.get(fact.container.id, [])
        tale = f"{_tale(fact.container.id, events)} ({fact.dweller})"
        actions = Counter(map(_action, events))
        is_on = fact.container.state in ("running", "paused")
        if actions["create"] != 1:
            yield f"{tale}: created {actions['create']} times"
        if actions["destroy"]:
            yield f"{tale}: is there, and was told to be gone"
        if actions["die"] != actions["start"] - is_on:
            yield f"{tale}: {fact.container.state}, lives {fact.lives}"
        most = len(fact.lives)
        least = most - _untellable(told, fact)
        if fact.dweller.sort == "killed":  # perhaps before it could write that it lives
            most = max(most, 1)
        if fact.dweller.name in cut:
            most += 1
            least = min(least, 1 if fact.container.started else 0)
        if not least <= actions["start"] <= most:
            yield f"{tale}: {actions['start']} starts, not {least} to {most}: {fact.lives}"
        dies = [each for each in events if _action(each) == "die"]
        yield from _wrong_codes(tale, fact, dies, cut=fact.dweller.name in cut)


def _untellable(told: Told, fact: Fact) -> int:
    """How many lives may be missing: those that began and ended while the Engine was not heard, but for the last."""
    return sum(told.was_unheard(life, life + fact.dweller.rest) for life, _ in pairwise(fact.lives))


def _wrong_codes(tale: str, fact: Fact, dies: Sequence[Event], *, cut: bool) -> Iterator[str]:
    over = fact.container.state in ("exited", "dead")
    for number, die in enumerate(dies, 1):
        code = die.data.get("exitCode")
        if over and number == len(dies):
            # One that is killed right after it has told may have forgotten what.
            told = {fact.container.exit_code, fact.dweller.code if cut else None}
            if code not in told - {None}:
                yield f"{tale}: its end says {code}, the Engine {fact.container.exit_code}"
        elif not cut and code != fact.dweller.code and not (code is None and die.data["synthetic"]):
            yield f"{tale}: the end of life {number} says {code}"


def ended_otherwise(facts: Sequence[Fact], cut: set[str]) -> Iterator[str]:
    """The crowd itself did what it was to do, or the rest says little."""
    for fact in facts:
        if fact.dweller.name in cut:
            continue
        if fact.dweller.refused:
            yield f"{fact.dweller}: {fact.container.state}"
        wanted = {"runs": 0, "killed": 137}.get(fact.dweller.sort, fact.dweller.code)
        lives = {"again": 2, "on-failure": fact.dweller.retries + 1}.get(fact.dweller.sort, 1)
        written = len(fact.lives) or int(fact.dweller.sort == "killed")
        if (fact.container.exit_code, written) != (wanted, lives):
            yield f"{fact.dweller}: {fact.container.state} {fact.container.exit_code} {fact.lives}"


def left_untold(told: Told, gone: Sequence[Dweller], cut: set[str]) -> Iterator[str]:
    """Of each container that was removed and heard of at all times: its whole life, with its exit code."""
    for dweller in gone:
        events = told.of.get(dweller.id, [])
        tale = f"{_tale(dweller.id, events)} ({dweller})"
        if events and _action(events[0]) == "create" and _action(events[-1]) != "destroy":
            yield f"{tale}: its removal is missing"
        if dweller.name in cut or not told.was_heard(dweller.begun, dweller.removed):
            continue
        if [_action(each) for each in events] != ["create", "start", "die", "destroy"]:
            yield f"{tale}: not one whole life"
            continue
        code = 137 if dweller.sort == "thrown-out" else dweller.code
        if events[2].data.get("exitCode", code if events[2].data["synthetic"] else None) != code:
            yield f"{tale}: its end says {events[2].data.get('exitCode')}"


def _action(event: Event) -> str:
    return event.type.rpartition(".")[2]


def _in_order(events: Sequence[Event]) -> list[Event]:
    """By their times, of which the bus has only microseconds: where two are the same, as they make sense."""
    line = sorted(events, key=lambda each: (each.time, list(NEXT).index(_action(each))))
    for place, (one, other) in enumerate(pairwise(line[1:]), 1):
        if one.time == other.time and _action(one) == _action(line[place - 1]):
            line[place : place + 2] = [other, one]
    return line


def _tale(container: str, events: Sequence[Event]) -> str:
    told = " ".join(
        f"{_action(each)}{'*' if each.data['synthetic'] else ''}@{each.time:%M:%S.%f}"
        for each in events
    )
    return f"container {container[:12]} [{told}]"

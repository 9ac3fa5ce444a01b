"""The rules of a run over events, and how often each of them has to have fired, counted from the events alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from dockbus import Event
from e2e.chaos.census import CONTAINER, Told
from e2e.chaos.crowd import Fact
from e2e.chaos.dweller import LABEL, LABEL_EACH, LABEL_PAIR, LABEL_STATE

RULES = f"""
rules:
  - name: each-end
    on: {CONTAINER}die
    where: {{labels: {{{LABEL_EACH}: "yes"}}}}
    do: &nothing {{kind: cleanup, dry_run: true}}
  - name: every-ten
    on: {CONTAINER}die
    where: {{labels: {{{LABEL}: ""}}}}
    by: crowd
    count: 10
    within: 2h
    do: *nothing
  - name: quick-pair
    on: {CONTAINER}die
    where: {{labels: {{{LABEL_PAIR}: "yes"}}}}
    count: 2
    within: 1s
    do: *nothing
  - name: ended-with-3
    state: container.state == 'exited' && container.exit_code == 3
    where: {{labels: {{{LABEL_STATE}: "yes"}}}}
    cooldown: 2h
    dedup: null
    do: *nothing
  - name: hopeless
    state: container.state == 'exited' && container.exit_code == 7
    where: {{labels: {{{LABEL_STATE}: "yes"}}}}
    cooldown: 20s
    limit: {{count: 3, per: 2h, then: suspend}}
    dedup: null
    do: *nothing
"""


def wrong_rules(
    told: Told, facts: Sequence[Fact], jobs: Sequence[str], cut: set[str], *, long: bool
) -> Iterator[str]:
    """Each rule fired as often as its definition says, given the events; one job for each time.

    Args:
        told: what the bus says.
        facts: what is true of the containers.
        jobs: the IDs of all that there are.
        cut: names of containers that had not ended when the Engine was killed, which may contradict itself about them.
        long: whether there was time for `hopeless` to give up.
    """
    fired: dict[str, list[Event]] = defaultdict(list)
    for event in told.named("io.dockbus.rule.fired"):
        fired[event.subject].append(event)
    ordered = [event.data["job"] for events in fired.values() for event in events]
    if Counter(ordered) != Counter(jobs):
        yield f"{len(ordered)} jobs of {len(set(ordered))} were told, {len(jobs)} are there"
    for event in told.named("io.dockbus.rule.failed"):
        yield f"a rule failed: {event}"
    dies = told.named(f"{CONTAINER}die")
    yield from _differ(
        "each-end",
        Counter(str(each.data["event"]) for each in fired["each-end"]),
        Counter(die.id for die in dies if _label(die, LABEL_EACH)),
    )
    tens = sum(LABEL in _labels(die) for die in dies) // 10
    if len(fired["every-ten"]) != tens:
        yield f"every-ten fired {len(fired['every-ten'])} times, not {tens}"
    yield from _wrong_pairs(dies, _by_object(fired["quick-pair"]))
    ends = {
        fact.container.id: fact.container.exit_code
        for fact in facts
        if LABEL_STATE in fact.container.labels and fact.dweller.name not in cut
    }
    threes = {container: 1 for container, code in ends.items() if code == 3}
    sevens = {container: 1 for container, code in ends.items() if code == 7}
    answered, tried, suspended = (
        Counter({container: times[container] for container in ends if times[container]})
        for times in (
            _by_object(fired["ended-with-3"]),
            _by_object(fired["hopeless"]),
            Counter(
                str(event.data["object"]).partition("/")[2]
                for event in told.named("io.dockbus.rule.suspended")
            ),
        )
    )
    yield from _differ("ended-with-3", answered, Counter(threes))
    if long:
        yield from _differ("hopeless", tried, Counter(dict.fromkeys(sevens, 3)))
        yield from _differ("hopeless, suspended,", suspended, Counter(sevens))
    else:
        yield from _differ("hopeless", Counter(set(tried)), Counter(sevens))


def _wrong_pairs(dies: Sequence[Event], fired: Counter[str]) -> Iterator[str]:
    times: dict[str, list[float]] = defaultdict(list)
    for die in dies:
        if _label(die, LABEL_PAIR):
            times[die.subject].append(die.time.timestamp())
    for container, ends in times.items():
        if len(ends) <= 2:  # with more of them it matters which was shown to the rule first
            wanted = int(len(ends) == 2 and abs(ends[1] - ends[0]) < 1.0)
            if fired[container] != wanted:
                yield f"quick-pair fired {fired[container]} times, not {wanted}, for {container}: {ends}"
        elif fired[container] > len(ends) // 2:
            yield f"quick-pair fired {fired[container]} times for {container}: {ends}"


def _differ(rule: str, is_: Counter[str], wanted: Counter[str]) -> Iterator[str]:
    for what in sorted(is_.keys() | wanted.keys()):
        if is_[what] != wanted[what]:
            yield f"{rule} fired {is_[what]} times, not {wanted[what]}, for {what}"


def _by_object(fired: Sequence[Event]) -> Counter[str]:
    return Counter(str(event.data["eventSubject"]) for event in fired)


def _labels(event: Event) -> Mapping[str, str]:
    facts = event.data.get("container") or {"labels": event.data["attributes"]}
    return cast("dict[str, dict[str, str]]", facts)["labels"]


def _label(event: Event, name: str) -> bool:
    return _labels(event).get(name) == "yes"

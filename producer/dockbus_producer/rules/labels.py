"""What containers ask of rules by their labels: that one may act on them, and when. Pure.

    dockbus.enable: "true"              without it the others do nothing
    dockbus.rule.heal: "true"           asks for a rule with `opt_in`
    dockbus.cron.backup: "0 3 * * *"    times a rule with `cron`, in UTC

Whoever may start a container writes them, or whoever built its image. So they choose among rules and say when; what
is done, with what, and to which container is the rule's alone.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING

from cronsim import CronSim

from dockbus.jobs.base import (
    LABEL_BUS,
    LABEL_ENGINE,
    LABEL_JOB,
    LABEL_KEEP,
    LABEL_MANAGED,
    LABEL_ORDER,
    LABEL_REMOVE,
)
from dockbus.limits import LABELS as LIMITS
from dockbus.limits import parse_limit
from dockbus.units import show_span
from dockbus_producer.rules.occasion import ABOUT_CONTAINERS, DUE, Occasion
from dockbus_producer.schedules import valid_cron

if TYPE_CHECKING:
    from dockbus_producer.rules.model import Rule

OURS = "dockbus."
ENABLE = "dockbus.enable"
RULE = "dockbus.rule."
CRON = "dockbus.cron."
OTHERS = (
    *(LABEL_BUS, LABEL_ENGINE, LABEL_JOB, LABEL_KEEP, LABEL_MANAGED, LABEL_ORDER, LABEL_REMOVE),
    *("dockbus.demo", "dockbus.test", "dockbus.test.*"),
)
"""Labels that have nothing to do with rules."""
TIMED: Mapping[str, object] = {"on": DUE, "max_age": 600.0, "dedup": {}}
"""What holds for a rule with `cron` where it says nothing else."""
MOST = 20
"""How many mistakes of one container are told."""
CHECKED = 100
"""How many labels of one container are looked at for mistakes."""
LONGEST = 200
"""Characters of a label, or of its value, that are taken in."""
_NAMED = re.compile(r"dockbus\.[\w./-]*\w")


@dataclass(frozen=True)
class Mistake:
    """A label that does not do what somebody seems to think it does."""

    label: str
    value: str
    reason: str
    suggestion: str = ""
    """The label that was probably meant."""
    unknown: bool = False
    """Whether there is no such label at all."""


# -- what a rule makes of labels -----------------------------------------------------------------------


def unasked(rule: Rule, occasion: Occasion) -> str:
    """Why the container does not ask for this rule now, in words; empty where it does, or need not."""
    if rule.cron:
        if occasion.event.data.get("rule") != rule.name:
            return "cron: this is the time of another rule"
        if timing(rule, occasion.labels) is None:
            return f"cron: the container has not both {ENABLE}=true and a valid {CRON}{rule.name}"
    if rule.opt_in:
        if not occasion.about_container:
            return "opt_in: this is about no container"
        for label in (ENABLE, f"{RULE}{rule.name}"):
            if occasion.labels.get(label) != "true":
                return f"opt_in: the container has no {label}=true"
    return ""


def timing(rule: Rule, labels: Mapping[str, str]) -> str | None:
    """The cron expression by which the container times the rule; None where it does not, or not validly."""
    cron = labels.get(f"{CRON}{rule.name}")
    if cron is None or labels.get(ENABLE) != "true" or (LABEL_JOB in labels and not rule.own):
        return None
    return None if refusal(cron, rule.every_at_least) else cron


def newest_slot(cron: str, now: float) -> int | None:
    """The last moment up to `now`, in seconds since 1970, at which a valid expression comes; None if it never has."""
    moment = datetime.fromtimestamp(int(now) + 1, UTC)
    slot = next(CronSim(cron, moment, reverse=True), None)
    return round(slot.timestamp()) if slot else None


@lru_cache(maxsize=10_000)
def refusal(cron: str, at_least: float | None) -> str:
    """Why this expression is refused, where two of its moments must be `at_least` seconds apart; empty where it is not."""
    if len(cron) > LONGEST:
        return f"it has more than {LONGEST} characters"
    try:
        valid_cron(cron)
    except ValueError as error:
        return str(error)
    if at_least and (gap := _shortest_gap(cron)) < at_least:
        return f"it comes again after {show_span(gap)}, the rule asks for {show_span(at_least)}"
    return ""


def together(rule: Rule) -> Iterator[str]:
    """What does not go together in a rule that labels choose."""
    if rule.cron:
        if rule.state or rule.on != [DUE]:
            yield f"{'state' if rule.state else 'on'}: labels say when a rule with `cron` acts; leave it out"
        if rule.opt_in:
            yield "opt_in: a rule with `cron` needs a label anyway; leave it out"
    elif rule.every_at_least:
        yield "every_at_least: it goes with `cron`"
    if rule.opt_in:
        for pattern in rule.on:
            head = re.split(r"[*?\[]", pattern)[0]
            whole = head == pattern
            may_be = any(one.startswith(head) for one in ABOUT_CONTAINERS) and not whole
            if not (head.startswith(ABOUT_CONTAINERS) or may_be):
                yield f"opt_in: {pattern!r} is about no container"


def _shortest_gap(cron: str) -> float:
    """Seconds between the closest two of its moments, as a year and a month show them."""
    begin = datetime(2000, 1, 1, tzinfo=UTC)
    end = begin + timedelta(days=400)
    moments = takewhile(lambda moment: moment < end, islice(CronSim(cron, begin), 2000))
    gaps = ((late - early).total_seconds() for early, late in pairwise(moments))
    return min(gaps, default=math.inf)


# -- what is wrong with labels -------------------------------------------------------------------------


class Vocabulary:
    """The labels that mean something to these rules."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._asking = [ENABLE, *LIMITS]
        self._named: set[str] = set()
        for name, rule in self._rules.items():
            self._asking += [f"{RULE}{name}"] * rule.opt_in + [f"{CRON}{name}"] * rule.cron
            self._named.update(_NAMED.findall(rule.model_dump_json()))

    def mistakes(self, labels: Mapping[str, str]) -> list[Mistake]:
        """What is wrong with the labels of a container that begin with `dockbus.`.

        A label that nobody knows is a mistake only where the container asks for rules by others, or where it looks like
        a misspelt one. One that a rule names, in a condition for instance, is known.
        """
        if LABEL_JOB in labels:
            return []
        ours = {label: value for label, value in labels.items() if label.startswith(OURS)}
        asks = any(label == ENABLE or label.startswith((RULE, CRON)) for label in ours)
        found = (self._mistake(label, ours, asks) for label in islice(ours, CHECKED))
        return list(islice(filter(None, found), MOST))

    def _mistake(self, label: str, ours: Mapping[str, str], asks: bool) -> Mistake | None:
        value = ours[label]
        if label in LIMITS:
            return _no_limit(label, value)
        prefix = next((one for one in (RULE, CRON) if label.startswith(one)), "")
        rule = self._rules.get(label.removeprefix(prefix)) if prefix else None
        if label == ENABLE or rule:
            reason, meant = self._misuse(rule, prefix, value) if rule else (_undecided(value), "")
            if not reason and ENABLE not in ours:
                reason, meant = f"it does nothing without {ENABLE}=true", ENABLE
            return Mistake(label, value[:LONGEST], reason, meant) if reason else None
        if label in self._named or any(fnmatchcase(label, other) for other in OTHERS):
            return None
        meant = self._meant(label[:LONGEST], 0.6 if asks else 0.8)
        if not (meant or asks):
            return None
        reason = (
            f"there is no rule {label.removeprefix(prefix)!r}" if prefix else "nothing reads it"
        )
        return Mistake(label[:LONGEST], value[:LONGEST], reason[:LONGEST], meant, unknown=True)

    def _misuse(self, rule: Rule, prefix: str, value: str) -> tuple[str, str]:
        """What is wrong with a label for this rule, and which is right."""
        if prefix == CRON:
            if not rule.cron:
                meant = f"{RULE}{rule.name}" if rule.opt_in else ""
                return "labels do not time this rule: it has no `cron`", meant
            return refusal(value, rule.every_at_least), ""
        if rule.cron:
            return "this rule is timed, not switched on", f"{CRON}{rule.name}"
        if not rule.opt_in:
            return "labels do not choose this rule: it has no `opt_in`", ""
        return _undecided(value), ""

    def _meant(self, label: str, alike: float) -> str:
        known = {one.removeprefix(OURS): one for one in self._asking}
        close = difflib.get_close_matches(label.removeprefix(OURS), known, n=1, cutoff=alike)
        return known[close[0]] if close else ""


def _no_limit(label: str, value: str) -> Mistake | None:
    try:
        parse_limit(LIMITS[label], value)
    except ValueError as error:
        return Mistake(label, value[:LONGEST], str(error))
    return None


def _undecided(value: str) -> str:
    return "" if value in ("true", "false") else "it is neither `true` nor `false`"

"""A rule: when it matches, how often it may act, and the order it gives. All of it is checked when a file is read.

A rule with `state` is a *level* rule: it is asked at every event of a container and, at every resync of an Engine, about
every container there, so that what nobody heard is found all the same. All others are *edge* rules: asked about events.

A rule must not feed itself. So, unless it says `own: true`, it is deaf to what dockbus itself does: to events of
jobs and rules, and of containers that jobs run. And none gives an order that is sure to cause the very event it heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from dockbus.errors import RuleError
from dockbus.events import CONTAINER, RESYNCED
from dockbus.expressions import Condition, Expression
from dockbus.orders import Order
from dockbus.settings import NAME_PATTERN
from dockbus.strict_yaml import Model
from dockbus.units import Seconds, show_span
from dockbus_producer.rules.checks import LEVEL, check
from dockbus_producer.rules.labels import TIMED, unasked
from dockbus_producer.rules.occasion import Occasion
from dockbus_producer.rules.ordering import Unfit, order_of, spec_of
from dockbus_producer.rules.template import TemplateError, fill_text
from dockbus_producer.rules.terms import Terms
from dockbus_producer.rules.where import Where, several

OBJECT = "${engine}/${id}"
"""What a rule counts by, where it does not say."""
STALE = 120.0
"""Seconds after which a resync is old news: another one, half a minute later, has told the same anew."""
DAY = 24 * 3600.0

Span = Annotated[Seconds, Field(gt=0, le=31 * DAY)]


class Limit(Model):
    """How often a rule may act on the same object."""

    count: int = Field(ge=1, le=1000)
    """Jobs it may order..."""
    per: Span
    """...in any span of this length."""
    then: Literal["drop", "suspend"] = "drop"
    """What becomes of the next one. `drop`: it is let pass. `suspend`: an event tells of it once, and nothing is done
    about the object any more until the rule has not matched it for `per`, or somebody resumes it."""


class Dedup(Model):
    """What becomes of an occasion that another one's job may have seen to."""

    key: str = OBJECT
    """Jobs with the same are about the same; a template."""
    reuse: Literal["always", "after-failure", "never"] = "always"
    """Whether another job is ordered when the last one has ended: `after-failure` if it did not succeed."""
    conflict: Literal["drop", "requeue", "replace"] = "drop"
    """What is done while the last one has not ended. `drop`: nothing. `requeue`: if it has begun, one more is to follow
    it. `replace`: it is canceled, and this one follows."""


class Rule(Model):
    """When this, do that job."""

    name: str = Field(pattern=NAME_PATTERN)
    """Unique among all rules. What it has done is remembered by it."""
    enabled: bool = True
    """Whether it is run."""
    mode: Literal["enforce", "dry-run"] = "enforce"
    """`dry-run` tells in an event which job it would order, and orders none."""
    on: Annotated[list[str], BeforeValidator(several), Field(min_length=1)]
    """Types of event, such as `io.dockbus.docker.container.die`; `*` stands for anything. A rule with `state` needs
    none: it is asked at all events of containers."""
    where: Where = Where()
    when: Condition | None = None
    """A CEL expression over `event`, `container` and `now` that must hold."""
    state: Condition | None = None
    """A CEL expression over `container` and `now`: the state that the rule answers, however it came about."""
    opt_in: bool = False
    """Answer only containers with the labels `dockbus.enable=true` and `dockbus.rule.NAME=true`."""
    cron: bool = False
    """In place of `on` and `state`: act on each container with the label `dockbus.enable=true` at the times that its
    label `dockbus.cron.NAME` gives, a cron expression in UTC."""
    every_at_least: Span | None = None
    """What must lie between two of those times; a label that comes more often is refused."""
    max_age: Seconds = Field(default=3600.0, gt=0, le=366 * DAY)
    """Older events are let pass: what was right an hour ago may not be now."""
    own: bool = False
    """Hear also what dockbus itself does. Take care that the job does not cause the event it answers."""
    by: str = OBJECT
    """What is one object to `count`, `debounce`, `cooldown` and `limit`; a template."""
    count: int | None = Field(default=None, ge=2, le=1000)
    """Act when so many matching events came `within` that span; counting then starts anew."""
    within: Span | None = None
    """The span of `count`."""
    debounce: Span | None = None
    """Wait until no matching event has come for so long, and act on the last one..."""
    debounce_max: Span | None = None
    """...but after so long at the latest. Default: ten times as long."""
    cooldown: Annotated[Seconds, Field(ge=0, le=31 * DAY)] = 0.0
    """How long an object is let alone after a job was ordered for it; `60s` for a rule with `state`."""
    limit: Limit | None = None
    """For a rule with `state`: ten an hour, then it is suspended."""
    dedup: Dedup | None = None
    """For a rule with `state`: one job at a time for each object. For others, a job for each event."""
    do: dict[str, JsonValue]
    """The spec of a job; its texts are templates."""
    order: Terms = Terms()

    def miss(self, occasion: Occasion, now: datetime) -> str:
        """The first condition that does not hold, in words; empty where the rule matches."""
        event = occasion.event
        age = (now - occasion.time).total_seconds()
        oldest = min(self.max_age, STALE) if occasion.level else self.max_age
        if not self.enabled:
            return "enabled: it is not"
        if not self.hears(event.type):
            return f"on: {event.type} is none of {', '.join(self.on)}"
        if event.type == RESYNCED and occasion.level != bool(self.state):
            return "state: a rule with one is asked of each container there, others of the event"
        if occasion.own and not self.own:
            return "own: this is what dockbus does itself"
        if age > oldest:
            return f"max_age: it is {show_span(age)} old, {show_span(oldest)} is allowed"
        return unasked(self, occasion) or self.where.miss(occasion) or self._fails(occasion, now)

    def match(self, occasion: Occasion, now: datetime) -> bool:
        """Whether the rule answers this."""
        return not self.miss(occasion, now)

    def hears(self, type_: str) -> bool:
        """Whether it is asked about events of this type."""
        wanted = any(fnmatchcase(type_, pattern) for pattern in self.on)
        if self.state:
            return type_ == RESYNCED or (wanted and type_.startswith(CONTAINER))
        return wanted

    def object_of(self, occasion: Occasion) -> str:
        """What it counts as one.

        Raises:
            RuleError: `by` names what is not there.
        """
        return self._filled("by", self.by, occasion.values)

    def dedup_key(self, occasion: Occasion) -> str:
        """What it orders one job for at a time; empty where it orders one for each event.

        Raises:
            RuleError: it names what is not there.
        """
        return self._filled("dedup.key", self.dedup.key, occasion.values) if self.dedup else ""

    def ordered(self, occasion: Occasion, values: Mapping[str, str] | None = None) -> Order:
        """The order that the rule gives about this.

        Args:
            occasion: what it answers.
            values: what templates may name; those of the occasion.

        Raises:
            RuleError: with these values the job is not valid, or would cause this very event again.
        """
        values = values or occasion.values
        try:
            spec = spec_of(
                self.do, occasion, values, recheck=self.state, echoes=self.limit is not None
            )
            return order_of(spec, self.order, occasion, values)
        except Unfit as unfit:
            raise RuleError(f"rule {self.name!r}: {unfit}") from None

    @property
    def longest_debounce(self) -> float:
        """Seconds after which it acts though it is not quiet yet."""
        return self.debounce_max or 10 * (self.debounce or 0.0)

    def _fails(self, occasion: Occasion, now: datetime) -> str:
        """Which expression does not hold, and why."""
        for field, text in (("when", self.when), ("state", self.state)):
            if text is None:
                continue
            if field == "state" and occasion.container is None:
                return "state: the container is not known"
            outcome = _compiled(text).evaluate({**occasion.variables, "now": now})
            if outcome.problem:
                lost = occasion.container is None and "'container'" in outcome.problem
                return f"{field}: {'the container is not known' if lost else outcome.problem}"
            if outcome.value is not True:
                return f"{field}: it does not hold"
        return ""

    def _filled(self, field: str, text: str, values: Mapping[str, str]) -> str:
        try:
            return fill_text(text, values)
        except TemplateError as error:
            raise RuleError(f"rule {self.name!r}: {field}: {error}") from None

    @model_validator(mode="before")
    @classmethod
    def _bound(cls, fields: object) -> object:
        """A rule on a state is bounded, whether it says so or not: a state may last. So is one that labels time."""
        given = _mapping(fields)
        if given.get("state") is not None:
            return {**LEVEL, **given}
        return {**TIMED, **given} if given.get("cron") is True else fields

    @model_validator(mode="after")
    def _check(self) -> Rule:
        try:
            check(self)
        except RuleError as error:
            raise ValueError(error.detail.removeprefix(f"rule {self.name!r}: ")) from None
        return self


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


@lru_cache(maxsize=1000)
def _compiled(text: str) -> Expression:
    return Expression.parse(text)

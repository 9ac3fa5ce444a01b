"""What only a whole rule can have wrong: fields that do not go together, and templates that name what there is not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dockbus.errors import RuleError, near_miss
from dockbus.events import CONTAINER, ENGINES, Event
from dockbus.expressions import NAMES, Expression, ExpressionError
from dockbus_producer.rules import labels
from dockbus_producer.rules.occasion import Occasion
from dockbus_producer.rules.template import PLAIN, Samples, TemplateError, fill_text

if TYPE_CHECKING:
    from dockbus_producer.rules.model import Rule

LEVEL: Mapping[str, object] = {
    "on": f"{CONTAINER}*",
    "cooldown": 60.0,
    "limit": {"count": 10, "per": 3600.0, "then": "suspend"},
    "dedup": {},
}
"""What holds for a rule with `state` where it says nothing else."""
ABOUT_EVENTS: Mapping[str, str] = {
    "when": "write it into `state`",
    "count": "`limit` bounds how often it acts",
    "within": "`limit` bounds how often it acts",
    "debounce": "write how long it must last into `state`, such as now - container.finished > duration('30s')",
    "debounce_max": "write how long it must last into `state`, such as now - container.finished > duration('30s')",
}
"""What a rule with `state` has none of, and what to do instead."""
KNOWN = {"when": ("event", "container", "now"), "state": ("container", "now")}
"""What the expressions of a rule may ask for."""
DOCKER = "io.dockbus.docker."
OBJECTS = ("container", "image", "network", "volume", "daemon", "plugin", "builder")
ACTIONS = (
    *("commit", "connect", "copy", "create", "delete", "destroy", "detach", "die", "disconnect"),
    *("export", "health_status", "import", "kill", "load", "mount", "oom", "pause", "prune"),
    *("pull", "push", "reload", "remove", "rename", "restart", "save", "start", "stop", "tag"),
    *("unmount", "unpause", "untag", "update"),
)
NOISE = ("top", "attach", "resize")


def check(rule: Rule) -> None:
    """Look for what is wrong with a rule whose fields are right, each for itself.

    Raises:
        RuleError: the first thing that is wrong, after the name of its field.
    """
    for problem in (
        *_together(rule),
        *labels.together(rule),
        *filter(None, map(_mistyped, rule.on)),
    ):
        raise RuleError(problem)
    for field, text in (("when", rule.when), ("state", rule.state)):
        try:
            Expression.parse(text or "true", {name: NAMES[name] for name in KNOWN[field]})
        except ExpressionError as error:
            raise RuleError(f"{field}: {error} here; there are {', '.join(KNOWN[field])}") from None
    samples = Samples({**dict.fromkeys(PLAIN, "sample"), **_sample("die").values})
    for field, text in (("by", rule.by), ("dedup", rule.dedup.key if rule.dedup else "")):
        try:
            fill_text(text, samples)
        except TemplateError as error:
            raise RuleError(f"{field}: {error}") from None
    for pattern in rule.on:
        occasion = _sample(pattern)
        rule.ordered(occasion, Samples({**samples, "action": str(occasion.event.data["action"])}))


def _together(rule: Rule) -> Iterator[str]:
    """What does not go together."""
    if rule.state:
        for field, hint in ABOUT_EVENTS.items():
            if getattr(rule, field) is not None:
                yield f"{field}: it is about events, and `state` is not; {hint}"
        for field in ("action", "attributes"):
            if getattr(rule.where, field):
                yield f"where: {field} is about events, and `state` is not; write it into `state`"
    if (rule.count is None) != (rule.within is None):
        yield f"{'count' if rule.count else 'within'}: `count` and `within` go together"
    if rule.debounce_max is not None and rule.debounce_max < (rule.debounce or math.inf):
        short = "it is shorter than `debounce`"
        yield f"debounce_max: {short if rule.debounce else 'it goes with `debounce`'}"
    counts = rule.count or rule.debounce or rule.cooldown or rule.limit
    if "by" in rule.model_fields_set and not counts:
        yield "by: it goes with `count`, `debounce`, `cooldown` or `limit`"


def _mistyped(pattern: str) -> str:
    """What is wrong with a type of event, where that can be told."""
    if any(sign in pattern for sign in "*?["):
        return ""
    head, _, action = pattern.partition(".")
    if head in OBJECTS and action:
        return f"on: {pattern!r} is not the whole type, did you mean {f'{DOCKER}{pattern}'!r}?"
    if pattern.startswith(DOCKER):
        kind, _, action = pattern.removeprefix(DOCKER).partition(".")
        if action in NOISE or action.startswith("exec_"):
            return f"on: {pattern!r}: that somebody looks or runs a command is not published"
        for word, known in ((kind, OBJECTS), (action.partition(".")[0], ACTIONS)):
            if word not in known and (hint := near_miss(word, list(known))):
                return f"on: {pattern!r}: the Engine knows no {word!r}{hint}"
    return ""


def _sample(pattern: str) -> Occasion:
    facts = {"name": "sample", "image": "sample:1", "action": pattern.rpartition(".")[2]}
    return Occasion(
        Event(
            source=f"{ENGINES}local", type=pattern, subject="5a" * 32, data={**facts, "exitCode": 0}
        )
    )

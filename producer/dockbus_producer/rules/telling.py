"""What a rule says about itself and about an occasion, for people."""

from __future__ import annotations

import json
from datetime import datetime
from typing import cast

from dockbus.errors import RuleError
from dockbus.orders import Order
from dockbus.units import show_span
from dockbus_producer.rules.model import Rule
from dockbus_producer.rules.occasion import Occasion


def summary(rule: Rule) -> str:
    """The rule in one line: name, when, how often, what."""
    where = rule.where.model_dump(exclude_defaults=True)
    labels = where.pop("labels", {})
    said = [f"{field.replace('_', ' ')} {_words(value)}" for field, value in where.items()]
    said += [f"label {key}={value or '*'}" for key, value in labels.items()]
    said += [f"label dockbus.rule.{rule.name}=true"] if rule.opt_in else []
    about = f" where {', '.join(said)}" if said else ""
    when = f" when {rule.when}" if rule.when else ""
    state = f" while {rule.state}" if rule.state else ""
    told = [f"{key}={value}" for key, value in rule.do.items() if key != "kind"]
    head = f"{rule.name}{'' if rule.enabled else ' (not enabled)'}"
    dry = "tell of " if rule.mode == "dry-run" else ""
    often = "".join(f", {part}" for part in _often(rule))
    asked = (
        f"timed by label dockbus.cron.{rule.name}" if rule.cron else f"on {' or '.join(rule.on)}"
    )
    return (
        f"{head}: {asked}{about}{when}{state}, at most "
        f"{show_span(rule.max_age)} old{often}: {dry}{rule.do['kind']} {' '.join(told)}"
    ).rstrip()


def answer(rule: Rule, occasion: Occasion, now: datetime) -> str:
    """What the rule makes of this, were it the only one of its kind."""
    if miss := rule.miss(occasion, now):
        return f"no: {miss}"
    try:
        order = rule.ordered(occasion)
        for template in (rule.object_of, rule.dedup_key):
            template(occasion)
    except RuleError as error:
        return f"fails: {error.detail.removeprefix(f'rule {rule.name!r}: ')}"
    often = "".join(f"; {part}" for part in _often(rule))
    return f"{'would tell of' if rule.mode == 'dry-run' else 'fires'}: {show(order)}{often}"


def show(order: Order) -> str:
    """An order in one line: kind, spec, terms."""
    spec = order.spec.model_dump(mode="json", exclude_defaults=True)
    terms = order.model_dump(mode="json", exclude_defaults=True, exclude={"spec"})
    return (
        f"{order.spec.kind.value} {json.dumps(spec)} {json.dumps(terms) if terms else ''}".strip()
    )


def _often(rule: Rule) -> list[str]:
    """What bounds how often it acts."""
    said: list[str] = []
    if rule.debounce:
        said.append(f"when quiet for {show_span(rule.debounce)}")
    if rule.count and rule.within:
        said.append(f"every {rule.count} within {show_span(rule.within)}")
    if rule.cooldown:
        said.append(f"then not for {show_span(rule.cooldown)}")
    if rule.limit:
        said.append(f"{rule.limit.count} in {show_span(rule.limit.per)}, then {rule.limit.then}")
    if rule.dedup:
        said.append(f"one at a time for {rule.dedup.key}, else {rule.dedup.conflict}")
    return said


def _words(value: object) -> str:
    if isinstance(value, list):
        return " or ".join(map(str, cast("list[object]", value)))
    return str(value)

"""What expressions on dashboards and in rules may say: the rules of Grafana's dashboard linter, and our own catalogues.

The linter itself is another program and is not run. Its rules about `job` and `instance` are not kept, and two are kept in
a wider sense: grafana/dashboards/.lint says why. Those that are no matter of expressions are in test_dashboards.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import (
    DASHBOARDS,
    GRAFANA,
    PLACES,
    RULES,
    SCENARIOS,
    TARGET,
    catalogue,
    expressions,
    rules,
    selectors,
    substituted,
)

MONITORING = GRAFANA.parent / "docs" / "monitoring.md"
EVERY = list(expressions())
ALERTS = {rule["alert"]: rule for path in RULES for rule in rules(path) if "alert" in rule}
RECORDED = {rule["record"]: rule for path in RULES for rule in rules(path) if "record" in rule}
KNOWN = catalogue()
SCRAPED_EVERY = 15
"""Seconds; a rate needs at least four scrapes, or one that is missed is a hole."""

each_alert = pytest.mark.parametrize("alert", ALERTS)


def unknown(text: str) -> set[str]:
    """Metrics that nobody exports or records."""
    return {it.metric for it in selectors(text)} - KNOWN.keys() - RECORDED.keys()


def strange(text: str) -> set[str]:
    """Labels that are asked for of a metric that does not have them."""
    found: set[str] = set()
    for it in selectors(text):
        level = it.metric.split(":")[0].split("_") if it.metric in RECORDED else ()
        has = set(level) or (KNOWN[it.metric].labels | TARGET)
        found |= set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", it.matchers)) - has
    return found


def ungrouped(text: str) -> set[str]:
    """Labels that a result is grouped by and that nothing in it has."""
    has = set(TARGET) | {"base"}  # the one that a rule makes itself
    for it in selectors(text):
        has |= (
            set(it.metric.split(":")[0].split("_"))
            if it.metric in RECORDED
            else KNOWN[it.metric].labels
        )
    named = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", text)
    return {label.strip() for group in named for label in group.split(",") if label.strip()} - has


def bare(text: str) -> set[str]:
    """Counters that are not under a rate, and others that are; how a new counter is found is let pass."""
    once = r"sum by \(([^)]+)\) \((\S+)\) > 0 unless sum by \(\1\) \(\2 offset (\$?\w+)\)"
    rest = re.sub(once, "0", " ".join(text.split()).replace("( ", "(").replace(" )", ")"))
    found: set[str] = set()
    for it in selectors(rest):
        rises = it.metric in KNOWN and KNOWN[it.metric].counter
        if rises != (it.function in ("rate", "increase")):
            found.add(it.metric)
    return found


def span(window: str) -> int:
    """Seconds of it."""
    return int(window[:-1]) * {"s": 1, "m": 60, "h": 3600}[window[-1]]


def offenders(rule: Callable[[str], set[str]], kinds: str = "") -> dict[str, set[str]]:
    """Where the rule finds something, and what; of all expressions, or of some kinds."""
    asked = (it for it in EVERY if not kinds or it.kind in kinds.split())
    return {it.where: found for it in asked if (found := rule(it.text))}


def test_expressions_name_metrics_and_labels_that_are_exported() -> None:
    assert all(selectors(it.text) for it in EVERY), "one asks for nothing"
    assert offenders(unknown) == {}
    assert offenders(strange) == {}
    assert offenders(ungrouped) == {}


def test_what_only_rises_is_seen_as_a_rate_and_nothing_else_is() -> None:
    assert offenders(bare, "panel annotation record alert") == {}


def test_a_panel_looks_as_far_back_as_it_has_points_or_at_all_that_is_shown() -> None:
    def other(text: str) -> set[str]:
        return {it.window for it in selectors(text)} - {"", "$__rate_interval", "$__range"}

    assert offenders(other, "panel") == {}


def test_a_rule_looks_back_over_four_scrapes_at_least() -> None:
    def short(text: str) -> set[str]:
        windows = {it.window for it in selectors(text) if it.window}
        return {it for it in windows if span(it) < 4 * SCRAPED_EVERY}

    assert offenders(short, "annotation record alert") == {}


def test_only_numbers_of_the_whole_time_shown_look_at_all_of_it() -> None:
    """A line over time with a window of the time shown would be one number, drawn as many."""
    numbers = {
        f"{path.name}: {panel['title']}"
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        if all(target["instant"] for target in panel.get("targets", ()))
    }

    assert {it.where for it in EVERY if "$__range" in it.text} - numbers == set()


def test_every_variable_of_an_expression_is_substituted() -> None:
    left = [it.where for it in EVERY if "$" in substituted(it.text).replace('"$1"', "")]

    assert left == []


def test_a_variable_has_the_values_of_a_label_that_is_there() -> None:
    found = [it for it in EVERY if it.kind == "variable"]

    assert found
    for it in found:
        (selector,) = selectors(it.text)
        assert it.label in KNOWN[selector.metric].labels, it.where


def test_all_that_dockbus_counts_is_shown_somewhere() -> None:
    shown = {
        it.metric
        for expression in EVERY
        if expression.kind == "panel"
        for it in selectors(expression.text)
    }
    recorded = {
        it.metric for name in shown & RECORDED.keys() for it in selectors(RECORDED[name]["expr"])
    }
    ours = {name for name in KNOWN if name.startswith(("dockbus_", "rq_"))}
    parts = {name for name in ours if name.endswith(("_sum", "_count"))}

    assert ours - parts - shown - recorded == set()


def test_all_that_is_recorded_is_used() -> None:
    read = {it.metric for expression in EVERY for it in selectors(expression.text)}

    assert RECORDED.keys() - read == set()
    for name in RECORDED:
        assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", name), "LEVEL:METRIC:OPERATION"


def test_what_needs_a_scenario_is_read_by_an_expression() -> None:
    read = {it.metric for expression in EVERY for it in selectors(expression.text)}

    assert SCENARIOS.keys() - read == set()
    assert PLACES.keys() - {it.where for it in EVERY} == set()


# -- alerts --------------------------------------------------------------------------------------


@each_alert
def test_an_alert_says_what_is_wrong_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    said: dict[str, str] = rule["annotations"]

    assert set(said) == {"summary", "description", "runbook", "dashboard"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["labels"]["system"] == "dockbus", "by which the overview knows them"
    assert not said["summary"].endswith(".")
    assert said["description"].endswith(".")


@each_alert
def test_an_alert_has_a_runbook(alert: str) -> None:
    page, _, anchor = ALERTS[alert]["annotations"]["runbook"].partition("#")
    text = (GRAFANA.parent / page).read_text()
    section = re.search(rf"^#+ {alert}\n(.+?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)

    assert anchor == alert.lower()
    assert section, f"{page} has no section of it"
    assert ALERTS[alert]["labels"]["severity"] in section[1]


@each_alert
def test_an_alert_leads_to_a_dashboard_that_has_its_variables(alert: str) -> None:
    path, _, query = ALERTS[alert]["annotations"]["dashboard"].partition("?")
    pages: dict[str, Any] = {
        it["uid"]: it for it in (json.loads(p.read_text()) for p in DASHBOARDS)
    }
    page = pages[path.removeprefix("/d/")]

    names = {variable["name"] for variable in page["templating"]["list"]}
    assert set(re.findall(r"var-(\w+)=", query)) <= names


@each_alert
def test_what_an_alert_says_of_its_labels_it_has(alert: str) -> None:
    rule = ALERTS[alert]
    said = " ".join(rule["annotations"].values())
    named = set(re.findall(r"\$labels\.(\w+)", said))
    groups = re.findall(r"\bby\s*\(([^)]*)\)", rule["expr"])
    has = {label.strip() for group in groups for label in group.split(",")}
    for it in selectors(rule["expr"]):
        has |= set(it.metric.split(":")[0].split("_")) if it.metric in RECORDED else set()
        has |= TARGET if it.metric == "up" else set()

    assert named <= has


def test_memory_over_ninety_percent_is_critical_and_cpu_has_its_bound() -> None:
    memory, cpu = ALERTS["ContainerMemoryNearLimit"], ALERTS["ContainerCPUHigh"]

    assert memory["labels"]["severity"] == "critical"
    assert memory["expr"].endswith("> 90")
    assert cpu["expr"].endswith("> 80")
    assert "> 0" in RECORDED["engine_name:container_memory_usage:percent"]["expr"], "0 is no limit"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_alert_is_tested_firing_and_not(path: Path) -> None:
    alerts = {rule["alert"] for rule in rules(path) if "alert" in rule}
    if not alerts:
        return
    tests = yaml.safe_load((GRAFANA / "prometheus" / "tests" / path.name).read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}

    assert fires == alerts
    assert quiet == alerts


# -- that mistakes would be seen -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('sum by (name) (rate(a_total{n=~"$x", b="c_d"}[$__rate_interval])) > 0', ["a_total"]),
        ("a / on (id, name) group_left (b) (c_bytes > bool 1e3) or up", ["a", "c_bytes", "up"]),
        ("time() - max without (id) (a_seconds offset 5m)", ["a_seconds"]),
        ('label_replace(x:y:z, "a", "$1", "b", "(.+)") # of no_metric', ["x:y:z"]),
        ("changes(engine_name:a:max[15m]) > 3 unless absent(b)", ["engine_name:a:max", "b"]),
    ],
)
def test_metrics_are_found_in_an_expression(text: str, names: list[str]) -> None:
    assert [it.metric for it in selectors(text)] == names


def test_a_metric_that_is_renamed_is_missed() -> None:
    assert unknown("sum(rate(dockbus_job_total[5m]))") == {"dockbus_job_total"}


def test_a_label_that_is_not_there_is_seen() -> None:
    assert strange('max(rq_jobs{queues="run"})') == {"queues"}
    assert ungrouped("sum by (kinds) (rate(dockbus_jobs_total[5m]))") == {"kinds"}


def test_a_counter_that_is_shown_as_it_is_is_seen() -> None:
    assert bare("sum(dockbus_jobs_total)") == {"dockbus_jobs_total"}
    assert bare("rate(dockbus_events_stored[5m])") == {"dockbus_events_stored"}
    assert bare("histogram_quantile(0.9, sum by (le) (dockbus_job_run_seconds_bucket))")
    assert not bare("sum(increase(dockbus_jobs_total[5m])) / max(dockbus_redis_up)")


def test_what_the_linter_is_to_let_pass_has_a_reason() -> None:
    lint = yaml.safe_load((GRAFANA / "dashboards" / ".lint").read_text())
    asked: dict[str, dict[str, str]] = lint["exclusions"]

    about_targets = {
        f"{what}-{which}-rule" for what in ("template", "target") for which in ("job", "instance")
    }
    assert set(asked) == about_targets | {"target-rate-interval-rule", "target-counter-agg-rule"}
    assert all(it["reason"].endswith(".") for it in asked.values())

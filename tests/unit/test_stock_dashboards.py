"""Dashboards of others as data: complete, askable, and of nothing that we do not export."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import debian
from dashboards import TARGET, catalogue
from dockbus.errors import MissingTool
from stock_dashboards import (
    CADVISOR_EXPORTER,
    EMPTY,
    RQ_DASHBOARD,
    STOCK,
    StockDashboard,
    Variable,
)

CHOSEN = {"job": "dockbus-metrics", "instance": "metrics:9753"}
QUERIES = [query for dashboard in STOCK for query in dashboard.queries(CHOSEN)]
KNOWN = catalogue()


@pytest.fixture(scope="module")
def promtool(scratch: Path, say: Callable[[str], None]) -> str:
    """The program; the test's end where it cannot be had, in CI a failure."""
    try:
        return debian.program("prometheus", "usr/bin/promtool", scratch, say)
    except MissingTool as error:
        if os.environ.get("CI") or os.environ.get("DOCKBUS_CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def refused(promtool: str, asked: list[str], folder: Path) -> str:
    """What promtool has against these queries; empty for nothing."""
    rules = [{"record": f"query_{number}", "expr": text} for number, text in enumerate(asked)]
    file = folder / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        (promtool, "check", "rules", file), check=False, capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_each_dashboard_is_there_whole() -> None:
    assert {it.number: (len(it.expressions), len(it.variables)) for it in STOCK} == {
        193: (7, 0),
        14282: (6, 2),
        19908: (9, 0),
        12196: (22, 2),
    }
    for it in STOCK:
        assert len(set(it.expressions)) == len(it.expressions), it.name


def test_no_variable_is_left_in_what_prometheus_is_asked() -> None:
    for query in QUERIES:
        assert not re.search(r"\$|\[\[|label_values", query.asked)


def test_a_variable_stands_for_all_its_values_or_for_the_one_that_is_chosen() -> None:
    *_, uptime = CADVISOR_EXPORTER.queries({})
    *_, narrowed = CADVISOR_EXPORTER.queries({"container": "web"})
    *_, jobs = RQ_DASHBOARD.queries(CHOSEN)

    assert 'instance=~".*",name=~".*",name=~".+"' in uptime.asked
    assert 'instance=~".*",name=~"web",name=~".+"' in narrowed.asked
    assert 'job="dockbus-metrics", instance="metrics:9753"' in jobs.asked


def test_what_has_to_be_chosen_is_not_made_up() -> None:
    assert RQ_DASHBOARD.to_choose == {"job", "instance"}
    with pytest.raises(KeyError, match="job"):
        list(RQ_DASHBOARD.queries({}))


def test_a_variable_asks_for_each_value_of_its_label() -> None:
    _, container, *_ = CADVISOR_EXPORTER.queries({})

    assert container.label == "name"
    assert container.asked == 'group by (name) ({__name__=~"container.*", instance=~".*"})'


def test_a_range_is_that_which_the_dashboard_opens_with() -> None:
    ranges = {it.dashboard: it.asked for it in QUERIES if "$__range" in it.written}

    assert ranges.keys() == {19908, 12196}
    assert 'container_last_seen{name=~".+"}[3h]' in ranges[19908]
    assert "_sum[15m]) /rate(rq_request_processing_seconds_count[15m]" in ranges[12196]


def test_a_variable_that_is_no_list_of_label_values_is_noticed() -> None:
    with pytest.raises(AssertionError):
        list(StockDashboard(1, "", "1h", (), (Variable("a", "metrics(a)"),)).queries({}))


def test_what_may_be_empty_is_on_a_dashboard_and_has_a_reason() -> None:
    assert EMPTY.keys() <= {query.written for query in QUERIES}
    assert all(EMPTY.values())


@pytest.mark.parametrize(
    "text", [query.asked for query in QUERIES if not query.label], ids=lambda text: text
)
def test_we_export_what_panels_ask_for_with_these_labels(text: str) -> None:
    asked = re.findall(r"\b((?:container|rq)_\w+)(?:\{([^{}]*)\})?", text)
    groups = re.findall(r"\b(?:by|ignoring) ?\(([^)]*)\)", text)
    grouped = {label.strip() for group in groups for label in group.split(",")}

    assert asked
    for metric, matchers in asked:
        named = set(re.findall(r"(\w+)\s*[=!]", matchers)) | grouped
        assert named <= KNOWN[metric].labels | TARGET


def test_prometheus_understands_every_query(promtool: str, tmp_path: Path) -> None:
    assert refused(promtool, [query.asked for query in QUERIES], tmp_path) == ""
    assert "parse" in refused(promtool, ["sum(rate(a_total[$__range]))"], tmp_path)

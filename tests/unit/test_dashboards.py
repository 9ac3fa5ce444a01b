"""The dashboards as Grafana gets them: what the program makes, complete, and linked with each other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import DASHBOARDS, GRAFANA, selectors

LOADED: dict[str, dict[str, Any]] = {path.name: json.loads(path.read_text()) for path in DASHBOARDS}
BY_UID = {dashboard["uid"]: dashboard for dashboard in LOADED.values()}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CORE = {"row", "timeseries", "stat", "table", "heatmap", "state-timeline", "bargauge"}
"""Sorts of panels, all of which Grafana brings along."""
UNITS = {
    *("short", "none", "percent", "percentunit", "bool_yes_no"),
    *("s", "dateTimeFromNow", "bytes", "Bps", "ops", "pps", "reqps"),
}
"""Units as Grafana knows them; what it does not know it would show as a word."""

each = pytest.mark.parametrize("name", LOADED)


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in LOADED[name]["panels"] if panel["type"] != "row"]


def variables(dashboard: dict[str, Any]) -> set[str]:
    return {variable["name"] for variable in dashboard["templating"]["list"]}


def links(panel: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from panel["fieldConfig"]["defaults"].get("links", ())
    for override in panel["fieldConfig"]["overrides"]:
        for prop in override["properties"]:
            if prop["id"] == "links":
                yield from prop["value"]


def labels(expression: str) -> set[str]:
    """Labels that its result may have: those it is grouped by, and those in the level of a recorded series."""
    groups = re.findall(r"\bby\s*\(([^)]*)\)", expression)
    levels = [
        it.metric.split(":")[0].split("_") for it in selectors(expression) if ":" in it.metric
    ]
    return {label.strip() for group in groups for label in group.split(",")} | {
        label for level in levels for label in level
    }


def test_the_json_is_what_the_program_makes(tmp_path: Path) -> None:
    program = [sys.executable, str(GRAFANA / "build.py"), str(tmp_path)]
    subprocess.run(program, check=True, capture_output=True)

    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in DASHBOARDS}
    assert made == committed, "run: python grafana/build.py"


def test_there_is_a_dashboard_for_each_question() -> None:
    assert {dashboard["title"] for dashboard in LOADED.values()} == {
        "Overview",
        "Containers",
        "Jobs and workers",
        "Events and rules",
        "dockbus itself",
    }


def test_dashboards_have_ids_that_stay() -> None:
    assert len(BY_UID) == len(LOADED)
    for name, dashboard in LOADED.items():
        assert dashboard["uid"] == f"dockbus-{name.removesuffix('.json')}"
        assert re.fullmatch(r"[\w-]{8,40}", dashboard["uid"])
        assert dashboard["id"] is None


@each
def test_a_dashboard_is_one_that_a_file_can_provide(name: str) -> None:
    dashboard = LOADED[name]

    assert "__inputs" not in dashboard, "only an import by hand resolves them"
    assert "DS_PROMETHEUS" not in json.dumps(dashboard)
    assert dashboard["editable"] is False
    assert dashboard["schemaVersion"] >= 39
    assert dashboard["timezone"] == "browser"
    assert dashboard["refresh"] == "30s"
    assert dashboard["description"].endswith(".")


@each
def test_a_panel_says_what_it_shows_in_which_unit_and_from_where(name: str) -> None:
    for panel in panels(name):
        title = panel["title"]
        assert panel["type"] in CORE, title
        assert re.fullmatch(r"[A-Z0-9].*[.]", panel["description"]), title
        units = [panel["fieldConfig"]["defaults"]["unit"]]
        for override in panel["fieldConfig"]["overrides"]:
            units += [it["value"] for it in override["properties"] if it["id"] == "unit"]
        assert set(units) <= UNITS, title
        assert panel["datasource"] == SOURCE, title
        assert panel["targets"], title
        assert all(target["datasource"] == SOURCE for target in panel["targets"]), title
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["expr"].strip() for target in panel["targets"]), title


@each
def test_panels_do_not_overlap_and_leave_no_hole(name: str) -> None:
    every = LOADED[name]["panels"]
    cells = [cell for panel in every for cell in covered(panel["gridPos"])]

    assert len({panel["id"] for panel in every}) == len(every)
    assert len(set(cells)) == len(cells)
    assert all(x < 24 for x, _ in cells)
    lines = {y: {x for x, at in cells if at == y} for _, y in cells}
    assert {y: row for y, row in lines.items() if row != set(range(24))} == {}


@each
def test_a_title_is_there_once_in_its_row(name: str) -> None:
    titles: set[tuple[str, str]] = set()
    row = ""
    for panel in LOADED[name]["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        assert (row, panel["title"]) not in titles
        titles.add((row, panel["title"]))


@each
def test_the_data_source_is_the_first_choice_and_all_variables_follow_it(name: str) -> None:
    first, *others = LOADED[name]["templating"]["list"]

    assert (first["name"], first["type"], first["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    for variable in others:
        if variable["type"] == "query":
            assert variable["datasource"] == SOURCE
            assert variable["refresh"] == 2, "anew when the time is changed"
            assert variable["multi"]
            assert variable["includeAll"]
            assert variable["definition"] == variable["query"]["query"]


@each
def test_variables_are_there_and_are_used(name: str) -> None:
    dashboard = LOADED[name]
    asked = [target["expr"] for panel in panels(name) for target in panel["targets"]]
    asked += [it["expr"] for it in dashboard["annotations"]["list"]]
    asked += [it.get("definition", "") for it in dashboard["templating"]["list"]]
    named = {it for text in asked for it in re.findall(r"\$\{?(\w+)", text)}

    assert {it for it in named if not it.startswith("__")} == variables(dashboard) - {"datasource"}


@each
def test_every_link_leads_to_a_dashboard_and_sets_variables_that_it_has(name: str) -> None:
    dashboard = LOADED[name]
    (siblings,) = dashboard["links"]
    found = [(panel, link) for panel in panels(name) for link in links(panel)]

    assert (siblings["type"], siblings["tags"]) == ("dashboards", ["dockbus"])
    assert siblings["includeVars"]
    assert siblings["keepTime"]
    assert "dockbus" in dashboard["tags"]
    assert found
    for panel, link in found:
        uid, _, query = link["url"].removeprefix("/d/").partition("?")
        assert {"${datasource:queryparam}", "${__url_time_range}"} <= set(query.split("&"))
        assert set(re.findall(r"var-(\w+)=", query)) <= variables(BY_UID[uid]), panel["title"]


@each
def test_labels_in_links_and_legends_are_those_of_the_result(name: str) -> None:
    for panel in panels(name):
        there = set[str].union(*(labels(target["expr"]) for target in panel["targets"]))
        urls = "".join(link["url"] for link in links(panel))
        named = {
            it
            for target in panel["targets"]
            for it in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        }

        assert named | set(re.findall(r"__field\.labels\.(\w+)", urls)) <= there, panel["title"]
        if panel["type"] == "table":
            columns = panel["transformations"][1]["options"]["renameByName"]
            keys = {key for key in columns if not key.startswith("Value")}
            assert keys <= there, panel["title"]
            assert set(re.findall(r"__data\.fields\.(\w+)", urls)) <= set(columns.values())


@each
def test_columns_of_a_table_are_named_and_ordered(name: str) -> None:
    for panel in panels(name):
        if panel["type"] != "table":
            continue
        merge, organize, order, limit = panel["transformations"]
        several = len(panel["targets"]) > 1
        values = {f"Value #{it['refId']}" if several else "Value" for it in panel["targets"]}
        shown = organize["options"]

        assert [it["id"] for it in (merge, organize, order, limit)] == [
            "merge",
            "organize",
            "sortBy",
            "limit",
        ]
        assert values <= shown["renameByName"].keys() | shown["excludeByName"].keys(), panel[
            "title"
        ]
        assert order["options"]["sort"][0]["field"] in shown["renameByName"].values()
        assert all(target["format"] == "table" and target["instant"] for target in panel["targets"])


def test_the_overview_shows_when_something_out_of_the_ordinary_happened() -> None:
    annotations = LOADED["overview.json"]["annotations"]["list"]

    assert [it["name"] for it in annotations] == ["Killed for memory", "Gap", "Started"]
    for dashboard in LOADED.values():
        assert all(it["datasource"] == SOURCE for it in dashboard["annotations"]["list"])


def test_grafana_is_given_them_and_opens_with_the_overview() -> None:
    services = yaml.safe_load((GRAFANA.parent / "docker-compose.yml").read_text())["services"]
    provisioning = GRAFANA / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/dockbus.yml").read_text())["providers"]
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    folder = provider["options"]["path"]
    scraped = yaml.safe_load((GRAFANA / "prometheus/prometheus.yml").read_text())["global"]

    assert f"./grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/overview.json"
    assert provider["allowUiUpdates"] is False
    assert source["jsonData"]["timeInterval"] == scraped["scrape_interval"]


def covered(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y

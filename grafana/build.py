"""Write the JSON of all dashboards from their descriptions: `python grafana/build.py`, or with another folder after it.

Data source, ids, places and all else that Grafana wants and nobody wants to read are filled in here. The same
description always gives the same bytes, so a change of a dashboard is seen in the difference of its file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from source import containers, events, itself, jobs, overview
from source.model import Annotation, Dashboard, Json, Panel, Row, Variable
from source.panels import href, thresholds

DASHBOARDS = (
    overview.DASHBOARD,
    containers.DASHBOARD,
    jobs.DASHBOARD,
    events.DASHBOARD,
    itself.DASHBOARD,
)
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
SCHEMA = 41
"""Version of Grafana's dashboard schema: that of Grafana 11.5; newer ones bring it up to date when they load it."""


def render(dashboard: Dashboard) -> Json:
    """The dashboard as Grafana has it."""
    return {
        "id": None,
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["dockbus"],
        "editable": False,
        "schemaVersion": SCHEMA,
        "version": 1,
        "timezone": "browser",
        "refresh": "30s",
        "graphTooltip": 1,  # one cross hair through all panels
        "time": {"from": f"now-{dashboard.span}", "to": "now"},
        "annotations": {"list": [_annotation(dashboard, it) for it in dashboard.annotations]},
        "links": [_siblings()],
        "templating": {"list": list(_variables(dashboard))},
        "panels": list(_placed(dashboard)),
    }


def _siblings() -> Json:
    return {
        "title": "dockbus",
        "type": "dashboards",
        "tags": ["dockbus"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }


def _variables(dashboard: Dashboard) -> Iterator[Json]:
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "refresh": 1,
        "hide": 0,
    }
    for variable in dashboard.variables:
        yield _variable(dashboard, variable)
    for name, values in dashboard.choices.items():
        options = [{"text": it, "value": it, "selected": it == values[0]} for it in values]
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "custom",
            "query": ",".join(values),
            "options": options,
            "current": options[0],
            "multi": False,
            "includeAll": False,
            "hide": 0,
        }


def _variable(dashboard: Dashboard, variable: Variable) -> Json:
    query = f"label_values({_scoped(dashboard, variable.of)}, {variable.label})"
    return {
        "name": variable.name,
        "label": variable.title,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,  # with the time: what was there then can be chosen
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def _annotation(dashboard: Dashboard, annotation: Annotation) -> Json:
    return {
        "name": annotation.name,
        "enable": True,
        "hide": False,
        "datasource": SOURCE,
        "expr": _scoped(dashboard, annotation.expr),
        "step": "60s",
        "titleFormat": annotation.name,
        "textFormat": annotation.text,
        "iconColor": annotation.color,
    }


def _placed(dashboard: Dashboard) -> Iterator[Json]:
    numbers = count(1)
    y = 0
    for row in dashboard.rows:
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        yield {
            "id": next(numbers),
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        y += 1
        for line in _lines(row):
            x = 0
            for panel in line:
                place = {"x": x, "y": y, "w": panel.w, "h": panel.h}
                yield {"id": next(numbers), "gridPos": place, **_panel(dashboard, panel)}
                x += panel.w
            y += max(panel.h for panel in line)


def _lines(row: Row) -> Iterable[list[Panel]]:
    lines: list[list[Panel]] = [[]]
    for panel in row.panels:
        if sum(it.w for it in lines[-1]) + panel.w > COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    return lines


def _panel(dashboard: Dashboard, panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "thresholds": thresholds(panel.steps), **panel.defaults}
    if panel.links:
        defaults["links"] = [href(link) for link in panel.links]
    return {
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": defaults,
            "overrides": [*panel.overrides, *map(_colored, panel.colors, panel.colors.values())],
        },
        "options": panel.options,
        "transformations": list(panel.transformations),
        "targets": list(_targets(dashboard, panel)),
    }


def _colored(series: str, color: str) -> Json:
    return {
        "matcher": {"id": "byRegexp", "options": f"/\\b{series}\\b/"},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
    }


def _targets(dashboard: Dashboard, panel: Panel) -> Iterator[Json]:
    for number, query in enumerate(panel.queries):
        yield {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": _scoped(dashboard, query.expr),
            "legendFormat": query.legend,
            "format": panel.format,
            "instant": panel.instant,
            "range": not panel.instant,
            "exemplar": query.exemplars,
        }


def _scoped(dashboard: Dashboard, expression: str) -> str:
    """With the matchers that `@word` stands for, on one line."""
    text = re.sub(r"@(\w+)", lambda it: dashboard.scopes[it[1]], expression)
    return " ".join(text.split())


def main(folder: Path) -> None:
    """Write all dashboards into a folder, each into the file that its uid names."""
    for dashboard in DASHBOARDS:
        path = folder / f"{dashboard.uid.removeprefix('dockbus-')}.json"
        path.write_text(json.dumps(render(dashboard), indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")

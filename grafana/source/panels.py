"""How each sort of panel looks: from a title, a description, an expression and a unit to all that Grafana can be told.

Only sorts that are part of Grafana itself, so that a dashboard works where no plug-in is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from source.model import PLAIN, Json, Link, Panel, Query, Steps


def _queries(of: str | tuple[Query, ...], legend: str) -> tuple[Query, ...]:
    return (Query(of, legend),) if isinstance(of, str) else of


def graph(
    title: str,
    description: str,
    of: str | tuple[Query, ...],
    *,
    unit: str,
    legend: str = "",
    w: int = 12,
    h: int = 8,
    stack: bool = False,
    bars: bool = False,
    top: float | None = None,
    steps: Steps = PLAIN,
    colors: Mapping[str, str] | None = None,
    links: tuple[Link, ...] = (),
) -> Panel:
    """Lines over time; `steps` beyond the first are drawn as thresholds. `top` is the end of the axis."""
    custom: Json = {
        "drawStyle": "bars" if bars else "line",
        "lineWidth": 1,
        "fillOpacity": 60 if bars else 25 if stack else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stack or bars else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if len(steps) == 1 else "dashed"},
    }
    return Panel(
        type="timeseries",
        title=title,
        description=description,
        unit=unit,
        queries=_queries(of, legend),
        w=w,
        h=h,
        steps=steps,
        colors=colors or {},
        links=links,
        defaults={"custom": custom, "color": {"mode": "palette-classic"}}
        | ({} if top is None else {"min": 0, "max": top}),
        options={
            "legend": {
                "displayMode": "table",
                "placement": "right" if w > 12 else "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull", "max"],
                "sortBy": "Max",
                "sortDesc": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def stat(
    title: str,
    description: str,
    of: str,
    *,
    unit: str = "short",
    legend: str = "",
    w: int = 3,
    h: int = 4,
    steps: Steps = PLAIN,
    words: Mapping[str, str] | None = None,
    links: tuple[Link, ...] = (),
    spark: bool = False,
    decimals: int | None = None,
) -> Panel:
    """One number, now; `words` are said in place of values. With `spark`, its course is behind it."""
    mappings: list[Json] = (
        [{"type": "value", "options": {key: {"text": word} for key, word in words.items()}}]
        if words
        else []
    )
    return Panel(
        type="stat",
        title=title,
        description=description,
        unit=unit,
        queries=_queries(of, legend),
        w=w,
        h=h,
        instant=not spark,
        steps=steps,
        links=links,
        defaults={"mappings": mappings, "color": {"mode": "thresholds"}}
        | ({} if decimals is None else {"decimals": decimals}),
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "area" if spark else "none",
            "textMode": "auto",
        },
    )


def heatmap(title: str, description: str, of: str, *, unit: str, w: int = 12, h: int = 8) -> Panel:
    """How values are spread over time; `of` is an increase of buckets, by `le`."""
    return Panel(
        type="heatmap",
        title=title,
        description=description,
        unit=unit,
        queries=(Query(of, "{{le}}"),),
        w=w,
        h=h,
        format="heatmap",
        options={
            "calculate": False,
            "yAxis": {"unit": unit, "axisPlacement": "left"},
            "rowsFrame": {"layout": "auto"},
            "color": {"mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "steps": 64},
            "cellGap": 1,
            "cellValues": {"unit": "short"},
            "filterValues": {"le": 1e-9},
            "tooltip": {"mode": "single", "yHistogram": False},
            "legend": {"show": True},
        },
    )


def timeline(
    title: str,
    description: str,
    of: str,
    *,
    legend: str,
    words: Mapping[str, tuple[str, str]],
    w: int = 12,
    h: int = 8,
    links: tuple[Link, ...] = (),
) -> Panel:
    """States over time; `words` has what to say of each value, and its colour."""
    options = {key: {"text": word, "color": color} for key, (word, color) in words.items()}
    return Panel(
        type="state-timeline",
        title=title,
        description=description,
        unit="none",
        queries=(Query(of, legend),),
        w=w,
        h=h,
        links=links,
        defaults={
            "mappings": [{"type": "value", "options": options}],
            "color": {"mode": "thresholds"},
            "custom": {"fillOpacity": 80, "lineWidth": 0},
        },
        options={
            "mergeValues": True,
            "showValue": "never",
            "rowHeight": 0.8,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        },
    )


def bars(
    title: str,
    description: str,
    of: str,
    *,
    unit: str,
    legend: str,
    w: int = 12,
    h: int = 8,
    top: float | None = None,
    steps: Steps = PLAIN,
    links: tuple[Link, ...] = (),
) -> Panel:
    """A bar for each series, as it is now."""
    return Panel(
        type="bargauge",
        title=title,
        description=description,
        unit=unit,
        queries=(Query(of, legend),),
        w=w,
        h=h,
        instant=True,
        steps=steps,
        links=links,
        defaults={"min": 0, "color": {"mode": "thresholds"}}
        | ({} if top is None else {"max": top}),
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "displayMode": "basic",
            "orientation": "horizontal",
            "showUnfilled": True,
            "valueMode": "color",
        },
    )


@dataclass(frozen=True)
class Column:
    """A column of a table: its expression has one value for each row. One without a title is there for its labels."""

    title: str
    expr: str
    unit: str = "short"
    steps: Steps = ()
    """Where there are some, a bar is drawn behind the value."""
    top: float | None = None


def table(
    title: str,
    description: str,
    columns: tuple[Column, ...],
    *,
    keys: Mapping[str, str],
    w: int = 24,
    h: int = 9,
    rows: int = 20,
    links: tuple[Link, ...] = (),
) -> Panel:
    """A row for each set of `keys`, which are labels and their titles; the `rows` with most in the first column.

    `links` stand on the last key.
    """
    names = {f"Value #{chr(65 + i)}": column.title for i, column in enumerate(columns)}
    if len(columns) == 1:
        names = {"Value": columns[0].title}  # with one query there is nothing to tell apart
    order = [*keys, *names]
    return Panel(
        type="table",
        title=title,
        description=description,
        unit="short",
        queries=tuple(Query(column.expr) for column in columns),
        w=w,
        h=h,
        instant=True,
        format="table",
        defaults={"custom": {"align": "auto", "filterable": True}},
        overrides=(
            *(_column(column) for column in columns if column.title),
            *(_linked(list(keys.values())[-1], links) if links else ()),
        ),
        options={"showHeader": True, "cellHeight": "sm", "footer": {"show": False}},
        transformations=(
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {
                        "Time": True,
                        **{name: True for name in names if not names[name]},
                    },
                    "indexByName": {name: i for i, name in enumerate(order)},
                    "renameByName": {
                        **keys,
                        **{name: title for name, title in names.items() if title},
                    },
                },
            },
            {
                "id": "sortBy",
                "options": {"fields": {}, "sort": [{"field": columns[0].title, "desc": True}]},
            },
            {"id": "limit", "options": {"limitField": rows}},
        ),
    )


def _column(column: Column) -> Json:
    properties: list[Json] = [{"id": "unit", "value": column.unit}]
    if column.steps:
        properties += [
            {"id": "custom.cellOptions", "value": {"type": "gauge", "mode": "basic"}},
            {"id": "thresholds", "value": thresholds(column.steps)},
            {"id": "min", "value": 0},
        ]
    if column.top is not None:
        properties.append({"id": "max", "value": column.top})
    return {"matcher": {"id": "byName", "options": column.title}, "properties": properties}


def _linked(key: str, links: tuple[Link, ...]) -> tuple[Json]:
    return (
        {
            "matcher": {"id": "byName", "options": key},
            "properties": [{"id": "links", "value": [href(link) for link in links]}],
        },
    )


def thresholds(steps: Steps) -> Json:
    """As Grafana has them."""
    return {
        "mode": "absolute",
        "steps": [{"color": color, "value": value} for value, color in steps],
    }


def href(link: Link) -> Json:
    """As Grafana has it: keeps the data source and the time that are chosen."""
    parts = ("${datasource:queryparam}", "${__url_time_range}", *link.variables)
    return {"title": link.title, "url": f"/d/{link.uid}?{'&'.join(parts)}", "targetBlank": False}

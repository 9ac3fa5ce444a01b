"""The words in which dashboards are described; plain data, and nothing of Grafana's JSON.

A panel takes `w` of the 24 columns; panels of a row stand beside each other and go on below when it is full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"
Steps = tuple[tuple[float | None, str], ...]
"""Colours, each from its value on; the first has none."""
PLAIN: Steps = ((None, BLUE),)
BAD_IF_ANY: Steps = ((None, GREEN), (1, RED))
ODD_IF_ANY: Steps = ((None, GREEN), (1, ORANGE))
GOOD_IF_ANY: Steps = ((None, RED), (1, GREEN))
NEAR_FULL: Steps = ((None, GREEN), (0.8, ORANGE), (0.9, RED))
NEAR_FULL_PERCENT: Steps = ((None, GREEN), (80, ORANGE), (90, RED))

OUTCOMES = {
    "succeeded": GREEN,
    "passed": GREEN,
    "delivered": GREEN,
    "failed": ORANGE,
    "dead": RED,
    "canceled": GREY,
}
"""Colours by which one knows these series on every dashboard."""


@dataclass(frozen=True)
class Query:
    """One expression, and what its series are called: `{{label}}` in it is the label's value."""

    expr: str
    legend: str = ""
    exemplars: bool = False
    """Show the jobs that were counted, as dots."""


@dataclass(frozen=True)
class Link:
    """From a value to another dashboard, with variables set: `var-name=${__field.labels.name}`."""

    title: str
    uid: str
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Anything that Grafana draws."""

    type: str
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    w: int
    h: int
    instant: bool = False
    format: str = "time_series"
    steps: Steps = PLAIN
    colors: Mapping[str, str] = field(default_factory=dict[str, str])
    links: tuple[Link, ...] = ()
    defaults: Json = field(default_factory=Json)
    """More of `fieldConfig.defaults`."""
    options: Json = field(default_factory=Json)
    overrides: tuple[Json, ...] = ()
    transformations: tuple[Json, ...] = ()


@dataclass(frozen=True)
class Row:
    """Panels under a title."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice above the dashboard: the values of `label` in `of`; `@word` in it as in expressions."""

    name: str
    title: str
    of: str
    label: str


@dataclass(frozen=True)
class Annotation:
    """Vertical lines where `expr` is 1 or more; `text` may name labels."""

    name: str
    expr: str
    text: str
    color: str


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One page. Its first variable is always the data source, which is not listed here."""

    uid: str
    title: str
    description: str
    scopes: Mapping[str, str]
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    annotations: tuple[Annotation, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Variables with fixed values."""
    span: str = "6h"
    """What it shows at first."""

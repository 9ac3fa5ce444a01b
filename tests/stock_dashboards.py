"""What dashboards that others have published ask of Prometheus: expressions of panels, and queries of variables.

Whoever had cAdvisor or rq-exporter has these. They have to show the truth on our metrics as they are, so a live test can
ask a Prometheus each of `queries`; `EMPTY` says which may have no result, and why. None of them has annotations of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Template


@dataclass(frozen=True)
class Variable:
    """A choice above a dashboard."""

    name: str
    query: str
    """As Grafana has it: `label_values(SERIES, LABEL)`. May name variables before it."""
    every: str = ""
    """What stands for all of its values; empty where one of them has to be chosen."""

    @property
    def series(self) -> str:
        """The series whose labels are its values."""
        return self._parts[0]

    @property
    def label(self) -> str:
        """The label that has its values."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, str]:
        found = re.fullmatch(r"label_values\((.+), ?(\w+)\)", self.query)
        assert found, self.query
        return found[1], found[2]


@dataclass(frozen=True)
class Query:
    """Something that a dashboard asks."""

    dashboard: int
    written: str
    """As the dashboard has it, with its variables."""
    asked: str
    """As Prometheus gets it: PromQL."""
    label: str = ""
    """Of a variable, the label of each result that has the value; empty for the expression of a panel."""


@dataclass(frozen=True)
class StockDashboard:
    """A dashboard by its number at grafana.com."""

    number: int
    name: str
    span: str
    """The range of time that it opens with, which is `$__range`; such as `3h`."""
    expressions: tuple[str, ...]
    variables: tuple[Variable, ...] = ()

    @property
    def to_choose(self) -> set[str]:
        """Variables that have no value without a choice."""
        return {it.name for it in self.variables if not it.every}

    def queries(self, chosen: Mapping[str, str]) -> Iterator[Query]:
        """All it asks, with these values of variables; others stand for all they have.

        Raises:
            KeyError: a variable has no value.
        """
        values = {"__range": self.span} | {it.name: it.every for it in self.variables if it.every}
        values |= chosen
        for it in self.variables:
            series = Template(it.series).substitute(values)
            yield Query(self.number, it.query, f"group by ({it.label}) ({series})", it.label)
        for text in self.expressions:
            yield Query(self.number, text, Template(text).substitute(values))


DOCKER_MONITORING = StockDashboard(
    193,
    "Docker monitoring",
    "3h",
    (
        'count(container_last_seen{image!=""})',
        'sum(container_memory_usage_bytes{image!=""})/1024/1024',
        'sum(rate(container_cpu_user_seconds_total{image!=""}[5m]) * 100)',
        'rate(container_cpu_user_seconds_total{image!=""}[5m]) * 100',
        'container_memory_usage_bytes{image!=""}',
        'irate(container_network_receive_bytes_total{image!=""}[5m])',
        'irate(container_network_transmit_bytes_total{image!=""}[5m])',
    ),
)

CADVISOR_EXPORTER = StockDashboard(
    14282,
    "Cadvisor exporter",
    "6h",
    (
        'sum(rate(container_cpu_usage_seconds_total{instance=~"$host",name=~"$container",name=~".+"}[5m])) by (name) *100',
        'sum(container_memory_rss{instance=~"$host",name=~"$container",name=~".+"}) by (name)',
        'sum(container_memory_cache{instance=~"$host",name=~"$container",name=~".+"}) by (name)',
        'sum(rate(container_network_receive_bytes_total{instance=~"$host",name=~"$container",name=~".+"}[5m])) by (name)',
        'sum(rate(container_network_transmit_bytes_total{instance=~"$host",name=~"$container",name=~".+"}[5m])) by (name)',
        '(time() - container_start_time_seconds{instance=~"$host",name=~"$container",name=~".+"})/86400',
    ),
    (
        Variable("host", 'label_values({__name__=~"container.*"},instance)', every=".*"),
        Variable(
            "container",
            'label_values({__name__=~"container.*", instance=~"$host"},name)',
            every=".*",
        ),
    ),
)

CADVISOR_DOCKER_INSIGHTS = StockDashboard(
    19908,
    "cAdvisor Docker Insights",
    "3h",
    (
        "count(count(container_last_seen) by (name))",
        'sum(rate(container_cpu_usage_seconds_total{name=~".+"}[10m])) by (name) * 100',
        'sum(rate(container_memory_usage_bytes{name=~".+"}[10m])) by (name)',
        'sum(rate(container_memory_cache{name=~".+"}[10m])) by (name)',
        'sum(rate(container_fs_reads_bytes_total{name=~".+"}[10m])) by (name)',
        'sum(rate(container_fs_writes_bytes_total{name=~".+"}[10m])) by (name)',
        'sum(rate(container_network_receive_bytes_total{name=~".+"}[10m])) by (name)',
        'sum(rate(container_network_transmit_bytes_total{name=~".+"}[10m])) by (name)',
        'count by(name) (count_over_time(container_last_seen{name=~".+"}[$__range]))',
    ),
)

RQ_DASHBOARD = StockDashboard(
    12196,
    "RQ Dashboard",
    "15m",
    (
        'count(rq_workers{job="$job", instance="$instance"}) or vector(0)',
        '(count(rq_workers{state="busy", job="$job", instance="$instance"}) / count(rq_workers{job="$job", instance="$instance"})) * 100',
        '(count(rq_workers{state="idle", job="$job", instance="$instance"}) / count(rq_workers{job="$job", instance="$instance"})) * 100',
        'sum(rq_jobs{status="queued", job="$job", instance="$instance"}) by (queue)',
        'sum(rq_jobs{status="started", job="$job", instance="$instance"}) by (queue)',
        'sum(rq_jobs{status="finished", job="$job", instance="$instance"}) by (queue)',
        'sum(rq_jobs{status="failed", job="$job", instance="$instance"}) by (queue)',
        'sum(rq_jobs{status="deferred", job="$job", instance="$instance"}) by (queue)',
        'sum(rq_jobs{status="scheduled", job="$job", instance="$instance"}) by (queue)',
        "rate(rq_request_processing_seconds_sum[$__range]) /rate(rq_request_processing_seconds_count[$__range])",
        'sum(rq_jobs{status="queued", job="$job", instance="$instance"}) / sum(rq_jobs{job="$job", instance="$instance"})',
        'sum(rq_jobs{status="started", job="$job", instance="$instance"}) / sum(rq_jobs{job="$job", instance="$instance"})',
        'sum(rq_jobs{status="finished", job="$job", instance="$instance"}) / sum(rq_jobs{job="$job", instance="$instance"})',
        'sum(rq_jobs{status="failed", job="$job", instance="$instance"}) / sum(rq_jobs{job="$job", instance="$instance"})',
        'sum(rq_jobs{status="deferred", job="$job", instance="$instance"}) / sum(rq_jobs{job="$job", instance="$instance"})',
        'sum(rq_jobs{status="scheduled", job="$job", instance="$instance"}) / sum(rq_jobs{job="$job", instance="$instance"})',
        'sum by (status) (rq_jobs{job="$job", instance="$instance"}) / ignoring(status) group_left sum(rq_jobs{job="$job", instance="$instance"})',
        'sum(rq_jobs{job="$job", instance="$instance"}) by (status)',
        'sum by (queue) (rq_jobs{job="$job", instance="$instance"}) / ignoring(queue) group_left sum(rq_jobs{job="$job", instance="$instance"})',
        'sum(rq_jobs{job="$job", instance="$instance"}) by (queue)',
        'sum by (status, queue) (rq_jobs{job="$job", instance="$instance"}) / ignoring(status) group_left sum by (queue) (rq_jobs{job="$job", instance="$instance"})',
        'sum(rq_jobs{job="$job", instance="$instance"}) by (queue, status)',
    ),
    (
        Variable("job", 'label_values({__name__=~"rq_.*"}, job)'),
        Variable("instance", 'label_values({__name__=~"rq_.*"}, instance)'),
    ),
)

STOCK = (DOCKER_MONITORING, CADVISOR_EXPORTER, CADVISOR_DOCKER_INSIGHTS, RQ_DASHBOARD)

_NO_BLOCKS = "the kernel does not account for block devices by control group, or no container has been past the file cache"

EMPTY: Mapping[str, str] = {
    'sum(rate(container_fs_reads_bytes_total{name=~".+"}[10m])) by (name)': _NO_BLOCKS,
    'sum(rate(container_fs_writes_bytes_total{name=~".+"}[10m])) by (name)': _NO_BLOCKS,
    '(count(rq_workers{state="busy", job="$job", instance="$instance"}) / count(rq_workers{job="$job", instance="$instance"})) * 100': "no worker has a job",
    '(count(rq_workers{state="idle", job="$job", instance="$instance"}) / count(rq_workers{job="$job", instance="$instance"})) * 100': "every worker has a job",
}
"""Expressions, as written, that may have no result though all is well, and when."""


def table() -> str:
    """What becomes of each of them on our metrics, as the documentation has it."""
    lines = [
        "| dashboard | expressions | with a result | without, and why |",
        "| --- | --- | --- | --- |",
    ]
    for one in STOCK:
        empty = [text for text in one.expressions if EMPTY.get(text) == _NO_BLOCKS]
        why = f"{len(empty)}: {_NO_BLOCKS}" if empty else "none"
        total = len(one.expressions)
        lines.append(f"| {one.number} {one.name} | {total} | {total - len(empty)} | {why} |")
    return "\n".join(lines)

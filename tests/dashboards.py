"""Every PromQL expression that grafana/ holds, and the metrics that may be named there.

Of dashboards, variables, annotations, recording and alert rules: for tests that look at them, and for one that asks a
real Prometheus each of them. `SCENARIOS` says for which of them something out of the ordinary has to happen first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from dockbus.families import Family
from dockbus.settings import MetricsSettings
from dockbus_producer import watch_metrics
from dockbus_producer.api import metrics as api_metrics
from dockbus_workers import worker_metrics
from dockbus_workers.metrics import bus_families, families, leadership
from dockbus_workers.scaling import metrics as scaler_metrics

GRAFANA = Path(__file__).parent.parent / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
RULES = sorted((GRAFANA / "prometheus" / "rules").glob("*.yml"))

Kind = Literal["panel", "variable", "annotation", "record", "alert"]

SCENARIOS: Mapping[str, str] = {
    "ALERTS": "an alert fires",
    "container_cpu_cfs_periods_total": "a container has a CPU limit",
    "container_cpu_cfs_throttled_periods_total": "a container has a CPU limit",
    "container_cpu_cfs_throttled_seconds_total": "a container has a CPU limit",
    "container_spec_cpu_quota": "a container has a CPU limit",
    "engine_name:container_cpu_throttled:ratio_rate5m": "a container spins below a CPU limit of less than a core",
    "engine_name:container_memory_usage:percent": "a container has a memory limit",
    "container_memory_swap": "control groups are read in place of asking the Engine",
    "container_fs_reads_bytes_total": "the kernel accounts for block devices, and a container reads past the cache",
    "container_fs_writes_bytes_total": "the kernel accounts for block devices, and a container writes",
    "container_pressure_cpu_waiting_seconds_total": "control groups of version 2",
    "container_pressure_memory_waiting_seconds_total": "control groups of version 2",
    "container_pressure_io_waiting_seconds_total": "control groups of version 2",
    "container_network_receive_errors_total": "an interface has errors",
    "container_network_transmit_errors_total": "an interface has errors",
    "container_network_receive_packets_dropped_total": "an interface drops packets",
    "container_network_transmit_packets_dropped_total": "an interface drops packets",
    "container_oom_events_total": "a kill for memory",
    "dockbus_container_exits_total": "a container ends",
    "dockbus_container_restarts_total": "a container is restarted",
    "dockbus_container_health_transitions_total": "a health check that changes its mind",
    "dockbus_engine_gaps_total": "a gap",
    "dockbus_engine_disconnects_total": "the Engine is lost and comes back",
    "dockbus_engine_events_found_total": "a container is made and removed while no watch runs",
    "dockbus_events_doubled_total": "the watch opens its stream anew",
    "dockbus_job_retries_total": "a job that fails and is tried again; for `lost`, a worker that is killed",
    "dockbus_jobs_rescued_total": "a worker is killed while it has a job",
    "dockbus_rules_total": "a rule that answers what happens",
    "dockbus_rule_suspended": "a rule that is at its limit, with `then: suspend`",
    "dockbus_sink_deliveries_total": "a sink with an address that answers, and one that refuses",
    "dockbus_event_group_lag": "a group of readers",
    "dockbus_event_group_pending": "a group of readers",
    "dockbus_scans_total": "a scan",
    "dockbus_cleanup_reclaimed_bytes_total": "a cleanup that removes something",
    "dockbus_cleanup_removed_total": "a cleanup that removes something",
    "dockbus_redis_memory_limit_bytes": "Redis has a maxmemory",
    "container_health_state": "a container with a health check",
    "dockbus_run_network_receive_bytes_total": "a job that receives something",
    "dockbus_run_network_transmit_bytes_total": "a job that sends something",
    "dockbus_run_read_bytes_total": "the kernel accounts for block devices, and a job reads past the cache",
    "dockbus_run_write_bytes_total": "the kernel accounts for block devices, and a job writes",
    "dockbus_http_request_seconds_bucket": "requests to the API",
    "dockbus_http_requests_total": "requests to the API; for the share of failures, two that end in 5xx",
    "dockbus_tally_left_out_total": "the tally is full",
    "dockbus_scaler_decisions_total": "a service is scaled",
    "dockbus_scaler_failures_total": "a service cannot be scaled",
    "dockbus_scaler_leads": "a scaler runs",
    "dockbus_scaler_replicas": "a scaler runs",
    "dockbus_scaler_replicas_decided": "a scaler runs",
    "dockbus_scaler_replicas_wanted": "a scaler runs",
}
"""What has to happen before an expression that reads this metric has a result; all else is there after a minute of jobs.

What is counted must be counted while the bus has been scraped for as long as the expression looks back, since what was there
from the first scrape on is not new; annotations and alerts of such counters look back one to fifteen minutes.
"""

PLACES: Mapping[str, str] = {
    "containers.json: $project": "a container of compose",
    "containers.json: $service": "a container of compose",
    "containers.json: Started": "a container of compose was started within the last minute",
    "overview.json: Started": "a container of compose was started within the last minute",
    "overview.json: Started most often": "a container is restarted, and sampled before and after",
    "dockbus.yml: ProcessDown": "a program is scraped as the job dockbus-process",
}
"""The same for single expressions, by where they stand."""

PROMETHEUS = {
    "up": (),
    "scrape_duration_seconds": (),
    "scrape_samples_scraped": (),
    "ALERTS": ("alertname", "alertstate", "severity", "system", "engine", "name", "queue", "kind", "rule", "sink"),
}  # fmt: skip
"""What Prometheus itself makes."""
PROCESS = ("process_cpu_seconds_total", "process_resident_memory_bytes")
"""What every program says of itself."""
TARGET = {"job", "instance", "service"}
"""Labels that Prometheus adds to what it scrapes."""


@dataclass(frozen=True)
class Expression:
    """One expression, where it stands, and what it is there for."""

    where: str
    """Such as `containers.json: Working set`."""
    kind: Kind
    text: str
    """Variables are those of Grafana still; see `substituted`."""
    label: str = ""
    """Of a variable, the label whose values it has."""

    @property
    def needs(self) -> list[str]:
        """What has to happen before it has a result."""
        read = [it.metric for it in selectors(self.text)]
        found = [SCENARIOS.get(metric) for metric in read] + [PLACES.get(self.where)]
        return sorted({scenario for scenario in found if scenario})


@dataclass(frozen=True)
class Selector:
    """A metric that an expression reads."""

    metric: str
    matchers: str
    """Without braces."""
    window: str
    """Such as `5m`; empty without one."""
    function: str
    """What it is the whole argument of, such as `rate`; empty without one."""

    @property
    def text(self) -> str:
        """As a query of its own."""
        return f"{self.metric}{{{self.matchers}}}" if self.matchers else self.metric


@dataclass(frozen=True)
class Known:
    """A metric of some catalogue."""

    counter: bool
    labels: frozenset[str]


def expressions() -> Iterator[Expression]:
    """All there are."""
    for path in DASHBOARDS:
        dashboard: dict[str, Any] = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield Expression(f"{path.name}: {panel['title']}", "panel", target["expr"])
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
                assert found, variable["definition"]
                yield Expression(f"{path.name}: ${variable['name']}", "variable", *found.groups())
        for annotation in dashboard["annotations"]["list"]:
            yield Expression(f"{path.name}: {annotation['name']}", "annotation", annotation["expr"])
    for path in RULES:
        for rule in rules(path):
            kind: Kind = "alert" if "alert" in rule else "record"
            yield Expression(f"{path.name}: {rule[kind]}", kind, rule["expr"])


def rules(path: Path) -> list[dict[str, Any]]:
    """The rules of a file."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def substituted(text: str, rate_interval: str = "1m", span: str = "10m") -> str:
    """The expression as Grafana would ask it with everything chosen and the last `span` of time shown."""
    values = {
        "__rate_interval": rate_interval,
        "__interval": "15s",
        "__range": span,
        "most": "10",
    }
    return re.sub(r"\$\{?(\w+)\}?", lambda it: values.get(it[1], ".*"), text)


def selectors(text: str) -> list[Selector]:
    """The metrics that an expression reads, in its order."""
    bare = re.sub(r"#.*", "", text)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    found: list[Selector] = []
    token = re.compile(
        r'"(?:[^"\\]|\\.)*"'
        r"|(?<![\w$:.])(?:(\w+)\(\s*)?([a-zA-Z_:][\w:]*)(?![\w:(])(?!\s*\()"
        r"\s*(?:\{([^{}]*)\})?\s*(?:\[([^\]]+)\])?"
    )
    for it in token.finditer(bare):
        function, metric, matchers, window = it.groups(default="")
        if metric and metric not in ("and", "or", "unless", "bool", "offset"):
            found.append(Selector(metric, matchers, window, function))
    return found


def catalogue() -> dict[str, Known]:
    """Every metric that there is to be scraped, as the programs that export them list them."""
    known = {
        name: Known(counter=False, labels=frozenset(labels)) for name, labels in PROMETHEUS.items()
    }
    known |= {name: Known(counter=name.endswith("_total"), labels=frozenset()) for name in PROCESS}
    for family in _families():
        known |= dict(_series(family))
    return known


def _families() -> Iterator[Family]:
    chosen = tuple("container_label_" + re.sub(r"\W", "_", it) for it in MetricsSettings().labels)
    for family in families.FAMILIES:
        more = chosen if family.name.startswith("container_") else ()
        yield Family(family.name, family.type, family.meaning, (*family.labels, *more))
    yield leadership.LEADS
    yield from bus_families.READ
    yield from bus_families.COUNTED
    for program in (worker_metrics, watch_metrics, api_metrics, scaler_metrics):
        yield from program.CATALOGUE


def _series(family: Family) -> Iterator[tuple[str, Known]]:
    labels = frozenset(family.labels)
    if family.type in ("histogram", "summary"):
        for suffix in ("_sum", "_count"):
            yield family.name + suffix, Known(counter=True, labels=labels)
        if family.type == "histogram":
            yield f"{family.name}_bucket", Known(counter=True, labels=labels | {"le"})
    else:
        # cAdvisor's name for it does not say that it only rises
        counter = family.type == "counter" or family.name == "container_memory_failcnt"
        yield family.name, Known(counter=counter, labels=labels)

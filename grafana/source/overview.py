"""Overview: is everything well, and where to look if not."""

from __future__ import annotations

from source.common import (
    DEPLOYS,
    ENGINE,
    ENGINE_SCOPE,
    GAPS,
    KILLS,
    ROW_TO_CONTAINER,
    ROW_TO_ENGINE,
    TO_CONTAINER,
    TO_ENGINE,
    TO_KIND,
    TO_QUEUE,
    newly,
)
from source.model import (
    BAD_IF_ANY,
    GOOD_IF_ANY,
    NEAR_FULL,
    NEAR_FULL_PERCENT,
    ODD_IF_ANY,
    OUTCOMES,
    Dashboard,
    Link,
    Query,
    Row,
)
from source.panels import Column, bars, graph, stat, table

TO_JOBS = (Link("Jobs and workers", "dockbus-jobs"),)
TO_CONTAINERS = (Link("Containers", "dockbus-containers"),)
TO_EVENTS = (Link("Events and rules", "dockbus-events"),)
TO_ITSELF = (Link("dockbus itself", "dockbus-itself"),)

WELL = Row(
    "Is everything well?",
    (
        stat(
            "Alerts",
            "Alerts of dockbus that fire now; the list is below. 0 also where the alert rules are not loaded.",
            'count(ALERTS{alertstate="firing",system="dockbus"}) or vector(0)',
            steps=BAD_IF_ANY,
        ),
        stat(
            "Engines away",
            "Engines that gave no metrics worker an answer at the latest scrape.",
            "count(max by (engine) (dockbus_engine_up{@engine}) == 0) or vector(0)",
            steps=BAD_IF_ANY,
            links=TO_EVENTS,
        ),
        stat(
            "Redis",
            "Whether Redis answers. While it does not, no job is accepted, and none that was is lost.",
            "max(dockbus_redis_up)",
            unit="none",
            steps=GOOD_IF_ANY,
            words={"0": "away", "1": "answers"},
            links=TO_ITSELF,
        ),
        stat(
            "Unhealthy",
            "Containers whose health check does not pass. Those that have none do not count.",
            "count(max by (engine, name) (container_health_state{@engine}) == 0) or vector(0)",
            steps=BAD_IF_ANY,
            links=TO_CONTAINERS,
        ),
        stat(
            "Killed for memory",
            "Processes in containers that the kernel has killed for memory in the time shown, told by the Engine.",
            "sum"
            + newly("container_oom_events_total{@engine}", "engine, name, image", "$__range")
            + " or vector(0)",
            steps=BAD_IF_ANY,
            links=TO_CONTAINERS,
            decimals=0,
        ),
        stat(
            "Oldest waiting job",
            "How long the job that is longest on a queue has waited.",
            "max(dockbus_queue_oldest_job_age_seconds)",
            unit="s",
            steps=((None, "green"), (60, "orange"), (300, "red")),
            links=TO_JOBS,
        ),
        stat(
            "Jobs that fail",
            "Share of the jobs ended in the last five minutes that failed or died; canceled ones do not count.",
            """
            sum(kind_outcome:dockbus_jobs:rate5m{outcome=~"failed|dead"})
            / (sum(kind_outcome:dockbus_jobs:rate5m{outcome!="canceled"}) > 0)
            or vector(0)
            """,
            unit="percentunit",
            steps=((None, "green"), (0.05, "orange"), (0.2, "red")),
            links=TO_JOBS,
        ),
        stat(
            "Rules suspended",
            "Rules that have given up on some object, since what they did was not enough.",
            "count(max by (rule) (dockbus_rule_suspended) > 0) or vector(0)",
            steps=ODD_IF_ANY,
            links=TO_EVENTS,
        ),
    ),
)

ALERTS = Row(
    "What fires",
    (
        table(
            "Alerts",
            "Alerts of dockbus that fire now. docs/monitoring.md says of each what to do.",
            (
                Column(
                    "Firing",
                    """
                    sum by (alertname, severity, engine, name, queue, kind, rule, sink) (
                        ALERTS{alertstate="firing",system="dockbus"}
                    )
                    """,
                ),
            ),
            keys={
                "alertname": "Alert",
                "severity": "Severity",
                "engine": "Engine",
                "name": "Container",
                "queue": "Queue",
                "kind": "Kind",
                "rule": "Rule",
                "sink": "Sink",
            },
            h=6,
        ),
    ),
)

ENGINES = Row(
    "Engines",
    (
        table(
            "Engines",
            "Each Engine on the bus, as its metrics worker sees it. Its name leads to its containers.",
            (
                Column("Cores used", "engine:container_cpu_usage_seconds:rate5m{@engine}"),
                Column("Memory", "engine:container_memory_working_set_bytes:sum{@engine}", "bytes"),
                Column(
                    "Running",
                    'max by (engine) (dockbus_inventory_containers{@engine,state="running"})',
                ),
                Column("Answers", "max by (engine) (dockbus_engine_up{@engine})", "bool_yes_no"),
                Column(
                    "Heard", "max by (engine) (dockbus_engine_connected{@engine})", "bool_yes_no"
                ),
                Column(
                    "Looked at",
                    "max by (engine) (dockbus_engine_resync_age_seconds{@engine})",
                    "s",
                ),
                Column("", "max by (engine, version) (dockbus_engine_info{@engine})"),
            ),
            keys={"version": "Version", "engine": "Engine"},
            h=7,
            links=(ROW_TO_ENGINE,),
        ),
        graph(
            "CPU",
            "Processor time that all containers of an Engine use; 1 is one whole core.",
            "engine:container_cpu_usage_seconds:rate5m{@engine}",
            unit="short",
            legend="{{engine}}",
            w=8,
            stack=True,
            links=(TO_ENGINE,),
        ),
        graph(
            "Memory",
            "Working sets of all containers of an Engine: memory without what the kernel can simply drop.",
            "engine:container_memory_working_set_bytes:sum{@engine}",
            unit="bytes",
            legend="{{engine}}",
            w=8,
            stack=True,
            links=(TO_ENGINE,),
        ),
        graph(
            "Network",
            "What all containers of an Engine receive and send. What goes between two of them is in both.",
            (
                Query("engine:container_network_receive_bytes:rate5m{@engine}", "{{engine}} in"),
                Query("engine:container_network_transmit_bytes:rate5m{@engine}", "{{engine}} out"),
            ),
            unit="Bps",
            w=8,
            links=(TO_ENGINE,),
        ),
    ),
)

CONTAINERS = Row(
    "Containers",
    (
        bars(
            "Most CPU",
            "The ten containers that use most, in percent of their CPU limit, or of one core where they have none.",
            "topk(10, engine_name:container_cpu_usage:percent_rate5m{@engine})",
            unit="percent",
            legend="{{name}}",
            w=8,
            steps=NEAR_FULL_PERCENT,
            links=(TO_CONTAINER,),
        ),
        bars(
            "Nearest to their memory limit",
            "The ten containers that have most of the memory they may use; those without a limit are not here.",
            "topk(10, engine_name:container_memory_usage:percent{@engine})",
            unit="percent",
            legend="{{name}}",
            w=8,
            top=100,
            steps=NEAR_FULL_PERCENT,
            links=(TO_CONTAINER,),
        ),
        table(
            "Started most often",
            "Containers by how often they were started in the time shown; those that were made anew under their name too.",
            (
                Column(
                    "Starts",
                    "changes(engine_name:container_start_time_seconds:max{@engine}[$__range]) > 0",
                ),
            ),
            keys={"engine": "Engine", "name": "Container"},
            w=8,
            h=8,
            links=(ROW_TO_CONTAINER,),
        ),
    ),
)

WORK = Row(
    "Jobs",
    (
        graph(
            "Jobs that ended",
            "Jobs ended in a second, by what became of them.",
            "sum by (outcome) (kind_outcome:dockbus_jobs:rate5m)",
            unit="ops",
            legend="{{outcome}}",
            w=8,
            stack=True,
            colors=OUTCOMES,
            links=TO_JOBS,
        ),
        graph(
            "Run time, 95 of 100 take less",
            "The 95th percentile of how long attempts take from start to end, by kind of job.",
            "histogram_quantile(0.95, sum by (kind, le) (kind_le:dockbus_job_run_seconds_bucket:rate5m))",
            unit="s",
            legend="{{kind}}",
            w=8,
            links=(TO_KIND,),
        ),
        graph(
            "Slots busy",
            "Share of a queue's slots that have a job. At 100 % what comes has to wait.",
            "queue:dockbus_queue_slots_busy:ratio",
            unit="percentunit",
            legend="{{queue}}",
            w=8,
            top=1,
            steps=NEAR_FULL,
            links=(TO_QUEUE,),
        ),
        graph(
            "Waiting time, 95 of 100 wait less",
            "The 95th percentile of how long jobs waited to be begun, by queue.",
            "histogram_quantile(0.95, sum by (queue, le) (queue_le:dockbus_job_wait_seconds_bucket:rate5m))",
            unit="s",
            legend="{{queue}}",
            w=8,
            links=(TO_QUEUE,),
        ),
        graph(
            "Jobs that wait",
            "Jobs on each queue that no worker has taken.",
            'max by (queue) (rq_jobs{status="queued"})',
            unit="short",
            legend="{{queue}}",
            w=8,
            stack=True,
            links=(TO_QUEUE,),
        ),
        graph(
            "Events",
            "Events of the Engines put on the bus, in a second, by what they are about.",
            "sum by (type) (rate(dockbus_engine_events_total{@engine}[$__rate_interval]))",
            unit="ops",
            legend="{{type}}",
            w=8,
            stack=True,
            links=TO_EVENTS,
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="dockbus-overview",
    title="Overview",
    description="Is everything well, and where to look if not: Engines, containers, jobs and events of one bus.",
    scopes={"engine": ENGINE_SCOPE},
    variables=(ENGINE,),
    rows=(WELL, ALERTS, ENGINES, CONTAINERS, WORK),
    annotations=(KILLS, GAPS, DEPLOYS),
)

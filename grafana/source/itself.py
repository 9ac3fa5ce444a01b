"""dockbus itself: what it costs, whether its parts are there, and what it stands on."""

from __future__ import annotations

from source.common import ENGINE, ENGINE_SCOPE, GAPS, TO_ENGINE, TO_EVENTS
from source.model import BAD_IF_ANY, GOOD_IF_ANY, NEAR_FULL, Dashboard, Query, Row
from source.panels import Column, graph, stat, table, timeline

RATE = "[$__rate_interval]"

NOW = Row(
    "What it costs",
    (
        stat(
            "CPU",
            "Cores that all programs of dockbus use together, metrics workers among them; not those of Redis and the Engine.",
            f"sum(rate(process_cpu_seconds_total{{@dockbus}}{RATE}))",
            decimals=3,
            spark=True,
        ),
        stat(
            "Memory",
            "Memory that they have together.",
            "sum(process_resident_memory_bytes{@dockbus})",
            unit="bytes",
            spark=True,
        ),
        stat(
            "Of all containers' CPU",
            "Its CPU against that of all containers on the Engines: what it costs to know.",
            f"""
            sum(rate(process_cpu_seconds_total{{@dockbus}}{RATE}))
            / (sum(engine:container_cpu_usage_seconds:rate5m) > 0)
            """,
            unit="percentunit",
            spark=True,
        ),
        stat(
            "Redis",
            "Whether Redis answers.",
            "max(dockbus_redis_up)",
            unit="none",
            steps=GOOD_IF_ANY,
            words={"0": "away", "1": "answers"},
        ),
        stat(
            "Redis' memory",
            "What Redis holds, at the latest scrape.",
            "max(dockbus_redis_memory_bytes)",
            unit="bytes",
            spark=True,
        ),
        stat(
            "Programs away",
            "Programs that Prometheus knows of and cannot scrape.",
            "count(up{@dockbus} == 0) or vector(0)",
            steps=BAD_IF_ANY,
        ),
        stat(
            "Containers left out",
            "Containers without series, since there would be more than DOCKBUS_METRICS_SERIES.",
            "sum(max by (engine) (dockbus_containers_left_out{@engine}))",
            steps=BAD_IF_ANY,
        ),
        stat(
            "Counters left out",
            "Counts in the time shown for which the bus had no room; labels with too many values.",
            "sum(increase(dockbus_tally_left_out_total[$__range])) or vector(0)",
            steps=BAD_IF_ANY,
            decimals=0,
        ),
    ),
)

PROGRAMS = Row(
    "Programs",
    (
        timeline(
            "Scraped",
            "Whether Prometheus can scrape each program.",
            "max by (job, instance) (up{@dockbus})",
            legend="{{job}} {{instance}}",
            words={"1": ("scraped", "green"), "0": ("away", "red")},
            w=8,
        ),
        graph(
            "CPU",
            "Cores that each program uses.",
            f"sum by (job, instance) (rate(process_cpu_seconds_total{{@dockbus}}{RATE}))",
            unit="short",
            legend="{{job}} {{instance}}",
            w=8,
            stack=True,
        ),
        graph(
            "Memory",
            "Memory that each program has. One that only grows has a leak: tell us.",
            "sum by (job, instance) (process_resident_memory_bytes{@dockbus})",
            unit="bytes",
            legend="{{job}} {{instance}}",
            w=8,
            stack=True,
        ),
    ),
)

METRICS = Row(
    "Metrics workers",
    (
        table(
            "By Engine",
            "What each metrics worker does. Of several for one Engine one leads, the others stand by.",
            (
                Column("Series", "max by (engine) (dockbus_series{@engine})"),
                Column(
                    "A sweep takes",
                    "max by (engine) (dockbus_sweep_duration_seconds{@engine})",
                    "s",
                ),
                Column(
                    "Containers", 'max by (engine) (dockbus_sweep_containers{@engine,result="ok"})'
                ),
                Column("Lead", "sum by (engine) (dockbus_metrics_leads{@engine})"),
                Column(
                    "Stand by",
                    "count by (engine) (dockbus_metrics_leads{@engine})"
                    " - sum by (engine) (dockbus_metrics_leads{@engine})",
                ),
                Column(
                    "Inventory is old",
                    "max by (engine) (dockbus_inventory_age_seconds{@engine})",
                    "s",
                ),
                Column("", "max by (engine, source) (dockbus_sweep_source{@engine} == 1)"),
            ),
            keys={"source": "Reads from", "engine": "Engine"},
            h=6,
        ),
        graph(
            "A sweep takes",
            "Seconds to get a sample of every container, at each scrape. A scrape that takes ten is lost.",
            "max by (engine) (dockbus_sweep_duration_seconds{@engine})",
            unit="s",
            legend="{{engine}}",
            w=8,
            steps=((None, "green"), (5, "red")),
            links=(TO_ENGINE,),
        ),
        graph(
            "A scrape takes",
            "Seconds for all of it, as Prometheus measures them.",
            "max by (job, instance) (scrape_duration_seconds{@dockbus})",
            unit="s",
            legend="{{job}} {{instance}}",
            w=8,
        ),
        graph(
            "Samples by what came of them",
            "Running containers in a sweep: sampled, gone meanwhile, too late, or failed.",
            "sum by (result) (max by (engine, result) (dockbus_sweep_containers{@engine}))",
            unit="short",
            legend="{{result}}",
            w=8,
            stack=True,
            colors={"ok": "green", "gone": "blue", "late": "orange", "failed": "red"},
        ),
        graph(
            "Calls to the Engines",
            "Calls of the metrics workers in a second, by what came of them. With control groups in sight there are few.",
            f"sum by (outcome) (rate(dockbus_engine_requests_total{{@engine}}{RATE}))",
            unit="ops",
            legend="{{outcome}}",
            w=8,
        ),
        graph(
            "Series",
            "Series of containers in each scrape.",
            "max by (engine) (dockbus_series{@engine})",
            unit="short",
            legend="{{engine}}",
            w=8,
            stack=True,
        ),
        graph(
            "Samples in a scrape",
            "Samples that Prometheus takes from each program, of any sort: what they cost Prometheus.",
            "max by (job, instance) (scrape_samples_scraped{@dockbus})",
            unit="short",
            legend="{{job}} {{instance}}",
            w=8,
            stack=True,
        ),
    ),
)

REDIS = Row(
    "Redis",
    (
        graph(
            "Memory against its limit",
            "What Redis holds. At its limit it takes no job any more; 0 is no limit.",
            (
                Query("max(dockbus_redis_memory_bytes)", "held"),
                Query("max(dockbus_redis_memory_limit_bytes) > 0", "limit"),
            ),
            unit="bytes",
        ),
        graph(
            "Reading the bus",
            "Seconds that reading queues and workers from Redis takes, on average.",
            f"""
            sum(rate(rq_request_processing_seconds_sum{RATE}))
            / (sum(rate(rq_request_processing_seconds_count{RATE})) > 0)
            """,
            unit="s",
            legend="a scrape",
        ),
    ),
)

API = Row(
    "HTTP API",
    (
        graph(
            "Requests by answer",
            "Requests in a second, by status.",
            f"sum by (status) (rate(dockbus_http_requests_total{RATE}))",
            unit="reqps",
            legend="{{status}}",
            w=8,
            stack=True,
        ),
        graph(
            "Requests by route",
            "The ten routes that are asked for most, in a second.",
            f"topk(10, sum by (method, route) (rate(dockbus_http_requests_total{RATE})))",
            unit="reqps",
            legend="{{method}} {{route}}",
            w=8,
        ),
        graph(
            "Answers with 5xx",
            "Share of the answers that say that something is wrong here.",
            f"""
            sum(rate(dockbus_http_requests_total{{status=~"5.."}}{RATE}))
            / (sum(rate(dockbus_http_requests_total{RATE})) > 0)
            """,
            unit="percentunit",
            legend="5xx",
            w=8,
            steps=((None, "green"), (0.05, "red")),
        ),
        graph(
            "Time by route",
            "95 of 100 requests have the beginning of their answer within this time.",
            f"histogram_quantile(0.95, sum by (route, le) (rate(dockbus_http_request_seconds_bucket{RATE})))",
            unit="s",
            legend="{{route}}",
        ),
        graph(
            "Under way",
            "Requests that are being answered; open streams are among them.",
            "sum by (instance) (dockbus_http_requests_in_progress)",
            unit="short",
            legend="{{instance}}",
            stack=True,
        ),
    ),
)

PARTS = Row(
    "Watches and workers",
    (
        timeline(
            "Watches",
            "Which watch leads for each Engine; others stand by.",
            "max by (engine, instance) (dockbus_watch_leads{@engine})",
            legend="{{engine}} {{instance}}",
            words={"1": ("leads", "green"), "0": ("stands by", "blue")},
            w=8,
            links=(TO_EVENTS,),
        ),
        graph(
            "Events in a watch's hands",
            "Events that a watch has heard and not yet put on the bus. It grows while Redis is away.",
            "max by (engine, instance) (dockbus_watch_backlog_events{@engine})",
            unit="short",
            legend="{{engine}} {{instance}}",
            w=8,
            links=(TO_EVENTS,),
        ),
        graph(
            "Streams opened, events dropped",
            "Streams of events that watches have opened, and events that they had no room for; those are a gap.",
            (
                Query(
                    f"sum by (engine) (increase(dockbus_watch_streams_opened_total{{@engine}}{RATE}))",
                    "{{engine}} opened",
                ),
                Query(
                    f"sum by (engine) (increase(dockbus_watch_dropped_events_total{{@engine}}{RATE}))",
                    "{{engine}} dropped",
                ),
            ),
            unit="short",
            w=8,
            bars=True,
        ),
        timeline(
            "Workers",
            "Which workers take jobs. One does not while its Engine or Redis does not answer, or its Engine's name is another's.",
            "min by (queue, engine, instance) (dockbus_worker_ready{@engine})",
            legend="{{queue}} {{engine}} {{instance}}",
            words={"1": ("takes jobs", "green"), "0": ("takes none", "red")},
            w=8,
        ),
        graph(
            "Slots of each worker",
            "Share of its slots that have a job, as each worker says itself.",
            """
            sum by (queue, instance) (dockbus_worker_slots_busy)
            / (sum by (queue, instance) (dockbus_worker_slots) > 0)
            """,
            unit="percentunit",
            legend="{{queue}} {{instance}}",
            w=8,
            top=1,
            steps=NEAR_FULL,
        ),
        graph(
            "Done by each worker",
            "Jobs that each worker has ended in a second. Its counters go with it; the other dashboards do not use them.",
            (
                Query(
                    f"sum by (name) (rate(rq_workers_success_total{RATE}))", "{{name}} succeeded"
                ),
                Query(f"sum by (name) (rate(rq_workers_failed_total{RATE}))", "{{name}} failed"),
            ),
            unit="ops",
            w=8,
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="dockbus-itself",
    title="dockbus itself",
    description="What dockbus costs, whether all its parts are there, and how Redis, on which it stands, is.",
    # In a Prometheus that scrapes other things as well, its scrape jobs are known by their names.
    scopes={"engine": ENGINE_SCOPE, "dockbus": 'job=~"dockbus-.+"'},
    variables=(ENGINE,),
    rows=(NOW, PROGRAMS, METRICS, REDIS, API, PARTS),
    annotations=(GAPS,),
    span="3h",
)

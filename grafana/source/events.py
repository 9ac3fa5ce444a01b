"""Events and rules: what happens on the Engines, whether all of it is heard, and what rules and sinks make of it."""

from __future__ import annotations

from source.common import ENGINE, ENGINE_SCOPE, GAPS, KILLS, TO_CONTAINER, TO_ENGINE, newly
from source.model import BAD_IF_ANY, GOOD_IF_ANY, ODD_IF_ANY, OUTCOMES, Dashboard, Query, Row
from source.panels import Column, bars, graph, heatmap, stat, table, timeline

RATE = "[$__rate_interval]"
DELAY = "dockbus_engine_event_delay_seconds"

NOW = Row(
    "Is all heard?",
    (
        stat(
            "Engines heard",
            "Engines to which a watch is connected.",
            "sum(max by (engine) (dockbus_engine_connected{@engine}))",
            steps=GOOD_IF_ANY,
        ),
        stat(
            "Not heard",
            "Engines to which no watch is connected: what happens there is told late, and rules sleep.",
            "count(max by (engine) (dockbus_engine_connected{@engine}) == 0) or vector(0)",
            steps=BAD_IF_ANY,
        ),
        stat(
            "Looked at",
            "How long ago the Engine was looked at whole that was so longest ago. A watch does it about twice a minute.",
            "max(dockbus_engine_resync_age_seconds{@engine})",
            unit="s",
            steps=((None, "green"), (90, "orange"), (180, "red")),
        ),
        stat(
            "Gaps",
            "Times, in the time shown, in which events may have been lost.",
            "sum"
            + newly("dockbus_engine_gaps_total{@engine}", "engine", "$__range")
            + " or vector(0)",
            steps=BAD_IF_ANY,
            decimals=0,
        ),
        stat(
            "Events in a minute",
            "Events of the Engines that were put on the bus.",
            f"60 * sum(rate(dockbus_engine_events_total{{@engine}}{RATE}))",
            spark=True,
        ),
        stat(
            "Delay",
            "95 of 100 events are on the bus within this time, by the Engine's clock and Redis'.",
            f"histogram_quantile(0.95, sum by (le) (rate({DELAY}_bucket{{@engine}}{RATE})))",
            unit="s",
            steps=((None, "green"), (1, "orange"), (10, "red")),
            spark=True,
        ),
        stat(
            "Readers behind",
            "Events that the reader which is furthest behind has still to read.",
            "max(dockbus_event_group_lag)",
            steps=((None, "green"), (100, "orange"), (1000, "red")),
        ),
        stat(
            "Rules suspended",
            "Rules that have given up on some object; `dockbus rules suspended` names it.",
            "count(max by (rule) (dockbus_rule_suspended) > 0) or vector(0)",
            steps=ODD_IF_ANY,
        ),
    ),
)

WHAT = Row(
    "What happens",
    (
        graph(
            "Events by type",
            "Events of the Engines in a second, by what they are about.",
            f"sum by (type) (rate(dockbus_engine_events_total{{@engine}}{RATE}))",
            unit="ops",
            legend="{{type}}",
            w=8,
            stack=True,
        ),
        graph(
            "Events of containers, by action",
            "What happened to containers, in a second; the ten commonest.",
            f"""
            topk(10, sum by (action) (
                rate(dockbus_engine_events_total{{@engine,type="container"}}{RATE})
            ))
            """,
            unit="ops",
            legend="{{action}}",
            w=8,
            stack=True,
        ),
        graph(
            "Events by Engine",
            "Events in a second, from each Engine.",
            f"sum by (engine) (rate(dockbus_engine_events_total{{@engine}}{RATE}))",
            unit="ops",
            legend="{{engine}}",
            w=8,
            links=(TO_ENGINE,),
        ),
        graph(
            "Ends by exit code",
            "Containers that ended; those of jobs are among them. 0 is well, 137 a kill, 139 a crash, 143 a stop.",
            "sum by (exit_code) "
            + newly(
                "dockbus_container_exits_total{@engine}",
                "engine, name, image, exit_code",
                "$__rate_interval",
            ),
            unit="short",
            legend="exit code {{exit_code}}",
            w=8,
            bars=True,
        ),
        graph(
            "Killed for memory",
            "Processes that the kernel has killed, by container; those of jobs have no name.",
            newly("container_oom_events_total{@engine}", "engine, name, image", "$__rate_interval"),
            unit="short",
            legend="{{name}} ({{image}})",
            w=8,
            bars=True,
            links=(TO_CONTAINER,),
        ),
        graph(
            "Changes of health",
            "Health checks that changed their mind, by what they say now.",
            "sum by (health) "
            + newly(
                "dockbus_container_health_transitions_total{@engine}",
                "engine, name, health",
                "$__rate_interval",
            ),
            unit="short",
            legend="{{health}}",
            w=8,
            bars=True,
            colors={"healthy": "green", "unhealthy": "red"},
        ),
    ),
)

HEARD = Row(
    "How well it is heard",
    (
        timeline(
            "Connected",
            "Whether a watch hears each Engine.",
            "max by (engine) (dockbus_engine_connected{@engine})",
            legend="{{engine}}",
            words={"1": ("heard", "green"), "0": ("not heard", "red")},
            w=8,
            links=(TO_ENGINE,),
        ),
        heatmap(
            "Delay",
            "From the Engine's moment of an event to its being on the bus: the darker, the more events. Clocks that differ are in it.",
            f"sum by (le) (increase({DELAY}_bucket{{@engine}}{RATE}))",
            unit="s",
            w=8,
        ),
        graph(
            "Delay by Engine",
            "The time within which half of the events, and 95 of 100, are on the bus.",
            (
                Query(
                    f"histogram_quantile(0.5, sum by (engine, le) (rate({DELAY}_bucket{{@engine}}{RATE})))",
                    "{{engine}} half",
                ),
                Query(
                    "histogram_quantile(0.95,"
                    " sum by (engine, le) (engine_le:dockbus_engine_event_delay_seconds_bucket:rate5m{@engine}))",
                    "{{engine}} 95 of 100, over 5 minutes",
                ),
            ),
            unit="s",
            w=8,
        ),
        graph(
            "Heard, found, heard again",
            "Events told in a second: how many were not heard but found by looking, and how many came twice and were told once.",
            (
                Query(f"sum(rate(dockbus_engine_events_total{{@engine}}{RATE}))", "told"),
                Query(
                    f"sum(rate(dockbus_engine_events_found_total{{@engine}}{RATE}))",
                    "of these, found by looking",
                ),
                Query(
                    f"sum(rate(dockbus_events_doubled_total{{@engine}}{RATE}))",
                    "came again, not told again",
                ),
            ),
            unit="ops",
            w=8,
        ),
        graph(
            "Gaps and broken streams",
            "Times in which events may have been lost, and streams from the Engine that broke off.",
            (
                Query(
                    newly("dockbus_engine_gaps_total{@engine}", "engine", "$__rate_interval"),
                    "{{engine}} gaps",
                ),
                Query(
                    newly(
                        "dockbus_engine_disconnects_total{@engine}", "engine", "$__rate_interval"
                    ),
                    "{{engine}} broken off",
                ),
            ),
            unit="short",
            w=8,
            bars=True,
        ),
        graph(
            "Looks at the whole Engine",
            "How long ago each Engine was last looked at, and how often in a minute.",
            (
                Query(
                    "max by (engine) (dockbus_engine_resync_age_seconds{@engine})",
                    "{{engine}} seconds ago",
                ),
                Query(
                    f"60 * sum by (engine) (rate(dockbus_engine_resyncs_total{{@engine}}{RATE}))",
                    "{{engine}} in a minute",
                ),
            ),
            unit="short",
            w=8,
        ),
        graph(
            "Events kept",
            "Events in the stream; the oldest go when there are too many, or they are too old.",
            "max(dockbus_events_stored)",
            unit="short",
            legend="kept",
            w=8,
        ),
        graph(
            "Readers: behind",
            "Events that each group of readers has still to read. `dockbus:rules` are the rules.",
            "max by (group) (dockbus_event_group_lag)",
            unit="short",
            legend="{{group}}",
            w=8,
            steps=((None, "green"), (1000, "red")),
        ),
        graph(
            "Readers: under way",
            "Events that each group of readers has taken and not yet done.",
            "max by (group) (dockbus_event_group_pending)",
            unit="short",
            legend="{{group}}",
            w=8,
        ),
    ),
)

ANSWERED = Row(
    "What is made of it",
    (
        graph(
            "Rules by what came of them",
            "How often rules were asked in a second and matched, by what was decided.",
            f"sum by (outcome) (rate(dockbus_rules_total{RATE}))",
            unit="ops",
            legend="{{outcome}}",
            stack=True,
        ),
        graph(
            "Rules",
            "The ten rules that matched most often in a second, whatever was decided.",
            f"topk(10, sum by (rule) (rate(dockbus_rules_total{RATE})))",
            unit="ops",
            legend="{{rule}}",
        ),
        table(
            "Each rule",
            "What was decided in the time shown. `dockbus rules explain` says why.",
            (Column("Times", newly("dockbus_rules_total", "rule, outcome", "$__range")),),
            keys={"outcome": "Decided", "rule": "Rule"},
            w=12,
        ),
        bars(
            "Suspended",
            "Rules that have given up on some object. They go on by themselves when it has been quiet, or after `dockbus rules resume`.",
            "max by (rule) (dockbus_rule_suspended) > 0",
            unit="short",
            legend="{{rule}}",
            w=12,
            h=9,
            steps=ODD_IF_ANY,
        ),
        graph(
            "Sinks",
            "Attempts to send events to URLs: delivered, failed and tried again, or given up.",
            f"sum by (sink, outcome) (increase(dockbus_sink_deliveries_total{RATE}))",
            unit="short",
            legend="{{sink}} {{outcome}}",
            w=24,
            bars=True,
            colors=OUTCOMES,
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="dockbus-events",
    title="Events and rules",
    description="What happens on the Engines, whether all of it is heard, and what rules and sinks make of it.",
    scopes={"engine": ENGINE_SCOPE},
    variables=(ENGINE,),
    rows=(NOW, WHAT, HEARD, ANSWERED),
    annotations=(KILLS, GAPS),
    span="3h",
)

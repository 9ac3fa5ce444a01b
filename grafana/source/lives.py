"""How containers live and die, told by the Engine's events: a part of the dashboard Containers."""

from __future__ import annotations

from source.common import newly
from source.container_words import BY, LINK, NAMED, most, rate
from source.model import Query, Row
from source.panels import graph, timeline

LIFE = Row(
    "Life and death",
    (
        timeline(
            "Health",
            "What the health check of each container says. A container without one says nothing.",
            "max by (engine, name) (container_health_state{@container}) >= 0",
            legend=NAMED,
            words={"1": ("healthy", "green"), "0": ("unhealthy", "red")},
            links=LINK,
        ),
        graph(
            "Ends by exit code",
            "Containers that ended, told by the Engine, so none is missed between two scrapes. 137 is a kill, often for memory.",
            "sum by (exit_code) "
            + newly(
                "dockbus_container_exits_total{@named}",
                "engine, name, exit_code",
                "$__rate_interval",
            ),
            unit="short",
            legend="exit code {{exit_code}}",
            bars=True,
        ),
        graph(
            "Restarts",
            "Restarts that the Engine told of, by name, so that a container that is made anew is the same.",
            newly("dockbus_container_restarts_total{@named}", "engine, name", "$__rate_interval"),
            unit="short",
            legend=NAMED,
            bars=True,
            links=LINK,
        ),
        graph(
            "Killed for memory",
            "Processes that the kernel has killed, one by one; `docker inspect` only knows whether there was any.",
            newly("container_oom_events_total{@named}", "engine, name, image", "$__rate_interval"),
            unit="short",
            legend="{{name}} ({{image}})",
            bars=True,
            links=LINK,
        ),
        graph(
            "Changes of health",
            "How often a health check changed its mind. One that does so all day has a bad timeout.",
            newly(
                "dockbus_container_health_transitions_total{@named}",
                "engine, name, health",
                "$__rate_interval",
            ),
            unit="short",
            legend="{{name}} {{health}}",
            w=8,
            bars=True,
            links=LINK,
        ),
        graph(
            "Threads against their limit",
            "Share of the processes and threads that the container may have. At 100 % it cannot start another.",
            f"topk($most, {BY} (container_threads{{@container}}) / ({BY} (container_threads_max{{@container}}) > 0))",
            unit="percentunit",
            legend=NAMED,
            w=8,
            steps=((None, "green"), (0.9, "red")),
            links=LINK,
        ),
        graph(
            "Pressure",
            "Share of the time in which some thread waited for CPU, memory or disk. Kernels with control groups v2 tell; others do not.",
            (
                Query(
                    most(rate("container_pressure_cpu_waiting_seconds_total")),
                    "{{name}} for CPU",
                ),
                Query(
                    most(rate("container_pressure_memory_waiting_seconds_total")),
                    "{{name}} for memory",
                ),
                Query(
                    most(rate("container_pressure_io_waiting_seconds_total")),
                    "{{name}} for disk",
                ),
            ),
            unit="percentunit",
            w=8,
            links=LINK,
        ),
    ),
)

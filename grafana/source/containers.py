"""Containers: what each of them uses, how near it is to its limits, and how it lives and dies."""

from __future__ import annotations

from source.common import DEPLOYS, ENGINE, ENGINE_SCOPE, KILLS, ROW_TO_CONTAINER, newly
from source.container_words import BY, LINK, NAMED, RATE, most, rate, recorded
from source.lives import LIFE
from source.model import BAD_IF_ANY, NEAR_FULL_PERCENT, ODD_IF_ANY, Dashboard, Query, Row, Variable
from source.panels import Column, graph, stat, table

NOW = Row(
    "Now",
    (
        stat(
            "Chosen",
            "Containers that run and gave a sample, of those chosen above.",
            "count(max by (engine, name) (container_last_seen{@container})) or vector(0)",
        ),
        stat(
            "On the Engines",
            "All containers of the Engines chosen, by what state they are in.",
            "sum by (state) (max by (engine, state) (dockbus_inventory_containers{@engine}))",
            legend="{{state}}",
            w=6,
        ),
        stat(
            "CPU",
            "Cores that the containers chosen use together.",
            f"sum(rate(container_cpu_usage_seconds_total{{@container}}{RATE}))",
            unit="short",
            spark=True,
        ),
        stat(
            "Memory",
            "Their working sets together.",
            "sum(container_memory_working_set_bytes{@container})",
            unit="bytes",
            spark=True,
        ),
        stat(
            "Unhealthy",
            "Those whose health check does not pass.",
            "count(max by (engine, name) (container_health_state{@container}) == 0) or vector(0)",
            steps=BAD_IF_ANY,
        ),
        stat(
            "Killed for memory",
            "Processes in them that the kernel has killed for memory in the time shown.",
            "sum"
            + newly("container_oom_events_total{@named}", "engine, name, image", "$__range")
            + " or vector(0)",
            steps=BAD_IF_ANY,
            decimals=0,
        ),
        stat(
            "Held back",
            "Those that the kernel stops in more than a tenth of their periods, at their CPU limit.",
            """
            count(engine_name:container_cpu_throttled:ratio_rate5m{@named} > 0.1) or vector(0)
            """,
            steps=ODD_IF_ANY,
        ),
    ),
)

MOST = Row(
    "Who uses most",
    (
        table(
            "By CPU",
            "The 20 that use most processor time, and what else they use. A name leads to that container alone.",
            (
                Column(
                    "Cores",
                    rate("container_cpu_usage_seconds_total"),
                    "none",
                ),
                Column(
                    "Of its CPU",
                    recorded("engine_name:container_cpu_usage:percent_rate5m"),
                    "percent",
                    steps=NEAR_FULL_PERCENT,
                    top=100,
                ),
                Column(
                    "Memory", f"{BY} (container_memory_working_set_bytes{{@container}})", "bytes"
                ),
                Column(
                    "Of its limit",
                    recorded("engine_name:container_memory_usage:percent"),
                    "percent",
                    steps=NEAR_FULL_PERCENT,
                    top=100,
                ),
                Column(
                    "Receives",
                    rate("container_network_receive_bytes_total"),
                    "Bps",
                ),
                Column(
                    "Sends",
                    rate("container_network_transmit_bytes_total"),
                    "Bps",
                ),
                Column("Threads", f"{BY} (container_threads{{@container}})"),
                Column(
                    "Runs since",
                    "1000 * max by (engine, name) (container_start_time_seconds{@container})",
                    "dateTimeFromNow",
                ),
            ),
            keys={"engine": "Engine", "name": "Container"},
            links=(ROW_TO_CONTAINER,),
        ),
    ),
)

CPU = Row(
    "CPU",
    (
        graph(
            "CPU",
            "Cores that each container uses; those that use most, as many as chosen above.",
            most(rate("container_cpu_usage_seconds_total")),
            unit="short",
            legend=NAMED,
            links=LINK,
        ),
        graph(
            "Of what it may use",
            "CPU in percent of the container's limit, or of one core where it has none.",
            most(recorded("engine_name:container_cpu_usage:percent_rate5m")),
            unit="percent",
            legend=NAMED,
            steps=NEAR_FULL_PERCENT,
            links=LINK,
        ),
        graph(
            "Held back",
            "Share of the scheduler's periods in which the kernel stopped it, since it had used its CPU limit up.",
            f"""
            topk($most,
                {rate("container_cpu_cfs_throttled_periods_total")}
                / ({rate("container_cpu_cfs_periods_total")} > 0)
            )
            """,
            unit="percentunit",
            legend=NAMED,
            w=8,
            top=1,
            links=LINK,
        ),
        graph(
            "Time held back",
            "Seconds of each second for which its threads, taken together, wanted to run and were not let.",
            most(rate("container_cpu_cfs_throttled_seconds_total")),
            unit="s",
            legend=NAMED,
            w=8,
            links=LINK,
        ),
        graph(
            "In user and in kernel mode",
            "Much in kernel mode is much input and output, or many processes being started.",
            (
                Query(
                    f"sum(rate(container_cpu_user_seconds_total{{@container}}{RATE}))",
                    "user",
                ),
                Query(
                    f"sum(rate(container_cpu_system_seconds_total{{@container}}{RATE}))",
                    "kernel",
                ),
            ),
            unit="short",
            w=8,
            stack=True,
        ),
    ),
)

MEMORY = Row(
    "Memory",
    (
        graph(
            "Working set",
            "Memory in use without idle file cache: what counts towards being killed, as `docker stats` shows it.",
            most(f"{BY} (container_memory_working_set_bytes{{@container}})"),
            unit="bytes",
            legend=NAMED,
            links=LINK,
        ),
        graph(
            "Against its limit",
            "Working set in percent of the memory limit. At 100 % the kernel kills. Containers without a limit are not here.",
            most(recorded("engine_name:container_memory_usage:percent")),
            unit="percent",
            legend=NAMED,
            top=100,
            steps=NEAR_FULL_PERCENT,
            links=LINK,
        ),
        graph(
            "What it is",
            "All containers chosen: their own memory, files the kernel keeps for them, files mapped, and what is swapped out.",
            (
                Query("sum(container_memory_rss{@container})", "own"),
                Query("sum(container_memory_cache{@container})", "file cache"),
                Query("sum(container_memory_mapped_file{@container})", "mapped, of the cache"),
                Query("sum(container_memory_swap{@container})", "swapped out"),
            ),
            unit="bytes",
            w=8,
        ),
        graph(
            "Limit reached",
            "How often in a second a container wanted memory beyond its limit. Cache is dropped then; if that does not help, it is killed.",
            most(rate("container_memory_failcnt")),
            unit="ops",
            legend=NAMED,
            w=8,
            links=LINK,
        ),
        graph(
            "Faults that read from disk",
            "Pages that had to be fetched, in a second. Many of them, near the limit, is a container that reads its own program again and again.",
            f"""
            topk($most, {BY} (rate(container_memory_failures_total{{
                @container,failure_type="pgmajfault"}}{RATE})))
            """,
            unit="ops",
            legend=NAMED,
            w=8,
            links=LINK,
        ),
    ),
)

TRAFFIC = Row(
    "Network and disk",
    (
        graph(
            "Receives",
            "Bytes in a second, over all interfaces of the container. Those that share another's network are not counted twice.",
            most(rate("container_network_receive_bytes_total")),
            unit="Bps",
            legend=NAMED,
            w=8,
            links=LINK,
        ),
        graph(
            "Sends",
            "Bytes in a second, over all interfaces of the container.",
            most(rate("container_network_transmit_bytes_total")),
            unit="Bps",
            legend=NAMED,
            w=8,
            links=LINK,
        ),
        graph(
            "Packets that did not arrive",
            "Errors and drops, in and out, in a second. Anything that stays above zero is worth a look.",
            (
                Query(
                    f"{rate('container_network_receive_errors_total')} > 0",
                    "{{name}} errors in",
                ),
                Query(
                    f"{rate('container_network_transmit_errors_total')} > 0",
                    "{{name}} errors out",
                ),
                Query(
                    f"{rate('container_network_receive_packets_dropped_total')} > 0",
                    "{{name}} dropped in",
                ),
                Query(
                    f"{rate('container_network_transmit_packets_dropped_total')} > 0",
                    "{{name}} dropped out",
                ),
            ),
            unit="pps",
            w=8,
            links=LINK,
        ),
        graph(
            "Reads",
            "Bytes in a second from disks; what came from the cache is not in it. Some kernels do not tell.",
            most(rate("container_fs_reads_bytes_total")),
            unit="Bps",
            legend=NAMED,
            links=LINK,
        ),
        graph(
            "Writes",
            "Bytes in a second to disks. Some kernels do not tell.",
            most(rate("container_fs_writes_bytes_total")),
            unit="Bps",
            legend=NAMED,
            links=LINK,
        ),
    ),
)

PROJECT, SERVICE = (f"container_label_com_docker_compose_{it}" for it in ("project", "service"))

DASHBOARD = Dashboard(
    uid="dockbus-containers",
    title="Containers",
    description="What each container uses, how near it is to its limits, and how it lives and dies.",
    scopes={
        "engine": ENGINE_SCOPE,
        "container": f'{ENGINE_SCOPE},{PROJECT}=~"$project",{SERVICE}=~"$service",name=~"$name"',
        # What is counted by name knows nothing of compose.
        "named": f'{ENGINE_SCOPE},name=~"$name"',
        "project": f'{ENGINE_SCOPE},{PROJECT}=~"$project"',
        "service": f'{ENGINE_SCOPE},{PROJECT}=~"$project",{SERVICE}=~"$service"',
    },
    variables=(
        ENGINE,
        Variable("project", "Project", "container_last_seen{@engine}", PROJECT),
        Variable("service", "Service", "container_last_seen{@project}", SERVICE),
        Variable("name", "Container", "container_last_seen{@service}", "name"),
    ),
    choices={"most": ("10", "5", "20", "50")},
    rows=(NOW, MOST, CPU, MEMORY, TRAFFIC, LIFE),
    annotations=(KILLS, DEPLOYS),
    span="1h",
)

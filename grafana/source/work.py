"""What jobs did: containers they ran, scans, cleanups: a part of the dashboard Jobs and workers."""

from __future__ import annotations

from source.common import newly
from source.model import OUTCOMES, Row
from source.panels import Column, bars, graph, heatmap, table

RATE = "[$__rate_interval]"

WORK = Row(
    "What jobs did",
    (
        table(
            "Containers that jobs ran, by image",
            "What they used in the time shown, measured by the jobs themselves: no scrape sees a container that lives for a second.",
            (
                Column("CPU", newly("dockbus_run_cpu_seconds_total", "image", "$__range"), "s"),
                Column("Runs", newly("dockbus_runs_total", "image", "$__range")),
                Column(
                    "Exit code not 0",
                    newly('dockbus_runs_total{exit_code!="0"}', "image", "$__range"),
                ),
                Column(
                    "Received",
                    newly("dockbus_run_network_receive_bytes_total", "image", "$__range"),
                    "bytes",
                ),
                Column(
                    "Sent",
                    newly("dockbus_run_network_transmit_bytes_total", "image", "$__range"),
                    "bytes",
                ),
                Column(
                    "Read",
                    newly("dockbus_run_read_bytes_total", "image", "$__range"),
                    "bytes",
                ),
                Column(
                    "Written",
                    newly("dockbus_run_write_bytes_total", "image", "$__range"),
                    "bytes",
                ),
            ),
            keys={"image": "Image"},
        ),
        graph(
            "CPU of jobs, by image",
            "Cores that containers of jobs use; it is counted when a job ends, so a long one is a spike at its end.",
            f"topk(10, sum by (image) (rate(dockbus_run_cpu_seconds_total{RATE})))",
            unit="short",
            legend="{{image}}",
            stack=True,
        ),
        heatmap(
            "Most memory a job had",
            "The peak of each container that a job ran: the darker, the more jobs. What `memory` to order is read off here.",
            f"sum by (le) (increase(dockbus_run_memory_peak_bytes_bucket{RATE}))",
            unit="bytes",
        ),
        graph(
            "Runs by exit code",
            "Containers of jobs that ended. 137 is a kill.",
            "sum by (exit_code) "
            + newly("dockbus_runs_total", "image, exit_code", "$__rate_interval"),
            unit="short",
            legend="exit code {{exit_code}}",
            w=8,
            bars=True,
        ),
        graph(
            "Scans",
            "Images that were scanned, by what was found of them.",
            f"sum by (verdict) (increase(dockbus_scans_total{RATE}))",
            unit="short",
            legend="{{verdict}}",
            w=8,
            bars=True,
            colors=OUTCOMES,
        ),
        graph(
            "Freed by cleanup",
            "Bytes that cleanup jobs have given back, by what they removed.",
            "sum by (what) "
            + newly("dockbus_cleanup_reclaimed_bytes_total", "what", "$__rate_interval"),
            unit="bytes",
            legend="{{what}}",
            w=8,
            bars=True,
        ),
        bars(
            "Removed by cleanup",
            "Things that cleanup jobs have removed in the time shown.",
            newly("dockbus_cleanup_removed_total", "what", "$__range"),
            unit="short",
            legend="{{what}}",
            w=24,
            h=5,
        ),
    ),
)

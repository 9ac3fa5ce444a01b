"""How many workers the autoscaler keeps: a part of the dashboard Jobs and workers."""

from __future__ import annotations

from source.model import Query, Row
from source.panels import graph, timeline

RATE = "[$__rate_interval]"

SCALING = Row(
    "Autoscaler",
    (
        graph(
            "Workers of each fleet",
            "How many a service has, how many it should have, and how many the jobs of the moment want."
            " Where it has more than it should, busy ones are waited for.",
            (
                Query("max by (fleet) (dockbus_scaler_replicas)", "{{fleet}} has"),
                Query("max by (fleet) (dockbus_scaler_replicas_decided)", "{{fleet}} should have"),
                Query("max by (fleet) (dockbus_scaler_replicas_wanted)", "{{fleet}} jobs want"),
            ),
            unit="short",
        ),
        graph(
            "Decisions",
            "How often a service was to have more workers, or fewer. Many of both are flapping: raise its `scale_in_window`.",
            f"sum by (fleet, direction) (increase(dockbus_scaler_decisions_total{RATE})) > 0",
            unit="short",
            legend="{{fleet}} {{direction}}",
            bars=True,
        ),
        graph(
            "Not carried out",
            "How often workers could not be made or taken away, each cause once: `dockbus events --type io.dockbus.scaler.failed` tells it.",
            f"sum by (fleet) (increase(dockbus_scaler_failures_total{RATE})) > 0",
            unit="short",
            legend="{{fleet}}",
            bars=True,
        ),
        timeline(
            "Scalers",
            "Which one scales the services of each Engine; others stand by.",
            "max by (engine, instance) (dockbus_scaler_leads)",
            legend="{{engine}} {{instance}}",
            words={"1": ("leads", "green"), "0": ("stands by", "blue")},
        ),
    ),
)

"""What `dockbus scale` measures of itself: whether it leads, and how many workers there are and should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.registry import Collector

from dockbus.families import Family

LEADS = Family(
    "dockbus_scaler_leads",
    "gauge",
    "Whether this process scales the Engine's services: 1 for one of them, 0 for those that stand by.",
    ("engine",),
)
REPLICAS = Family(
    "dockbus_scaler_replicas",
    "gauge",
    "Workers that a service has; `fleet` is its `PROJECT/SERVICE`.",
    ("fleet",),
)
DECIDED = Family(
    "dockbus_scaler_replicas_decided",
    "gauge",
    "Workers that it should have; it may be some time until busy ones can be taken away.",
    ("fleet",),
)
WANTED = Family(
    "dockbus_scaler_replicas_wanted",
    "gauge",
    "Workers that the jobs of this moment want, before the windows smooth it.",
    ("fleet",),
)
CATALOGUE = (LEADS, REPLICAS, DECIDED, WANTED)


@dataclass(frozen=True)
class Numbers:
    """What the last round found and decided for one service."""

    replicas: int
    decided: int
    wanted: int


class ScalerMetrics(Collector):
    """The metrics of one scaler; `leads` and `numbers`, by the services' names, are set by it."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self.leads = False
        self.numbers: Mapping[str, Numbers] = {}

    def collect(self) -> Iterator[Metric]:
        """All families as they stand; of services only where it leads."""
        yield LEADS.of((float(self.leads), {"engine": self._engine}))
        found = [({"fleet": name}, it) for name, it in self.numbers.items()]
        yield REPLICAS.of(*((float(it.replicas), labels) for labels, it in found))
        yield DECIDED.of(*((float(it.decided), labels) for labels, it in found))
        yield WANTED.of(*((float(it.wanted), labels) for labels, it in found))

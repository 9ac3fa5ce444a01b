"""What a worker process measures of itself: its slots, and whether it takes jobs. What its jobs come to is counted on the bus, where no dead process takes it away."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.registry import Collector

from dockbus.families import Family

SLOTS = Family(
    "dockbus_worker_slots",
    "gauge",
    "Jobs that this process can carry out at the same time.",
    ("queue",),
)
BUSY = Family(
    "dockbus_worker_slots_busy", "gauge", "Jobs that this process carries out now.", ("queue",)
)
READY = Family(
    "dockbus_worker_ready",
    "gauge",
    "Whether this process takes jobs: Redis and its Engine answer, and the Engine's name is free.",
    ("queue", "engine"),
)
CATALOGUE = (SLOTS, BUSY, READY)


class WorkerMetrics(Collector):
    """The metrics of one worker process.

    Args:
        queue: which jobs it carries out.
        engine: the name of its Engine.
        slots: how many at the same time.
        busy: asked for how many it does now.
        trouble: asked for what keeps it from taking any; empty if nothing does.
    """

    def __init__(
        self,
        *,
        queue: str,
        engine: str,
        slots: int,
        busy: Callable[[], int],
        trouble: Callable[[], str],
    ) -> None:
        self._queue = queue
        self._engine = engine
        self._slots = slots
        self._busy = busy
        self._trouble = trouble

    def collect(self) -> Iterator[Metric]:
        """All families as they stand."""
        yield SLOTS.of((float(self._slots), {"queue": self._queue}))
        yield BUSY.of((float(self._busy()), {"queue": self._queue}))
        ready = float(not self._trouble())
        yield READY.of((ready, {"queue": self._queue, "engine": self._engine}))

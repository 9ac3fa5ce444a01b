"""What a worker process measures of itself: its slots. What its jobs come to is counted on the bus, where no dead process takes it away."""

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
CATALOGUE = (SLOTS, BUSY)


class WorkerMetrics(Collector):
    """The metrics of one worker process.

    Args:
        queue: which jobs it carries out.
        slots: how many at the same time.
        busy: asked for how many it does now.
    """

    def __init__(self, queue: str, slots: int, busy: Callable[[], int]) -> None:
        self._queue = queue
        self._slots = slots
        self._busy = busy

    def collect(self) -> Iterator[Metric]:
        """All families as they stand."""
        yield SLOTS.of((float(self._slots), {"queue": self._queue}))
        yield BUSY.of((float(self._busy()), {"queue": self._queue}))

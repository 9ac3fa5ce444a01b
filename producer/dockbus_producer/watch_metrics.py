"""What `dockbus watch` measures of itself: whether it leads for its Engine, and what it has heard and not told yet."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.registry import Collector

from dockbus.families import Family
from dockbus_producer.docker_events import DockerEvents

LEADS = Family(
    "dockbus_watch_leads",
    "gauge",
    "Whether this process publishes the Engine's events: 1 for one of them, 0 for those that stand by.",
    ("engine",),
)
BACKLOG = Family(
    "dockbus_watch_backlog_events",
    "gauge",
    "Events that were heard and are not on the bus; one that stands by keeps those that the leader has not told.",
    ("engine",),
)
DROPPED = Family(
    "dockbus_watch_dropped_events_total",
    "counter",
    "Events that were heard and for which there was no room; the next look at the Engine finds what they did.",
    ("engine",),
)
OPENED = Family(
    "dockbus_watch_streams_opened_total",
    "counter",
    "Times that the Engine's event stream was opened; a silent one is opened anew each minute.",
    ("engine",),
)
CATALOGUE = (LEADS, BACKLOG, DROPPED, OPENED)


class WatchMetrics(Collector):
    """The metrics of one watch."""

    def __init__(self, engine: str, events: DockerEvents) -> None:
        self._engine = engine
        self._events = events

    def collect(self) -> Iterator[Metric]:
        """All families as they stand."""
        reader = self._events.reader
        for family, value in (
            (LEADS, self._events.leads),
            (BACKLOG, reader.waiting if reader else 0),
            (DROPPED, reader.dropped if reader else 0),
            (OPENED, reader.opened if reader else 0),
        ):
            yield family.of((float(value), {"engine": self._engine}))

"""One scrape of an Engine's containers: a sweep as families of Prometheus, and what the worker itself costs.

There are no timestamps: with them Prometheus would show the last value of a dead container for five more minutes. A silent
Engine is `dockbus_engine_up 0` rather than an old number or an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.registry import Collector

from dockbus.table import Table, Thing
from dockbus_workers.metrics import families
from dockbus_workers.metrics.calls import OUTCOMES
from dockbus_workers.metrics.families import CONTAINER
from dockbus_workers.metrics.samples import Sample
from dockbus_workers.metrics.sweep import Sweep, Sweeper

__all__ = ["ContainerCollector", "Sweep", "Sweeper", "tables"]


class ContainerCollector(Collector):
    """The families of a sweep that ends within `timeout` seconds; those of containers only where this worker leads."""

    def __init__(
        self,
        sweeper: Sweeper,
        labels: Iterable[str] | None = None,
        timeout: float = 10.0,
        *,
        leads: bool = True,
    ) -> None:
        """A collector for one scrape.

        Args:
            sweeper: what looks.
            labels: the container labels that become labels here; None for those of the settings.
            timeout: seconds a sweep may take.
            leads: whether containers are exported; a standby only asks whether the Engine is there.
        """
        self._sweeper = sweeper
        self._labels = sweeper.settings.labels if labels is None else tuple(labels)
        self._timeout = timeout
        self._leads = leads

    def describe(self) -> Iterator[Metric]:
        """All families without values, so that a registry need not ask the Engine what they are."""
        return (family.metric() for family in families.FAMILIES)

    def collect(self) -> Iterator[Metric]:
        """All families as the Engine has it now."""
        sweeper = self._sweeper
        look = sweeper.sweep if self._leads else sweeper.peek
        sweep = look(self._timeout)
        yield from self._own(sweep)
        if not self._leads:
            return
        found, left_out = tables(
            sweep.samples, sweeper.engine, labels=self._labels, series=sweeper.settings.series
        )
        engine = {"engine": sweeper.engine}
        yield families.SERIES.of((sum(map(len, found)), engine))
        yield families.LEFT_OUT.of((left_out, engine))
        yield from found

    def _own(self, sweep: Sweep) -> Iterator[Metric]:
        engine = {"engine": self._sweeper.engine}
        counts = self._sweeper.calls.counts.items()
        yield families.UP.of((sweep.up, engine))
        yield families.AGE.of((self._sweeper.inventory.age, engine))
        yield families.CALLS.of(*((count, engine | {"outcome": one}) for one, count in counts))
        if self._leads:
            yield from self._of_the_engine(sweep, engine)

    def _of_the_engine(self, sweep: Sweep, engine: dict[str, str]) -> Iterator[Metric]:
        """What a standby must not say, for it would be there twice."""
        inventory = self._sweeper.inventory
        if info := inventory.info:
            yield families.INFO.of((1, engine | {"engine_id": info.id, "version": info.version}))
        states = inventory.states.items()
        yield families.STATES.of(*((count, engine | {"state": one}) for one, count in states))
        yield families.DURATION.of((sweep.duration, engine))
        yield families.CONTAINERS.of(
            *((sweep.results.get(one, 0), engine | {"result": one}) for one in OUTCOMES)
        )
        yield families.SOURCE.of(*((1, engine | {"source": one}) for one in sorted(sweep.sources)))


def tables(
    samples: Iterable[Sample], engine: str, *, labels: Iterable[str], series: int
) -> tuple[list[Table], int]:
    """The families of containers, and how many of the newest are left out so that there are no more than `series`."""
    found = [(each, Table(each.family, each.labels)) for each in CONTAINER]
    names = {"container_label_" + re.sub(r"\W", "_", key, flags=re.ASCII): key for key in labels}
    oldest_first = sorted(samples, key=lambda sample: sample.created or 0.0)
    free = series
    for number, sample in enumerate(oldest_first):
        rows = [
            (table, which, value)
            for each, table in found
            for which, value in each.read(sample).items()
            if value is not None
        ]
        free -= len(rows)
        if free < 0:
            return [table for _, table in found], len(oldest_first) - number
        identity = (engine, sample.group, sample.name, sample.image)
        chosen = {name: sample.labels.get(key, "") for name, key in names.items()}
        thing = Thing(dict(zip(families.IDENTITY, identity, strict=True)) | chosen)
        for table, which, value in rows:
            table.add(thing, which, value)
    return [table for _, table in found], 0

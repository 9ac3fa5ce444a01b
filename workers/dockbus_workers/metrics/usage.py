"""From samples to what people read: percentages, sums, a limit that says whether it is one. Pure.

A percentage of CPU takes two samples of the same life of a container; from one it would be an average over that whole
life, which says nothing of now. It is computed from CPU time and the time between, both to the microsecond. The docker
command divides by the ticks that all CPUs have counted instead; where some are missed, as on virtual machines, it shows more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from dockbus.engine.states import bounded
from dockbus.stats import ContainerStats, health_status
from dockbus_workers.metrics.samples import Sample


class Usage:
    """What containers use between one look at them and the next."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._before: Mapping[str, Sample] = {}

    @property
    def is_new(self) -> bool:
        """Whether nothing was looked at before."""
        return not self._before

    def forget(self) -> None:
        """Begin anew."""
        self._before = {}

    def measure(self, samples: Iterable[Sample], machine: int | None) -> list[ContainerStats]:
        """What these containers use since the last look; `machine`: bytes of memory that it has."""
        now = {sample.id: sample for sample in samples}
        before, self._before = self._before, now
        return [
            stats_of(self._engine, before.get(id_), sample, machine) for id_, sample in now.items()
        ]


def stats_of(
    engine: str, before: Sample | None, now: Sample, machine: int | None
) -> ContainerStats:
    """What a container of this Engine uses, from the last two samples of it."""
    limit = now.memory_limit or machine
    used = now.memory_working_set
    return ContainerStats(
        engine=engine,
        id=now.id,
        name=now.name,
        image=now.image,
        labels=bounded(now.labels),
        time=datetime.fromtimestamp(now.seen, UTC),
        started=datetime.fromtimestamp(now.started, UTC) if now.started else None,
        cpu_percent=cpu_percent(before, now) if before else None,
        memory_bytes=used,
        memory_limit_bytes=limit,
        memory_unlimited=not now.memory_limit,
        memory_percent=100 * used / limit if limit and used is not None else None,
        network_rx_bytes=sum(now.traffic["receive_bytes"].values()),
        network_tx_bytes=sum(now.traffic["transmit_bytes"].values()),
        block_read_bytes=sum(read for read, _ in now.moved.values()),
        block_write_bytes=sum(written for _, written in now.moved.values()),
        pids=now.pids,
        health=health_status(now.health),
    )


def cpu_percent(before: Sample, now: Sample) -> float | None:
    """CPU time between two samples in percent of one core; None where they are not of one life, or not in this order."""
    elapsed = now.seen - before.seen
    if before.cpu is None or now.cpu is None or before.started != now.started or elapsed <= 0:
        return None
    return 100 * (now.cpu - before.cpu) / elapsed if now.cpu >= before.cpu else None

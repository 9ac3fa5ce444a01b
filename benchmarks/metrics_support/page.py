"""The page of a metrics worker with so many simulated containers: seconds to make it, and the memory that takes. Prints JSON.

A program of its own, so that its memory is that of a metrics worker and of nothing else.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time

from dockbus.exposition import encode
from dockbus.settings import Settings
from dockbus_workers.metrics import server as worker  # all that a metrics worker has in memory
from dockbus_workers.metrics.collector import ContainerCollector
from dockbus_workers.metrics.samples import TRAFFIC, Sample
from dockbus_workers.metrics.sweep import Sweep, Sweeper

ROUNDS = 7
ACCEPT = {"text": "", "openmetrics": "application/openmetrics-text;version=1.0.0"}


def main(number: int) -> None:
    """Measure a page with this many containers."""
    sweeper = Simulated(number)
    found = {
        name: [page(sweeper, accept) for _ in range(ROUNDS)] for name, accept in ACCEPT.items()
    }
    print(
        json.dumps(
            {
                "containers": number,
                "bytes": found["openmetrics"][0][1],
                "series": found["openmetrics"][0][2],
                **{
                    f"{name}_seconds": round(statistics.median(each[0] for each in all_), 3)
                    for name, all_ in found.items()
                },
                "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "program": worker.__name__,
            }
        )
    )


def page(sweeper: Sweeper, accept: str) -> tuple[float, int, int]:
    """Seconds for a page, its bytes and its series."""
    begun = time.perf_counter()
    body, _ = encode(ContainerCollector(sweeper).collect(), accept)
    return time.perf_counter() - begun, len(body), body.count(b"\ncontainer_")


class Simulated(Sweeper):
    """A sweeper whose containers nobody runs."""

    def __init__(self, number: int) -> None:
        super().__init__(Settings())
        self._samples = tuple(map(simulated, range(number)))

    def sweep(self, timeout: float) -> Sweep:  # noqa: ARG002  as the base has it
        """Them all."""
        results = {"ok": len(self._samples)}
        sources = frozenset({"cgroup"})
        return Sweep(up=True, duration=0.0, samples=self._samples, results=results, sources=sources)


def simulated(number: int) -> Sample:
    """A container with all series that one usually has."""
    big = 1_234_567 * (number + 1)
    id_ = f"{number:064x}"
    return Sample(
        id=id_,
        name=f"shop-service-{number}-1",
        image="registry.example.com/team/service:1.2.3",
        labels={
            "com.docker.compose.project": f"shop{number % 20}",
            "com.docker.compose.service": f"service-{number}",
        },
        group=f"/docker/{id_}",
        seen=time.time(),
        health="healthy",
        created=1e9 + number,
        started=1e9 + number,
        cpu=big / 1e6,
        cpu_user=big / 2e6,
        cpu_system=big / 3e6,
        cpu_periods=big,
        cpu_throttled_periods=number,
        cpu_throttled=number / 7,
        cpu_quota=50_000,
        cpu_period=100_000,
        cpu_shares=1024,
        memory=big,
        memory_working_set=big,
        memory_rss=big,
        memory_cache=big,
        memory_mapped=big,
        memory_swap=0,
        memory_peak=big,
        memory_failures=0,
        page_faults=big,
        major_page_faults=number,
        memory_limit=1 << 30,
        memory_reservation=0,
        memory_swap_limit=1 << 30,
        pids=7,
        pids_limit=1024,
        traffic={word: {"eth0": big} for word in TRAFFIC},
        moved={"8:0": (big, big)},
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))

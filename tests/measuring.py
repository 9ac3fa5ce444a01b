"""Samples, and stats made of them, without an Engine; and the part of a metrics worker that publishes, with one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from dockbus import Bus, Settings
from dockbus.stats import Board, ContainerStats, EngineStats, HealthStatus
from dockbus_workers.metrics.publisher import publishing
from dockbus_workers.metrics.samples import TRAFFIC, Facts, Sample, Use
from dockbus_workers.metrics.sweep import Sweeper
from waiting import wait_for

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = "5a" * 32
INSPECTED: dict[str, Any] = {
    "Id": ID,
    "Name": "/web",
    "State": {"Status": "running", "StartedAt": "2026-01-02T03:00:00Z"},
    "Config": {"Image": "shop/web:3", "Labels": {"team": "blue"}},
    "HostConfig": {"Memory": 64 << 20},
}


def traffic(**interfaces: tuple[int, int]) -> dict[str, dict[str, int]]:
    """Bytes received and sent by each interface."""
    counts: dict[str, dict[str, int]] = {word: {} for word in TRAFFIC}
    counts["receive_bytes"] = {name: pair[0] for name, pair in interfaces.items()}
    counts["transmit_bytes"] = {name: pair[1] for name, pair in interfaces.items()}
    return counts


def sample(after: float = 0.0, *, limit: int = 64 << 20, started: str = "", **use: Any) -> Sample:
    """A container's sample some seconds after `AT`."""
    state = INSPECTED["State"] | ({"StartedAt": started} if started else {})
    raw = INSPECTED | {"HostConfig": {"Memory": limit}, "State": state}
    return Sample.of(Facts.parse(raw), f"/docker/{ID}", Use(seen=AT.timestamp() + after, **use))


def stats(
    after: float = 0.0,
    *,
    name: str = "web",
    cpu: float | None = 10.0,
    memory: float | None = 10.0,
    **fields: Any,
) -> ContainerStats:
    """A container's stats some seconds after `AT`, in percent."""
    known: dict[str, Any] = {
        "engine": "local",
        "id": name.encode().hex().ljust(64, "0"),
        "image": "shop/web:3",
        "started": AT - timedelta(hours=1),
    }
    return ContainerStats(
        name=name,
        time=AT + timedelta(seconds=after),
        cpu_percent=cpu,
        memory_percent=memory,
        **known | fields,
    )


WEB = stats(
    name="shop-web",
    cpu=120.5,
    memory=25.0,
    memory_bytes=16 << 20,
    memory_limit_bytes=64 << 20,
    network_rx_bytes=2048,
    pids=7,
    labels={"tier": "web"},
    health=HealthStatus.HEALTHY,
)
DB = stats(
    name="shop-db",
    cpu=None,
    memory=50.0,
    memory_bytes=4 << 30,
    memory_limit_bytes=8 << 30,
    memory_unlimited=True,
    labels={"tier": "db"},
)


@contextmanager
def metrics_worker(
    settings: Settings, leads: Callable[[], bool] = lambda: True
) -> Generator[Sweeper]:
    """The part of a metrics worker that publishes, for the block."""
    sweeper = Sweeper(settings)
    try:
        with publishing(settings, sweeper, leads):
            yield sweeper
    finally:
        sweeper.close()


@contextmanager
def measured(bus: Bus, *containers: ContainerStats, engine: str = "local") -> Generator[Measures]:
    """A metrics worker's part in stats, without an Engine: while they are wanted, these are what it measures."""
    measures = Measures(bus, engine, list(containers))
    thread = threading.Thread(target=measures.run)
    thread.start()
    try:
        wait_for(lambda: measures.looks, what="the metrics worker")
        yield measures
    finally:
        measures.stopping.set()
        thread.join()


class Measures:
    """Measures what it is told to."""

    def __init__(self, bus: Bus, engine: str, containers: list[ContainerStats]) -> None:
        self.board = Board(bus.redis)
        self.engine = engine
        self.containers = containers
        self.up = True
        self.is_stuck = False
        self.looks = self.rounds = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(0.05):
            if self.board.wanted(self.engine) and not self.is_stuck:
                self.rounds += 1
                self.board.put(
                    EngineStats(
                        engine=self.engine,
                        sequence=self.rounds,
                        time=datetime.now(UTC),
                        up=self.up,
                        containers=self.containers,
                    )
                )
            self.looks += 1
        self.board.retire(self.engine)

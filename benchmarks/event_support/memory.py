"""What a world of many containers takes: in Redis, and in the process that holds it."""

from __future__ import annotations

import gc
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dockbus import Bus, Settings
from dockbus.snapshot import EngineState, PortState, containers_key
from dockbus_producer.docker_events.envelope import nanoseconds
from dockbus_producer.docker_events.ledger import Ledger
from dockbus_producer.docker_events.reader import Cursor
from dockbus_producer.docker_events.world import Known, Step, World

CONTAINERS = 5000
BATCH = 500


def weigh(settings: Settings, bus: Bus) -> dict[str, float]:
    """Megabytes that the containers take in Redis, and of a process that leads with them, before and after."""
    ledger = Ledger(bus, "local")
    ledger.lead()
    known = [_known(number) for number in range(CONTAINERS)]
    for first in range(0, CONTAINERS, BATCH):
        part = {one.id: one for one in known[first : first + BATCH]}
        ledger.commit(Cursor("engine", 1), EngineState(name="local"), containers=part)
    used: Any = bus.redis.memory_usage(containers_key("local"), samples=0)  # pyright: ignore[reportUnknownMemberType]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        before, after = pool.submit(grow, settings).result()
    return {
        "containers": CONTAINERS,
        "redis_mb": round(used / 1024**2, 1),
        "resident_before_mb": round(before, 1),
        "growth_mb": round(after - before, 1),
    }


def grow(settings: Settings) -> tuple[float, float]:
    """Resident megabytes of this process before and after it takes the world over, as a new leader does."""
    with Bus(settings) as bus:
        ledger = Ledger(bus, "local")
        ledger.cursor()
        before = _resident()
        world = World("local", ledger.containers())
        gc.collect()
        if len(world.containers) != CONTAINERS:
            raise RuntimeError(f"{len(world.containers)} containers were found")
        return before, _resident()


def _resident() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024


def _known(number: int) -> Known:
    """A container that runs, with six labels, a port and a life before this one."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    name, nano = f"shop-web-{number}", nanoseconds(moment)
    return Known(
        engine="local",
        id=f"{number:064x}",
        name=name,
        image="shop/web:1",
        image_id=f"sha256:{number:064x}",
        state="running",
        health="healthy",
        labels={
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": "web",
            "com.docker.compose.container-number": str(number),
            "com.docker.compose.config-hash": f"{number:064x}",
            "team": "blue",
            "web.domain": f"{name}.example",
        },
        created=moment,
        started=moment,
        finished=moment,
        addresses={"shop_default": "172.20.0.7"},
        ports=[PortState(container=80, address="127.0.0.1", host=8000 + number)],
        steps=(
            Step("start", nano, "heard"),
            Step("die", nano + 1, "heard"),
            Step("start", nano + 2),
        ),
        told_health="healthy",
    )

"""What the bus costs over what it stands on: RQ for putting a job on a queue, the bare Engine for running it.

Both sides of each pair run in the same minute on the same machine, in turns, and only their ratio counts.
Prints one `target` line per claim and keeps its numbers in `benchmarks/results/overhead.json`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from rq import Queue
from rq.serializers import JSONSerializer

from dockbus import Bus, Cleanup, Run, Settings, local
from dockbus.engine import ContainerSpec, Engine
from dockbus.settings import BusSettings, EngineSettings, RedisSettings

ROUNDS = 5
JOBS = 500
CONTAINERS = 24
SLOTS = 4
RESULTS = Path(__file__).parent / "results" / "overhead.json"


def main() -> None:
    """Run all pairs."""
    with tempfile.TemporaryDirectory(prefix="dkb-") as folder:
        scratch = Path(folder)
        with (
            local.local_redis(scratch / "redis", note) as url,
            local.local_engine(scratch / "engine", note) as host,
        ):
            settings = Settings(
                redis=RedisSettings(url=url),
                engine=EngineSettings(host=host),
                bus=BusSettings(key=SecretStr("benchmark"), data_dir=scratch),
            )
            engine = Engine(settings.engine)
            image = local.base_image(engine, scratch, note)
            with Bus(settings) as bus:
                bus.redis.config_set("appendfsync", "everysec")  # not the disk is measured
                results = {
                    "enqueue": pair(
                        lambda: enqueue_dockbus(bus),
                        lambda: enqueue_rq(bus),
                        "enqueue, dockbus to RQ",
                    ),
                    "run": with_worker(
                        settings,
                        lambda: pair(
                            lambda: run_dockbus(bus, image),
                            lambda: run_bare(engine, image),
                            "run, dockbus to bare Engine",
                        ),
                    ),
                }
            engine.close()
    report(results)


def enqueue_dockbus(bus: Bus) -> float:
    """Seconds for one job."""
    spec = Cleanup(labels={"nobody": "has this"})
    begun = time.perf_counter()
    for _ in range(JOBS):
        bus.enqueue(spec)
    taken = (time.perf_counter() - begun) / JOBS
    bus.redis.flushdb()  # else workers would queue these again in the middle of what is measured next
    return taken


def enqueue_rq(bus: Bus) -> float:
    """Seconds for one job with a payload of the same kind and an ID that must be unique."""
    queue = Queue("plain", connection=bus.redis, serializer=JSONSerializer)
    begun = time.perf_counter()
    for number in range(JOBS):
        queue.enqueue(
            "cleanup",
            {"kind": "cleanup", "labels": {"nobody": "has this"}},
            job_id=f"{time.time_ns()}-{number}",
            unique=True,
        )
    taken = (time.perf_counter() - begun) / JOBS
    bus.redis.flushdb()
    return taken


def run_dockbus(bus: Bus, image: str) -> float:
    """Seconds for one container, with `SLOTS` at a time, from enqueue to result, logs and removal included."""
    spec = Run(image=image, command=["true"], network="none")
    begun = time.perf_counter()
    jobs = [bus.enqueue(spec) for _ in range(CONTAINERS)]
    for job in jobs:
        job.wait(timeout=120)
    return (time.perf_counter() - begun) / CONTAINERS


def run_bare(engine: Engine, image: str) -> float:
    """Seconds for the same calls without a bus: create, start, read the log to its end, inspect, remove."""

    def one(number: int) -> None:
        containers = engine.containers
        container = containers.create(
            ContainerSpec(
                name=f"dockbus-bench-{number}",
                image=image,
                command=["true"],
                network="none",
                pids=1024,
            )
        )
        containers.start(container)
        for _ in containers.logs(container):
            pass
        containers.get(container)
        containers.remove(container)

    begun = time.perf_counter()
    with ThreadPoolExecutor(SLOTS) as pool:
        list(pool.map(one, range(CONTAINERS)))
    return (time.perf_counter() - begun) / CONTAINERS


def with_worker(settings: Settings, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measure while a run worker with `SLOTS` slots serves the bus."""
    env = os.environ | {
        "DOCKBUS_REDIS_URL": settings.redis.url,
        "DOCKBUS_BUS_KEY": settings.bus.key.get_secret_value(),
        "DOCKBUS_ENGINE_HOST": settings.engine.host,
    }
    command = [sys.executable, "-m", "dockbus", "worker", "run", "--slots", str(SLOTS)]
    worker = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    try:
        return measure()
    finally:
        worker.terminate()
        worker.wait()


def pair(ours: Callable[[], float], theirs: Callable[[], float], what: str) -> dict[str, Any]:
    """Both sides in turns after one warm-up round each."""
    ours(), theirs()
    rounds = [(ours(), theirs()) for _ in range(ROUNDS)]
    ratios = sorted(a / b for a, b in rounds)
    note(f"{what}: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    return {
        "ratio_median": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ours_ms": [round(1000 * a, 3) for a, _ in rounds],
        "theirs_ms": [round(1000 * b, 3) for _, b in rounds],
    }


def report(results: dict[str, dict[str, Any]]) -> None:
    """Print the targets and keep the numbers."""
    wanted = {"enqueue": 3.0, "run": 1.3}
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    RESULTS.write_text(json.dumps({"machine": where, **results}, indent=2) + "\n")
    for name, limit in wanted.items():
        measured = results[name]["ratio_median"]
        verdict = "ok" if measured <= limit else "missed"
        print(f"target {name}-overhead-ratio measured {measured:.2f} wanted <={limit} {verdict}")


def note(text: str) -> None:
    """What goes on, beside the result."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()

"""What it costs to know what containers use: a sweep by control groups and one by asking, beside what the docker SDK offers.

All ways take turns on the same Engine with the same containers, on this machine's kind of Engine and then on 26.1. Numbers
of containers may be given: `python benchmarks/metrics.py 1 10`. Prints one `target` line per claim that was measured and keeps
its numbers in `benchmarks/results/metrics.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from metrics_support.engines import Stand, stand

from dockbus.settings import EngineSettings, MetricsSettings, Settings
from dockbus_workers.metrics import sweep
from dockbus_workers.metrics.sweep import Sweeper

NUMBERS = (1, 10, 100)
"""Containers."""
ROUNDS = 15
"""Of each kind of sweep; of one that has to wait for the Engine's tick, `SLOW_ROUNDS`."""
SLOW_ROUNDS = 4
SAMPLED = 10
"""Containers that are asked one after the other, at most: each takes two seconds. For more, the rest is reckoned."""
THREADS = 16
STREAMED = 5.0
"""Seconds for which streams are read."""
SIMULATED = 1000
"""Containers of the largest page."""
RESULTS = Path(__file__).parent / "results" / "metrics.json"


def main(numbers: tuple[int, ...]) -> None:
    """Measure everything."""
    results: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 2)}
    results["page"] = page()
    note(f"page: {json.dumps(results['page'])}")
    with tempfile.TemporaryDirectory(prefix="dkb-") as folder:
        for newer in (False, True):
            with stand(Path(folder), note, newer=newer) as place:
                results[place.version] = {}
                for number in sorted(numbers):
                    place.grow(number)
                    found = measure(place)
                    results[place.version][str(number)] = found
                    note(f"Engine {place.version}, {number} containers: {json.dumps(found)}")
    report(results)


def page() -> dict[str, Any]:
    """Seconds and memory for the page of many containers."""
    program = [sys.executable, str(Path(__file__).parent / "metrics_support" / "page.py")]
    said = subprocess.run([*program, str(SIMULATED)], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


# -- one Engine, so many containers --------------------------------------------------------


@dataclass
class Cost:
    """Seconds that each of some rounds took: by the clock, of our CPU, of the Engine's."""

    wall: list[float] = field(default_factory=list[float])
    client: list[float] = field(default_factory=list[float])
    engine: list[float] = field(default_factory=list[float])

    @contextlib.contextmanager
    def round(self, place: Stand) -> Generator[None]:
        """One round."""
        engine, client, wall = place.cpu(), time.process_time(), time.perf_counter()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.client.append(time.process_time() - client)
        self.engine.append(place.cpu() - engine)

    def said(self, times: float = 1.0) -> dict[str, float]:
        """The medians, times something."""
        return {
            f"{name}_ms": round(1000 * times * statistics.median(values), 2)
            for name, values in vars(self).items()
        }


def measure(place: Stand) -> dict[str, Any]:
    """Milliseconds for one look at all containers, in each way; streams: for one second of reading them."""
    time.sleep(1.0)  # the start of the last container is over
    with sweeper(place, cgroups=True) as reader, sweeper(place, cgroups=False) as asker:
        found = {**sweeps(place, {"cgroup": reader, "one_shot": asker})}
    client = docker.DockerClient(base_url=place.engine.host, timeout=60, max_pool_size=128)
    try:
        found["sdk_loop"] = loop(place, client)
        found["sdk_16_threads"] = threads(place, client)
        found["sdk_streams_per_second"] = streams(place, client)
    finally:
        client.close()
    return found


@contextlib.contextmanager
def sweeper(place: Stand, *, cgroups: bool) -> Generator[Sweeper]:
    """One that reads control groups, or only asks."""
    metrics = MetricsSettings() if cgroups else MetricsSettings(cgroup_root=Path("/nonexistent"))
    made = Sweeper(Settings(engine=EngineSettings(host=place.engine.host), metrics=metrics))
    try:
        first = made.sweep(60)
        if len(first.samples) != len(place.made):
            raise SystemExit(f"{len(first.samples)} samples of {len(place.made)} containers")
        yield made
    finally:
        made.close()


def sweeps(place: Stand, ways: Mapping[str, Sweeper]) -> dict[str, Any]:
    """Sweeps of both kinds, in turns."""
    sweep.REUSE = 0.0
    costs = {name: Cost() for name in ways}
    sources: dict[str, list[str]] = {}
    for number in range(ROUNDS):
        for name, way in ways.items():
            if number >= SLOW_ROUNDS and min(costs[name].wall, default=0.0) > 0.5:
                continue
            with costs[name].round(place):
                found = way.sweep(60)
            sources[name] = sorted(found.sources)
            if len(found.samples) != len(place.made):
                raise SystemExit(f"{name}: {dict(found.results)} of {len(place.made)}")
    return {name: {"source": sources[name], **cost.said()} for name, cost in costs.items()}


def loop(place: Stand, client: Any) -> dict[str, Any]:  # noqa: ANN401  the SDK is untyped
    """`container.stats(stream=False)`, one container after the other; reckoned where they are many."""
    chosen = [client.containers.get(one) for one in place.made[:SAMPLED]]
    cost = Cost()
    with cost.round(place):
        for one in chosen:
            one.stats(stream=False)
    times = len(place.made) / len(chosen)
    return {"asked": len(chosen), "reckoned": times > 1, **cost.said(times)}


def threads(place: Stand, client: Any) -> dict[str, Any]:  # noqa: ANN401
    """The same in 16 threads, all of them."""
    containers = [client.containers.get(one) for one in place.made]
    cost = Cost()
    with ThreadPoolExecutor(THREADS) as pool, cost.round(place):
        list(pool.map(lambda one: one.stats(stream=False), containers))
    return cost.said()


def streams(place: Stand, client: Any) -> dict[str, Any]:  # noqa: ANN401
    """A stream for each container, a thread for each stream."""
    opened = [client.api.stats(one, decode=True, stream=True) for one in place.made]
    stop = threading.Event()
    counts = [0] * len(opened)

    def read(number: int) -> None:
        for _ in opened[number]:
            counts[number] += 1
            if stop.is_set():
                opened[number].close()  # else the Engine goes on collecting
                return

    readers = [threading.Thread(target=read, args=(number,)) for number in range(len(opened))]
    for reader in readers:
        reader.start()
    time.sleep(3.0)
    cost, before = Cost(), sum(counts)
    with cost.round(place):
        time.sleep(STREAMED)
    samples = sum(counts) - before
    stop.set()
    for reader in readers:
        reader.join()
    said = cost.said(1 / STREAMED)
    del said["wall_ms"]
    return {"samples_per_second": round(samples / STREAMED, 1), **said}


# -- what is said of it --------------------------------------------------------------------


def report(results: dict[str, Any]) -> None:
    """Print the targets and keep the numbers."""
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    RESULTS.write_text(json.dumps({"machine": where, **results}, indent=2) + "\n")
    page = results["page"]
    target(
        "metrics-page-1000-seconds", max(page["text_seconds"], page["openmetrics_seconds"]), 0.35
    )
    target("metrics-page-1000-rss-mb", page["rss_mb"], 120)
    for version, found in results.items():
        if not isinstance(found, dict) or "100" not in found:
            continue
        short = ".".join(version.split(".")[:2])
        ways = found["100"]
        if ways["cgroup"]["source"] == ["cgroup"]:
            target(f"metrics-cgroup-{short}-100-ms", ways["cgroup"]["wall_ms"], 15)
        wanted = 1.5 if ways["one_shot"]["source"] == ["wide-one-shot"] else 0.12
        target(f"metrics-one-shot-{short}-100-seconds", ways["one_shot"]["wall_ms"] / 1000, wanted)


def target(name: str, measured: float, wanted: float) -> None:
    """One line for one claim."""
    verdict = "ok" if measured <= wanted else "missed"
    print(f"target {name} measured {measured:.3f} wanted <={wanted:g} {verdict}")


def note(text: str) -> None:
    """What goes on, beside the result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or NUMBERS)

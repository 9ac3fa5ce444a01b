"""What the watch over an Engine costs: the Engine, the way from an event to a job, the pipeline, a resync, memory.

The Engine, Redis, `dockbus watch` and the worker are real, but for the pipeline's Engine: no real one is as fast, so its
events are recorded and looks at its containers answered on the spot. Prints one `target` line per claim and keeps its
numbers in `benchmarks/results/events.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

from event_support.memory import weigh
from event_support.recording import Recording
from event_support.stand import Stand, bench, cpu, docker_events, note, redis_stopped
from event_support.volumes import LABEL, deaf_subscriber

from dockbus import local
from dockbus.engine import ContainerSpec, Engine
from dockbus.jobs.running import Network
from dockbus_producer.docker_events import DockerEvents
from dockbus_producer.docker_events.audit import Audit
from dockbus_producer.docker_events.world import World

ROUNDS = 21
MADE = 500
"""Volumes that each side makes in a round."""
WARM_UP = 20
PACES = {20: 300, 200: 1000}
"""Events a second, and how many of them, where the way to a job is measured."""
PIPED = 15_000
"""Events of the recorded stream."""
CONTAINERS = 200
"""Containers of a resync."""
SLOW = 0.05
"""Seconds for a volume, three times in a row, from which on the Engine waits for a subscriber."""
RULES = """
rules:
  - name: on-volume
    on: io.dockbus.docker.volume.create
    do: {kind: stop, container: nobody-is-called-this}
"""
"""The cheapest job there is: it looks for the container, finds none, and has done what it was to do."""
RESULTS = Path(__file__).parent / "results" / "events.json"


def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory(prefix="dkb-") as folder, bench(Path(folder)) as stand:
        steps: Mapping[str, Callable[[Stand], dict[str, Any]]] = {
            "reading": reading,
            "latency": latency,
            "pipeline": pipeline,
            "resync": resync,
            "memory": lambda stand: weigh(stand.settings, stand.bus),
        }
        results: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 2)}
        for name, step in steps.items():
            stand.bus.redis.flushall()
            results[name] = step(stand)
            note(f"{name}: {json.dumps(results[name])}")
    report(results)


# -- whether reading slows the Engine ------------------------------------------------------


def reading(stand: Stand) -> dict[str, Any]:
    """Seconds for 500 volumes: nobody subscribed, Docker's own reader, a watch, and a watch whose Redis stands still."""
    sides: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
        "alone": contextlib.nullcontext,
        "docker_events": lambda: docker_events(stand),
        "watched": stand.watch,
        "redis_stopped": lambda: redis_stopped(stand),
    }
    taken: dict[str, list[list[float]]] = {name: [] for name in sides}
    for number in range(-1, ROUNDS):  # the first is to warm up
        for name in sorted(sides, reverse=bool(number % 2)):
            with sides[name]():
                time.sleep(0.5)  # its start is over
                each = [stand.volumes.make() for _ in range(MADE)]
            stand.volumes.clear()
            if number >= 0:
                taken[name].append(each)
    alone = [sum(each) for each in taken["alone"]]
    return {
        "seconds": {name: [round(sum(each), 3) for each in all_] for name, all_ in taken.items()},
        "p50_ms": {
            name: median(1000 * one for each in all_ for one in each)
            for name, all_ in taken.items()
        },
        **{
            f"{name}_ratio": median(sum(a) / b for a, b in zip(taken[name], alone, strict=True))
            for name in sides
            if name != "alone"
        },
        "deaf_subscriber": deaf(stand),
    }


def deaf(stand: Stand) -> dict[str, Any]:
    """How many events somebody may leave unread, and what each one costs from then on."""
    with deaf_subscriber(stand.settings.engine.host):
        taken = [0.0]
        while min(taken[-3:]) < SLOW and len(taken) < 10_000:
            taken.append(stand.volumes.make())
        slow = [stand.volumes.make() for _ in range(WARM_UP)]
    stand.volumes.clear()
    return {"unread": len(taken) - 4, "ms_per_volume": median(1000 * one for one in slow)}


# -- from an event to a job ----------------------------------------------------------------


def latency(stand: Stand) -> dict[str, Any]:
    """From the Engine's own time of an event to the begin of the job that a rule orders for it."""
    rules = stand.scratch / "rules.yaml"
    rules.write_text(RULES)
    with stand.watch(str(rules)), stand.program("worker", "container"):
        for _ in range(WARM_UP):
            stand.volumes.make()
        await_started(stand, WARM_UP)
        return {f"at_{pace}": paced(stand, pace, number) for pace, number in PACES.items()}


def paced(stand: Stand, pace: int, number: int) -> dict[str, Any]:
    """Milliseconds of so many events, at so many a second."""
    stand.volumes.clear()
    before = started(stand)
    begun = time.perf_counter()
    for place in range(number):
        time.sleep(max(0.0, begun + place / pace - time.perf_counter()))
        stand.volumes.make()
    sent = time.perf_counter() - begun
    taken = await_started(stand, len(before) + number)
    ms = sorted(1000 * seconds for event, seconds in taken.items() if event not in before)
    cuts = statistics.quantiles(ms, n=100)
    return {
        "events": len(ms),
        "events_per_second": round(number / sent, 1),
        "p50_ms": round(cuts[49], 1),
        "p99_ms": round(cuts[98], 1),
        "max_ms": round(ms[-1], 1),
    }


def await_started(stand: Stand, number: int) -> dict[str, float]:
    """As `started`, once there are so many."""
    for _ in range(60):
        time.sleep(0.5)  # to look takes time from what is measured
        if len(taken := started(stand)) >= number:
            return taken
    raise SystemExit(f"{len(taken)} jobs have begun, not {number}")


def started(stand: Stand) -> dict[str, float]:
    """Seconds from an event to the begin of its job, by event."""
    heard: dict[str, float] = {}
    fired: dict[str, str] = {}
    begun: dict[str, float] = {}
    for stored in stand.bus.events(since="0", follow=False):
        event, moment = stored.event, stored.event.time.timestamp()
        if event.type == "io.dockbus.docker.volume.create":
            heard[event.id] = moment
        elif event.type == "io.dockbus.rule.fired":
            fired[str(event.data["event"])] = str(event.data["job"])
        elif event.type == "io.dockbus.job.started":
            begun[event.subject] = moment
    return {
        event: begun[job] - heard[event]
        for event, job in fired.items()
        if event in heard and job in begun
    }


# -- the pipeline --------------------------------------------------------------------------


def pipeline(stand: Stand) -> dict[str, Any]:
    """Events of a recorded stream that one process tells in a second."""
    rounds = [piped(stand) for _ in range(3)]
    return {
        "events": PIPED,
        "events_per_second": [round(PIPED / taken) for taken, _, _ in rounds],
        "cpu_ms_per_event": median(1000 * cpu / PIPED for _, cpu, _ in rounds),
        "redis_cpu_ms_per_event": median(1000 * cpu / PIPED for _, _, cpu in rounds),
    }


def piped(stand: Stand) -> tuple[float, float, float]:
    """Seconds from the first event to the last, and of CPU: of the process and of Redis."""
    redis, server = stand.bus.redis, stand.redis_pid
    redis.flushall()
    recording = Recording(PIPED)
    recording.watch = watch = DockerEvents(cast("Engine", recording), stand.bus)
    thread = threading.Thread(target=watch.run)
    thread.start()
    stand.wait_for_resync()
    before = redis.xlen("dockbus:events")
    servers, ours, begun = cpu(server), time.process_time(), time.perf_counter()
    recording.begin.set()
    while redis.xlen("dockbus:events") < before + PIPED:
        time.sleep(0.02)
    taken = time.perf_counter() - begun
    used = time.process_time() - ours, cpu(server) - servers
    watch.stop()
    thread.join()
    return taken, *used


# -- a resync ------------------------------------------------------------------------------


def resync(stand: Stand) -> dict[str, Any]:
    """Seconds of a look round with 200 containers, at each of them or at their list."""
    image = local.base_image(stand.engine, stand.scratch, note)
    made = [stand.engine.containers.create(container(image)) for _ in range(CONTAINERS)]
    try:
        audit, world = Audit(stand.engine), World(stand.engine.name)
        world.begin(stand.engine.containers.get(one) for one in audit.containers())
        rounds = {
            name: [look_round(stand, audit, world, full=full) for _ in range(number)]
            for name, full, number in (("full", True, 5), ("light", False, 15))
        }
    finally:
        for one in made:
            stand.engine.containers.remove(one)
    return {
        "containers": CONTAINERS,
        **{f"{name}_seconds": median(taken for taken, _ in all_) for name, all_ in rounds.items()},
        **{f"{name}_engine_cpu": median(cpu for _, cpu in all_) for name, all_ in rounds.items()},
    }


def look_round(stand: Stand, audit: Audit, world: World, *, full: bool) -> tuple[float, float]:
    """Seconds, and of those that the Engine used its CPU; 0 where that cannot be seen."""
    pid = stand.scratch / "engine" / "docker.pid"
    engine = int(pid.read_text()) if pid.exists() else 0
    before, begun = cpu(engine), time.perf_counter()
    listed = audit.containers()
    for _, seen in audit.differing(listed, world, full=full):
        if seen:
            world.find(stand.engine.id, seen, time.time_ns())
    audit.images()
    return time.perf_counter() - begun, cpu(engine) - before


def container(image: str) -> ContainerSpec:
    """One that is never started."""
    labels = {LABEL: "1", **{f"bench.label-{number}": "some text" for number in range(5)}}
    name = f"bench-{token_hex(6)}"
    return ContainerSpec(
        name=name, image=image, command=["true"], networks=[Network(name="none")], labels=labels
    )


# -- what is said of it --------------------------------------------------------------------


def median(values: Any) -> float:  # noqa: ANN401  any iterable of floats
    """Rounded to what can be told."""
    return float(round(statistics.median(values), 3))


def report(results: dict[str, Any]) -> None:
    """Print the targets and keep the numbers."""
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    results = {"machine": where, **results}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    target("events-reading-ratio", results["reading"]["redis_stopped_ratio"], "<=", 1.05)
    for pace, p50, p99 in ((20, 100, 500), (200, 200, 1000)):
        target(
            f"events-to-job-{pace}-p50-ms", results["latency"][f"at_{pace}"]["p50_ms"], "<=", p50
        )
        target(
            f"events-to-job-{pace}-p99-ms", results["latency"][f"at_{pace}"]["p99_ms"], "<=", p99
        )
    target("events-per-second", median(results["pipeline"]["events_per_second"]), ">=", 2000)
    target("events-resync-full-seconds", results["resync"]["full_seconds"], "<=", 2.0)
    target("events-resync-light-seconds", results["resync"]["light_seconds"], "<=", 0.2)
    target("events-memory-growth-mb", results["memory"]["growth_mb"], "<=", 50)


def target(name: str, measured: float, sign: str, wanted: float) -> None:
    """One line for one claim."""
    kept = measured >= wanted if sign == ">=" else measured <= wanted
    verdict = "ok" if kept else "missed"
    print(f"target {name} measured {measured:.2f} wanted {sign}{wanted:g} {verdict}")


if __name__ == "__main__":
    main()

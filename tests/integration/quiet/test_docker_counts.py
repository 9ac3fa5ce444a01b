"""What the watch counts of containers, with a real Engine: all that happened, once, and by name."""

from __future__ import annotations

import pytest

from dockbus import Bus
from dockbus.engine import Engine
from dockbus.jobs.base import LABEL_JOB
from dockbus.jobs.running import Healthcheck
from dockbus.tally import Tally
from dockbus_producer.docker_events import counts
from dockbus_producer.docker_events.counts import forget_gone
from waiting import wait_for
from watched import ended, has, make, watching


def counted(bus: Bus, metric: str, **labels: str) -> float:
    """The sum of all samples of a metric that have these labels."""
    return sum(
        reading.value
        for reading in Tally(bus.redis).read().get(metric, [])
        if labels.items() <= reading.labels.items()
    )


def test_exits_restarts_and_health_are_counted_by_name(
    engine: Engine, base_image: str, bus: Bus, left: list[str]
) -> None:
    check = Healthcheck(test=["CMD", "true"], interval=0.3, retries=1)
    with watching(engine, bus):
        failing = make(engine, base_image, "sh", "-c", "exit 7")
        left.append(failing)
        ended(engine, failing)
        engine.containers.start(failing)
        well = make(engine, base_image, "sleep", "100", healthcheck=check)
        left.append(well)
        name = engine.containers.get(failing).name
        wait_for(lambda: counted(bus, "dockbus_container_exits_total", name=name) == 2, 30, "exits")
        wait_for(has(bus, well, "health_status: healthy"), 30, "its health")

    labels = {"engine": engine.name, "name": name, "image": base_image}
    assert counted(bus, "dockbus_container_exits_total", **labels, exit_code="7") == 2
    assert counted(bus, "dockbus_container_restarts_total", **labels) == 1
    healthy = {"name": engine.containers.get(well).name, "health": "healthy"}
    assert counted(bus, "dockbus_container_health_transitions_total", **healthy) == 1
    heard = {"engine": engine.name, "type": "container", "action": "create"}
    assert counted(bus, "dockbus_engine_events_total", **heard) >= 2
    delays = counted(bus, "dockbus_engine_event_delay_seconds_bucket", engine=engine.name)
    found = counted(bus, "dockbus_engine_events_found_total", engine=engine.name)
    assert delays + found == counted(bus, "dockbus_engine_events_total", engine=engine.name)
    assert counted(bus, "dockbus_engine_resyncs_total", engine=engine.name) >= 1


def test_a_process_that_is_killed_for_memory_is_counted(
    engine: Engine, base_image: str, bus: Bus, left: list[str]
) -> None:
    greedy = "x=a; while true; do x=$x$x; done"
    with watching(engine, bus):
        container = make(engine, base_image, "sh", "-c", greedy, memory=16 * 1024**2)
        left.append(container)
        name = engine.containers.get(container).name
        wait_for(lambda: counted(bus, "container_oom_events_total", name=name), 30, "its end")
        wait_for(lambda: counted(bus, "dockbus_container_exits_total", name=name), 30, "its end")

    assert counted(bus, "container_oom_events_total", name=name) >= 1
    assert counted(bus, "dockbus_container_exits_total", name=name, exit_code="137") == 1


def test_containers_of_jobs_are_counted_together(
    engine: Engine, base_image: str, bus: Bus, left: list[str]
) -> None:
    with watching(engine, bus):
        for _ in range(2):
            container = make(engine, base_image, "sh", "-c", "exit 43", labels={LABEL_JOB: "some"})
            left.append(container)
            wait_for(has(bus, container, "die"), 30, "its end")

    assert counted(bus, "dockbus_container_exits_total", name="", exit_code="43") == 2


def test_containers_that_have_been_gone_for_an_hour_are_forgotten(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for field in ("here", "gone"):
        bus.redis.hset(
            "dockbus:tally", f'dockbus_container_restarts_total{{engine="e",name="{field}"}}', 1
        )
    monkeypatch.setattr(counts, "FORGET", -1.0)
    forget_gone(bus.redis, "other", [])
    assert counted(bus, "dockbus_container_restarts_total") == 2

    forget_gone(bus.redis, "e", ["here"])

    assert counted(bus, "dockbus_container_restarts_total", name="here") == 1
    assert counted(bus, "dockbus_container_restarts_total", name="gone") == 0

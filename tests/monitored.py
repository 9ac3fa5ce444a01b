"""A bus at work, with all its programs, a Prometheus that scrapes them, and all happening that dashboards are there to show."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import registries
import trivy_db
import trivy_images
from dockbus import Build, Bus, Cleanup, Pull, RetryPolicy, Scan, Settings
from dockbus.engine import ContainerSpec, Engine
from dockbus.jobs.actions import Restart
from dockbus.jobs.gate import Severity
from dockbus.jobs.running import Healthcheck, Network
from dockbus.jobs.running.ports import Port
from dockbus.settings import (
    ApiSettings,
    BuildSettings,
    BusSettings,
    EngineSettings,
    MetricsSettings,
    RedisSettings,
    ScaleSettings,
    ScanSettings,
    SecretsSettings,
    WatchSettings,
    WorkerSettings,
)
from outage import Plug
from processes import Program
from prometheus_server import Prometheus, free_port
from receivers import Receiver, status
from runs import shell
from waiting import wait_for

QUEUES = ("pull", "build", "run", "scan", "cleanup", "container")
LABEL = "dockbus.test.monitored"
RULES = f"""
rules:
  - name: gives-up
    on: io.dockbus.docker.container.die
    where: {{labels: {{{LABEL}: restarts}}}}
    limit: {{count: 1, per: 1h, then: suspend}}
    cooldown: 0
    do: {{kind: stop, container: nobody-is-called-this}}
"""
CALLS = "nc -w 1 $(ip route | cut -d ' ' -f 3 | head -n 1) 9; sleep 0.5"
"""Nobody listens there, but it is said over the container's network."""
SCALING = """
services:
  - {project: shop, service: crowded, queue: run, max: 3, slots: 1, scale_in_window: 1}
"""
SINKS = """
sinks:
  - name: good
    url: {good}
    types: [io.dockbus.rule.*, io.dockbus.job.succeeded]
  - name: bad
    url: {bad}
    types: [io.dockbus.rule.*, io.dockbus.job.succeeded]
    retry: {{max: 0}}
"""


@dataclass
class World:
    """A bus at work, and who watches it."""

    bus: Bus
    engine: Engine
    plug: Plug
    """Between the watch and its Engine."""
    redis_plug: Plug
    """Between the API and its Redis."""
    api: str
    folder: Path
    settings: Settings
    prometheus: Prometheus
    start: Callable[..., Program]
    image: str
    registry: str
    metrics_port: int
    begun: float
    """Seconds since 1970."""

    def has_shown(self, query: str) -> bool:
        """Whether it has had a result at any time until now: what is rare is out of sight again after a minute."""
        return bool(self.prometheus.range(query, self.begun, time.time(), 1.0))


def await_all(server: Prometheus, programs: list[Program]) -> None:
    """Wait until every program is scraped.

    Raises:
        AssertionError: one was not for a minute and a half.
        Failed: one has ended; says why, as Prometheus and that program have it.
    """

    def over() -> bool:
        ended = any(one.process.poll() is not None for one in programs)
        return ended or set(server.targets().values()) == {"up"}

    wait_for(over, 90, "all to be scraped")
    if set(server.targets().values()) != {"up"}:
        logs = [f"{one.log.name}: {one.log.read_text()[-500:]}" for one in programs]
        pytest.fail("\n".join([str(server.targets()), *logs]), pytrace=False)


def world_settings(
    folder: Path, redis_url: str, engine_host: str, good: Receiver, bad: Receiver
) -> Settings:
    bad.answers.extend([status(404)] * 200)
    (folder / "rules.yaml").write_text(RULES)
    (folder / "sinks.yaml").write_text(SINKS.format(good=good.url, bad=bad.url))
    (folder / "scaling.yaml").write_text(SCALING)
    (folder / "context").mkdir()
    (folder / "context" / "Dockerfile").write_text("FROM dockbus/base:1\nRUN echo hello > /hello\n")
    return Settings(
        redis=RedisSettings(url=redis_url),
        bus=BusSettings(key=SecretStr("monitored"), data_dir=folder),
        engine=EngineSettings(host=engine_host),
        api=ApiSettings(port=0, token=SecretStr("token")),
        worker=WorkerSettings(heartbeat=3.0, drain=0.0),
        build=BuildSettings(root=folder, builder="classic"),
        scan=ScanSettings(cache_dir=str(trivy_db.copy(folder / "trivy")), offline=True),
        watch=WatchSettings(rules=str(folder / "rules.yaml"), sinks=str(folder / "sinks.yaml")),
        scale=ScaleSettings(path=str(folder / "scaling.yaml"), interval=0.5),
        secrets=SecretsSettings(),
        metrics=MetricsSettings(),
    )


# -- what happens -------------------------------------------------------------------------------


def happenings(world: World, held: contextlib.ExitStack) -> Iterator[Callable[[], None]]:
    """What happens, in its order."""
    containers = _containers(world, held)
    yield lambda: _jobs(world)
    yield lambda: _lives(world, containers)
    yield lambda: _killed_worker(world)
    yield lambda: _outages(world, containers)
    # Once more: what a counter has risen by can be seen only where it was scraped before.
    yield lambda: _jobs(world)
    yield lambda: _lives(world, containers)


def _containers(world: World, held: contextlib.ExitStack) -> dict[str, str]:
    """Containers that stay: one that spins below a limit, one whose health changes, one of which the Engine can have no
    second, for it has a port of the machine, and those that `_lives` is about."""
    toggling = "while true; do touch /ok; sleep 3; rm /ok; sleep 3; done"
    probe = Healthcheck(test=["CMD", "test", "-e", "/ok"], interval=0.5, retries=1)
    specs: dict[str, dict[str, Any]] = {
        "spins": {"script": "while true; do :; done", "cpus": 0.1, "memory": 64 * 1024**2},
        "talks": {"script": "while true; do ping -c 1 127.0.0.1; sleep 1; done", "bridge": True},
        "flips": {"script": toggling, "healthcheck": probe},
        "restarts": {"script": "exec sleep 1000"},
        "crowded": {
            "script": "exec sleep 1000",
            "bridge": True,
            "ports": [Port(container=80, host=free_port())],
        },
        "greedy": {"script": "x=a; while true; do x=$x$x; done", "memory": 16 * 1024**2},
    }
    made: dict[str, str] = {}
    for name, facts in specs.items():
        script = facts.pop("script")
        network = Network(name="bridge" if facts.pop("bridge", False) else "none")
        spec = ContainerSpec(
            name=f"monitored-{name}-1",
            image=world.image,
            command=["sh", "-c", script],
            networks=[network],
            labels={
                "dockbus.test": "1",
                LABEL: name,
                "com.docker.compose.project": "shop",
                "com.docker.compose.service": name,
                "com.docker.compose.container-number": "1",
                "com.docker.compose.oneoff": "False",
            },
            **facts,
        )
        made[name] = world.engine.containers.create(spec)
        held.callback(world.engine.containers.remove, made[name], force=True)
        world.engine.containers.start(made[name])
    return made


def _jobs(world: World) -> None:
    """Jobs of every kind, some of which fail."""
    bus, round_ = world.bus, str(time.monotonic())
    source = f"{world.registry}/dockbus/monitored:1"
    registries.publish(world.engine, source)
    with trivy_images.image(world.engine, "debian", "dockbus/test-monitored:1"):
        jobs = [
            bus.enqueue(Pull(image=source, policy="always")),
            bus.enqueue(
                Build(context=str(world.folder / "context"), tags=["dockbus/test-built:1"])
            ),
            bus.enqueue(Scan(image="dockbus/test-monitored:1")),
            bus.enqueue(Scan(image="dockbus/test-monitored:1", fail_on=Severity.LOW, fresh=True)),
            *(bus.enqueue(shell(f"echo {n}; exit {n % 2}", memory="64m")) for n in range(4)),
            bus.enqueue(shell("dd if=/dev/zero of=/x bs=64k count=64; sync")),
            bus.enqueue(shell(CALLS, networks=["bridge"])),
            bus.enqueue(Restart(container="monitored-restarts-1", timeout=0)),
        ]
        bad = [
            bus.enqueue(shell("true", image="dockbus/no-such:1", pull="never")),
            bus.enqueue(Restart(container=f"nobody-{round_}"), retry=RetryPolicy(max=0)),
            bus.enqueue(
                Pull(image="127.0.0.1:9/dockbus/none:1"),
                retry=RetryPolicy(max=1, base=0.1, cap=0.2),
            ),
        ]
        for job in (*jobs, *bad):
            wait_for(lambda job=job: job.refresh().ended, 120, f"the end of {job.refresh().kind}")  # type: ignore[misc]
    left = world.engine.containers.create(
        ContainerSpec(
            name="monitored-left",
            image=world.image,
            command=["dd", "if=/dev/zero", "of=/x", "bs=64k", "count=16"],
            labels={"dockbus.test": "1", LABEL: "left"},
        )
    )
    world.engine.containers.start(left)
    wait_for(lambda: world.engine.containers.get(left).is_stopped, what="its end")
    cleanup = bus.enqueue(Cleanup(labels={LABEL: "left"}, older_than=0))
    wait_for(lambda: cleanup.refresh().ended, 60, "the cleanup")
    for path in ("/v1/jobs", "/v1/queues", "/v1/jobs/nobody"):
        _ask(world, path)


def _ask(world: World, path: str) -> int:
    headers = {"Authorization": "Bearer token"}
    return httpx.get(world.api + path, headers=headers, timeout=30).status_code


def _lives(world: World, containers: dict[str, str]) -> None:
    """Ends, starts, and a kill for memory, of the same containers each time."""
    engine = world.engine
    wait_for(lambda: engine.containers.get(containers["greedy"]).is_stopped, 60, "a kill")
    engine.containers.start(containers["greedy"])
    wait_for(lambda: engine.containers.get(containers["greedy"]).is_stopped, 60, "a kill")
    engine.containers.stop(containers["restarts"], timeout=0)
    engine.containers.start(containers["restarts"])


def _killed_worker(world: World) -> None:
    """A worker dies with a job in its hands; another one finishes it."""
    job = world.bus.enqueue(shell("sleep 3"), engine="elsewhere")
    engine = world.settings.engine.model_copy(update={"name": "elsewhere"})
    first = world.start("run", "worker", "run", engine=engine, metrics=MetricsSettings())
    wait_for(lambda: job.refresh().started, 60, "it to begin")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    world.start("run", "worker", "run", engine=engine, metrics=MetricsSettings())
    wait_for(lambda: job.refresh().ended, 60, "another attempt")


def _outages(world: World, containers: dict[str, str]) -> None:
    """The watch loses its Engine, which forgets what happens meanwhile; the API loses its Redis."""
    world.plug.pull()
    for number in range(300):
        world.engine.images.tag(world.image, f"dockbus/test-forget:{number % 2}")
    _lives(world, containers)
    world.redis_plug.pull()
    assert {_ask(world, "/v1/jobs") for _ in range(2)} == {503}
    lost = "dockbus_engine_connected == 0"
    wait_for(lambda: world.prometheus.query(lost), 60, "the Engine to be lost")
    world.plug.put_back()
    world.redis_plug.put_back()
    wait_for(lambda: world.prometheus.query("dockbus_engine_connected == 1"), 60, "it to be back")
    wait_for(lambda: world.prometheus.query("dockbus_engine_gaps_total > 0"), 60, "the gap")
    for number in range(2):
        world.engine.images.remove(f"dockbus/test-forget:{number}")

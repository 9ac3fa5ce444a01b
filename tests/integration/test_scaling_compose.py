"""Scaling a real Compose project: real workers that come with the jobs and go after them, and `docker compose` beside them.

SCALING_JOBS and SCALING_SECONDS make the burst a larger one than is good for every run, such as 100 jobs of 2 seconds each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from actions import target
from builds import packed
from dockbus import Bus, Exec, JobState, Settings
from dockbus.engine import Engine
from dockbus.settings import MetricsSettings, ScaleSettings, WorkerSettings
from dockbus.tally import Tally
from dockbus_workers.scaling.compose import COPIED, NUMBER
from dockbus_workers.scaling.services import load_services
from processes import Program
from prometheus_server import free_port
from scaled import ROOT, SHELL, Stack, containers, controller, docker_compose, running, stack, told
from waiting import wait_for

Start = Callable[..., Program]
JOBS = int(os.environ.get("SCALING_JOBS", "24"))
SECONDS = float(os.environ.get("SCALING_SECONDS", "0.1"))
MOST = 3
SLOTS = 4
WORKER = [sys.executable, "-m", "dockbus", "worker", "container"]


@pytest.fixture
def engine_socket(settings: Settings) -> None:
    if settings.engine.host and not settings.engine.host.startswith("unix://"):
        pytest.skip("the Engine has no socket here that its containers could be given")


@pytest.fixture
def swift(settings: Settings) -> Settings:
    return settings.model_copy(update={"worker": WorkerSettings(slots=SLOTS, drain=15)})


@pytest.fixture
def workers(
    swift: Settings, tmp_path: Path, engine: Engine, base_image: str, engine_socket: None
) -> Generator[Stack]:
    """A project whose containers are workers for `container` jobs."""
    with stack(swift, engine, tmp_path, WORKER) as made:
        yield made


@pytest.fixture
def shells(settings: Settings, tmp_path: Path, engine: Engine, base_image: str) -> Generator[Stack]:
    """A project whose containers do nothing."""
    with stack(settings, engine, tmp_path, SHELL) as made:
        yield made


def served_at(port: int) -> dict[str, float]:
    """What a scaler measures of itself."""
    page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    samples = [sample for family in parse_text(page) for sample in family.samples]
    return {it.name: it.value for it in samples if it.name.startswith("dockbus_scaler_")}


def hands(bus: Bus) -> Counter[str]:
    """How many jobs have begun in each container."""
    begun = bus.events(since="0", follow=False, types="io.dockbus.job.started")
    return Counter(str(it.event.data["worker"]).partition("-")[0] for it in begun)


def test_a_burst_of_jobs_brings_workers_and_the_lull_takes_them_away_and_no_job_is_lost(
    workers: Stack, start: Start, swift: Settings, bus: Bus, engine: Engine, tmp_path: Path
) -> None:
    project = workers.project
    file = tmp_path / "scaling.yaml"
    file.write_text(
        f"services: [{{project: {project}, service: worker, queue: container, max: {MOST},"
        " scale_in_window: 3s, oldest: 1h}]"
    )
    scaling = swift.model_copy(update={"scale": ScaleSettings(path=str(file), interval=0.5)})
    workers.call("up", "--detach")
    leader = start("scale", settings=scaling)
    leader.wait_until_said("has the lease scaler:local")
    port = free_port()
    served = MetricsSettings(own_port=port)
    standby = start("scale", settings=scaling.model_copy(update={"metrics": served}))
    standby.wait_until_said("another process has the lease scaler:local")

    with target(engine) as busy:
        script = f"until [ -e /go ]; do sleep 0.2; done; sleep {SECONDS}"
        jobs = bus.enqueue_many([Exec(container=busy.id, command=["sh", "-c", script])] * JOBS)
        wait_for(lambda: len(hands(bus)) == MOST, timeout=90, what="all workers to have a job")
        listed = workers.call("ps", "--format", "{{.Name}} {{.State}}")
        assert served_at(port) == {"dockbus_scaler_leads": 0}
        leader.process.kill()
        bus.redis.delete("dockbus:lease:scaler:local")  # what time would do, in 15 seconds
        engine.containers.put(busy.id, packed(("go", ""), zipped=False))
        for job in jobs:
            job.wait(timeout=60 + JOBS * SECONDS)
    wait_for(lambda: len(containers(engine, project)) == 1, what="one worker, and no leftovers")
    wait_for(
        lambda: (
            served_at(port)
            == {
                "dockbus_scaler_leads": 1,
                "dockbus_scaler_replicas": 1,
                "dockbus_scaler_replicas_decided": 1,
                "dockbus_scaler_replicas_wanted": 1,
            }
        ),
        what="metrics of the one that leads now",
    )

    names = [f"{project}-worker-{number}" for number in range(1, MOST + 1)]
    assert sorted(listed.split("\n")) == ["", *(f"{name} running" for name in names)]
    assert running(engine, project) == names[:1]
    assert {job.refresh().state for job in jobs} == {JobState.SUCCEEDED}
    assert (
        hands(bus).total() == JOBS
    )  # each was begun once: none was handed back or lost its worker
    sizes = [it["to"] for it in told(bus)]
    up, down = sizes[: sizes.index(MOST) + 1], sizes[sizes.index(MOST) + 1 :]
    assert up == sorted(up)
    assert down == sorted({*down, 1}, reverse=True)  # less and less, and never back
    counted = Tally(bus.redis).read()["dockbus_scaler_decisions_total"]
    assert {it.labels["direction"]: it.value for it in counted} == {"out": len(up), "in": len(down)}


def test_compose_accepts_the_example_beside_its_own_file() -> None:
    files = ("-f", "docker-compose.yml", "-f", "examples/scaling/compose.yaml")
    done = subprocess.run(
        [docker_compose(), *files, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DOCKER_GID": "1"},
        check=True,
        capture_output=True,
    )
    services = load_services(ROOT / "examples" / "scaling" / "workers.yaml")

    scaler = json.loads(done.stdout)["services"]["scale"]
    assert scaler["command"] == ["scale"]
    assert {it.service for it in services} <= set(scaler["depends_on"])  # `down` stops it first


def test_compose_takes_what_a_scaler_has_made_for_its_own(
    shells: Stack, bus: Bus, engine: Engine
) -> None:
    project = shells.project
    shells.call("up", "--detach")
    shells.call("up", "--detach", "--force-recreate")  # hands the anonymous volume on by its name
    (first,) = containers(engine, project)

    controller(bus, engine, project, min=2).reconcile()
    shells.call("up", "--detach", "--scale", "worker=3")

    names = [f"{project}-worker-{number}" for number in (1, 2, 3)]
    assert running(engine, project) == names
    original, copy, own = map(engine.containers.inspect, names)
    assert original["Id"] == first.id
    assert copy["Config"]["Labels"].pop(COPIED) == "1"
    for each, number in ((copy, "2"), (own, "3")):
        assert each["Config"]["Labels"].pop(NUMBER) == number
        each["Config"].pop("Hostname")
        each["Config"]["Env"].sort()  # Compose has these in any order
        each["HostConfig"]["Binds"].sort()
        (scratch,) = each["HostConfig"]["Mounts"]
        scratch.pop("VolumeOptions", None)  # of which there are none
    assert copy["Config"] == own["Config"]
    assert copy["HostConfig"] == own["HostConfig"]
    volumes = [
        {
            mount["Destination"]: mount["Name"]
            for mount in each["Mounts"]
            if mount["Type"] == "volume"
        }
        for each in (original, copy, own)
    ]
    assert [set(it) for it in volumes] == [{"/scratch"}] * 3
    assert len({it["/scratch"] for it in volumes}) == 3
    joined = copy["NetworkSettings"]["Networks"]
    assert set(joined) == {f"{project}_default", f"{project}_second"}
    assert {"worker", "busy-hands", names[1]} <= {*joined[f"{project}_second"]["Aliases"]}
    assert names[0] not in joined[f"{project}_second"]["Aliases"]

    shells.call("up", "--detach", "--scale", "worker=2")
    assert running(engine, project) == names[:2]
    assert engine.containers.get(names[1]).id == copy["Id"]
    shells.call("down", "--timeout", "5", "--volumes")
    assert containers(engine, project) == []

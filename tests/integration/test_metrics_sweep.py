"""Sweeps of a real Engine's containers, by control groups and by asking, where both must say the same as Docker itself."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from uuid import uuid4

import pytest

from containers import new_network
from dockbus.engine import ContainerSpec, Engine, EngineError, Raw
from dockbus.jobs.running import Network
from dockbus.settings import EngineSettings, Settings
from dockbus_workers.metrics.families import CONTAINER
from dockbus_workers.metrics.samples import Sample, parse_stats
from dockbus_workers.metrics.sweep import Sweeper
from outage import Plug
from scrapes import inspected, scrape, sweeping
from waiting import wait_for

Start = Callable[..., str]


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockbus_workers.metrics.sweep.REUSE", 0.0)


@pytest.fixture
def start(engine: Engine, base_image: str) -> Generator[Start]:
    """Starts a container that runs a shell script; gives its name."""
    started: list[str] = []

    def start(script: str, *, network: str = "none", cpus: float | None = None) -> str:
        name = f"dockbus-test-{uuid4().hex[:12]}"
        spec = ContainerSpec(
            name=name,
            image=base_image,
            command=["sh", "-c", script],
            labels={"dockbus.test": "1"},
            networks=[Network(name=network)],
            cap_add=["NET_RAW"],
            memory=64 << 20,
            cpus=cpus,
        )
        started.append(engine.containers.create(spec))
        engine.containers.start(name)
        return name

    yield start
    for container in reversed(started):
        engine.containers.remove(container, force=True)


@pytest.fixture
def network(engine: Engine) -> Generator[tuple[str, str]]:
    """A network of the test's own: its name and its gateway's address. Ask for it before `start`, to outlive its containers."""
    name = f"dockbus-test-{uuid4().hex[:12]}"
    new_network(engine, name)
    yield name, engine.api.inspect_network(name)["IPAM"]["Config"][0]["Gateway"]
    engine.api.remove_network(name)


@pytest.fixture(params=["cgroup", "asked"])
def sweeper(request: pytest.FixtureRequest, settings: Settings) -> Generator[Sweeper]:
    with sweeping(settings, cgroups=request.param == "cgroup") as sweeper:
        yield sweeper


@pytest.fixture
def asking(settings: Settings) -> Generator[Sweeper]:
    with sweeping(settings, cgroups=False) as sweeper:
        yield sweeper


def sample(sweeper: Sweeper, name: str) -> Sample | None:
    return next((one for one in sweeper.sweep(30).samples if one.name == name), None)


def sampled(sweeper: Sweeper, name: str) -> Sample:
    return wait_for(lambda: sample(sweeper, name), what=f"a sample of {name}")


def told(engine: Engine, name: str) -> Raw:
    """What the Engine answers to a sweep."""
    ((_, said),) = engine.containers.stats([name], width=1, timeout=30)
    assert not isinstance(said, EngineError)
    return said


def docker_stats(engine: Engine, name: str) -> dict[str, str]:
    """What the docker command says."""
    if not shutil.which("docker"):
        pytest.skip("there is no docker command to compare with")
    said = subprocess.run(
        ["docker", "--host", engine.host, "stats", "--no-stream", "--format", "{{json .}}", name],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(said.stdout)
    return found


def written(size: float, base: int, digits: int) -> str:
    """Bytes as the docker command writes them."""
    units = ["B", "KiB", "MiB", "GiB"] if base == 1024 else ["B", "kB", "MB", "GB"]
    place = 0
    while size >= base:
        size, place = size / base, place + 1
    return f"{size:.{digits}g}{units[place]}"


# -- the numbers ----------------------------------------------------------------------------


def test_memory_and_traffic_are_exactly_what_docker_says(
    sweeper: Sweeper, network: tuple[str, str], start: Start, engine: Engine
) -> None:
    script = f"ping -c 3 -i 0.2 {network[1]}; dd if=/dev/zero of=/dev/shm/x bs=1k count=700; exec sleep 1000"
    name = start(script, network=network[0])
    wait_for(lambda: sampled(sweeper, name).pids == 2, what="ping and dd to end")

    def agreed() -> bool:
        before = sampled(sweeper, name)
        said = docker_stats(engine, name)
        after = sampled(sweeper, name)
        if (before.memory_working_set, before.traffic) != (after.memory_working_set, after.traffic):
            return False  # it has moved meanwhile
        assert before.memory_working_set is not None
        assert said["MemUsage"] == f"{written(before.memory_working_set, 1024, 4)} / 64MiB"
        received, sent = (
            sum(before.traffic[f"{way}_bytes"].values()) for way in ("receive", "transmit")
        )
        assert min(received, sent) > 0
        assert said["NetIO"] == f"{written(received, 1000, 3)} / {written(sent, 1000, 3)}"
        assert said["PIDs"] == str(before.pids)
        return True

    wait_for(agreed, what="two samples that are alike")


def test_cpu_is_what_docker_says(sweeper: Sweeper, start: Start, engine: Engine) -> None:
    name = start("while :; do :; done", cpus=0.2)

    def agreed() -> bool:
        before = sampled(sweeper, name)
        said = float(docker_stats(engine, name)["CPUPerc"].rstrip("%"))
        after = sampled(sweeper, name)
        assert before.cpu is not None
        assert after.cpu is not None
        ours = 100 * (after.cpu - before.cpu) / (after.seen - before.seen)
        return abs(ours - said) <= 0.1 * said

    wait_for(agreed, timeout=100, what="both to tell the same within a tenth")
    throttled = sampled(sweeper, name)
    assert throttled.cpu_quota == 20_000
    assert throttled.cpu_throttled_periods
    assert throttled.cpu_throttled
    assert (throttled.cpu_periods or 0) >= throttled.cpu_throttled_periods


def test_both_sources_say_the_same(
    settings: Settings, network: tuple[str, str], start: Start
) -> None:
    name = start("dd if=/dev/zero of=/x bs=1M count=4; exec sleep 1000", network=network[0])
    with sweeping(settings) as reader, sweeping(settings, cgroups=False) as asker:
        wait_for(lambda: sampled(reader, name).pids == 2, what="dd to end")
        if "cgroup" not in reader.sweep(30).sources:
            pytest.skip("the Engine's control groups are not seen here")

        def alike() -> bool:
            read, asked, again = (sampled(one, name) for one in (reader, asker, reader))
            moving = ("seen", "memory_swap", "memory_peak", "pressure", "cpu", "cpu_system")
            numbers = [
                {key: value for key, value in vars(one).items() if key not in moving}
                for one in (read, asked, again)
            ]
            if numbers[0] != numbers[2]:
                return False
            assert numbers[0] == numbers[1]
            assert read.cpu == pytest.approx(asked.cpu, abs=0.01)
            return True

        wait_for(alike, what="a container that does nothing")


def test_limits_and_health_are_told(sweeper: Sweeper, start: Start, engine: Engine) -> None:
    made = engine.api.create_container(
        "dockbus/base:1",
        ["sleep", "1000"],
        name=f"dockbus-test-{uuid4().hex[:12]}",
        labels={"dockbus.test": "1"},
        healthcheck={"test": ["CMD", "true"], "interval": 10**9},
        host_config=engine.api.create_host_config(
            mem_limit="32m", mem_reservation="16m", memswap_limit="48m", pids_limit=77,
            cpu_quota=30_000, cpu_period=60_000, cpu_shares=512,
        ),
    )["Id"]  # fmt: skip
    try:
        engine.containers.start(made)
        name = engine.containers.get(made).name
        wait_for(
            lambda: scrape(sweeper).of(name).get("container_health_state") == 1,
            what="it to be healthy",
        )
        values = scrape(sweeper).of(name)
    finally:
        engine.containers.remove(made, force=True)

    assert values["container_spec_memory_limit_bytes"] == 32 << 20
    assert values["container_spec_memory_reservation_limit_bytes"] == 16 << 20
    assert values["container_spec_memory_swap_limit_bytes"] == 48 << 20
    assert (values["container_spec_cpu_quota"], values["container_spec_cpu_period"]) == (3e4, 6e4)
    assert (values["container_spec_cpu_shares"], values["container_threads_max"]) == (512, 77)
    other = start("sleep 1000")
    assert wait_for(lambda: scrape(sweeper).of(other))["container_health_state"] == -1


def test_every_family_is_there_that_this_machine_can_give(
    settings: Settings, network: tuple[str, str], start: Start
) -> None:
    name = start("sleep 1000", network=network[0], cpus=0.5)
    with sweeping(settings) as sweeper:
        sampled(sweeper, name)
        found = scrape(sweeper)
        sources = sweeper.sweep(30).sources

    names = {each.family.name for each in CONTAINER}
    of_some_machines = {
        one
        for one in names
        if one.startswith(("container_pressure_", "container_fs_", "container_blkio_"))
    } | {"container_memory_swap", "container_memory_max_usage_bytes"}
    assert names - of_some_machines <= set(found.of(name)) <= names
    if "cgroup" in sources:
        assert found.of(name)["container_memory_max_usage_bytes"] > 0


# -- what Engines get wrong -----------------------------------------------------------------


def test_a_sample_bears_the_name_of_its_container_where_the_engine_leaves_it_out(
    asking: Sweeper, start: Start, engine: Engine
) -> None:
    names = [start("sleep 1000") for _ in range(2)]
    ids = {name: engine.containers.get(name).id for name in names}

    found = {one.name: one.id for one in asking.sweep(30).samples}

    assert {name: found[name] for name in names} == ids
    version = tuple(map(int, engine.api.api_version.split(".")))
    if (1, 44) <= version < (1, 52):
        assert not told(engine, names[0]).get("name"), "this Engine does say it"


def test_the_zeros_of_a_stopped_container_are_no_sample(
    asking: Sweeper, start: Start, engine: Engine
) -> None:
    name = start("sleep 1000")
    assert sampled(asking, name).cpu
    facts = next(one for one in asking.inventory.running if one.name == name)

    engine.containers.stop(name, timeout=0)

    zeros = told(engine, name)
    assert zeros["read"].startswith("0001-"), "this Engine tells it otherwise"
    assert parse_stats(zeros) is None
    assert asking._sample(facts, zeros) is None, "as when it stops while it is asked for"
    wait_for(lambda: sample(asking, name) is None, what="it to have no sample")


def test_a_container_that_stops_has_no_series_and_comes_back_with_a_new_start(
    sweeper: Sweeper, start: Start, engine: Engine
) -> None:
    name = start("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; sleep 1000")
    wait_for(lambda: (sampled(sweeper, name).cpu or 0) > 0.02, what="some CPU time")
    first = sampled(sweeper, name)

    engine.containers.stop(name, timeout=0)
    wait_for(lambda: not scrape(sweeper).of(name), what="no series")
    engine.containers.start(name)

    again = sampled(sweeper, name)
    assert first.started is not None
    assert again.started is not None
    assert again.started > first.started
    assert (again.memory_swap is None) == (first.memory_swap is None), "one source tells it only"


def test_traffic_in_another_containers_network_and_on_the_hosts_is_nobodys(
    sweeper: Sweeper, network: tuple[str, str], start: Start
) -> None:
    talker = start(f"ping -c 1000 -i 1 {network[1]}", network=network[0])
    sharer = start("sleep 1000", network=f"container:{talker}")
    hosted = start("sleep 1000", network="host")

    wait_for(
        lambda: scrape(sweeper).of(talker).get("container_network_transmit_bytes_total"),
        what="a ping",
    )
    for one in (sharer, hosted):
        values = wait_for(lambda one=one: scrape(sweeper).of(one))  # type: ignore[misc]
        assert values["container_cpu_usage_seconds_total"] > 0
        assert not any("network" in metric for metric in values)


def sockets() -> int:
    """How many this process has open."""
    links: list[str] = []
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(file.readlink()))
    return sum(link.startswith("socket:") for link in links)


def test_nothing_is_left_of_a_sweeper_that_is_closed(settings: Settings, start: Start) -> None:
    start("sleep 1000")
    before, threads = sockets(), threading.active_count()
    for cgroups in (True, False):
        with sweeping(settings, cgroups=cgroups) as sweeper:
            assert sweeper.sweep(30).samples
            begun = time.monotonic()
        assert time.monotonic() - begun < 0.5
    wait_for(lambda: threading.active_count() <= threads, what="its threads to end")
    assert sockets() <= before


def test_connections_are_kept_and_not_made_anew(
    settings: Settings, engine_host: str, start: Start
) -> None:
    for _ in range(12):  # more than the client's own ten
        start("sleep 1000")
    with Plug(engine_host.removeprefix("unix://")) as plug:
        away = EngineSettings(host=f"tcp://127.0.0.1:{plug.port}")
        with sweeping(settings.model_copy(update={"engine": away}), cgroups=False) as sweeper:

            def makes_none() -> bool:
                made = plug.carried
                assert len(sweeper.sweep(30).samples) >= 12
                return plug.carried == made

            wait_for(makes_none, what="a sweep that makes no connection")


# -- what a sweep asks, and how long it waits --------------------------------------------------


def test_no_container_is_inspected_by_a_sweep(
    sweeper: Sweeper, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = sampled(sweeper, start("sleep 1000")).id
    asked = inspected(sweeper._engine, monkeypatch)

    sweeps = [sweeper.sweep(30) for _ in range(3)]

    assert all(own in {sample.id for sample in one.samples} for one in sweeps)
    assert own not in asked


def test_what_is_late_is_left_out_and_counted(
    settings: Settings, engine_host: str, start: Start
) -> None:
    names = [start("sleep 1000") for _ in range(2)]
    with Plug(engine_host.removeprefix("unix://")) as plug:
        away = EngineSettings(host=f"tcp://127.0.0.1:{plug.port}")
        with sweeping(settings.model_copy(update={"engine": away}), cgroups=False) as sweeper:
            slow = sampled(sweeper, names[0]).id
            sampled(sweeper, names[1])
            late = sweeper.calls.counts["late"]
            plug.withhold(f"/{slow}/stats".encode())
            begun = time.monotonic()

            found = sweeper.sweep(4)

            assert time.monotonic() - begun < 5
    assert (found.results["late"], sweeper.calls.counts["late"] - late) == (1, 1)
    assert names[1] in {one.name for one in found.samples}
    assert names[0] not in {one.name for one in found.samples}

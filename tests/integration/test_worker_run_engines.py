"""Run jobs on an Engine of the test's own, which loses its network, is restarted, or is asked by many at once."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest

from dockbus import Bus, JobState, RetryPolicy, RunResult, Settings, local
from dockbus.engine import Engine
from dockbus.settings import EngineSettings
from e2e.chaos.services import EngineServer, engine_server
from processes import Program
from runs import output, result, shell
from waiting import wait_for

Start = Callable[..., Program]


@pytest.fixture(scope="module")
def server() -> Generator[EngineServer]:
    with (
        tempfile.TemporaryDirectory(prefix="dkb-") as folder,
        engine_server(Path(folder) / "engine") as server,
    ):
        with closing(Engine(EngineSettings(host=server.host))) as engine:
            local.base_image(engine, Path(folder), lambda _: None)
        yield server


@pytest.fixture
def ours(server: EngineServer) -> Generator[Engine]:
    with closing(Engine(EngineSettings(host=server.host))) as engine:
        yield engine


@pytest.fixture
def worker(start: Start, settings: Settings, server: EngineServer) -> Program:
    told = settings.model_copy(update={"engine": EngineSettings(host=server.host)})
    program = start("worker", "run", settings=told)
    program.wait_until_said("taking jobs")
    return program


@pytest.mark.parametrize("networks", [["dockbus"], ["shop", "dockbus"]])
def test_dockbus_own_network_is_made_anew_where_somebody_has_removed_it(
    bus: Bus, ours: Engine, worker: Program, networks: list[str]
) -> None:
    if not ours.api.networks(names=["shop"]):
        ours.api.create_network("shop")
    spec = shell("true", networks=networks)
    assert result(bus.enqueue(spec)).exit_code == 0
    (first,) = ours.api.networks(names=["dockbus"])

    ours.networks.remove_managed()
    assert ours.api.networks(names=["dockbus"]) == []

    job = bus.enqueue(spec)
    assert result(job).exit_code == 0
    assert job.refresh().attempts == 1
    (second,) = ours.api.networks(names=["dockbus"])
    assert second["Id"] != first["Id"]


def test_many_that_need_dockbus_own_network_at_once_make_one(ours: Engine) -> None:
    ours.networks.remove_managed()
    engines = [Engine(EngineSettings(host=ours.host)) for _ in range(8)]
    for engine in engines:
        engine.check(10)
    gate = threading.Barrier(len(engines))
    named: list[str] = []

    def ask(engine: Engine) -> None:
        gate.wait()
        named.append(engine.networks.own())

    threads = [threading.Thread(target=ask, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (left,) = ours.api.networks(names=["dockbus"])
    assert set(named) <= {"dockbus", left["Id"]}
    for engine in engines:
        engine.close()


def test_an_engine_that_is_restarted_ends_the_container_and_the_job_says_so(
    bus: Bus, ours: Engine, server: EngineServer, worker: Program
) -> None:
    script = "trap 'echo asked to stop; exit 9' TERM; echo begun; while :; do sleep 0.1; done"
    job = bus.enqueue(shell(script), retry=RetryPolicy(max=20, base=0.5, cap=1.0))
    wait_for(lambda: output(job), what="it to run")

    server._server.close()  # pyright: ignore[reportPrivateUsage]
    server.start()

    ended = job.wait(timeout=60)
    assert isinstance(ended, RunResult)
    assert ended.exit_code == 9
    assert output(job) == ["begun", "asked to stop"]
    assert job.state is JobState.SUCCEEDED

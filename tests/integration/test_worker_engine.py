"""What a worker does while its Engine cannot do anything: it takes no job, so that none fails for want of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest
from rq import Worker

from dockbus import Bus, JobState, RetryPolicy, Settings
from dockbus.engine import Engine
from dockbus.settings import EngineSettings, MetricsSettings
from outage import Plug
from processes import Program
from prometheus_server import free_port
from runs import result, shell
from scrapes import scraped
from waiting import wait_for

Start = Callable[..., Program]
SPEC = shell("true")


@pytest.fixture
def plug(engine: Engine, base_image: str) -> Generator[Plug]:
    with Plug(engine.host.removeprefix("unix://")) as plug:
        yield plug


@pytest.fixture
def remote(settings: Settings, plug: Plug) -> Settings:
    """Those of a worker whose Engine is behind the plug."""
    engine = EngineSettings(host=f"tcp://127.0.0.1:{plug.port}")
    return settings.model_copy(update={"engine": engine})


def states(bus: Bus) -> set[str]:
    """What the workers of the bus do, as RQ tells."""
    workers: Any = Worker.all(connection=bus.redis)  # pyright: ignore[reportUnknownMemberType]
    return {str(worker.get_state()) for worker in workers}


def test_no_job_is_taken_while_the_engine_is_away(
    bus: Bus, start: Start, plug: Plug, remote: Settings
) -> None:
    worker = start("worker", "run", settings=remote)
    result(bus.enqueue(SPEC))

    plug.pull()
    worker.wait_until_said("Jobs wait in their queue until then.")
    job = bus.enqueue(SPEC, retry=RetryPolicy(max=0))
    refused = plug.refused
    wait_for(lambda: plug.refused >= refused + 3, what="it to look again")
    assert job.state is JobState.QUEUED
    wait_for(lambda: states(bus) == {"suspended"}, what="RQ to know")
    bus.redis.delete("dockbus:engine:local")
    wait_for(lambda: bus.redis.exists("dockbus:engine:local"), what="its name to be held")
    plug.put_back()

    assert result(job).exit_code == 0
    assert job.refresh().attempts == 1
    assert worker.said("the Engine answers; taking jobs")
    wait_for(lambda: states(bus) == {"idle"}, what="RQ to know")


def test_no_job_is_taken_while_the_engine_stands_still(
    bus: Bus, start: Start, plug: Plug, remote: Settings
) -> None:
    """As one of 20.10 does whose networks have locked each other up: it answers a ping, and starts nothing."""
    port = free_port()
    of_its_own = {
        "engine": remote.engine.model_copy(update={"timeout": 2.0}),
        "metrics": MetricsSettings(own_port=port),
    }
    worker = start("worker", "run", settings=remote.model_copy(update=of_its_own))
    result(bus.enqueue(SPEC))
    assert scraped(port).value("dockbus_worker_ready") == 1

    plug.withhold(b"/networks/")
    worker.wait_until_said("The Docker Engine took too long to answer.")
    job = bus.enqueue(SPEC, retry=RetryPolicy(max=0))
    carried = plug.carried
    wait_for(lambda: plug.carried >= carried + 2, what="it to look again")
    assert job.state is JobState.QUEUED
    assert scraped(port).value("dockbus_worker_ready") == 0
    plug.withhold(b"")

    assert result(job).exit_code == 0
    assert job.refresh().attempts == 1
    assert scraped(port).value("dockbus_worker_ready") == 1

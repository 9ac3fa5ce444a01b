"""A worker whose Redis goes away in the middle of a job: the job succeeds once, whole, and the worker lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import pytest

from dockbus import Bus, JobState, Run, RunResult, Settings
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB
from dockbus.jobs.running import Network
from dockbus.settings import RedisSettings
from outage import Plug
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]
OUTAGE = 8.0


def counting(to: int) -> Run:
    script = f"for i in $(seq {to}); do echo line $i; sleep 0.2; done; exit 3"
    return Run(
        image="dockbus/base:1",
        command=["sh", "-c", script],
        networks=[Network(name="none")],
        labels={"dockbus.test": "1"},
    )


@pytest.fixture
def plug(redis_url: str) -> Generator[Plug]:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        yield plug


def test_a_job_and_its_worker_outlive_redis(
    bus: Bus, engine: Engine, base_image: str, start: Start, settings: Settings, plug: Plug
) -> None:
    url = f"redis://127.0.0.1:{plug.port}"
    worker = start(
        "worker", "run", settings=settings.model_copy(update={"redis": RedisSettings(url=url)})
    )
    short, long = bus.enqueue(counting(20)), bus.enqueue(counting(60))
    for job in (short, long):
        wait_for(lambda job=job: len(list(job.logs())) > 3, 60, "the jobs to run")  # type: ignore[misc]

    plug.pull()
    waiting = bus.enqueue(counting(1))  # by a program whose Redis is still there
    time.sleep(OUTAGE)
    assert worker.process.poll() is None
    assert plug.refused > 0
    assert not engine.containers.all(labels={LABEL_JOB: short.id}, running=True)  # it has ended
    assert short.state is JobState.STARTED
    plug.put_back()

    for job, count in ((short, 20), (long, 60), (waiting, 1)):
        ended = job.wait(timeout=60)
        assert isinstance(ended, RunResult)
        assert ended.exit_code == 3
        lines = [line.text for line in job.logs() if line.stream == "stdout"]
        assert lines == [f"line {number}" for number in range(1, count + 1)]
        assert job.refresh().attempts == 1
        assert not engine.containers.all(labels={LABEL_JOB: job.id})
    assert worker.process.poll() is None
    assert worker.stop() == 0

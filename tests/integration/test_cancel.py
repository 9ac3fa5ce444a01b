"""Canceling a job wherever it is in its life: it ends canceled, once, and no container of it stays."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from dockbus import (
    Bus,
    JobCanceled,
    JobFailed,
    JobHandle,
    JobNotCancelable,
    JobState,
    Run,
    RunResult,
    Settings,
)
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB
from dockbus.jobs.running import Network
from dockbus.settings import WorkerSettings
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]


def sleeper(script: str = "echo begun; sleep 600") -> Run:
    return Run(
        image="dockbus/base:1",
        command=["sh", "-c", script],
        networks=[Network(name="none")],
        labels={"dockbus.test": "1"},
        stop_timeout=0,
    )


def begun(bus: Bus, engine: Engine, **how: Any) -> JobHandle:
    """A job whose container runs."""
    job = bus.enqueue(sleeper(), **how)
    wait_for(lambda: any(line.text == "begun" for line in job.logs()), 60, "the job to run")
    return job


def containers(engine: Engine, job: JobHandle) -> int:
    return len(engine.containers.all(labels={LABEL_JOB: job.id}))


def states(bus: Bus, job: JobHandle) -> list[str]:
    """The states that the job's events tell of."""
    return [
        stored.event.type.rpartition(".")[2]
        for stored in bus.events(since="0", follow=False)
        if stored.event.subject == job.id
    ]


def quick(settings: Settings, *, drain: float = 30, heartbeat: float = 15) -> Settings:
    worker = WorkerSettings(drain=drain, heartbeat=heartbeat)
    return settings.model_copy(update={"worker": worker})


@pytest.fixture(autouse=True)
def image(base_image: str) -> str:
    return base_image


def test_a_running_job_may_be_canceled_twice_and_its_key_is_free_again(
    bus: Bus, engine: Engine, start: Start, redis: Redis
) -> None:
    start("worker", "run")
    job = begun(bus, engine, key="k")

    job.cancel()
    job.cancel()

    with pytest.raises(JobCanceled):
        job.wait(timeout=60)
    with pytest.raises(JobNotCancelable):
        job.cancel()
    assert containers(engine, job) == 0
    assert states(bus, job) == ["queued", "started", "canceled"]

    redis.delete(f"rq:job:{job.id}", f"dockbus:log:{job.id}")  # as they expire
    again = bus.enqueue(sleeper("true"), key="k")
    ended = again.wait(timeout=60)
    assert again.id == job.id
    assert isinstance(ended, RunResult)
    assert ended.exit_code == 0
    with pytest.raises(JobNotCancelable, match="succeeded"):
        again.cancel()


def test_a_job_that_waits_for_another_attempt(bus: Bus, start: Start, engine: Engine) -> None:
    start("worker", "run")
    job = bus.enqueue(Run(image="127.0.0.1:1/nobody/home:1"))
    wait_for(lambda: job.state is JobState.SCHEDULED, 60, "its first attempt to have failed")

    job.cancel()

    assert (job.state, job.refresh().attempts) == (JobState.CANCELED, 1)
    assert containers(engine, job) == 0


def test_a_job_that_was_handed_back_takes_its_container_along(
    bus: Bus, engine: Engine, start: Start, settings: Settings
) -> None:
    first = start("worker", "run", settings=quick(settings, drain=0))
    job = begun(bus, engine)
    assert first.stop() == 0
    assert (job.state, containers(engine, job)) == (JobState.QUEUED, 1)

    job.cancel()
    start("worker", "run")

    with pytest.raises(JobCanceled):
        job.wait(timeout=60)
    assert containers(engine, job) == 0


def test_jobs_of_a_dead_worker_end_with_their_containers(
    bus: Bus, engine: Engine, start: Start, settings: Settings, redis: Redis
) -> None:
    first = start("worker", "run", settings=quick(settings, heartbeat=3))
    canceled, used_up = begun(bus, engine), begun(bus, engine)
    redis.hset(f"rq:job:{used_up.id}", "tries", 1)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()

    canceled.cancel()
    start("worker", "run", settings=quick(settings, heartbeat=3))

    with pytest.raises(JobCanceled):
        canceled.wait(timeout=60)
    with pytest.raises(JobFailed, match="worker died every time"):
        used_up.wait(timeout=60)
    record = used_up.refresh()
    assert record.error is not None
    assert record.error.code == "worker-lost"
    assert used_up.state is JobState.DEAD
    assert states(bus, used_up)[-1] == "dead"
    assert containers(engine, canceled) == containers(engine, used_up) == 0


def test_what_is_canceled_while_it_is_queued_is_never_begun(
    bus: Bus, engine: Engine, start: Start, redis: Redis
) -> None:
    canceled, honest = bus.enqueue(sleeper()), bus.enqueue(sleeper("true"))

    canceled.cancel()
    redis.lpush("rq:queue:run", canceled.id)  # as if its entry had been missed
    worker = start("worker", "run")

    honest.wait(timeout=60)
    assert worker.said(f"an entry for {canceled.id}, which is no queued job")
    assert (canceled.state, canceled.refresh().attempts) == (JobState.CANCELED, 0)
    assert states(bus, canceled) == ["queued", "canceled"]
    assert containers(engine, canceled) == 0


def test_cancels_that_race_with_the_start_leave_nothing_behind(
    bus: Bus, engine: Engine, start: Start
) -> None:
    start("worker", "run")
    jobs: list[JobHandle] = []
    for _ in range(12):
        jobs.append(bus.enqueue(sleeper()))
        bus.cancel(jobs[-1].id)

    for job in jobs:
        with pytest.raises(JobCanceled):
            job.wait(timeout=60)
        assert containers(engine, job) == 0
        assert states(bus, job)[-1] == "canceled"
    assert sum(queue.queued + queue.started for queue in bus.queues()) == 0

"""Jobs around which the world breaks: each ends with one clear sentence, soon, and leaves no container behind."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from dockbus import (
    Build,
    Bus,
    JobCanceled,
    JobFailed,
    JobHandle,
    JobState,
    Pull,
    RetryPolicy,
    Run,
    RunResult,
    Settings,
    Spec,
)
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB
from dockbus.settings import BuildSettings, EngineSettings, WorkerSettings
from outage import Plug
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]


def shell(script: str, **fields: Any) -> Run:
    return Run.model_validate(
        {
            "image": "dockbus/base:1",
            "command": ["sh", "-c", script],
            "labels": {"dockbus.test": "1"},
            "networks": ["none"],
            "stop_timeout": 0,
            **fields,
        }
    )


def failure(job: JobHandle, timeout: float = 60) -> tuple[str, str, int]:
    """How a job failed: the error's code, its sentence, and after how many attempts."""
    with pytest.raises(JobFailed):
        job.wait(timeout=timeout)
    record = job.refresh()
    assert record.error is not None
    assert "\n" not in str(record.error)
    return record.error.code, str(record.error), record.attempts


def no_container(engine: Engine, job: JobHandle) -> bool:
    return not engine.containers.all(labels={LABEL_JOB: job.id})


@pytest.fixture
def worker(start: Start, base_image: str) -> Program:
    program = start("worker", "run")
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def deaf() -> Generator[str]:
    """A registry that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_container_that_others_remove_fails_its_job_once(
    bus: Bus, engine: Engine, worker: Program
) -> None:
    jobs = [bus.enqueue(shell("echo begun; sleep 600")) for _ in range(4)]
    for job in jobs:
        wait_for(lambda job=job: list(job.logs()), what="it to run")  # type: ignore[misc]
        engine.containers.remove(f"dockbus-{job.id}", force=True)

    for job in jobs:
        code, _, attempts = failure(job)
        assert (code, attempts) == ("container-lost", 1)
        assert no_container(engine, job)


def test_a_container_that_others_stop_has_ended(bus: Bus, engine: Engine, worker: Program) -> None:
    job = bus.enqueue(shell("echo begun; sleep 600"))
    wait_for(lambda: list(job.logs()), what="it to run")

    engine.containers.stop(f"dockbus-{job.id}", timeout=10)

    ended = job.wait(timeout=60)
    assert isinstance(ended, RunResult)
    assert ended.exit_code in (137, 143)
    assert no_container(engine, job)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"networks": ["dockbus-no-such"]}, "engine-rejected", "network dockbus-no-such not found"),
    ({"user": "nobody-of-that-name"}, "engine-rejected", "unable to find user nobody-of-that"),
    ({"working_dir": "/etc/passwd"}, "engine-rejected", "is not a directory"),
    ({"cpus": 1000.0}, "engine-rejected", "CPUs"),
    ({"image": "sha256:" + "0" * 64, "pull": "never"}, "image-not-found", "No such image"),
]


def test_what_the_engine_refuses_fails_once_and_leaves_nothing(
    bus: Bus, engine: Engine, worker: Program
) -> None:
    jobs = [bus.enqueue(shell("true", **fields)) for fields, _, _ in REFUSED]

    for job, (_, code, said) in zip(jobs, REFUSED, strict=True):
        found = failure(job)
        assert (found[0], found[2]) == (code, 1)
        assert said in found[1]
        assert no_container(engine, job)


def test_a_program_that_is_not_there_fails_its_job_once(
    bus: Bus, engine: Engine, worker: Program
) -> None:
    job = bus.enqueue(shell("", command=["no-such-program"]))

    code, said, attempts = failure(job)

    assert (code, attempts) == ("command-not-found", 1)
    assert "no-such-program" in said
    assert no_container(engine, job)


def test_strange_output_arrives_whole(bus: Bus, worker: Program) -> None:
    script = (
        "printf 'nul \\0 \\303\\244 \\377 \\033[31m\\r\\n'; "
        "head -c 1000000 /dev/zero | tr '\\0' A; echo; head -c 100000 /dev/zero | tr '\\0' B"
    )
    jobs = [bus.enqueue(shell(script)) for _ in range(3)]
    for job in jobs:
        job.wait(timeout=60)

        lines = [line.text for line in job.logs() if line.stream == "stdout"]

        assert lines[0] == "nul \0 ä \ufffd \x1b[31m"
        assert "".join(lines[1:]) == "A" * 1_000_000 + "B" * 100_000  # which has no end


def test_a_job_whose_record_vanishes_harms_no_other(
    bus: Bus, engine: Engine, worker: Program, redis: Redis
) -> None:
    spec = shell("echo begun; sleep 2")
    job = bus.enqueue(spec, key="k")
    wait_for(lambda: list(job.logs()), what="it to run")
    redis.delete(f"rq:job:{job.id}")  # a Redis that has lost its memory

    # Nobody may say that it is nobody's until the grace of a job that has just ended is over.
    wait_for(lambda: no_container(engine, job), 60, "its container to be gone")
    bus.enqueue(shell("true")).wait(timeout=60)
    bus.enqueue(spec, key="k").wait(timeout=60)

    assert worker.process.poll() is None
    assert [record.state for record in bus.jobs()] == [JobState.SUCCEEDED] * 2


def test_what_is_no_job_stops_no_worker(bus: Bus, worker: Program, redis: Any) -> None:
    redis.set("rq:job:wrong-type", "x")
    redis.rpush("rq:queue:run", "wrong-type", "nobody", "no such id!", b"\xff\xfe", "")

    job = bus.enqueue(shell("true"))

    job.wait(timeout=60)
    assert job.state is JobState.SUCCEEDED
    assert worker.process.poll() is None


@pytest.mark.parametrize("kind", ["pull", "build", "run"])
def test_a_registry_that_hangs_holds_no_job_and_no_worker(
    bus: Bus, engine: Engine, start: Start, settings: Settings, deaf: str, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {deaf}/x:1\n")
    specs: dict[str, Spec] = {
        "pull": Pull(image=f"{deaf}/x:1"),
        "build": Build(context=".", tags=["dockbus/test-never:1"]),
        "run": Run(image=f"{deaf}/x:1", labels={"dockbus.test": "1"}),
    }
    hasty = settings.model_copy(
        update={"worker": WorkerSettings(drain=0), "build": BuildSettings(root=tmp_path)}
    )
    worker = start("worker", kind, settings=hasty)
    worker.wait_until_said("taking jobs")
    canceled, handed_back = (bus.enqueue(specs[kind]) for _ in range(2))
    late = bus.enqueue(specs[kind], timeout=1)
    for job in (canceled, handed_back, late):
        wait_for(lambda job=job: job.state is not JobState.QUEUED, what="it to start")  # type: ignore[misc]

    # That registry never answers and the Engine would wait for a minute: sooner is because somebody asked.
    canceled.cancel()
    with pytest.raises(JobCanceled):
        canceled.wait(timeout=20)
    assert failure(late)[::2] == ("job-timeout", 1)
    assert worker.stop() == 0

    assert handed_back.state is JobState.QUEUED
    assert all(no_container(engine, job) for job in (canceled, handed_back, late))


def test_an_engine_that_goes_away_for_a_while_costs_no_line(
    bus: Bus, engine: Engine, base_image: str, start: Start, settings: Settings
) -> None:
    with Plug(engine.host.removeprefix("unix://")) as plug:
        remote = EngineSettings(host=f"tcp://127.0.0.1:{plug.port}")
        start("worker", "run", settings=settings.model_copy(update={"engine": remote}))
        job = bus.enqueue(
            shell("for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.5; done; exit 4"),
            retry=RetryPolicy(max=50),
        )
        wait_for(lambda: len(list(job.logs())) >= 2, 60, "it to run")

        plug.pull()
        wait_for(lambda: job.state is not JobState.STARTED, 60, "its attempt to have failed")
        plug.put_back()

        ended = job.wait(timeout=60)
        assert isinstance(ended, RunResult)
        assert ended.exit_code == 4
        said = [line.text for line in job.logs() if line.stream == "stdout"]
        assert said == [str(number) for number in range(1, 10)]
        assert job.refresh().attempts >= 2
        assert no_container(engine, job)

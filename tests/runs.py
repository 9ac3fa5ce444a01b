"""Run jobs as tests order them: a shell script in the base image, marked as a test's."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from dockbus import Bus, JobCanceled, JobFailed, JobHandle, Run, RunResult
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB
from waiting import wait_for


def shell(script: str, **fields: Any) -> Run:
    """A run job with this script, without a network unless the fields say otherwise."""
    return Run.model_validate(
        {
            "image": "dockbus/base:1",
            "command": ["sh", "-c", script],
            "labels": {"dockbus.test": "1"},
            "networks": ["none"],
            **fields,
        }
    )


def service(script: str, **fields: Any) -> Run:
    """The same as a service."""
    return shell(script, mode="service", stop_timeout=0, **fields)


def result(job: JobHandle) -> RunResult:
    """What has come of a job, once it has ended."""
    ended = job.wait(timeout=60)
    assert isinstance(ended, RunResult)
    return ended


def failure(job: JobHandle) -> str:
    """The error of a job that fails at its first attempt: its code and its words."""
    with pytest.raises(JobFailed):
        job.wait(timeout=60)
    record = job.refresh()
    assert record.error is not None
    assert record.attempts == 1, f"a mistake is not tried again: {record.error}"
    return f"{record.error.code}: {record.error}"


def refused(bus: Bus, **fields: Any) -> str:
    """The error of a job that cannot be carried out so."""
    return failure(bus.enqueue(shell("true", **fields)))


def output(job: JobHandle, stream: str = "stdout") -> list[str]:
    """What it has printed until now."""
    return [line.text for line in job.logs() if line.stream == stream]


def no_container(engine: Engine, job: JobHandle) -> bool:
    """Whether nothing of a job is on the Engine."""
    volumes = engine.api.volumes(filters={"label": f"{LABEL_JOB}={job.id}"})["Volumes"]
    return not engine.containers.all(labels={LABEL_JOB: job.id}) and not volumes


def printed(bus: Bus, script: str, **fields: Any) -> list[str]:
    """What a container with these options prints; it must exit with 0."""
    job = bus.enqueue(shell(script, **fields))
    ended = result(job)
    lines = [line.text for line in job.logs() if line.stream != "system"]
    assert ended.exit_code == 0, lines
    return lines


@contextmanager
def inspecting(bus: Bus, engine: Engine) -> Generator[Callable[..., dict[str, Any]]]:
    """Starts containers with options, to be canceled after the block; gives what the Engine says of each."""
    jobs: list[JobHandle] = []

    def inspect(**fields: Any) -> dict[str, Any]:
        jobs.append(job := bus.enqueue(shell("sleep 600", stop_timeout=0, **fields)))
        name = fields.get("name", f"dockbus-{job.id}")
        wait_for(lambda: (it := engine.containers.find(name)) and it.pid, what="it to run")
        return dict(engine.containers.inspect(name))

    yield inspect
    for job in jobs:
        job.cancel()
    for job in jobs:
        with pytest.raises(JobCanceled):
            job.wait(timeout=60)
